"""Rows per second of the package that `lockship export java` writes, built with Maven, upon the real runtime."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.measure import CommandError
from builder.cache import Cache
from builder.errors import LockshipError
from builder.models.contract import Contract
from builder.pipeline.maven import find_maven

__all__ = ["rows_per_second"]

_PROGRAM = Path(__file__).parent / "Rates.java"


def rows_per_second(
    contract: Contract,
    model: bytes,
    rows: Mapping[str, Any],
    folder: Path,
    cache: Cache,
    *,
    batches: Sequence[int] = (100, 10_000),
    threads: int = 0,
    seconds: float = 1.0,
    rounds: int = 5,
) -> dict[str, Any]:
    """Build the package of `contract` in `folder` and measure it with `rows`, arrays by tensor's name.

    Single rows and each of `batches`, `rounds` times for `seconds` each after as much warming up as half a round, on
    `threads` threads of onnxruntime (0: its default). A JSON document: ``runtime``, ``threads`` and ``batches``, by
    size (``"1"`` is `predict` of one row), with the ``median`` rows per second and that of each round. `cache` keeps
    Maven's repository. Raises CommandError when there is no JDK or something fails.
    """
    from tests.support.java_workshop import SOURCES, named_properties, workshop_in, write_rows

    if obstacle := find_maven(os.environ).obstacle:
        raise CommandError(f"Java: {obstacle}")
    workshop = workshop_in(cache, os.environ)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    (folder / "model.contract.json").write_bytes(contract.to_json())
    try:
        built = workshop.build(folder / "model.contract.json")
    except LockshipError as error:
        raise CommandError(f"Java: {error}") from error
    main = built.project.main
    program = _PROGRAM.read_text().replace("MODEL", main).replace("INPUT", main.removesuffix("Model") + "Input")
    (folder / "Rates.java").write_text(program, encoding="utf-8")
    classes = workshop.compile(
        folder / "classes", folder / "Rates.java", SOURCES / "Rows.java", classpath=workshop.classpath(built)
    )
    write_rows(folder / "rows.tsv", contract, rows)
    run = workshop.run(
        "java", "-Dfile.encoding=UTF-8", "-cp", workshop.classpath(built, classes), "Rates", str(folder / "rows.tsv"),
        str(seconds), str(rounds), str(threads), ",".join(map(str, batches)), *named_properties(contract),
    )  # fmt: skip
    if run.returncode != 0:
        raise CommandError(f"Java: {run.stderr}")
    rates: dict[str, list[float]] = json.loads(run.stdout)
    return {
        "runtime": built.project.onnxruntime,
        "threads": threads,
        "batches": {size: {"median": statistics.median(found), "rounds": found} for size, found in rates.items()},
    }
