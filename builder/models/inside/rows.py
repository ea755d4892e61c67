"""The rows that the gate makes: where models go wrong, if they do."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.models.inside.boundaries import around, jumps, thresholds
from builder.models.inside.feeds import evenly, feature_names
from builder.models.inside.oddities import Column, extremes, far, infinities, missing, rare_text, texts, unseen
from builder.models.inside.problem import Problem
from builder.models.inside.table import Table, read_table, write_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["columns_of", "run"]

MOST_SAMPLE = 20_000
MOST_COMBINED = 400
MOST_IN_GROUP = 2_000


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Write ``rows.npz``: the sample, and rows made of it; the same for the same sample, model and seed.

    `job`: ``onnx`` and ``table`` (files), ``inputs`` and ``outputs`` (convert's), ``columns`` (sample's), ``seed``,
    ``folder``. The answer has the ``groups``, in order, and a digest of the rows. Raises Problem when the
    sample is empty or lacks a column.
    """
    import numpy as np
    import onnx

    sample = _sample(job)
    columns = columns_of(job, sample)
    rng = np.random.default_rng(job["seed"])
    base = _base(sample, columns)
    made = [
        ("sample", sample, True, "the project's own rows"),
        ("sample in float32", _rounded(sample, columns), True, "such rows, rounded to what the model takes"),
        *_boundaries(onnx.load(job["onnx"]), job, base, columns),
        ("extremes", extremes(base, columns), True, "least and greatest values of each column, and beyond"),
        ("far out", far(base, columns), False, "the greatest numbers that there are"),
        ("missing", missing(base, columns, allowed=True), True, "a missing value in each column that may have one"),
        ("missing elsewhere", missing(base, columns, allowed=False), False, "NaN where the contract has none"),
        ("infinite", infinities(base, columns), True, "infinities in each column of floating numbers"),
        ("unseen", unseen(base, columns), True, "values that no category knows"),
        ("text", texts(base, columns), True, "empty, long, non-ASCII, upper-case text, one-letter words, blanks"),
        ("rare text", rare_text(base, columns), False, "letters that change their number in lower case, joined marks"),
        ("combined", _combined(base, columns, rng), True, "values of the sample in other combinations"),
    ]
    groups, parts, start = [], [], 0
    for name, table, strict, why in made:
        table = table if name == "sample" else table.take(evenly(np.arange(len(table)), MOST_IN_GROUP))
        if len(table):
            groups.append({"name": name, "start": start, "stop": start + len(table), "strict": strict, "why": why})
            parts.append(table)
            start += len(table)
    rows = Table({name: np.concatenate([part[name] for part in parts]) for name in sample})
    file = Path(job["folder"]) / "rows.npz"
    write_table(file, rows)
    return {"file": str(file), "rows": len(rows), "groups": groups, "digest": digest(rows), "of_sample": len(sample)}


def _sample(job: dict[str, Any]) -> Table:
    """The sample with the model's columns first, in their order; of a long one an even choice."""
    import numpy as np

    table = read_table(Path(job["table"]))
    names = feature_names(job["inputs"])
    if lacking := [name for name in names if name not in table.columns]:
        raise Problem(
            f"the sample has no column {lacking[0]!r}, which the model takes",
            hint=f"its columns are: {', '.join(list(table)[:20])}",
        )
    if not len(table):
        raise Problem("the sample has no rows", hint="a few hundred rows the model wasn't trained on are best")
    ordered = Table({name: table[name] for name in [*names, *(name for name in table if name not in names)]})
    return ordered.take(evenly(np.arange(len(ordered)), MOST_SAMPLE))


def columns_of(job: dict[str, Any], sample: Table) -> list[Column]:
    """What may stand in each column that the model takes."""
    import numpy as np

    known = {column["name"]: column for column in job.get("columns") or []}
    array = job.get("input") == "array" or any(len(tensor["features"]) > 1 for tensor in job["inputs"])
    columns = []
    for tensor in job["inputs"]:
        for feature in tensor["features"]:
            name, kind = feature["name"], tensor["type"]
            held = sample[name]
            if kind == "bool" or held.dtype.kind == "b":
                kind = "bool"
            elif kind in ("float32", "float64") and held.dtype.kind in "iu" and not array:
                kind = "int64"  # the original would see another type
            categories = feature.get("categories") or (known.get(name) or {}).get("categories")
            columns.append(
                Column(name, kind, tensor["type"], feature.get("missing", "refused"), feature.get("unseen"), categories)
            )
            if array and kind != "string" and held.dtype.kind in "iub" and tensor["type"].startswith("float"):
                sample.columns[name] = held.astype(np.float64)
                columns[-1] = columns[-1]._replace(kind=tensor["type"])
    return columns


def _base(sample: Table, columns: list[Column]) -> Table:
    """Rows of the sample to change: what is missing is filled in, numbers are as the model takes them."""
    import numpy as np

    table = _rounded(sample, columns, always=True)
    for column in columns:
        values = table[column.name]
        gone = np.array([v is None for v in values.tolist()]) if values.dtype == object else values != values
        if gone.any() and not gone.all():
            table.columns[column.name] = np.where(gone, values[~gone][0], values)
        elif gone.all():
            table.columns[column.name] = np.where(gone, "" if values.dtype == object else 0, values)
    return table


def _rounded(sample: Table, columns: list[Column], *, always: bool = False) -> Table:
    """The sample with its numbers rounded to float32 where that is what the model takes; empty if nothing changes."""
    import numpy as np

    rounded = dict(sample.columns)
    changed = False
    for column in columns:
        values = sample[column.name]
        if column.tensor == "float32" and values.dtype.kind == "f":
            with np.errstate(over="ignore"):
                near = values.astype(np.float32).astype(np.float64)
            changed |= bool(((near != values) & (near == near)).any())
            rounded[column.name] = near
    return Table(rounded) if changed or always else sample.take(slice(0))


def _boundaries(
    model: Any, job: dict[str, Any], base: Table, columns: list[Column]
) -> list[tuple[str, Table, bool, str]]:
    kinds = {
        c.name: c.kind for c in columns if c.kind in ("float32", "float64", "int64") and base[c.name].dtype.kind != "O"
    }
    found = thresholds(model, job["inputs"], base, kinds)
    numeric = [o["name"] for o in job.get("outputs") or [] if o["meaning"] not in ("label", "features")]
    leaps = [] if found else jumps(model, job["inputs"], numeric, base, kinds)
    return [
        ("thresholds", around(found, kinds, base), True, "at, just below and just above thresholds of the trees"),
        ("jumps", around(leaps, kinds, base), True, "on both sides of where the model's output jumps"),
    ]


def _combined(base: Table, columns: list[Column], rng: np.random.Generator) -> Table:
    import numpy as np

    size = min(MOST_COMBINED, len(base)) if len(base) > 1 and len(columns) > 1 else 0
    rows = rng.integers(0, len(base), size) if size else np.empty(0, dtype=np.int64)
    return Table({name: base[name][rng.permutation(rows)] for name in base})


def digest(table: Table) -> str:
    """Of the values, whatever wrote the file."""
    hashed = hashlib.sha256()
    for name in table:
        column: NDArray[Any] = table[name]
        hashed.update(f"{name}\0{column.dtype}\0{len(column)}\0".encode())
        hashed.update(repr(column.tolist()).encode() if column.dtype == object else column.tobytes())
    return f"sha256:{hashed.hexdigest()}"
