"""What a release needs of a schema: some tables, or some columns of them, and nothing said of the others."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from builder.releases.schema import Index, Schema, Table, View

__all__ = ["as_needed", "restricted", "unmet"]

T = TypeVar("T", Table, View)


def restricted(schema: Schema, patterns: Sequence[str]) -> Schema:
    """The tables, views and columns that `patterns` name: ``orders``, ``sales_*.total``; all without any.

    Of keys and indexes, those stay whose columns all do; the columns that don't are known by name.
    """
    if not patterns:
        return schema
    tables = tuple(part for table in schema.tables for part in _parts(table, patterns))
    views = tuple(part for view in schema.views for part in _parts(view, patterns))
    return schema.model_copy(update={"tables": tables, "views": views})


def as_needed(needed: Schema, live: Schema) -> Schema:
    """`live` without the columns that were there before, and that the release doesn't need."""
    others = {one.name: one.others for one in needed.relations}
    tables = tuple(_without(table, others.get(table.name, ())) for table in live.tables)
    views = tuple(_without(view, others.get(view.name, ())) for view in live.views)
    return live.model_copy(update={"tables": tables, "views": views})


def unmet(schema: Schema, patterns: Sequence[str]) -> tuple[str, ...]:
    """Those of `patterns` that name nothing in `schema`."""
    return tuple(
        pattern
        for pattern in patterns
        if not any(_is_whole(one, pattern) or _named(one, (pattern,)) for one in schema.relations)
    )


def _split(pattern: str) -> tuple[str, str]:
    table, _, column = pattern.partition(".")
    return table, column or "*"


def _is_whole(one: Table | View, pattern: str) -> bool:
    """Whether `pattern` means the table or view as a whole."""
    name, column = _split(pattern)
    return column == "*" and fnmatchcase(one.name, name)


def _named(one: Table | View, patterns: Sequence[str]) -> set[str]:
    """The columns that `patterns` mean."""
    wanted = [column for name, column in map(_split, patterns) if fnmatchcase(one.name, name)]
    return {column.name for column in one.columns if any(fnmatchcase(column.name, pattern) for pattern in wanted)}


def _parts(one: T, patterns: Sequence[str]) -> list[T]:
    """The one that is needed of a table or view, or none."""
    if any(_is_whole(one, pattern) for pattern in patterns):
        return [one]
    names = _named(one, patterns)
    if not names:
        return []
    others = tuple(column.name for column in one.columns if column.name not in names)
    return [_without(one, others).model_copy(update={"others": others})]


def _without(one: T, names: Collection[str]) -> T:
    """A table or view without some columns, and without the keys and indexes that they are part of."""
    if not names:
        return one
    changed: dict[str, object] = {"columns": tuple(column for column in one.columns if column.name not in names)}
    if isinstance(one, Table):
        gone = set(names)
        changed |= {
            "primary_key": one.primary_key if gone.isdisjoint(one.primary_key) else (),
            "foreign_keys": tuple(key for key in one.foreign_keys if gone.isdisjoint(key.columns)),
            "uniques": tuple(key for key in one.uniques if gone.isdisjoint(key.columns)),
            "indexes": _without_any(one.indexes, gone),
        }
    return one.model_copy(update=changed)


def _without_any(indexes: Iterable[Index], names: Iterable[str]) -> tuple[Index, ...]:
    """The indexes that have none of `names` in them, as a word: their columns may be expressions."""
    patterns = [re.compile(rf"(?<!\w){re.escape(name)}(?!\w)") for name in names]
    texts = {index: " ".join((*index.columns, index.where)) for index in indexes}
    return tuple(index for index, text in texts.items() if not any(pattern.search(text) for pattern in patterns))
