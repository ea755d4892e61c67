"""The original's scores of the gate's rows, in the project's own environment."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.models.inside.originals import meanings, outputs_of, prepared
from builder.models.inside.problem import Problem
from builder.models.inside.refusals import alike, score_rows
from builder.models.inside.table import Table, read_table, write_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["run"]

LIBRARIES = ("scikit-learn", "numpy", "scipy", "pandas", "xgboost", "xgboost-cpu", "lightgbm", "catboost", "torch")


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Score ``job["rows"]`` with the original, into ``reference.npz``: a column for each meaning, and ``row``.

    `job`: ``model`` (as explain is told), ``input`` (``frame`` or ``array``), ``rows`` (a file), ``groups`` (of rows),
    ``folder``; if known ``kind`` (explain's), ``features`` (the original's columns in order) and ``outputs``
    (convert's). Rows that it raises for are in the answer's ``refused``, its words with their rows in ``messages``.
    Raises Problem when it takes none of the sample's rows.
    """
    from builder.models.inside.foreign import adapted
    from builder.models.inside.load import load

    spec = job["model"]
    model = adapted(load(spec), job)
    table = read_table(Path(job["rows"]))
    wanted = _wanted(model, job)

    def scorer(rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        taken = prepared(model, table.take(rows), job["input"], job.get("features"))
        return outputs_of(model, taken, wanted, job.get("kind"))

    outcome = score_rows(scorer, alike(table, job["groups"]))
    _some_of_the_sample(outcome.rows, outcome.messages, job["groups"])
    file = Path(job["folder"]) / "reference.npz"
    write_table(file, Table({"row": outcome.rows, **outcome.scores()}))
    return {
        "file": str(file),
        "meanings": wanted,
        "refused": outcome.refused,
        "skipped": outcome.skipped,
        "messages": [{"message": message, "rows": rows} for message, rows in outcome.messages.items()],
        "versions": _versions(),
    }


def _wanted(model: Any, job: dict[str, Any]) -> list[str]:
    if job.get("outputs"):
        return list(dict.fromkeys(output["meaning"] for output in job["outputs"]))
    return meanings(model, job.get("kind"), raw_scores=bool(job["model"].get("raw_scores")))


def _some_of_the_sample(
    scored: NDArray[np.int64], messages: dict[str, list[int]], groups: list[dict[str, Any]]
) -> None:
    for group in groups:
        inside = (scored >= group["start"]) & (scored < group["stop"])
        if group["name"] == "sample" and group["stop"] > group["start"] and not inside.any():
            words = next(iter(messages), "it says nothing")
            raise Problem(
                f"the original takes none of the sample's rows: {words}",
                hint="the sample needs the columns that the model was trained on, as they were then",
            )


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
