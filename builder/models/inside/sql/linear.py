"""Weighted sums, and what turns scores into probabilities and labels."""

from __future__ import annotations

from collections.abc import Sequence

from builder.models.inside.problem import Problem
from builder.models.inside.sql.cells import Cell, Choice, Fixed, Mixed, Raw, expression
from builder.models.inside.sql.stages import Stages
from builder.models.inside.sql.tree import (
    Call,
    Case,
    Compare,
    Condition,
    Expression,
    In,
    Name,
    Number,
    Product,
    Quotient,
    Sum,
    both,
)

__all__ = ["added", "exponential", "first_largest", "logistic", "softmax", "transformed", "weighted"]

_EXPONENT = 700.0  # exp of more is no double any more, and some databases end the query for that


def weighted(stages: Stages, cells: Sequence[Cell], weights: Sequence[float], bias: float) -> Name:
    """``bias + sum(weight * cell)`` as a column."""
    parts: list[Expression] = []
    lookups: dict[Name, dict[str | int, float]] = {}
    for cell, weight in zip(cells, weights, strict=False):
        if isinstance(cell, Fixed):
            bias += float(cell.value) * weight
        elif isinstance(cell, Choice):
            found = _lookup(cell)
            if found is None:
                parts.append(_weighted_choice(cell, weight))
                continue
            column, values, otherwise = found
            bias += otherwise * weight
            table = lookups.setdefault(column, {})
            for key, value in values.items():
                table[key] = table.get(key, 0.0) + (value - otherwise) * weight
        elif weight:
            factor = expression(cell)
            parts.append(Product(Number(weight), stages.named(factor, "f") if isinstance(cell, Raw) else factor))
    for column, table in lookups.items():
        if chosen := {key: value for key, value in table.items() if value}:
            parts.append(_case(column, chosen))
    return stages.named(Sum((Number(bias), *parts)), "s")


def _lookup(cell: Choice) -> tuple[Name, dict[str | int, float], float] | None:
    """A choice by the value of one column as a table, if it is that."""
    values: dict[str | int, float] = {}
    columns = set()
    for condition, value in cell.branches:
        if not isinstance(condition, In) or condition.inverse:
            return None
        columns.add(condition.left)
        for key in condition.values:
            values.setdefault(key, float(value))
    return (columns.pop(), values, float(cell.otherwise)) if len(columns) == 1 else None


def _case(column: Name, values: dict[str | int, float]) -> Case:
    keys: dict[float, list[str | int]] = {}
    for key, value in values.items():
        keys.setdefault(value, []).append(key)
    branches = tuple((In(column, tuple(some)), Number(value)) for value, some in keys.items())
    return Case(branches, Number(0.0))


def _weighted_choice(cell: Choice, weight: float) -> Case:
    branches = tuple((condition, Number(float(value) * weight)) for condition, value in cell.branches)
    return Case(branches, Number(float(cell.otherwise) * weight))


def added(stages: Stages, cells: Sequence[Cell]) -> Cell:
    """All of `cells`, summed up."""
    return Mixed(weighted(stages, cells, [1.0] * len(cells), 0.0))


def exponential(value: Expression) -> Expression:
    """``exp(value)``."""
    return Call("exp", (Call("least", (Call("greatest", (value, Number(-_EXPONENT))), Number(_EXPONENT))),))


def logistic(value: Expression) -> Expression:
    """``1 / (1 + exp(-value))``."""
    return Quotient(Number(1.0), Sum((Number(1.0), exponential(Product(Number(-1.0), value)))))


def softmax(stages: Stages, scores: Sequence[Expression], *, keep_zeros: bool = False) -> list[Expression]:
    """The shares of ``exp(score)``; with `keep_zeros`, of a score that is 0 nothing (SOFTMAX_ZERO)."""
    if keep_zeros:
        raise Problem("SOFTMAX_ZERO has no translation")
    largest = stages.named(Call("greatest", tuple(scores)), "m")
    powers = [
        stages.named(
            Call("exp", (Call("greatest", (Sum((score, Product(Number(-1.0), largest))), Number(-_EXPONENT))),)), "e"
        )
        for score in scores
    ]
    total = stages.named(Sum(tuple(powers)), "t")
    return [Quotient(power, total) for power in powers]


def transformed(stages: Stages, scores: Sequence[Expression], how: str) -> list[Cell]:
    """`scores` after ONNX-ML's ``post_transform``, each a column."""
    if how == "NONE":
        values = list(scores)
    elif how == "LOGISTIC":
        values = [logistic(score) for score in scores]
    elif how == "SOFTMAX":
        values = softmax(stages, scores)
    else:
        raise Problem(f"{how} has no translation")
    return [Mixed(stages.named(value, "p")) for value in values]


def first_largest(stages: Stages, cells: Sequence[Cell], labels: Sequence[str | int]) -> Choice:
    """The label of the largest cell, of several the first."""
    names = [stages.named(expression(cell), "s") for cell in cells]
    branches: list[tuple[Condition, str | int]] = []
    for number, name in enumerate(names[:-1]):
        wins = both([Compare(name, ">=", other) for other in names[number + 1 :]])
        assert not isinstance(wins, bool)
        branches.append((wins, labels[number]))
    return Choice(tuple(branches), labels[len(names) - 1], exact=False)
