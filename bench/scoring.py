"""``python -m bench.scoring``: the original model, and its ONNX in Python, Java and .NET, in one run on the same rows.

Rows per second, one by one and in batches, for the models under ``examples``; Markdown on stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import dotnet, java
from bench.measure import CommandError
from builder.cache import Cache, cache_root
from builder.models.contract import read_contract
from builder.pipeline.context import Context
from builder.pipeline.workshop import Workshop
from builder.project import load_project
from tests.support.models import golden_rows

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = ("penguins", "cars", "docstrings")
BATCHES = (1, 100, 10_000)


def in_python(name: str, folder: Path, seconds: float, rounds: int) -> dict[str, dict[str, float]]:
    """The original and its ONNX, in the environment that the example's lock says."""
    project = load_project(EXAMPLES / name / "lockship.toml")
    shop = Workshop(project, Context(Cache(cache_root(os.environ)), dict(os.environ)))
    python = shop.child(shop.own, folder).python
    model = project.model
    assert model is not None
    words = [project.path(model.source or ""), project.path(f"{name}.onnx"), project.path(model.sample or "")]
    more = [",".join(model.drop), ",".join((*model.trusted, *_trusted())), str(seconds), str(rounds)]
    program = Path(__file__).with_name("original.py")
    done = subprocess.run(
        [python, program, *words, *more, *map(str, BATCHES)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CommandError(done.stderr)
    return {side: _medians(found) for side, found in json.loads(done.stdout).items()}


def _trusted() -> Sequence[str]:
    from builder.models.inside.trusted import TRUSTED

    return sorted(TRUSTED)


def _medians(found: dict[str, list[float]]) -> dict[str, float]:
    return {size: statistics.median(rates) for size, rates in found.items()}


def measured(name: str, folder: Path, seconds: float, rounds: int) -> dict[str, dict[str, float]]:
    """Rows per second by side and batch size."""
    contract = read_contract(EXAMPLES / name / f"{name}.contract.json")
    model = (EXAMPLES / name / f"{name}.onnx").read_bytes()
    found = in_python(name, folder, seconds, rounds)
    cache = Cache(cache_root(os.environ))
    options: dict[str, Any] = {"seconds": seconds, "rounds": rounds, "batches": BATCHES[1:]}
    for side, module in (("java", java), ("dotnet", dotnet)):
        rates = module.rows_per_second(
            contract, model, golden_rows(contract, BATCHES[-1]), folder / side, cache, **options
        )
        found[side] = {size: each["median"] for size, each in rates["batches"].items()}
    return found


def markdown(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """A table of rows per second, and how many times the original's each is."""
    titles = {"original": "original model", "onnx": "onnxruntime, Python", "java": "Java", "dotnet": ".NET"}
    lines = [
        "| model | | " + " | ".join(f"batches of {size:,}" if size > 1 else "single rows" for size in BATCHES) + " |"
    ]
    lines.append("|---|---|" + "---|" * len(BATCHES))
    for name, sides in results.items():
        for side, title in titles.items():
            cells = [f"{sides[side][str(size)]:,.0f}{_times(sides, side, size)}" for size in BATCHES]
            lines.append(f"| {name} | {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _times(sides: dict[str, dict[str, float]], side: str, size: int) -> str:
    return "" if side == "original" else f" ({sides[side][str(size)] / sides['original'][str(size)]:.1f}×)"


def main(arguments: Sequence[str]) -> int:
    """Measure all examples, or those that are named."""
    parser = argparse.ArgumentParser(prog="bench.scoring", description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="lockship-bench-") as folder:
        results = {
            name: measured(name, Path(folder) / name, options.seconds, options.rounds)
            for name in options.names
            if (Path(folder) / name).mkdir() is None
        }
    sys.stdout.write(markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
