"""What changed between two schemas, and whether a release can live with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from builder.releases.changes import Change, paired
from builder.releases.needs import as_needed
from builder.releases.schema import Column, Index, Schema, Table, View
from builder.releases.sqltypes import fit
from builder.words import listed

__all__ = ["Compatibility", "Finding", "Severity", "changes", "check"]

Severity = Literal["incompatible", "warning", "compatible"]
_NAMED = 8  # columns that a table's line names
_UNSET = "rows that don't set it, as the release's don't, can't be written"


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference and what it means: `text` is a line for people that names table and column."""

    severity: Severity
    text: str
    change: Change

    def __str__(self) -> str:
        return self.text

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"severity": self.severity, "text": self.text, "change": self.change.to_json()}


@dataclass(frozen=True, slots=True)
class Compatibility:
    """What a release needs against what is there. The revisions are Alembic's, of both sides, where it is used."""

    findings: tuple[Finding, ...] = ()
    needed_revisions: tuple[str, ...] = ()
    live_revisions: tuple[str, ...] = ()

    def _of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == severity)

    @property
    def incompatible(self) -> tuple[Finding, ...]:
        """What the release can't do without."""
        return self._of("incompatible")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What hurts a release that writes, or that doesn't expect missing values."""
        return self._of("warning")

    @property
    def compatible(self) -> tuple[Finding, ...]:
        """What is other, and does no harm."""
        return self._of("compatible")

    @property
    def ok(self) -> bool:
        """Whether nothing is incompatible; there may be warnings."""
        return not self.incompatible

    def remedy(self, direction: Literal["back", "forward"] | None = None) -> str | None:
        """What Alembic can do about it; None when there is nothing to do, or a side doesn't use it.

        `direction` says whether the release is older (``back``) or newer (``forward``) than what the database is for.
        """
        if self.needed_revisions == self.live_revisions or not self.needed_revisions or not self.live_revisions:
            return None
        needed, live = " ".join(self.needed_revisions), ", ".join(self.live_revisions)
        where = f"the database is at Alembic's {live}, the release was made for {needed.replace(' ', ', ')}"
        verbs = {"back": ["downgrade"], "forward": ["upgrade"], None: ["downgrade", "upgrade"]}[direction]
        ways = [f"`alembic {verb} {needed}`" for verb in verbs]
        says = "would bring that back" if direction == "back" else "would lead there"
        if direction is None:
            says = ", whichever it is from there, would lead to it"
        return f"{where}: {' or '.join(ways)}{says if direction is None else f' {says}'}"

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "ok": self.ok,
            "findings": [finding.to_json() for finding in self.findings],
            "needed_revisions": list(self.needed_revisions),
            "live_revisions": list(self.live_revisions),
        }


def changes(old: Schema, new: Schema) -> tuple[Change, ...]:
    """What was created, altered and dropped from `old` to `new`, table by table; empty when nothing was."""
    return tuple(_changes(old, new))


def _changes(old: Schema, new: Schema) -> Iterator[Change]:
    if old.dialect != new.dialect:
        yield Change("altered", "database", "dialect", old=old.dialect, new=new.dialect)
    if old.revisions != new.revisions:
        yield Change("altered", "Alembic", "revision", "revision", ", ".join(old.revisions), ", ".join(new.revisions))
    for before, after in paired(old.tables, new.tables):
        if before is not None and after is not None:
            yield from _table(before, after)
        else:
            yield _whole("table", before, after)
    for one, other in paired(old.views, new.views):
        if one is not None and other is not None:
            yield from _view(one, other)
        else:
            yield _whole("view", one, other)


def _whole(kind: str, old: Table | View | None, new: Table | View | None) -> Change:
    one = new or old
    assert one is not None
    columns = listed([column.name for column in one.columns], _NAMED)
    return (
        Change("dropped", kind, one.name, old=columns)
        if new is None
        else Change("created", kind, one.name, new=columns)
    )


def _table(old: Table, new: Table) -> Iterator[Change]:
    yield from _columns(new.name, old.columns, new.columns)
    if old.primary_key != new.primary_key:
        yield _part("primary key", "", new.name, _bracketed(old.primary_key), _bracketed(new.primary_key))
    for kind, olds, news in (
        ("foreign key", old.foreign_keys, new.foreign_keys),
        ("unique constraint", old.uniques, new.uniques),
    ):
        before, after = {one.name for one in olds}, {one.name for one in news}
        yield from (Change("dropped", kind, f"of {new.name}", old=name) for name in sorted(before - after))
        yield from (Change("created", kind, f"of {new.name}", new=name) for name in sorted(after - before))
    yield from _indexes(new.name, old.indexes, new.indexes)


def _part(kind: str, name: str, within: str, old: str, new: str) -> Change:
    """Of something that is empty when it isn't there."""
    action: Literal["created", "altered", "dropped"] = "altered" if old and new else "created" if new else "dropped"
    return Change(action, kind, name or f"of {within}", old=old, new=new, within=within if name else "")


def _bracketed(names: Sequence[str]) -> str:
    return f"({', '.join(names)})" if names else ""


def _indexes(table: str, old: Sequence[Index], new: Sequence[Index]) -> Iterator[Change]:
    for before, after in paired(old, new):
        if before != after:
            name = (after or before or old[0]).name
            yield _part("index", name, table, str(before or ""), str(after or ""))


def _columns(table: str, old: Sequence[Column], new: Sequence[Column]) -> Iterator[Change]:
    for before, after in paired(old, new):
        if before is None and after is not None:
            yield Change("created", "column", after.name, new=str(after), within=table)
        elif after is None and before is not None:
            yield Change("dropped", "column", before.name, old=str(before), within=table)
        elif before is not None and after is not None:
            for aspect, one, other in (
                ("type", before.type, after.type),
                ("nullable", _nullable(before), _nullable(after)),
                ("default", before.default, after.default),
            ):
                if one != other:
                    yield Change("altered", "column", after.name, aspect, one or "", other or "", within=table)


def _nullable(column: Column) -> str:
    return "NULL" if column.nullable else "NOT NULL"


def _view(old: View, new: View) -> Iterator[Change]:
    yield from _columns(new.name, old.columns, new.columns)
    if old.definition != new.definition:
        yield Change("altered", "view", new.name, "definition", old.definition[:12], new.definition[:12])


def check(needed: Schema, live: Schema) -> Compatibility:
    """Whether a release that was made for `needed` can work with `live`, finding by finding.

    Each of `changes(needed, live)` is incompatible (a table or column is gone, or its values may no longer fit),
    a warning, or compatible. A table that became a view of the same name, or a view that became a table, counts for
    its columns. `live` holds whole tables, so that columns that the release doesn't know are seen; of those that it
    knows and doesn't need, nothing is said.
    """
    swapped, live = _swapped(needed, as_needed(needed, live))
    findings = [*swapped, *(_judged(change, live) for change in changes(needed, live))]
    order = ("incompatible", "warning", "compatible")
    return Compatibility(
        tuple(sorted(findings, key=lambda finding: order.index(finding.severity))), needed.revisions, live.revisions
    )


def _swapped(needed: Schema, live: Schema) -> tuple[list[Finding], Schema]:
    """`live` with what changed between table and view as what is needed, and a warning for each."""
    tables, views = {table.name: table for table in live.tables}, {view.name: view for view in live.views}
    found = []
    for table in needed.tables:
        if table.name not in tables and (view := views.pop(table.name, None)) is not None:
            tables[table.name] = Table(name=table.name, columns=view.columns)
            change = Change("altered", "table", table.name, "kind", "table", "view")
            found.append(Finding("warning", f"table {table.name} is a view now: writing to it may fail", change))
    for one in needed.views:
        if one.name not in views and (stored := tables.pop(one.name, None)) is not None:
            views[one.name] = View(name=one.name, definition=one.definition, columns=stored.columns)
            change = Change("altered", "view", one.name, "kind", "view", "table")
            found.append(Finding("compatible", f"view {one.name} is a table now", change))
    return found, live.model_copy(update={"tables": tuple(tables.values()), "views": tuple(views.values())})


def _judged(change: Change, live: Schema) -> Finding:
    if change.kind == "column":
        return _column(change, live)
    if change.kind in ("table", "view") and change.action == "dropped":
        return Finding("incompatible", f"{change.subject} is gone", change)
    if change.kind == "view" and change.action == "altered":
        return Finding("warning", f"{change.subject} is defined otherwise: its rows may be others", change)
    if change.kind in ("primary key", "unique constraint") and change.action != "created":
        return Finding("warning", f"{change}: an upsert that relies on it fails, and rows may be there twice", change)
    if change.kind in ("primary key", "unique constraint", "foreign key") and change.action == "created":
        return Finding("warning", f"{change}: rows that it rules out can't be written", change)
    if change.kind == "index" and (change.new.startswith("UNIQUE") or change.old.startswith("UNIQUE")):
        return Finding("warning", f"{change}: it decides which rows may be written", change)
    return Finding("compatible", str(change), change)


def _column(change: Change, live: Schema) -> Finding:
    if change.action == "dropped":
        return Finding("incompatible", f"{change.subject} is gone: it was {change.old}", change)
    if change.action == "created":
        column = _find(live, change)
        if column is not None and not column.nullable and column.default is None:
            text = f"{change.subject} is new, NOT NULL and has no default: {_UNSET}"
            return Finding("warning", text, change)
        return Finding("compatible", f"{change.subject} is new: {change.new}", change)
    if change.aspect == "type":
        return _type(change)
    if change.aspect == "nullable":
        says = (
            "may be missing now" if change.new == "NULL" else "may not be missing any more: such rows can't be written"
        )
        return Finding("warning", f"{change.subject} {says}", change)
    column = _find(live, change)
    if not change.new and column is not None and not column.nullable:
        return Finding("warning", f"{change.subject} lost its default: rows without it can't be written", change)
    return Finding("compatible", str(change), change)


def _type(change: Change) -> Finding:
    says = f"{change.subject} was {change.old} and is {change.new}"
    match fit(change.old, change.new):
        case "loses":
            return Finding("incompatible", f"{says}: not every value fits", change)
        case "wider":
            return Finding("compatible", f"{says}: every value fits", change)
        case _:
            return Finding("compatible", f"{says}: the same", change)


def _find(live: Schema, change: Change) -> Column | None:
    """The column that a change is about, as it is there."""
    columns = [column for one in live.relations if one.name == change.within for column in one.columns]
    return next((column for column in columns if column.name == change.name), None)
