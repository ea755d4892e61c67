"""A model as stages of columns: the contract says what the table has, the graph what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from builder.models.inside.problem import Problem
from builder.models.inside.sql.cells import Cell, Column, Raw, expression
from builder.models.inside.sql.floats import FLOAT32_LIMIT
from builder.models.inside.sql.graph import Graph
from builder.models.inside.sql.operators import translate
from builder.models.inside.sql.stages import Stages
from builder.models.inside.sql.tensors import Row, Tensor
from builder.models.inside.sql.tree import (
    Call,
    Case,
    Compare,
    Condition,
    Expression,
    In,
    Literal,
    Missing,
    Name,
    Number,
    Product,
    Quotient,
    Sum,
    both,
    either,
)

__all__ = ["LARGEST_DOUBLE", "Feature", "Output", "Translation", "translation"]

LARGEST_DOUBLE = 1e100
"""What a double may be where it is computed with: products of it overflow nowhere."""


@dataclass(frozen=True)
class Feature:
    """A column of the table: its name there, its column in stage 0, and the contract's words about it.

    `computed`: it is computed with, not only compared; then it needs to be finite.
    """

    title: str
    column: Column
    missing: str
    categories: tuple[Any, ...] | None
    refuses_others: bool
    computed: bool = False
    imputed: bool = True


@dataclass(frozen=True)
class Output:
    """A tensor that comes out: the contract's name and meaning, and each column's expression, with its class."""

    name: str
    meaning: str
    type: str
    values: tuple[Expression, ...]
    classes: tuple[Any, ...] | None


@dataclass(frozen=True)
class Translation:
    """A model. `scored` is a flag, in a stage, that says whether a row has a score at all; None if every row has."""

    stages: Stages
    features: tuple[Feature, ...]
    outputs: tuple[Output, ...]
    scored: Name | None


def translation(graph: Graph, contract: dict[str, Any]) -> Translation:
    """Translate; raises Problem that names the step for which there is no translation."""
    stages = Stages()
    features: list[Feature] = []
    tensors: dict[str, Tensor] = dict(graph.constants)
    for tensor in contract["inputs"]:
        own = [_feature(stages, tensor["type"], one) for one in tensor["features"]]
        features += own
        tensors[tensor["name"]] = Row(tuple(Raw(one.column) for one in own), tensor["type"])
    if lacking := [name for name in graph.inputs if name not in tensors]:
        raise Problem(f"the model takes a tensor {lacking[0]!r} that the contract doesn't have")
    for node in graph.nodes:
        inputs = [tensors[name] if name else None for name in node.inputs]
        try:
            results = translate(stages, node, inputs)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise Problem(f"{node.operator} is used in a way that has no translation ({error})") from error
        tensors.update(zip(node.outputs, results, strict=False))
    outputs = tuple(_output(tensors, one) for one in contract["outputs"])
    features = _looked_at(stages, features, outputs)
    return Translation(stages, tuple(features), outputs, _scored(stages, features))


def _feature(stages: Stages, kind: str, feature: dict[str, Any]) -> Feature:
    missing = feature.get("missing", "refused")
    if missing == "nan" and kind not in ("float32", "float64"):  # only these have one
        missing = "empty" if kind == "string" else "refused"
    column = Column(stages.source(), feature["name"], kind, nullable=missing == "nan")
    categories = feature.get("categories")
    return Feature(
        feature["name"], column, missing, None if categories is None else tuple(categories),
        feature.get("unseen") == "refused" and categories is not None,
    )  # fmt: skip


def _output(tensors: dict[str, Tensor], output: dict[str, Any]) -> Output:
    row = tensors.get(output["name"])
    if not isinstance(row, Row):
        raise Problem(f"the model has no output {output['name']!r}")
    cells: tuple[Cell, ...] = row.cells
    if len(cells) != (output.get("width") or 1):
        raise Problem(
            f"output {output['name']!r} has {len(cells)} columns, and the contract says {output.get('width')}"
        )
    classes = output.get("classes")
    return Output(
        output["name"], output["meaning"], output["type"], tuple(expression(cell) for cell in cells),
        None if classes is None else tuple(classes),
    )  # fmt: skip


def _looked_at(stages: Stages, features: list[Feature], outputs: tuple[Output, ...]) -> list[Feature]:
    """The features again, knowing which of them are computed with, and whether a missing one was filled there."""
    every = [value for stage in stages.columns for value in stage.values() if value is not None]
    every += [value for output in outputs for value in output.values]
    computed: set[Name] = set()
    filled: set[Name] = set()
    for value in every:
        _arithmetic(value, computed, filled, inside=False)
    names = {name.name for name in computed}
    bare = {name.name for name in computed - filled}
    return [
        Feature(
            one.title, one.column, one.missing, one.categories, one.refuses_others,
            computed=one.column.name.name in names and one.column.type != "string",
            imputed=one.column.name.name not in bare,
        )
        for one in features
    ]  # fmt: skip


def _arithmetic(one: Expression | None, computed: set[Name], filled: set[Name], inside: bool) -> None:
    """Collect the table's columns that `one` computes with; comparisons don't count."""
    if isinstance(one, Case):
        for _, value in one.branches:
            _arithmetic(value, computed, filled, inside)
        _arithmetic(one.otherwise, computed, filled, inside)
    elif isinstance(one, Name):
        if one.stage == 0:
            computed.add(one)
            if inside:
                filled.add(one)
    elif isinstance(one, Call):
        for argument in one.arguments:
            _arithmetic(argument, computed, filled, inside or one.function == "coalesce")
    elif isinstance(one, Sum):
        for part in one.parts:
            _arithmetic(part, computed, filled, inside)
    elif isinstance(one, (Product, Quotient)):
        _arithmetic(one.left, computed, filled, inside)
        _arithmetic(one.right, computed, filled, inside)


def _scored(stages: Stages, features: list[Feature]) -> Name | None:
    needed = both([_required(one) for one in features])
    if isinstance(needed, bool):
        return None
    return stages.named(Case(((needed, Literal(1)),), Literal(0)), "ok"[0])


def _required(feature: Feature) -> Condition | bool:
    """What a row must have in this column to have a score."""
    name = feature.column.name
    parts: list[Condition | bool] = []
    if feature.missing == "refused" or (feature.computed and not feature.imputed):
        parts.append(Missing(name, inverse=True))
    if feature.refuses_others and feature.categories:
        parts.append(In(name, feature.categories))
    if feature.computed and feature.column.type in ("float32", "float64"):
        limit = FLOAT32_LIMIT if feature.column.type == "float32" else LARGEST_DOUBLE
        finite = both([Compare(name, "<", Number(limit)), Compare(name, ">", Number(-limit))])
        parts.append(either([finite, Missing(name)]))
    return both(parts)
