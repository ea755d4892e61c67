"""Which step of a model is the first whose output differs: the original's steps against the graph's tensors.

Nothing needs to know which tensor belongs to which step: whatever a step makes is in the graph, if it was converted
truly. A step whose output is nowhere, or is there for good rows and not for bad ones, is where it starts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.models.inside.advice import case_of, remedy
from builder.models.inside.feeds import evenly, feeds, session
from builder.models.inside.originals import prepared
from builder.models.inside.parts import INNER, inner_tensors, part
from builder.models.inside.table import Table, read_table, write_table

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

__all__ = ["run"]

OTHERS = 40  # rows besides the bad ones
ABSOLUTE, RELATIVE = 1e-4, 1e-4


def run(job: dict[str, Any]) -> dict[str, Any]:
    """First with ``side`` ``original``, in the project's environment; then ``onnx``, with that answer as ``original``.

    `job`: as for `reference`, and ``only``, the bad rows. The second answer: ``step`` (a path, or null when no step
    stands out), ``class``, ``message``, ``remedy``, and ``steps`` with what was found of each.
    """
    return _original(job) if job["side"] == "original" else _graph(job)


def _rows(job: dict[str, Any], table: Table) -> NDArray[np.int64]:
    """The bad rows and some others."""
    import numpy as np

    bad = np.array(sorted(set(job["only"])), dtype=np.int64)
    sample = next((group for group in job["groups"] if group["name"] == "sample"), job["groups"][0])
    others = np.setdiff1d(np.arange(sample["start"], sample["stop"], dtype=np.int64), bad)
    return np.concatenate([bad, evenly(others, OTHERS)])


def _original(job: dict[str, Any]) -> dict[str, Any]:
    from builder.models.inside.load import load
    from builder.models.inside.tracing import trace

    model = load(job["model"])
    table = read_table(Path(job["rows"]))
    rows = _rows(job, table)
    if not hasattr(model, "predict") and not hasattr(model, "transform"):
        return {"steps": [], "rows": rows.tolist(), "file": None}
    made = trace(model, prepared(model, table.take(rows), job["input"], job.get("features")))
    if not made:  # one of the others may be refused
        rows = rows[: len(set(job["only"]))]
        made = trace(model, prepared(model, table.take(rows), job["input"], job.get("features")))
    file = Path(job["folder"]) / "steps.npz"
    write_table(file, Table({str(number): step.output for number, step in enumerate(made)}))
    steps = [{"path": step.path, "class": step.kind, "traits": step.traits, "lane": step.lane} for step in made]
    return {"steps": steps, "rows": rows.tolist(), "file": str(file)}


def _graph(job: dict[str, Any]) -> dict[str, Any]:
    import numpy as np
    import onnx

    theirs = job["original"]
    verdict_file = Path(job["folder"]) / "verdict.json"
    verdict = json.loads(verdict_file.read_text(encoding="utf-8")) if verdict_file.is_file() else {}
    table = read_table(Path(job["rows"]))
    rows = np.array(theirs["rows"], dtype=np.int64)
    missing = _lacks(table, np.array(job["only"], dtype=np.int64))
    facts = {"missing": missing, "precision": job.get("precision", "float32")}
    if not theirs["steps"]:
        return {**_nowhere(), "remedy": remedy(case_of(verdict, **facts)), "steps": []}
    tensors = _tensors(onnx.load(job["onnx"]), feeds(table.take(rows), job["inputs"]), len(rows))
    outputs = read_table(Path(theirs["file"]))
    bad = np.isin(rows, job["only"])
    found = [{**step, **_nearest(outputs[str(number)], tensors, bad)} for number, step in enumerate(theirs["steps"])]
    first = _first(found)
    if first is None and case_of(verdict).codes in (("ties",), ("variants",), ("ties", "variants")):
        first = len(found) - 1
        found[first]["status"] = "tied"
    if first is None:
        return {**_nowhere(), "remedy": remedy(case_of(verdict, **facts)), "steps": found}
    step, before = found[first], found[:first]
    case = case_of(
        verdict,
        kind=step["class"],
        traits=tuple(step["traits"]),
        before=tuple(trait for one in before for trait in one["traits"]),
        around=tuple(t for one in found[first:] if step["path"].startswith(one["path"] + "/") for t in one["traits"]),
        **facts,
    )
    return {
        "step": step["path"],
        "class": step["class"],
        "message": _message(step, before),
        "remedy": remedy(case),
        "steps": found,
    }


def _nowhere() -> dict[str, Any]:
    return {"step": None, "class": None, "message": "no step stands out: the difference is in the output itself"}


def _lacks(table: Table, rows: NDArray[np.int64]) -> bool:
    import numpy as np

    some = table.take(rows)
    return any(column.dtype.kind == "f" and bool(np.isnan(column).any()) for column in some.columns.values())


def _tensors(model: onnx.ModelProto, fed: dict[str, NDArray[Any]], rows: int) -> dict[str, NDArray[Any]]:
    """Every tensor of numbers in the graph that has these rows, as `[rows, columns]` float64."""
    import numpy as np

    names = inner_tensors(model)
    try:
        given = dict(zip(names, session(part(model, names), 1).run([INNER + name for name in names], fed)))  # noqa: B905
    except Exception:  # some have no type that can be given out, or stop at a bad row: those that work are enough
        given = {}
        for name in names:
            try:
                given[name] = session(part(model, [name]), 1).run([INNER + name], fed)[0]
            except Exception:  # noqa: S112
                continue
    found = {}
    for name, value in {**fed, **given}.items():
        array = np.asarray(value) if not isinstance(value, list) else np.empty(0)
        if array.dtype.kind in "fiub" and array.ndim and len(array) == rows:
            found[name] = array.astype(np.float64).reshape(rows, -1)
    return found


def _nearest(output: NDArray[Any], tensors: dict[str, NDArray[Any]], bad: NDArray[np.bool_]) -> dict[str, Any]:
    """The tensor that is this output on the most rows: its name, on how many bad and other rows it is off, how far."""
    import numpy as np

    best: tuple[int, float, str] | None = None
    for name, tensor in tensors.items():
        if tensor.shape != output.shape:
            continue
        with np.errstate(all="ignore"):
            off = np.abs(tensor - output)
            same = (off <= ABSOLUTE + RELATIVE * np.abs(output)) | (np.isnan(tensor) & np.isnan(output))
            same |= tensor == output
        wrong = ~same.all(axis=1)
        key = (int(wrong.sum()), float(np.nan_to_num(off).max(initial=0)), name)
        if best is None or key < best:
            best, where = key, wrong
    if best is None:
        return {"tensor": None, "status": "unseen", "bad": 0, "others": 0, "off": None}
    status = "same" if not best[0] else "differs" if best[0] < len(bad) else "unlike"
    counts = {"bad": int((where & bad).sum()), "others": int((where & ~bad).sum())}
    return {"tensor": best[2] if status != "unlike" else None, "status": status, **counts, "off": best[1]}


def _first(found: list[dict[str, Any]]) -> int | None:
    """The first whose output is in the graph, but not as it should be, or else the first that isn't there at all.

    Whatever is in the graph as it should be clears the steps that it was made of.
    """
    suspects = [
        number
        for number, step in enumerate(found)
        if step["status"] != "same"
        and not any(later["status"] == "same" and _follows(later, step) for later in found[number + 1 :])
    ]
    seen = [
        n for n in suspects if found[n]["status"] == "unlike" or (found[n]["status"] == "differs" and found[n]["bad"])
    ]
    return next(iter(seen or suspects), None)


def _follows(later: dict[str, Any], step: dict[str, Any]) -> bool:
    lane = list(later["lane"])
    return list(step["lane"])[: len(lane)] == lane


def _message(step: dict[str, Any], before: list[dict[str, Any]]) -> str:
    same = sum(one["status"] == "same" for one in before)
    told = f"; {same} steps before it agree" if same > 1 else "; the step before it agrees" if same else ""
    if step["status"] == "tied":
        return f"its numbers agree; which of two equal ones wins is decided otherwise{told}"
    if step["status"] == "differs":
        return f"its output is off by up to {step['off']:.3g} on {step['bad']} of the bad rows{told}"
    return f"nothing in the graph is like its output{told}"
