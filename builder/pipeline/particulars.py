"""What SQLAlchemy's inspector passes over: constraints and expressions of SQLite, types of PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from builder.releases.schema import ForeignKey, Index, Unique

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Particulars", "particulars"]


@dataclass(frozen=True, slots=True)
class Particulars:
    """By table, or by table and column.

    `types` are more exact than the inspector's, `unrecognised` for where it has none; `uniques` and `foreign_keys`
    replace what it says, unless they are None; `indexes` come on top.
    """

    dialect: Any
    types: Mapping[tuple[str, str], str] = field(default_factory=dict)
    unrecognised: Mapping[tuple[str, str], str] = field(default_factory=dict)
    uniques: Mapping[str, tuple[Unique, ...]] | None = None
    foreign_keys: Mapping[str, tuple[ForeignKey, ...]] | None = None
    indexes: Mapping[str, tuple[Index, ...]] = field(default_factory=dict)


def particulars(connection: Connection, namespace: str | None, names: Iterable[str]) -> Particulars:
    """Of the tables and views called `names`; nothing for databases other than SQLite and PostgreSQL."""
    if connection.dialect.name == "sqlite":
        return _sqlite(connection, namespace or "main", tuple(names))
    if connection.dialect.name == "postgresql":
        return Particulars(connection.dialect, unrecognised=_postgres(connection, namespace))
    return Particulars(connection.dialect)


def _postgres(connection: Connection, namespace: str | None) -> dict[tuple[str, str], str]:
    """Types of extensions, geometric ones and the like, as PostgreSQL writes them; domains with what they are of."""
    from sqlalchemy import text

    query = text(
        "SELECT c.relname, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod) || CASE WHEN t.typtype = 'd'"
        " THEN ' (' || pg_catalog.format_type(t.typbasetype, t.typtypmod) || ')' ELSE '' END"
        " FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid"
        " JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = coalesce(CAST(:namespace AS name), current_schema())"
        " AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
    )
    rows = connection.execute(query, {"namespace": namespace})
    return {(str(table), str(column)): str(kind) for table, column, kind in rows}


def _sqlite(connection: Connection, namespace: str, names: tuple[str, ...]) -> Particulars:
    from sqlalchemy import text

    def ask(query: str, name: str) -> list[Any]:
        return list(connection.execute(text(query), {"name": name, "namespace": namespace}))

    types: dict[tuple[str, str], str] = {}
    uniques: dict[str, tuple[Unique, ...]] = {}
    foreign: dict[str, tuple[ForeignKey, ...]] = {}
    indexes: dict[str, tuple[Index, ...]] = {}
    for name in names:
        for column, declared in ask("SELECT name, type FROM pragma_table_xinfo(:name, :namespace)", name):
            types[name, column] = " ".join(declared.upper().split()) or "ANY"
        foreign[name] = _foreign_keys(ask("SELECT * FROM pragma_foreign_key_list(:name, :namespace)", name))
        listing = ask('SELECT name, origin, "unique" FROM pragma_index_list(:name, :namespace)', name)
        columns = {
            index: [row[0] for row in ask("SELECT name FROM pragma_index_info(:name, :namespace)", index)]
            for index, _, _ in listing
        }
        uniques[name] = tuple(Unique(columns=tuple(columns[index])) for index, origin, _ in listing if origin == "u")
        indexes[name] = tuple(
            _expressions(index, bool(unique), ask(_DEFINITION.format(_quoted(namespace)), index)[0][0])
            for index, origin, unique in listing
            if origin == "c" and None in columns[index]
        )
    return Particulars(connection.dialect, types, uniques=uniques, foreign_keys=foreign, indexes=indexes)


_DEFINITION = "SELECT sql FROM {}.sqlite_master WHERE type = 'index' AND name = :name AND :namespace <> ''"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _foreign_keys(rows: Iterable[Any]) -> tuple[ForeignKey, ...]:
    """SQLite gives a row for each column of each key: id, seq, table, from, to, on_update, on_delete, match."""
    keys: dict[int, list[Any]] = {}
    for row in rows:
        keys.setdefault(row[0], []).append(row)
    found = []
    for parts in keys.values():
        parts.sort(key=lambda row: row[1])
        actions = (("ON DELETE", parts[0][6]), ("ON UPDATE", parts[0][5]))
        found.append(
            ForeignKey(
                columns=tuple(row[3] for row in parts),
                target=parts[0][2],
                target_columns=tuple(row[4] for row in parts if row[4] is not None),
                options=" ".join(f"{word} {action}" for word, action in actions if action != "NO ACTION"),
            )
        )
    return tuple(found)


def _expressions(name: str, unique: bool, definition: str) -> Index:
    """An index on expressions, from what somebody wrote: ``CREATE INDEX i ON t (lower(a)) WHERE …``."""
    start = definition.index("(", definition.upper().index(" ON "))
    depth, end = 1, start + 1
    while depth and end < len(definition):
        depth += {"(": 1, ")": -1}.get(definition[end], 0)
        end += 1
    where = definition[end:].strip()
    return Index(
        name=name,
        columns=(" ".join(definition[start + 1 : end - 1].split()),),
        unique=unique,
        where=where[5:].strip() if where.upper().startswith("WHERE") else "",
    )
