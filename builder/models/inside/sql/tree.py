"""A query's expressions, as values: numbers, texts and conditions over the columns of earlier stages.

Expressions are never NaN; what is missing is NULL. A condition is either taken or not: NULL is not taken, and
`negated` has it the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = [
    "And", "Call", "Case", "Compare", "Condition", "Expression", "In", "Literal", "Missing", "Name", "Number", "Or",
    "Product", "Quotient", "Sum", "both", "either", "names_in", "negated",
]  # fmt: skip


@dataclass(frozen=True)
class Name:
    """A column of stage `stage`; stage 0 is the table's own columns, one for each feature."""

    stage: int
    name: str


@dataclass(frozen=True)
class Number:
    """A finite double."""

    value: float


@dataclass(frozen=True)
class Literal:
    """A text or an integer."""

    value: str | int


@dataclass(frozen=True)
class Sum:
    """`parts` added up, in any order."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Product:
    """``left * right``."""

    left: Expression
    right: Expression


@dataclass(frozen=True)
class Quotient:
    """``left / right``, of doubles."""

    left: Expression
    right: Expression


@dataclass(frozen=True)
class Call:
    """A function: abs, exp, sqrt, greatest, least, coalesce, and some that no database has under one name.

    They are double (to a double), single (round to a float32), defined (NULL for 0) and nonzero (1 for 0).
    """

    function: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True)
class Case:
    """The value of the first branch that is taken, else `otherwise` (None is NULL)."""

    branches: tuple[tuple[Condition, Expression], ...]
    otherwise: Expression | None


@dataclass(frozen=True)
class Compare:
    """``left operator right``, of one of ``<= < > >=``; `missing`: taken when `left` is NULL."""

    left: Name
    operator: str
    right: Number | Literal | Name
    missing: bool = False


@dataclass(frozen=True)
class In:
    """Whether `left`, which is never NULL where it counts, is one of `values`, or with `inverse` none of them."""

    left: Name
    values: tuple[str | int, ...]
    inverse: bool = False


@dataclass(frozen=True)
class Missing:
    """Whether `left` is NULL, or with `inverse` that it isn't."""

    left: Name
    inverse: bool = False


@dataclass(frozen=True)
class And:
    """All of `parts`."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Or:
    """Any of `parts`."""

    parts: tuple[Condition, ...]


Expression = Name | Number | Literal | Sum | Product | Quotient | Call | Case
Condition = Compare | In | Missing | And | Or

_OPPOSITE = {"<=": ">", "<": ">=", ">": "<=", ">=": "<"}


def negated(condition: Condition | bool) -> Condition | bool:
    """Taken exactly when `condition` is not."""
    if isinstance(condition, bool):
        return not condition
    if isinstance(condition, Compare):
        return Compare(condition.left, _OPPOSITE[condition.operator], condition.right, not condition.missing)
    if isinstance(condition, In):
        return In(condition.left, condition.values, not condition.inverse)
    if isinstance(condition, Missing):
        return Missing(condition.left, not condition.inverse)
    parts = [negated(part) for part in condition.parts]
    return either(parts) if isinstance(condition, And) else both(parts)


def both(parts: list[Condition | bool]) -> Condition | bool:
    """All of `parts`."""
    if any(part is False for part in parts):
        return False
    left = tuple(dict.fromkeys(part for part in parts if not isinstance(part, bool)))
    return True if not left else left[0] if len(left) == 1 else And(left)


def either(parts: list[Condition | bool]) -> Condition | bool:
    """Any of `parts`; lists of one column's values become one list."""
    if any(part is True for part in parts):
        return True
    left: list[Condition] = []
    for part in dict.fromkeys(part for part in parts if not isinstance(part, bool)):
        last = left[-1] if left else None
        if isinstance(part, In) and isinstance(last, In) and _alike(part, last):
            left[-1] = In(part.left, tuple(dict.fromkeys((*last.values, *part.values))))
        else:
            left.append(part)
    return False if not left else left[0] if len(left) == 1 else Or(tuple(left))


def _alike(one: In, other: In) -> bool:
    return one.left == other.left and not (one.inverse or other.inverse)


def names_in(one: Expression | Condition | None) -> Iterator[Name]:
    """The columns that `one` reads, each as often as it is read."""
    if isinstance(one, Name):
        yield one
    elif isinstance(one, (Sum, And, Or)):
        for part in one.parts:
            yield from names_in(part)
    elif isinstance(one, (Product, Quotient)):
        yield from names_in(one.left)
        yield from names_in(one.right)
    elif isinstance(one, Call):
        for argument in one.arguments:
            yield from names_in(argument)
    elif isinstance(one, Case):
        for condition, value in one.branches:
            yield from names_in(condition)
            yield from names_in(value)
        yield from names_in(one.otherwise)
    elif isinstance(one, Compare):
        yield one.left
        yield from names_in(one.right)
    elif isinstance(one, (In, Missing)):
        yield one.left
