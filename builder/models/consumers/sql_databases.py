"""Runs a query on a real database, on rows of ours: in memory, or in a transaction that is rolled back."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from builder.errors import ModelError, StoreError, UsageError
from builder.models.consumers.sql import Cell, Dialect, Trial

__all__ = ["Outcome", "connection", "duckdb_obstacle", "run_duckdb", "run_postgres", "run_sqlite"]

Outcome = tuple[str, dict[int, tuple[Cell, ...]]]
"""The database and its version, and the query's columns by row number."""

_SQLITE: Final = (3, 35, 0)
_TYPES: Final[dict[Dialect, dict[str, str]]] = {
    "sqlite": {"float32": "REAL", "float64": "REAL", "int64": "INTEGER", "bool": "INTEGER", "string": "TEXT"},
    "duckdb": {"float32": "DOUBLE", "float64": "DOUBLE", "int64": "BIGINT", "bool": "BOOLEAN", "string": "VARCHAR"},
    "postgres": {
        "float32": "double precision", "float64": "double precision", "int64": "bigint", "bool": "boolean",
        "string": "text",
    },
}  # fmt: skip
_BATCH: Final = 200  # rows of one INSERT
_TIMEOUT: Final = 600.0  # seconds
_URL_KEYS: Final = {"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "host": "PGHOST", "port": "PGPORT"}


def run_sqlite(trial: Trial) -> Outcome:
    """In memory; raises ModelError when SQLite refuses the query."""
    if sqlite3.sqlite_version_info < _SQLITE:
        raise ModelError(
            f"Python's SQLite is {sqlite3.sqlite_version}, and MATERIALIZED came with 3.35",
            hint="use a newer Python, or --unverified",
        )
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(_table(trial, "sqlite"))
        marks = ", ".join("?" * (len(trial.columns) + 1))
        database.executemany(f"INSERT INTO lockship_gate VALUES ({marks})", _numbered(trial))  # noqa: S608
        try:
            *before, last = _statements(trial)
            for statement in before:
                database.execute(statement)
            rows = database.execute(last).fetchall()
        except sqlite3.Error as error:
            raise _refused("SQLite", str(error)) from error
    return f"SQLite {sqlite3.sqlite_version}", {row[0]: tuple(row[1:]) for row in rows}


def duckdb_obstacle() -> str | None:
    """Why there is no DuckDB here."""
    return None if find_spec("duckdb") else "the Python package duckdb is not installed beside lockship"


def run_duckdb(trial: Trial) -> Outcome:
    """In memory, without reaching for extensions; raises ModelError when DuckDB refuses the query."""
    duckdb: Any = import_module("duckdb")
    with closing(duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})) as database:
        database.execute(_table(trial, "duckdb"))
        rows = list(_numbered(trial))
        row_marks = "(" + ", ".join("?" * (len(trial.columns) + 1)) + ")"
        for start in range(0, len(rows), _BATCH):
            some = rows[start : start + _BATCH]
            marks = ", ".join([row_marks] * len(some))
            database.execute(f"INSERT INTO lockship_gate VALUES {marks}", [cell for row in some for cell in row])  # noqa: S608
        try:
            *before, last = _statements(trial)
            for statement in before:
                database.execute(statement)
            found = database.execute(last).fetchall()
        except duckdb.Error as error:
            raise _refused("DuckDB", str(error)) from error
    return f"DuckDB {duckdb.__version__}", {row[0]: tuple(row[1:]) for row in found}


def connection(url: str) -> dict[str, str]:
    """Libpq's environment variables for a ``postgresql://`` address: a password is nothing for a command line.

    Raises UsageError for other addresses.
    """
    hint = "write postgresql://USER@HOST:PORT/NAME; libpq's own ways to give a password (PGPASSWORD, ~/.pgpass) work"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError("--database is not an address", hint=hint) from error
    if parts.scheme not in ("postgres", "postgresql"):
        raise UsageError("--database is not the address of a PostgreSQL database", hint=hint)
    given = {
        "PGHOST": unquote(parts.hostname or ""), "PGPORT": str(port or ""), "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""), "PGDATABASE": unquote(parts.path.lstrip("/")),
    }  # fmt: skip
    for key, value in parse_qsl(parts.query):
        if key not in _URL_KEYS:
            raise UsageError(f"--database has a parameter {key!r}", hint=f"known are {', '.join(_URL_KEYS)}")
        given[_URL_KEYS[key]] = value
    return {key: value for key, value in given.items() if value}


def run_postgres(trial: Trial, database: Mapping[str, str], environ: Mapping[str, str]) -> Outcome:
    """With psql, on temporary tables in a transaction that is rolled back.

    Raises UsageError when there is no psql, StoreError when the server doesn't answer, ModelError when it refuses.
    """
    program = shutil.which("psql", path=environ.get("PATH"))
    if program is None:
        raise UsageError("psql is not on PATH", hint="install PostgreSQL's client (on Debian: postgresql-client)")
    variables = {**environ, **database, "PGCLIENTENCODING": "UTF8", "PGCONNECT_TIMEOUT": "15", "LC_ALL": "C"}
    command = [program, "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password", "--file=-"]
    command += ["--set=ON_ERROR_STOP=1", "--set=VERBOSITY=terse"]
    try:
        done = subprocess.run(
            command, input=_script(trial).encode(), capture_output=True, env=variables, timeout=_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"PostgreSQL took longer than {_TIMEOUT:.0f} s", hint="train a smaller model") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        if done.returncode == 2:  # psql(1): no connection
            raise StoreError(f"PostgreSQL does not answer: {said}", hint="look at --database; `psql URL` tells more")
        raise _refused("PostgreSQL", said)
    version, *lines = done.stdout.decode().removesuffix("\n").split("\n")
    rows = [[_read(cell) for cell in line.split("\t")] for line in lines if line]
    kinds = _kinds(trial)
    found = {}
    for number, *cells in rows:
        found[int(number or "")] = tuple(_typed(cell, kind) for cell, kind in zip(cells, kinds, strict=True))
    return f"PostgreSQL {version.split(' ')[0]}", found


def _script(trial: Trial) -> str:
    lines = ["BEGIN;", "SET LOCAL jit = off;", "SET LOCAL extra_float_digits = 3;", "SHOW server_version;"]
    lines += [_table(trial, "postgres").replace("CREATE TABLE", "CREATE TEMPORARY TABLE") + ";"]
    lines += ["COPY lockship_gate FROM STDIN;"]
    lines += ["\t".join(_written(cell) for cell in row) for row in _numbered(trial)]
    *before, last = _statements(trial)
    return "\n".join(
        [*lines, "\\.", *before, f"COPY (\n{last.strip().removesuffix(';')}\n) TO STDOUT;", "ROLLBACK;", ""]
    )


def _statements(trial: Trial) -> list[str]:
    """What is to be run; the last one gives the rows."""
    return [trial.statement, "SELECT * FROM lockship_gate_view"] if trial.view else [trial.statement]


def _table(trial: Trial, dialect: Dialect) -> str:
    columns = ['"' + name.replace('"', '""') + '" ' + _TYPES[dialect][kind] for name, kind in trial.columns]
    return f"CREATE TABLE lockship_gate ({', '.join(['lockship_row BIGINT', *columns])})"


def _numbered(trial: Trial) -> Iterator[Sequence[Cell]]:
    for number, row in enumerate(trial.rows):
        yield (number, *row)


# PostgreSQL's text format for COPY: tabs, \N for NULL, backslashes escaped.
_ESCAPES: Final = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
_UNESCAPES: Final = {"t": "\t", "n": "\n", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}


def _written(cell: Cell) -> str:
    if cell is None:
        return "\\N"
    if isinstance(cell, bool):
        return "t" if cell else "f"
    return "".join(_ESCAPES.get(one, one) for one in cell) if isinstance(cell, str) else repr(cell)


def _read(text: str) -> str | None:
    if text == "\\N":
        return None
    pieces = iter(text)
    return "".join(_UNESCAPES.get(after := next(pieces), after) if one == "\\" else one for one in pieces)


def _kinds(trial: Trial) -> list[type]:
    """What each column of the result is, by what is expected there."""
    return [type(cell) for rows in trial.expected.values() for cell in rows[0]]


def _typed(cell: str | None, kind: type) -> Cell:
    if cell is None or kind is str:
        return cell
    return int(cell) if kind is int else float(cell)


def _refused(title: str, said: str) -> ModelError:
    lines = [line for line in said.splitlines() if line.strip()]
    return ModelError(
        f"{title} refuses the query: {' '.join(lines)[:300]}", hint="score with the .onnx, or train a smaller model"
    )
