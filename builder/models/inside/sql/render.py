"""Expressions and stages as text: a chain of WITH queries, and a last one that names what comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.models.inside.sql.tree import (
    And,
    Call,
    Case,
    Compare,
    Condition,
    Expression,
    Literal,
    Missing,
    Name,
    Number,
    Or,
    Product,
    Quotient,
    Sum,
)

if TYPE_CHECKING:
    from builder.models.inside.sql.words import Words

__all__ = ["condition", "expression"]


def expression(words: Words, one: Expression) -> str:
    """`one`, in parentheses where it needs them."""
    if isinstance(one, Name):
        return one.name
    if isinstance(one, Number):
        return words.number(one.value)
    if isinstance(one, Literal):
        return str(one.value) if isinstance(one.value, int) else words.text(one.value)
    if isinstance(one, Sum):
        return _added([expression(words, part) for part in one.parts])
    if isinstance(one, (Product, Quotient)):
        operator = "*" if isinstance(one, Product) else "/"
        return f"({expression(words, one.left)} {operator} {expression(words, one.right)})"
    if isinstance(one, Call):
        arguments = [expression(words, argument) for argument in one.arguments]
        return (
            words.single(arguments[0], arguments[0])
            if one.function == "single"
            else words.call(one.function, arguments)
        )
    return _case(words, one)


def _added(parts: list[str]) -> str:
    """A sum as a balanced tree: parsers count how deep an expression is, and two hundred trees are no depth."""
    if len(parts) <= 4:
        return parts[0] if len(parts) == 1 else "(" + " + ".join(parts) + ")"
    middle = len(parts) // 2
    return f"({_added(parts[:middle])}\n + {_added(parts[middle:])})"


def _case(words: Words, one: Case) -> str:
    branches = "".join(
        f" WHEN {condition(words, taken)} THEN {expression(words, value)}" for taken, value in one.branches
    )
    otherwise = "" if one.otherwise is None else f" ELSE {expression(words, one.otherwise)}"
    return f"CASE{branches}{otherwise} END" if branches else expression(words, one.otherwise or Number(0.0))


def condition(words: Words, one: Condition) -> str:
    """`one`, in parentheses where it needs them."""
    if isinstance(one, (And, Or)):
        return (
            "(" + (" AND " if isinstance(one, And) else " OR ").join(condition(words, part) for part in one.parts) + ")"
        )
    if isinstance(one, Missing):
        return f"{one.left.name} IS {'NOT ' if one.inverse else ''}NULL"
    if isinstance(one, Compare):
        shown = f"{one.left.name} {one.operator} {expression(words, one.right)}"
        return f"({shown} OR {one.left.name} IS NULL)" if one.missing else shown
    values = [expression(words, Literal(value)) for value in one.values]
    if len(values) == 1:
        return f"{one.left.name} {'<>' if one.inverse else '='} {values[0]}"
    return f"{one.left.name} {'NOT IN' if one.inverse else 'IN'} ({', '.join(values)})"
