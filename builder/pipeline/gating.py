"""The gate: rows that the sample and the gate give, the original's scores, each consumer's, and the verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from builder.models.children import Child
from builder.models.runtimes import DEFAULT, parse_consumer
from builder.models.spec import bounds
from builder.pipeline.runtimes import Runtime
from builder.pipeline.workshop import Workshop
from builder.project import Model

__all__ = ["Gated", "gate", "runtimes_of"]

SEED: Final = 20240229  # any number will do, as long as it stays
BATCHES: Final = (1, "all", 0)
THREADS: Final = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Gated:
    """The verdict, what was scored with, and, when it failed, the first step that differs."""

    verdict: dict[str, Any]
    runtimes: tuple[dict[str, Any], ...]
    notices: tuple[str, ...]
    first_difference: dict[str, Any] | None

    @property
    def passed(self) -> bool:
        """Whether the scores are the same."""
        return bool(self.verdict["passed"])


def gate(
    shop: Workshop,
    model: Model,
    runtimes: Sequence[Runtime],
    spec: Mapping[str, Any],
    answers: Mapping[str, dict[str, Any]],
    original: Child,
    converter: Child,
    folder: Path,
    advance: Callable[[int], None],
) -> Gated:
    """Compare the scores of the original with those of ``model.onnx`` in `folder`, under every consumer's onnxruntime.

    `answers` are those of `sample`, `explain` and `convert`. `advance` is told of each of five steps.
    """
    converted, explained = answers["convert"], answers["explain"]
    onnx = str(folder / "model.onnx")
    common = {
        "model": dict(spec),
        "onnx": onnx,
        "inputs": converted["inputs"],
        "outputs": converted["outputs"],
        "columns": answers["sample"]["columns"],
        "input": explained["input"],
        "kind": explained["kind"],
        "features": explained.get("features"),
        "precision": model.precision,
        "tolerance": dict(zip(("absolute", "relative"), bounds(model), strict=True)),
        "seed": SEED,
    }
    rows = converter.run("rows", {**common, "table": str(folder / "sample.npz")}).result
    common |= {"rows": rows["file"], "groups": rows["groups"]}
    advance(1)
    reference = original.run("reference", common).result
    advance(1)
    scored = []
    for runtime in runtimes:
        child = converter
        if runtime.environment is not None:
            child = shop.child(runtime.environment, folder, runtime.python)
        scored.append(child.run("score", {**common, "batches": BATCHES, "threads": THREADS}).result)
    advance(1)
    verdict = converter.run("compare", {**common, "reference": reference, "scored": scored}).result
    advance(1)
    first = None if verdict["passed"] else _first_difference(common, verdict, original, converter)
    advance(1)
    used = tuple(_used(runtime, one["runtime"]) for runtime, one in zip(runtimes, scored, strict=True))
    notices = tuple(runtime.notice for runtime in runtimes if runtime.notice is not None)
    return Gated(verdict, used, notices, first)


def runtimes_of(shop: Workshop, model: Model) -> Sequence[Runtime]:
    """One for each version of onnxruntime; several consumers may share one."""
    declared = [parse_consumer(text) for text in model.consumers] or [parse_consumer(DEFAULT)]
    found: dict[str | None, Runtime] = {}
    for consumer in declared:
        with shop.context.progress.task(f"looking for onnxruntime {consumer.version}", None):
            runtime = shop.runtime(consumer)
        known = found.setdefault(runtime.version, runtime)
        if known is not runtime and runtime.notice is not None and known.notice is not None:
            found[runtime.version] = Runtime(
                known.consumer, None, None, None, None,
                f"{known.notice}; {runtime.notice}",
            )  # fmt: skip
    return list(found.values())


def _used(runtime: Runtime, version: str) -> dict[str, Any]:
    """What a consumer's scores came from, for the report."""
    python = None if runtime.python is None else runtime.python.target.python
    return {
        "consumer": str(runtime.consumer),
        "version": version,
        "wheel": runtime.wheel,
        "python": python,
        "notice": runtime.notice,
    }


def _first_difference(
    common: Mapping[str, Any], verdict: Mapping[str, Any], original: Child, converter: Child
) -> dict[str, Any] | None:
    """Where in the pipeline it starts: the original's intermediate outputs against the graph's."""
    worst = [row["row"] for row in verdict["worst"]]
    (converter.folder / "verdict.json").write_text(json.dumps(verdict), encoding="utf-8")
    theirs = original.run("steps", {**common, "side": "original", "only": worst}).result
    return converter.run("steps", {**common, "side": "onnx", "only": worst, "original": theirs}).result
