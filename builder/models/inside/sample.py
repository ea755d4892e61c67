"""The project's sample as rows: Parquet, CSV or Feather, with a word on each column.

No pandas: what a file holds decides what a column is, not what a library makes of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.models.inside.problem import Problem
from builder.models.inside.table import Table, write_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MAX_CATEGORIES", "run"]

MAX_CATEGORIES = 100
_READABLE = "Parquet (.parquet, .pq), CSV (.csv, .tsv, .txt) and Feather (.feather, .arrow)"
_ARROW = {".parquet": "parquet", ".pq": "parquet", ".feather": "feather", ".arrow": "feather", ".ipc": "feather"}
_TEXT = (".csv", ".tsv", ".txt")


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Read ``job["sample"]`` into ``sample.npz`` in the work folder.

    `job`: ``sample`` (a file, or None for no rows at all), ``shown`` (its name for people), ``drop`` (columns that are
    no inputs), ``inputs`` (what the project says of columns), ``folder``. The answer has ``columns`` (name, kind,
    missing, minimum, maximum, categories; ``date`` says how dates are written), and ``rows``. Raises Problem with
    file, column and, in text, line.
    """
    out = Path(job["folder"]) / "sample.npz"
    if job["sample"] is None:
        write_table(out, Table({}))
        return {"file": str(out), "columns": [], "rows": 0}
    path, shown = Path(job["sample"]), job.get("shown") or Path(job["sample"]).name
    declared = {name: one.get("type") for name, one in (job.get("inputs") or {}).items()}
    ending = path.suffix.lower()
    dates: dict[str, str] = {}
    if path.stat().st_size == 0:
        raise Problem(f"{shown} is empty", hint="the sample needs a row of names and rows of data")
    if ending in _TEXT:
        from builder.models.inside.delimited import read_delimited

        columns = read_delimited(path, shown, declared)
    elif ending in _ARROW:
        from builder.models.inside.columnar import read_columnar

        columns, dates = read_columnar(path, shown, declared, _ARROW[ending])
    else:
        raise Problem(f"{shown}: samples are read from {_READABLE}", hint="write it in one of these")
    kept = _without(columns, job.get("drop") or [], shown)
    _declared_are_there(kept, declared, shown)
    table = Table(kept)
    if not len(table):
        raise Problem(f"{shown} has no rows", hint="the sample needs some of the rows that the model will meet")
    write_table(out, table)
    described = [_describe(name, kept[name], dates.get(name)) for name in kept]
    return {"file": str(out), "columns": described, "rows": len(table)}


def _without(columns: dict[str, NDArray[Any]], drop: list[str], shown: str) -> dict[str, NDArray[Any]]:
    for name in drop:
        if name not in columns:
            raise Problem(
                f"{shown} has no column {name!r}, which `drop` names{_near(name, columns)}",
                hint=f"its columns are: {_listed(columns)}",
            )
    kept = {name: column for name, column in columns.items() if name not in drop}
    if not kept:
        raise Problem(f"{shown} has no columns but those that `drop` names")
    return kept


def _declared_are_there(columns: dict[str, NDArray[Any]], declared: dict[str, Any], shown: str) -> None:
    for name in declared:
        if name not in columns:
            raise Problem(
                f"{shown} has no column {name!r}, which `inputs` names{_near(name, columns)}",
                hint=f"its columns are: {_listed(columns)}",
            )


def _near(name: str, columns: dict[str, NDArray[Any]]) -> str:
    import difflib

    lower = {column.lower(): column for column in columns}
    close = difflib.get_close_matches(name.lower(), list(lower), n=1)
    return f"; did you mean {lower[close[0]]!r}?" if close else ""


def _listed(columns: dict[str, NDArray[Any]]) -> str:
    names = list(columns)
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _describe(name: str, column: NDArray[Any], date: str | None) -> dict[str, Any]:
    """What is said of a column: see `run`."""
    import numpy as np

    found: dict[str, Any] = {"name": name, "minimum": None, "maximum": None, "categories": None, "missing": 0}
    if date is not None:
        found["date"] = date
    if column.dtype == object:
        values = {value for value in column.tolist() if value is not None}
        found["missing"] = sum(value is None for value in column.tolist())
        found["categories"] = sorted(values) if len(values) <= MAX_CATEGORIES else None
        return {**found, "kind": "text"}
    if column.dtype == bool:
        return {**found, "kind": "bool", "categories": sorted({bool(value) for value in column})}
    if column.dtype.kind == "i":
        return {**found, "kind": "integer", "minimum": int(column.min()), "maximum": int(column.max())}
    finite = column[np.isfinite(column)]
    found["missing"] = int(np.isnan(column).sum())
    if len(finite):
        found["minimum"], found["maximum"] = float(finite.min()), float(finite.max())
    return {**found, "kind": "number"}
