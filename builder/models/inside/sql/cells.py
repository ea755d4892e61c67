"""What an element of a tensor is, seen from the table: a constant, a column after some steps, a choice, or arithmetic.

As long as it depends on one column in a way that is known, comparing it is a condition on that column, exactly. Only
`Mixed` ones, made of several columns, can be computed with and not compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from builder.models.inside.problem import Problem
from builder.models.inside.sql.floats import bound_of, float32
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
    negated,
)

__all__ = [
    "Cell",
    "Choice",
    "Column",
    "Fixed",
    "Mixed",
    "Raw",
    "Step",
    "compared",
    "equal",
    "expression",
    "mapped",
    "stepped",
]


@dataclass(frozen=True)
class Column:
    """A feature: `name` in the query's first stage, the tensor's type, and whether it may be missing there."""

    name: Name
    title: str
    type: str
    nullable: bool = False


@dataclass(frozen=True)
class Step:
    """One arithmetic step with a constant, rounded to float32 when `single`; monotone in its operand."""

    operator: str
    value: float = 0.0
    single: bool = False


@dataclass(frozen=True)
class Fixed:
    """The same for every row."""

    value: float | int | str


@dataclass(frozen=True)
class Raw:
    """A column of numbers after `steps`; `missing` is what has become of NULL (None: still missing)."""

    column: Column
    steps: tuple[Step, ...] = ()
    missing: float | None = None


@dataclass(frozen=True)
class Choice:
    """The value of the first branch that is taken; `columns` are those that decide, and none for computed ones."""

    branches: tuple[tuple[Condition, float | int | str], ...]
    otherwise: float | int | str
    exact: bool = True


@dataclass(frozen=True)
class Mixed:
    """A number that is computed."""

    value: Expression


Cell = Fixed | Raw | Choice | Mixed


def applied(step: Step, value: float) -> float:
    """What onnxruntime makes of `value`."""
    result = _apply(step, value)
    return float32(result) if step.single else result


def _apply(step: Step, value: float) -> float:
    if step.operator == "add":
        return value + step.value
    if step.operator == "multiply":
        return value * step.value
    if step.operator == "divide":
        return value / step.value
    if step.operator == "least":
        return min(value, step.value)
    if step.operator == "greatest":
        return max(value, step.value)
    if step.operator == "round":
        return value
    raise ValueError(step.operator)


def stepped(cell: Cell, step: Step) -> Cell:
    """`cell` after one more step."""
    if isinstance(cell, Mixed):
        return Mixed(_with_step(cell.value, step))
    if isinstance(cell, Raw):
        if step.operator in ("multiply", "divide") and (step.value == 0 or not math.isfinite(step.value)):
            raise Problem(f"column {cell.column.title!r} is scaled by {step.value}: it says nothing", hint="drop it")
        missing = None if cell.missing is None else applied(step, cell.missing)
        return replace(cell, steps=(*cell.steps, step), missing=missing)
    return mapped(cell, lambda value: applied(step, float(value)))


def mapped(cell: Fixed | Choice, function: Callable[[float | int | str], float | int | str]) -> Cell:
    """`cell` with `function` applied to each of its values."""
    if isinstance(cell, Fixed):
        return Fixed(function(cell.value))
    branches = tuple((condition, function(value)) for condition, value in cell.branches)
    return replace(cell, branches=branches, otherwise=function(cell.otherwise))


_TESTS: dict[str, Callable[[float, float], bool]] = {
    "<=": lambda one, other: one <= other,
    "<": lambda one, other: one < other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
    "==": lambda one, other: one == other,
}


@lru_cache(maxsize=1 << 16)
def compared(cell: Cell, operator: str, bound: float, missing: bool = False) -> Condition | bool:
    """When ``cell operator bound`` holds, of ``<= < > >= ==``; `missing` is the answer for a missing number.

    Raises Problem for a cell that is computed from several columns.
    """
    test = _TESTS[operator]
    if isinstance(cell, Fixed):
        return missing if _is_nan(cell.value) else test(float(cell.value), bound)
    if isinstance(cell, Choice) and cell.exact:
        return _chosen(cell, lambda value: missing if _is_nan(value) else test(float(value), bound))
    if isinstance(cell, Raw):
        if operator == "==":
            return both([compared(cell, "<=", bound, missing), compared(cell, ">=", bound, missing)])
        found = bound_of(cell.column.type, lambda value: test(_after(cell.steps, value), bound))
        absent = missing if cell.missing is None else test(cell.missing, bound)
        return _on_column(cell.column, found, absent)
    raise Problem(
        "a tree compares a number that is computed from several columns",
        hint="a database adds up in another order than onnxruntime, so that rows near a threshold could go the other "
        "way: put the trees before such a step (PCA, a row norm, products), or score with the .onnx",
    )


def _is_nan(value: float | int | str) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _after(steps: tuple[Step, ...], value: float) -> float:
    for step in steps:
        value = applied(step, value)
    return value


def _on_column(column: Column, found: tuple[str, float] | bool, absent: bool) -> Condition | bool:
    if not column.nullable:
        absent = found if isinstance(found, bool) else False
    if isinstance(found, bool):
        return found if found == absent else Missing(column.name, inverse=found)
    operator, bound = found
    right = Literal(int(bound)) if column.type in ("int64", "bool") else Number(bound)
    return Compare(column.name, operator, right, missing=absent)


def _chosen(cell: Choice, accept: Callable[[float | int | str], bool]) -> Condition | bool:
    """When the value that is chosen is accepted; the branches of an exact choice exclude each other."""
    taken = [condition for condition, value in cell.branches if accept(value)]
    if not accept(cell.otherwise):
        return either([*taken])
    others: list[Condition | bool] = [condition for condition, value in cell.branches if not accept(value)]
    return negated(either(others))


def equal(cell: Cell, value: str | int) -> Condition | bool:
    """When a text or an integer is `value`."""
    if isinstance(cell, Raw) and cell.column.type == "string":
        assert not cell.steps
        return In(cell.column.name, (value,))
    if isinstance(cell, Fixed):
        return cell.value == value
    if isinstance(cell, Choice) and cell.exact:
        return _chosen(cell, lambda own: own == value)
    if isinstance(value, str):
        raise Problem("a number is compared with a text")
    if isinstance(cell, Raw) and cell.column.type == "int64" and not cell.steps:
        return In(cell.column.name, (value,))
    return compared(cell, "==", float(value))


def expression(cell: Cell) -> Expression:
    """`cell` to compute with; a missing number is NULL."""
    if isinstance(cell, Mixed):
        return cell.value
    if isinstance(cell, Fixed):
        return _constant(cell.value)
    if isinstance(cell, Choice):
        branches = tuple((condition, _constant(value)) for condition, value in cell.branches)
        return Case(branches, _constant(cell.otherwise))
    value: Expression = cell.column.name
    if cell.column.type == "string":
        return value
    if cell.column.type in ("int64", "bool"):
        value = Call("double", (value,))
    if cell.column.type == "float32" or any(step.operator == "round" for step in cell.steps):
        # once: what follows is computed with doubles, and no less exactly than with float32
        value = Call("single", (value,))
    for step in cell.steps:
        value = _with_step(value, step)
    if cell.missing is not None and cell.column.nullable:
        value = Call("coalesce", (value, Number(cell.missing)))
    return value


def _constant(value: float | int | str) -> Number | Literal:
    return Number(value) if isinstance(value, float) else Literal(value)


def _with_step(value: Expression, step: Step) -> Expression:
    if step.operator == "add":
        return Sum((value, Number(step.value)))
    if step.operator == "multiply":
        return Product(value, Number(step.value))
    if step.operator == "divide":
        return Quotient(value, Number(step.value))
    if step.operator in ("least", "greatest"):
        return Call(step.operator, (value, Number(step.value)))
    return value
