"""Whether a release can live with the data that are there now: other rows are fine, other columns are not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from builder.releases.changes import Change
from builder.releases.compatibility import Compatibility, Finding
from builder.releases.datasets import Column, DataFile, DataSet, changes, column_changes
from builder.words import listed

__all__ = ["check_data"]

_NUMBER: Final = re.compile(r"(int|uint|float)(8|16|32|64)")
_ORDER: Final = ("incompatible", "warning", "compatible")


def check_data(needed: Sequence[DataSet], live: Sequence[DataSet]) -> Compatibility:
    """Compare the columns of each needed data set with what lies there now.

    A data set or a column that is gone, or has another type, is incompatible; a number that got wider, a new column
    and other rows are compatible; tables without rows, and columns without values, are warnings.
    """
    by_name = {one.name: one for one in live}
    findings: list[Finding] = []
    for one in needed:
        there = by_name.get(one.name)
        if there is None or not there.files:
            change = Change("dropped", "data set", one.name)
            findings.append(Finding("incompatible", f"data set {one.name} is gone: {_where(one)}", change))
            continue
        findings += _structure(one, there)
        findings += [
            Finding("compatible", str(change), change)
            for change in changes((one,), (there,))
            if change.kind != "column" and change.aspect not in ("role", "ship", "sources")
        ]
    return Compatibility(tuple(sorted(dict.fromkeys(findings), key=lambda finding: _ORDER.index(finding.severity))))


def _where(one: DataSet) -> str:
    return f"nothing at {listed(one.sources or [file.path for file in one.files])}"


def _structure(needed: DataSet, live: DataSet) -> Iterator[Finding]:
    """Columns against columns: of all tables when the needed ones are alike, else of those at the same path."""
    if not needed.tables:
        return
    if not live.tables:
        change = Change("dropped", "table", f"of {needed.name}")
        yield Finding("incompatible", f"data set {needed.name} has no tables any more", change)
        return
    shared = needed.columns
    if shared is not None:
        layouts: dict[tuple[Column, ...], DataFile] = {}
        for file in live.tables:
            layouts.setdefault(file.columns or (), file)
        for columns, file in layouts.items():
            name = needed.name if len(layouts) == 1 else f"{needed.name}/{file.path}"
            yield from _columns(name, shared, columns)
        if not any(file.rows for file in live.tables) and any(file.rows for file in needed.tables):
            change = Change("altered", "data set", needed.name, "rows", str(needed.rows), "0")
            yield Finding("warning", f"data set {needed.name} has no rows any more", change)
        return
    there = {file.path: file for file in live.files}
    for file in needed.tables:
        found = there.get(file.path)
        name = f"{needed.name}/{file.path}"
        if found is None or found.columns is None:
            yield Finding("incompatible", f"table {name} is gone", Change("dropped", "table", name))
        else:
            yield from _columns(name, file.columns or (), found.columns)


def _columns(name: str, needed: Sequence[Column], live: Sequence[Column]) -> Iterator[Finding]:
    for change in column_changes(name, needed, live):
        match change.action:
            case "dropped":
                yield Finding("incompatible", f"{change.subject} is gone: it was {change.old}", change)
            case "created":
                yield Finding("compatible", f"{change.subject} is new: {change.new}", change)
            case "altered":
                yield _retyped(change)


def _retyped(change: Change) -> Finding:
    says = f"{change.subject} was {change.old} and is {change.new}"
    if change.new == "null":
        return Finding("warning", f"{change.subject} was {change.old} and has no values any more", change)
    if change.old == "null":
        return Finding("compatible", f"{says}: it had no values before", change)
    old, new = _NUMBER.fullmatch(change.old), _NUMBER.fullmatch(change.new)
    if old and new and old[1] == new[1] and int(old[2]) <= int(new[2]):
        return Finding("compatible", f"{says}: every value fits", change)
    return Finding("incompatible", says, change)
