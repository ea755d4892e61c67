"""A converted model as a query, run on a real database and compared before it is written."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from builder.content import Digest
from builder.errors import ModelError, StoreError, UsageError
from builder.files import temporary_folder, write_file
from builder.lock import indexes
from builder.models import environments
from builder.models.children import Child
from builder.models.consumers.sql import DIALECTS, Dialect, Trial, Verdict, compare
from builder.models.consumers.sql_cluster import cluster_obstacle, temporary_cluster, without_server
from builder.models.consumers.sql_databases import (
    Outcome,
    connection,
    duckdb_obstacle,
    run_duckdb,
    run_postgres,
    run_sqlite,
)
from builder.models.environments import Environment
from builder.pipeline.context import Context
from builder.pipeline.environments import make_environment, shipped_pins
from builder.pipeline.interpreters import HostPython, find_python
from builder.pipeline.packaging import Converted

__all__ = ["Exported", "Wishes", "export_sql"]

# What the translation runs on, of the converters' packages; a sample needs the second ones too.
_NEEDED: Final = frozenset(
    ("flatbuffers", "ml-dtypes", "numpy", "onnx", "onnxruntime", "packaging", "protobuf", "typing-extensions")
)
_FOR_SAMPLES: Final = frozenset(("pyarrow",))
_UNVERIFIED: Final = "or take the query as it is, never compared: --unverified"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the query is for, and how it is verified.

    `table` and `view` may have a schema before a dot. `database` is the address of a PostgreSQL server to use instead
    of a temporary one. `unverified` lets a query be written that was not run.
    """

    dialect: str
    table: str
    keys: tuple[str, ...]
    prefix: str = ""
    view: str | None = None
    database: str | None = None
    sample: Path | None = None
    unverified: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """The file, and what its comparison came to: None when there was none. `database` has the version it ran on."""

    file: Path
    verdict: Verdict | None
    database: str | None
    columns: tuple[str, ...]


def export_sql(converted: Converted, context: Context, file: Path, wishes: Wishes) -> Exported:
    """Write the query into `file`, after it gave the scores that the model gives.

    Raises UsageError when the dialect's database isn't here and nobody said `unverified`, ModelError when the model has
    no translation or a row's score differs.
    """
    dialect = _dialect(wishes, context.environ)
    answer = _translated(converted, context, wishes)
    columns = tuple(one["name"] for one in answer["results"])
    if wishes.unverified:
        context.progress.warn("the query was not run: nobody knows whether it scores as the model does")
        _write(file, answer["query"])
        return Exported(file, None, None, columns)
    trial = Trial.of(answer, view=wishes.view is not None)
    with context.progress.task(f"running it on {len(trial.rows)} rows", None):
        database, got = _run(dialect, trial, context.environ, wishes)
    verdict = compare(converted.contract, trial, got)
    if not verdict.passed:
        raise _differs(converted, database, verdict)
    _write(file, answer["query"])
    return Exported(file, verdict, database, columns)


def _dialect(wishes: Wishes, environ: Mapping[str, str]) -> Dialect:
    """The dialect; raises UsageError when it isn't known or can't be verified as asked."""
    found = next((one for one in DIALECTS if one == wishes.dialect), None)
    if found is None:
        raise UsageError(f"no such dialect: {wishes.dialect!r}", hint=f"there is {', '.join(DIALECTS)}")
    if wishes.database is not None and found != "postgres":
        raise UsageError(f"--database is for postgres; {found} runs in memory", hint="leave it out")
    if not wishes.keys:
        raise UsageError("which rows are which? no key is named", hint="name the table's key column: --key id")
    if wishes.unverified:
        return found
    if wishes.database is not None:
        connection(wishes.database)
    elif found == "postgres" and (obstacle := cluster_obstacle(environ)):
        raise UsageError(
            f"a query for PostgreSQL can't be verified here: {obstacle}",
            hint=f"install PostgreSQL (on Debian: postgresql), or name a database with --database URL; {_UNVERIFIED}",
        )
    elif found == "duckdb" and (obstacle := duckdb_obstacle()):
        raise UsageError(
            f"a query for DuckDB can't be verified here: {obstacle}", hint=f"pip install duckdb; {_UNVERIFIED}"
        )
    return found


def _translated(converted: Converted, context: Context, wishes: Wishes) -> dict[str, Any]:
    """What the operation ``sql`` answers, in an environment with the converters' onnx and onnxruntime."""
    with temporary_folder("lockship-sql-") as folder:
        child = _child(context, folder, sample=wishes.sample is not None)
        (folder / "model.onnx").write_bytes(converted.model)
        sample = None
        if wishes.sample is not None:
            if not wishes.sample.is_file():
                raise UsageError(f"there is no sample {wishes.sample}", hint="name a Parquet, CSV or Feather file")
            job = {"sample": str(wishes.sample.absolute()), "shown": str(wishes.sample), "drop": []}
            sample = child.run("sample", job).result["file"]
        contract = converted.contract.model_dump(mode="json", by_alias=True)
        return child.run(
            "sql",
            {
                "onnx": str(folder / "model.onnx"),
                "contract": contract,
                "contract_digest": Digest.of(converted.contract.to_json()),
                "dialect": wishes.dialect,
                "table": wishes.table.split("."),
                "keys": list(wishes.keys),
                "prefix": wishes.prefix,
                "view": None if wishes.view is None else wishes.view.split("."),
                "sample": sample,
                "seed": 0,
                "verified": not wishes.unverified,
            },
        ).result


def _child(context: Context, folder: Path, *, sample: bool) -> Child:
    found = indexes.from_environment(context.environ)
    python = find_python(f"{sys.version_info[0]}.{sys.version_info[1]}", context, found)
    environment = _environment(python, sample=sample)
    return Child(make_environment(environment, python, context, found), folder, environment.title, context.environ)


def _environment(python: HostPython, *, sample: bool) -> Environment:
    pins = shipped_pins(environments.CONVERTER_LOCK, python.target)
    wanted = _NEEDED | (_FOR_SAMPLES if sample else frozenset())
    packages = tuple(pins[name] for name in sorted(wanted & pins.keys()))
    return Environment("the translator's environment", python.identity, packages)


def _run(dialect: Dialect, trial: Trial, environ: Mapping[str, str], wishes: Wishes) -> Outcome:
    if dialect == "sqlite":
        return run_sqlite(trial)
    if dialect == "duckdb":
        return run_duckdb(trial)
    if wishes.database is not None:
        return run_postgres(trial, connection(wishes.database), environ)
    with temporary_cluster(environ) as database:
        return run_postgres(trial, database, without_server(environ))


def _differs(converted: Converted, database: str, verdict: Verdict) -> ModelError:
    """The worst rows, with what went in and what came out."""
    bad = sum(group.different for group in verdict.groups)
    lines = [f"on {database} the query scores {bad} of {verdict.rows} rows otherwise than the model:"]
    for one in verdict.differences:
        inputs = json.dumps(dict(one.inputs), ensure_ascii=False)
        inputs = inputs if len(inputs) <= 400 else f"{inputs[:400]} …"
        lines.append(f"  {one.group} {one.row}: {one.output} is {one.got!r}, expected {one.expected!r}; {inputs}")
    return ModelError(
        "\n".join(lines),
        file=converted.file,
        hint="no query was written; raise the tolerances if numbers are off by little, else score with the .onnx",
    )


def _write(file: Path, text: str) -> None:
    try:
        write_file(file, text.encode())
    except OSError as error:
        raise StoreError(f"cannot write: {error.strerror or error}", file=file, hint="name another with -o") from error
