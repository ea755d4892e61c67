"""Fitted models through skl2onnx: types in, options, and the graph that comes out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from builder.models.inside.finishing import Graph, element_type, join_columns, name_inputs
from builder.models.inside.islands import register_islands
from builder.models.inside.kinds import describe, final
from builder.models.inside.layout import Column, columns_of, described, inner_types, is_separate, tensor_names
from builder.models.inside.preparing import prepared
from builder.models.inside.problem import Problem
from builder.models.inside.promises import promise
from builder.models.inside.registering import register
from builder.models.inside.shapes import seen
from builder.models.inside.walk import is_a, needs_doubles, walk

__all__ = ["Made", "Target", "convert_fitted", "has_probabilities"]

TEXT_TOKENS = {r"(?u)\b\w\w+\b": r"[\p{L}\p{N}_]{2,}", r"(?u)\b\w+\b": r"[\p{L}\p{N}_]+", r"\b\w+\b": r"[\p{L}\p{N}_]+"}


@dataclass(frozen=True)
class Target:
    """What the model is written for: operator sets and how numbers are passed."""

    opset: int
    ml: int
    precision: str = "float32"

    @property
    def floats(self) -> str:
        """The type of tensors of numbers."""
        return "float64" if self.precision == "double+cast" else "float32"


@dataclass
class Made:
    """A converted model with what the contract says of it."""

    model: Any
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    applied: list[dict[str, str]]
    limits: list[str]
    unused: list[str]


def convert_fitted(model: Any, spec: dict[str, Any], known: list[dict[str, Any]] | None, target: Target) -> Made:
    """Convert `model`, of which the sample has the columns `known`. Raises Problem."""
    register(spec)
    register_islands()
    facts = describe(model)
    copied, applied = prepared(model)
    columns = columns_of(facts, known, spec, target.floats)
    raw = not has_probabilities(model) or bool(spec.get("raw_scores"))
    separate = is_separate(copied, columns) and facts["input"] == "frame"
    options = _options(copied, raw=raw)
    graph, inner = _graph(copied, columns, separate, target, options)
    names = tensor_names([column.name for column in columns])
    unused: list[str] = []
    if separate:
        kept = name_inputs(graph, columns, names, inner)
        unused = [column.name for column, keeps in zip(columns, kept, strict=True) if not keeps]
        inputs = [
            {"name": name, "type": column.type, "features": [described(column)]}
            for name, column, keeps in zip(names, columns, kept, strict=True)
            if keeps
        ]
    elif facts["input"] == "frame":
        join_columns(graph, columns, names, inner[0])
        inputs = [
            {"name": name, "type": column.type, "features": [described(column)]}
            for name, column in zip(names, columns, strict=True)
        ]
    else:
        inputs = [_matrix(graph, columns, inner[0], target.floats, facts["kind"])]
    if unused:
        applied.append({"code": "pruned", "message": f"the model uses no {', '.join(unused)}: no inputs"})
    raw = raw if facts["kind"] == "classifier" else _gives_probabilities(model)
    silent = facts["kind"] == "classifier" and raw and not hasattr(model, "decision_function")
    outputs = promise(graph, facts, raw=raw, floats=target.floats, only_label=silent)
    return Made(graph.model, inputs, outputs, applied, [], unused)


def _graph(
    model: Any, columns: list[Column], separate: bool, target: Target, options: dict[int, Any]
) -> tuple[Graph, list[str]]:
    """The converted graph, and the types that its columns have in there.

    Where rounding on the way would show, it is float64 inside even if float32 goes in. Not every converter can do
    that: then it is float32, and the gate will tell.
    """
    if target.precision == "float32" and needs_doubles(model):
        inner = inner_types(model, columns, "float64")
        try:
            graph = Graph(_converted(model, columns, inner, separate, target, options))
            seen(graph.model)
        except Problem:
            pass
        else:
            return graph, inner
    inner = inner_types(model, columns, target.floats)
    return Graph(_converted(model, columns, inner, separate, target, options)), inner


def has_probabilities(model: Any) -> bool:
    """Whether the original gives probabilities."""
    return hasattr(model, "predict_proba")


def _gives_probabilities(model: Any) -> bool:
    return is_a(final(model), "GaussianMixture", "BayesianGaussianMixture")


def _matrix(graph: Graph, columns: list[Column], inner: str, floats: str, model_kind: str) -> dict[str, Any]:
    """The only input under its name; numbers come as `floats` and are cast to what the converter computes with."""
    kind = inner if inner == "string" else floats
    name = "inputs" if model_kind == "transformer" else "features"  # a transformer's output are its features
    if inner == "string" and len(columns) == 1:
        name = "text"
    current = graph.graph.input[0].name
    if kind == inner:
        graph.rename(current, name)
    else:
        if current == name:
            graph.rename(current, graph.fresh("matrix"))
        graph.node("Cast", [name], first=True, into=graph.graph.input[0].name, to=element_type(inner))
    graph.set_inputs([(name, element_type(kind), len(columns))])
    for column in columns:
        column.type = kind
    return {"name": name, "type": kind, "features": [described(column) for column in columns]}


def _converted(
    model: Any, columns: list[Column], inner: list[str], separate: bool, target: Target, options: dict[int, Any]
) -> Any:
    from skl2onnx import convert_sklearn

    if separate:
        types = [(column.name, _type(kind)([None, 1])) for column, kind in zip(columns, inner, strict=True)]
    else:
        if len(set(inner)) > 1:
            raise Problem(
                "the model takes a matrix of numbers and text",
                hint="train it on a DataFrame, with a ColumnTransformer that says what becomes of each column",
            )
        types = [("lockship_matrix", _type(inner[0])([None, len(columns)]))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return convert_sklearn(
                model,
                name="model",
                initial_types=types,
                target_opset={"": target.opset, "ai.onnx.ml": target.ml},
                options=options,
            )
        except Problem:
            raise
        except Exception as error:  # converters raise whatever they like
            raise Problem(
                f"no conversion: {' '.join(str(error).split())[:400] or type(error).__name__}",
                hint="lockship convert --explain names each step with its converter",
                details={"error": type(error).__name__},
            ) from error


def _type(name: str) -> Any:
    from skl2onnx.common import data_types

    names = {"float32": "Float", "float64": "Double", "int64": "Int64", "string": "String", "bool": "Boolean"}
    return getattr(data_types, f"{names[name]}TensorType")


def _options(model: Any, *, raw: bool) -> dict[int, dict[str, Any]]:
    """skl2onnx's options by estimator: no maps, raw scores at the end if asked for, tokens as in Python."""
    from skl2onnx._supported_operators import sklearn_operator_name_map
    from skl2onnx.common._registration import _converter_pool

    found: dict[int, dict[str, Any]] = {}
    last = final(model)
    for step in walk(model):
        if is_a(step.estimator, "Pipeline", "ColumnTransformer", "FeatureUnion"):
            continue  # their options would be those of all their steps
        alias = sklearn_operator_name_map.get(type(step.estimator))
        allowed = (_converter_pool[alias].get_allowed_options() if alias in _converter_pool else None) or {}
        options: dict[str, Any] = {}
        if "zipmap" in allowed:
            options["zipmap"] = False
        if step.estimator is last and raw and "raw_scores" in allowed:
            options["raw_scores"] = True
        if "tokenexp" in allowed and getattr(step.estimator, "analyzer", None) == "word":
            pattern = step.estimator.token_pattern
            options["tokenexp"] = TEXT_TOKENS.get(pattern, pattern)
        if "locale" in allowed:
            options["locale"] = "C.UTF-8"
        if options:
            found[id(step.estimator)] = options
    return found
