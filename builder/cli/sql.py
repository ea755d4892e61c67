"""`lockship export sql`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from builder.cli.setup import context, open_project
from builder.cli.terminal import Terminal, relative
from builder.pipeline.exporting_sql import Wishes, export_sql
from builder.pipeline.packaging import converted_at, converted_in

__all__ = ["run"]


def run(
    terminal: Terminal, path: Path, name: str | None, contract: Path | None, output: Path | None, wishes: Wishes
) -> None:
    """Export; the file on stdout."""
    if contract is not None:
        converted = converted_at(contract)
    else:
        project = open_project(path)
        converted = converted_in(project, name)
        own = next(model.sample for one, model in project.named_models if one == converted.contract.name)
        if wishes.sample is None and own is not None:
            wishes = replace(wishes, sample=project.path(own))
    file = (output or Path(f"{converted.contract.name}.sql")).absolute()
    done = export_sql(converted, context(terminal), file, wishes)
    groups = [] if done.verdict is None else done.verdict.groups
    document = {
        "file": str(done.file),
        "dialect": wishes.dialect,
        "columns": list(done.columns),
        "verified": done.verdict is not None,
        "database": done.database,
        "model": converted.contract.digest,
        "groups": [
            {
                "name": one.name, "rows": one.rows, "unscored": one.unscored, "ties": one.ties,
                "incomparable": one.incomparable, "largest_difference": one.largest,
            }
            for one in groups
        ],
    }  # fmt: skip
    for one in groups:
        terminal.note(f"  {one.name}: {_said(one.rows, one.unscored, one.ties, one.incomparable)}")
    if done.verdict is not None:
        terminal.note(f"{done.database}: {done.verdict.rows} rows, every label and number as the model's")
    terminal.result("export-sql", document, relative(done.file))


def _said(rows: int, unscored: int, ties: int, incomparable: int) -> str:
    said = [f"{rows} row{'' if rows == 1 else 's'}"]
    said += [f"{unscored} without a score"] if unscored else []
    said += [f"{ties} tied"] if ties else []
    said += [f"{incomparable} for which onnxruntime has no finite number"] if incomparable else []
    return ", ".join(said)
