"""Scores of a model in ONNX, by a consumer's onnxruntime: alone and together, on one thread and on several."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.models.inside.feeds import ELEMENTS, evenly, feeds, session
from builder.models.inside.problem import Problem
from builder.models.inside.refusals import Outcome, alike, score_rows
from builder.models.inside.table import Table, read_table, write_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Tensors = dict[str, NDArray[Any]]

__all__ = ["run"]

SINGLY = 240  # rows that are scored one by one, on each thread count
REPEATS = 3


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Score ``job["rows"]`` with ``job["onnx"]``; each variant's scores into ``scored-RUNTIME-tTHREADS-bBATCH.npz``.

    `job`: ``onnx`` and ``rows`` (files), ``inputs``, ``outputs``, ``batches`` (row counts, 0 and ``"all"`` among them),
    ``threads``, ``folder``; ``groups`` of rows, else all are one. A file has a column for each output, and ``row``.
    Raises Problem when the runtime doesn't load the model, or the model hasn't the tensors that were declared.
    """
    import onnxruntime as ort

    table = read_table(Path(job["rows"]))
    tensors = feeds(table, job["inputs"])
    groups = job.get("groups") or [{"name": "rows", "start": 0, "stop": len(table)}]
    runner = _Runner(session(job["onnx"], job["threads"][0]), job["outputs"], tensors)
    outcome = score_rows(runner.score, [[part for parts in alike(table, groups) for part in parts]])
    rows, singly = outcome.rows, _singly(outcome, job["outputs"])
    problems = runner.declared() + runner.shapes(outcome.scores(), len(rows))
    variants: list[dict[str, Any]] = []
    latency: dict[str, float] = {}
    for threads in job["threads"]:
        runner.session = session(job["onnx"], threads)
        for batch in job["batches"]:
            name = f"scored-{ort.__version__}-t{threads}-b{batch}.npz"
            some = rows if batch == "all" else singly if batch else rows[:0]
            if batch == "all" and threads == job["threads"][0] and len(outcome.parts) == 1:
                scored = outcome.scores()
            else:
                scored, found = runner.batches(some, batch)
                problems += found
            variant = {"threads": threads, "batch": batch, "rows": len(some), "file": None}
            if batch != 0 and scored:
                variant["file"] = str(Path(job["folder"]) / name)
                write_table(Path(job["folder"]) / name, Table({"row": some, **scored}))
            variants.append(variant)
        if threads == job["threads"][0]:
            latency = runner.latency(rows)
    return {
        "runtime": ort.__version__,
        "variants": variants,
        "refused": outcome.refused,
        "skipped": outcome.skipped,
        "messages": [{"message": message, "rows": listed} for message, listed in outcome.messages.items()],
        "problems": [{"kind": kind, "message": message} for kind, message in dict.fromkeys(problems)],
        "latency": latency,
    }


class _Runner:
    """A session with the rows that it scores."""

    def __init__(self, session: Any, outputs: list[dict[str, Any]], tensors: Tensors) -> None:
        self.session = session
        self.outputs = outputs
        self.tensors = tensors
        there = [one.name for one in session.get_inputs()]
        if sorted(there) != sorted(tensors):
            raise Problem(f"the model takes {', '.join(there)}, and was said to take {', '.join(tensors)}")
        given = [one.name for one in session.get_outputs()]
        if missing := [one["name"] for one in outputs if one["name"] not in given]:
            raise Problem(f"the model gives {', '.join(given)}, and was said to give {missing[0]}")

    def score(self, rows: NDArray[np.int64] | slice) -> Tensors:
        """The scores of `rows`, in one batch."""
        import numpy as np

        names = [one["name"] for one in self.outputs]
        given = self.session.run(names, {name: tensor[rows] for name, tensor in self.tensors.items()})
        return {name: np.asarray(one) for name, one in zip(names, given)}  # noqa: B905 - Python 3.9 reads this

    def batches(self, rows: NDArray[np.int64], batch: int | str) -> tuple[Tensors, list[tuple[str, str]]]:
        """The scores of `rows` in batches of `batch`, and what is wrong with them, by kind."""
        import numpy as np

        size = len(rows) if batch == "all" else int(batch)
        starts = range(0, len(rows), size) if size else [0]
        kind = "batch" if size else "empty"
        try:
            parts = [self.score(rows[start : start + size]) for start in starts]
        except Exception as error:  # of the same rows it took together
            words = " ".join(str(error).split())[:300]
            return {}, [(kind, f"a batch of {batch} rows fails: {words}")]
        problems = [problem for part in parts[:3] for problem in self.shapes(part, min(size, len(rows)), kind)]
        try:
            return {
                name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else {})
            }, problems
        except ValueError as error:
            return {}, [*problems, (kind, f"batches of {batch} rows have outputs of several shapes: {error}")]

    def shapes(self, scores: Tensors, rows: int, kind: str = "shape") -> list[tuple[str, str]]:
        """Where shape or type of an output isn't what was declared."""
        import numpy as np

        wrong = []
        for output in self.outputs if scores else []:
            got = scores[output["name"]]
            shape = (rows,) if output["width"] is None else (rows, output["width"])
            element = np.dtype(ELEMENTS[output["type"]])
            if got.shape != shape or got.dtype != element:
                said = f"declared is {output['type']} {list(shape)}"
                wrong.append((kind, f"output {output['name']}: {said}, given {got.dtype} {list(got.shape)}"))
        return wrong

    def declared(self) -> list[tuple[str, str]]:
        """Where the model's own description of its outputs isn't true: clients allocate by it."""
        wrong = []
        described = {one.name: one for one in self.session.get_outputs()}
        for output in self.outputs:
            shape = described[output["name"]].shape
            true = 1 if output["width"] is None else 2
            if shape is None:
                continue
            fixed = bool(shape) and isinstance(shape[0], int) and shape[0] > 0
            width = shape[1] if len(shape) == 2 else None
            if (
                len(shape) != true
                or fixed
                or (true == 2 and isinstance(width, int) and width not in (0, output["width"]))
            ):
                wrong.append(("shape", f"output {output['name']} describes its shape as {shape}"))
        return wrong

    def latency(self, rows: NDArray[np.int64]) -> dict[str, float]:
        """Seconds for a row alone, the best of a few, and for each of up to 1,000 together; to look at, no promise."""
        if not len(rows):
            return {}
        together = rows[:1000]
        return {
            "single": min(_seconds(lambda: self.score(rows[:1])) for _ in range(REPEATS)),
            "batch": _seconds(lambda: self.score(together)) / len(together),
        }


def _seconds(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _singly(outcome: Outcome, outputs: list[dict[str, Any]]) -> NDArray[np.int64]:
    """Rows to score one by one: those whose two best classes are nearest to each other, and an even choice."""
    import numpy as np

    rows, scores = outcome.rows, outcome.scores()
    chosen = evenly(rows, SINGLY // 2)
    for output in outputs:
        if output["meaning"] in ("probabilities", "scores") and len(rows) and (output["width"] or 1) > 1:
            best = np.sort(np.nan_to_num(scores[output["name"]].astype(np.float64)), axis=1)
            near = np.argsort(best[:, -1] - best[:, -2], kind="stable")[: SINGLY // 2]
            return np.union1d(chosen, rows[near])
    return chosen
