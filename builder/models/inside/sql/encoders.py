"""Operators that prepare columns: casts, scalers, imputers, encoders."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from builder.models.inside.problem import Problem
from builder.models.inside.sql.cells import Cell, Choice, Fixed, Mixed, Raw, Step, compared, equal, mapped, stepped
from builder.models.inside.sql.floats import float32
from builder.models.inside.sql.graph import Node
from builder.models.inside.sql.stages import Stages
from builder.models.inside.sql.tensors import Row, row_of
from builder.models.inside.sql.tree import Condition

__all__ = ["binarizer", "cast", "imputer", "indicator", "label_encoder", "one_hot", "scaler"]

_TYPES = {1: "float32", 7: "int64", 8: "string", 9: "bool", 11: "float64"}


def cast(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
    """Cast."""
    row = row_of(inputs[0])
    kind = _TYPES.get(node.get("to"))
    if kind is None:
        raise Problem(f"a cast to ONNX type {node.get('to')} has no translation")
    return Row(tuple(_cast_cell(cell, row.type, kind) for cell in row.cells), kind)


def _cast_cell(cell: Cell, source: str, kind: str) -> Cell:
    if source == kind or (source, kind) == ("float32", "float64"):
        return cell
    if isinstance(cell, (Choice, Fixed)) and source != "string":
        if kind == "string":
            if source not in ("int64", "bool"):
                raise Problem("a cast from numbers to text has no translation")
            return mapped(cell, lambda value: str(int(value)))
        convert: dict[str, Callable[[Any], Any]] = {
            "float32": lambda value: float32(float(value)), "float64": float, "int64": int,
            "bool": lambda value: int(bool(value)),
        }  # fmt: skip
        return mapped(cell, convert[kind])
    if kind == "float32" and source != "string":
        return stepped(cell, Step("round", single=True)) if isinstance(cell, Raw) else cell
    if kind == "float64" and source in ("int64", "bool"):
        return cell
    raise Problem(f"a cast from {source} to {kind} has no translation")


def scaler(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
    """Scaler: the offset off, times the scale; each step is rounded."""
    row = row_of(inputs[0])
    width = len(row.cells)
    offsets, scales = node.get("offset"), node.get("scale")
    offsets, scales = (list(one) * (width if len(one) == 1 else 1) for one in (offsets, scales))
    single = row.type == "float32"
    cells = [
        stepped(stepped(cell, Step("add", -offset, single)), Step("multiply", scale, single))
        for cell, offset, scale in zip(row.cells, offsets, scales, strict=False)
    ]
    if not single:
        cells = [_cast_cell(cell, "float64", "float32") for cell in cells]
    return Row(tuple(cells), "float32")


def imputer(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
    """Imputer, of missing floating-point numbers."""
    row = row_of(inputs[0])
    values, replaced = node.get("imputed_value_floats"), node.get("replaced_value_float", 0.0)
    if not values or not math.isnan(replaced):
        raise Problem("an imputer that replaces something else than missing numbers has no translation")
    values = list(values) * (len(row.cells) if len(values) == 1 else 1)
    return Row(tuple(_imputed(cell, value) for cell, value in zip(row.cells, values, strict=False)), row.type)


def _imputed(cell: Cell, value: float) -> Cell:
    if isinstance(cell, Raw):
        if cell.missing is not None or not cell.column.nullable:
            return cell
        return Raw(cell.column, cell.steps, value)
    if isinstance(cell, Mixed):
        raise Problem("an imputer behind arithmetic has no translation", hint="impute first")
    return mapped(cell, lambda own: value if isinstance(own, float) and math.isnan(own) else own)


def one_hot(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
    """OneHotEncoder of one column."""
    row = row_of(inputs[0])
    if len(row.cells) != 1:
        raise Problem("a one-hot encoder over several columns at once has no translation")
    (cell,) = row.cells
    categories = node.get("cats_strings") or node.get("cats_int64s")
    if row.type not in ("string", "int64"):
        raise Problem(
            "a one-hot encoder of floating-point numbers has no translation", hint="make them integers or text"
        )
    return Row(tuple(indicator(equal(cell, category)) for category in categories), "float32")


def indicator(condition: Condition | bool, yes: float = 1.0, no: float = 0.0) -> Cell:
    """1 where `condition` is taken, else 0."""
    if isinstance(condition, bool):
        return Fixed(yes if condition else no)
    return Choice(((condition, yes),), no)


def label_encoder(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
    """LabelEncoder: texts or integers by a table."""
    row = row_of(inputs[0])
    keys = node.get("keys_strings") or node.get("keys_int64s")
    values, otherwise, kind = _table(node)
    if not keys or row.type not in ("string", "int64"):
        raise Problem("an encoder of floating-point numbers has no translation", hint="make them integers or text")
    cells: list[Cell] = []
    for cell in row.cells:
        pairs = [(equal(cell, key), value) for key, value in dict(zip(keys, values, strict=False)).items()]
        if sure := [value for condition, value in pairs if condition is True]:
            cells.append(Fixed(sure[0]))
            continue
        branches = tuple((condition, value) for condition, value in pairs if not isinstance(condition, bool))
        cells.append(Choice(branches, otherwise))
    return Row(tuple(cells), kind)


def _table(node: Node) -> tuple[list[Any], Any, str]:
    for name, default, kind, fallback in (
        ("values_floats", "default_float", "float32", -0.0),
        ("values_int64s", "default_int64", "int64", -1),
        ("values_strings", "default_string", "string", "_Unused"),
    ):
        if (values := node.get(name)) is not None:
            return values, node.get(default, fallback), kind
    raise Problem("an encoder with values of this type has no translation")


def binarizer(stages: Stages, node: Node, inputs: Sequence[Any]) -> Row:
    """Binarizer."""
    row = row_of(inputs[0])
    threshold = node.get("threshold", 0.0)
    return Row(tuple(indicator(compared(cell, ">", threshold)) for cell in row.cells), row.type)
