"""Tensors seen from the table: rows of cells, or constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from builder.models.inside.problem import Problem
from builder.models.inside.sql.cells import Cell
from builder.models.inside.sql.graph import Node
from builder.models.inside.sql.stages import Stages

__all__ = ["Operator", "Row", "Tensor", "row_of", "vector_of"]


@dataclass(frozen=True)
class Row:
    """A tensor with a row for each of the table's: `[rows, len(cells)]`, or `[rows]`; `type` is its elements'."""

    cells: tuple[Cell, ...]
    type: str


Tensor = Any
"""A `Row`, or a constant: a NumPy array."""
Operator = Callable[[Stages, Node, Sequence[Any]], Any]


def row_of(tensor: Tensor) -> Row:
    """`tensor`, which must not be a constant."""
    if not isinstance(tensor, Row):
        raise Problem("a constant goes where rows are expected")
    return tensor


def vector_of(tensor: Any, width: int) -> list[float]:
    """A constant's elements, one for each of `width` columns."""
    if isinstance(tensor, Row):
        raise Problem("rows go where a constant is expected")
    values = tensor.ravel().tolist()
    if len(values) not in (1, width):
        raise Problem(f"a constant of {len(values)} elements goes with {width} columns")
    return [float(value) for value in values] * (width if len(values) == 1 else 1)
