"""The schema of a database, read through SQLAlchemy's inspector."""

from __future__ import annotations

import difflib
import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from builder.errors import LockshipError, ProjectError, StoreError
from builder.pipeline.databases import Address, connected, resolve, within
from builder.pipeline.particulars import Particulars, particulars
from builder.progress import SILENT, Progress
from builder.project import Project
from builder.releases.needs import restricted, unmet
from builder.releases.schema import Column, ForeignKey, Index, Schema, Table, Unique, View
from builder.words import listed

if TYPE_CHECKING:
    from sqlalchemy import Connection, Inspector

__all__ = ["TIMEOUT", "live_schema", "needed_schema", "read_schema"]

TIMEOUT: Final = 30.0  # seconds
_ALEMBIC: Final = "alembic_version"
_OWN: Final = 0.8  # of the time is what the database is told


def needed_schema(
    project: Project, environ: Mapping[str, str], *, timeout: float = TIMEOUT, progress: Progress = SILENT
) -> Schema | None:
    """What `[database]` says a release needs, as its database has it; None without `[database]`.

    Raises ProjectError when `tables` names what isn't there, and what `read_schema` raises.
    """
    section = project.database
    if section is None:
        return None

    def read(patterns: Sequence[str]) -> Schema:
        return read_schema(
            section.url, environ, root=project.root, namespace=section.namespace, patterns=patterns, timeout=timeout,
            progress=progress,
        )  # fmt: skip

    found = read(section.tables)
    wanting = unmet(found, section.tables)
    if wanting:
        hint = f"{_near(wanting[0], read(()))}correct `tables` under [database], or migrate the database"
        raise ProjectError(f"the database has no {listed(wanting)}", hint=hint, file=project.file)
    return restricted(found, section.tables)


def _near(pattern: str, schema: Schema) -> str:
    """What may have been meant: a table, or a column of the table that is named."""
    table, _, column = pattern.partition(".")
    there = next((one for one in schema.relations if one.name == table), None)
    if there is not None:
        names = [f"{table}.{one.name}" for one in there.columns]
        close = difflib.get_close_matches(f"{table}.{column}", names, n=1, cutoff=0)
    else:
        close = difflib.get_close_matches(table, [one.name for one in schema.relations], n=1)
    return f"did you mean {close[0]!r}? If not, " if close else ""


def live_schema(
    needed: Schema,
    reference: str,
    environ: Mapping[str, str],
    *,
    root: Path = Path(),
    timeout: float = TIMEOUT,
    progress: Progress = SILENT,
) -> Schema:
    """What a database has of the tables and views in `needed`, whole, so that `check` sees columns that are new.

    Needs no project. Raises what `read_schema` raises; what isn't there is simply missing.
    """
    names = [_literally(one.name) for one in needed.relations]
    return read_schema(
        reference, environ, root=root, namespace=needed.namespace, patterns=names or ("",), timeout=timeout,
        progress=progress,
    )  # fmt: skip


def _literally(name: str) -> str:
    """A pattern that matches nothing but `name`."""
    return "".join(f"[{one}]" if one in "*?[" else one for one in name)


def read_schema(
    reference: str,
    environ: Mapping[str, str],
    *,
    root: Path = Path(),
    namespace: str | None = None,
    patterns: Sequence[str] = (),
    timeout: float = TIMEOUT,
    progress: Progress = SILENT,
) -> Schema:
    """The schema of the database that `reference` (``env:NAME``, ``file:PATH``, a URL) leads to.

    `patterns` say which tables and views are read, whole; all without any. `timeout` in seconds, for all of it. Raises
    UsageError (no URL, no driver), StoreError (unreachable, login refused, too slow), ProjectError (no such
    namespace); none holds the password.
    """
    address = resolve(reference, environ, root)
    late = StoreError(
        f"{address.shown} took longer than {timeout:g} s", hint="is the database up, and reachable from here?"
    )

    def work() -> Schema:
        # its own words about time are better than ours, if it has some
        with connected(address, root, timeout * _OWN) as connection, warnings.catch_warnings():
            # the inspector's word for what it passes over; `particulars` adds that
            warnings.simplefilter("ignore")
            return _read(connection, namespace, patterns)

    with progress.task(f"reading the schema of {address.shown}", unit="databases"):
        return _scrubbing(address, lambda: within(timeout, work, late))


def _scrubbing(address: Address, work: Callable[[], Schema]) -> Schema:
    """Whatever a driver may raise beyond its own errors ends as one of ours, without the password."""
    try:
        return work()
    except LockshipError:
        raise
    except Exception as error:
        says = address.scrubbed(f"{type(error).__name__}: {error}")
        raise StoreError(f"cannot read the schema of {address.shown}: {says}") from None


def _read(connection: Connection, namespace: str | None, patterns: Sequence[str]) -> Schema:
    from sqlalchemy import inspect

    inspector = inspect(connection)
    if namespace is not None and not inspector.has_schema(namespace):
        raise ProjectError(
            f"the database has no schema {namespace!r}",
            hint=f"`schema` under [database] may be {listed(inspector.get_schema_names(), 5)}",
        )
    wanted = [pattern.partition(".")[0] for pattern in patterns]

    def kept(names: Iterable[str]) -> list[str]:
        return sorted(name for name in names if not wanted or any(fnmatchcase(name, one) for one in wanted))

    every = inspector.get_table_names(schema=namespace)
    tables = kept(name for name in every if name != _ALEMBIC)
    views = kept(_views(inspector, namespace))
    more = particulars(connection, namespace, tables + views)
    return Schema(
        dialect=connection.dialect.name,
        namespace=namespace,
        tables=_tables(inspector, namespace, tables, more),
        views=tuple(_view(inspector, namespace, name, more) for name in views),
        revisions=_revisions(connection, namespace) if _ALEMBIC in every else (),
    )


def _views(inspector: Inspector, namespace: str | None) -> list[str]:
    names = list(inspector.get_view_names(schema=namespace))
    if inspector.dialect.name in ("postgresql", "oracle"):  # the others have no word for them
        names += inspector.get_materialized_view_names(schema=namespace)
    return names


def _revisions(connection: Connection, namespace: str | None) -> tuple[str, ...]:
    """Where Alembic says the database is: more than one when its branches have several heads."""
    from sqlalchemy import column, select, table

    query: Any = select(column("version_num")).select_from(table(_ALEMBIC, schema=namespace))
    return tuple(str(row[0]) for row in connection.execute(query))


def _tables(inspector: Inspector, namespace: str | None, names: list[str], more: Particulars) -> tuple[Table, ...]:
    if not names:
        return ()
    asked: dict[str, Any] = {"schema": namespace, "filter_names": names}
    columns = _by_table(inspector.get_multi_columns(**asked))
    keys = _by_table(inspector.get_multi_pk_constraint(**asked))
    foreign = _by_table(inspector.get_multi_foreign_keys(**asked))
    uniques = _by_table(inspector.get_multi_unique_constraints(**asked))
    indexes = _by_table(inspector.get_multi_indexes(**asked))
    made = []
    for name in names:
        primary = tuple((keys.get(name) or {}).get("constrained_columns") or ())
        constraints = [Unique(columns=tuple(one["column_names"])) for one in uniques.get(name) or ()]
        plain = [_index(one) for one in indexes.get(name) or () if not one.get("duplicates_constraint")]
        keys_out = [_foreign(one, namespace) for one in foreign.get(name) or ()]
        made.append(
            Table(
                name=name,
                columns=tuple(_column(name, one, primary, more) for one in columns.get(name) or ()),
                primary_key=primary,
                foreign_keys=tuple(keys_out) if more.foreign_keys is None else more.foreign_keys.get(name, ()),
                uniques=tuple(constraints) if more.uniques is None else more.uniques.get(name, ()),
                indexes=(*plain, *more.indexes.get(name, ())),
            )
        )
    return tuple(made)


def _by_table(found: Mapping[Any, Any]) -> dict[str, Any]:
    return {name: value for (_, name), value in found.items()}


def _column(table: str, found: Mapping[str, Any], primary: Sequence[str], more: Particulars) -> Column:
    name = str(found["name"])
    kind = more.types.get((table, name)) or _type(found["type"], more.unrecognised.get((table, name), ""), more.dialect)
    default = _default(found, more.dialect)
    # SQLite: such a column is another name of the row's number, and gets one by itself
    is_rowid = more.dialect.name == "sqlite" and kind.upper() == "INTEGER" and tuple(primary) == (name,)
    if is_rowid:
        return Column(name=name, type=kind, nullable=False, default=default or "rowid")
    return Column(name=name, type=kind, nullable=bool(found.get("nullable", True)), default=default)


def _type(found: Any, unrecognised: str, dialect: Any) -> str:
    """As the database writes it; with what an enumeration or a domain stands for."""
    from sqlalchemy.types import ARRAY, NullType

    if isinstance(found, NullType) or (type(found).__name__ == "DOMAIN" and unrecognised):
        return unrecognised or "unknown"
    text = str(found.compile(dialect))
    inner = found.item_type if isinstance(found, ARRAY) else found
    if dialect.name == "postgresql" and (labels := getattr(inner, "enums", None)):
        quoted = ("'" + str(label).replace("'", "''") + "'" for label in labels)
        return f"{text} ENUM ({', '.join(quoted)})"
    return text


def _default(found: Mapping[str, Any], dialect: Any) -> str | None:
    """What is there when nobody writes it: a default, or what the database makes itself."""
    if computed := found.get("computed"):
        return f"GENERATED ALWAYS AS {computed.get('sqltext') or '…'}"
    if identity := found.get("identity"):
        return f"GENERATED {'ALWAYS' if identity.get('always') else 'BY DEFAULT'} AS IDENTITY"
    if found.get("default") is not None:
        return str(found["default"])
    return "AUTO_INCREMENT" if found.get("autoincrement") is True and dialect.name in ("mysql", "mariadb") else None


def _foreign(found: Mapping[str, Any], namespace: str | None) -> ForeignKey:
    where = found.get("referred_schema")
    prefix = f"{where}." if where and where != namespace else ""
    options = found.get("options") or {}
    words = {"ondelete": "ON DELETE", "onupdate": "ON UPDATE"}
    return ForeignKey(
        columns=tuple(found["constrained_columns"]),
        target=f"{prefix}{found['referred_table']}",
        target_columns=tuple(found.get("referred_columns") or ()),
        options=" ".join(
            f"{words.get(key, key.upper())} {value}".strip()
            for key, value in sorted(options.items())
            if value and str(value).upper() != "NO ACTION"
        ),
    )


def _index(found: Mapping[str, Any]) -> Index:
    expressions = found.get("expressions") or found["column_names"]
    sorting = found.get("column_sorting") or {}
    columns = [" ".join((str(one), *map(str.upper, sorting.get(one, ())))) for one in expressions]
    details = found.get("dialect_options") or {}
    included = [column for key in sorted(details) if key.endswith("_include") for column in details[key] or ()]
    if included:
        columns.append(f"INCLUDE {', '.join(included)}")
    where = next((str(value) for key, value in details.items() if key.endswith("_where") and value is not None), "")
    using = next((str(value) for key, value in details.items() if key.endswith("_using") and value), "")
    if using and using != "btree":
        columns.append(f"USING {using}")
    return Index(name=str(found["name"]), columns=tuple(columns), unique=bool(found["unique"]), where=where)


def _view(inspector: Inspector, namespace: str | None, name: str, more: Particulars) -> View:
    definition = inspector.get_view_definition(name, schema=namespace) or ""
    columns = inspector.get_columns(name, schema=namespace)
    return View(
        name=name,
        definition=hashlib.sha256(definition.strip().encode()).hexdigest(),
        columns=tuple(_column(name, one, (), more) for one in columns),
    )
