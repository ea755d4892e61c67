"""``python -m bench.coverage``: what converts to ONNX, of all of scikit-learn and of many pipelines; writes the page.

It runs in an environment of its own, that of the tests of conversions; uv keeps its packages between runs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.coverage_cases import Case
    from bench.coverage_run import Result

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "models-coverage.md"
_LIBRARIES = (
    "scikit-learn",
    "skl2onnx",
    "onnx",
    "onnxruntime",
    "protobuf",
    "xgboost-cpu",
    "lightgbm",
    "catboost",
    "numpy",
)


def main(arguments: Sequence[str]) -> int:
    """Run; 1 when a wrong score got past the gate, or a program broke."""
    parser = argparse.ArgumentParser(prog="python -m bench.coverage")
    parser.add_argument("--only", help="names that contain this; nothing is written")
    parser.add_argument("--part", choices=["estimators", "pipelines"], help="one of the two tables; nothing is written")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(arguments)
    if os.environ.get("LOCKSHIP_COVERAGE") != "inside":
        return _elsewhere(arguments)
    parts = {"estimators": "Estimators of scikit-learn", "pipelines": "Pipelines and boosters"}
    sources = {"estimators": _estimators, "pipelines": _pipelines}
    chosen = [part for part in parts if options.part in (None, part)]
    found = {parts[part]: _all(sources[part], options.only, options.jobs) for part in chosen}
    if options.only is None and options.part is None:
        PAGE.write_text(page(found), encoding="utf-8")
    for results in found.values():
        sys.stdout.write(f"{dict(Counter(one.outcome for one in results))}\n")
    every = [one for results in found.values() for one in results]
    return 1 if any(one.silent or one.outcome == "broken" for one in every) else 0


def _elsewhere(arguments: Sequence[str]) -> int:
    """Start this again where the converters are."""
    uv = [sys.executable, "-m", "uv", "run", "--no-project", "--python", "3.11"]
    needs = ["--with-requirements", str(ROOT / "tests" / "models" / "inside" / "converter.txt")]
    command = [*uv, *needs, "python", "-m", "bench.coverage", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "LOCKSHIP_COVERAGE": "inside"}, check=False).returncode


def _estimators() -> list[Case]:
    from bench.coverage_cases import estimators

    return list(estimators())


def _pipelines() -> list[Case]:
    from bench.coverage_pipelines import pipelines

    return list(pipelines())


def _all(source: Callable[[], list[Case]], only: str | None, jobs: int) -> list[Result]:
    names = [case.name for case in source() if only is None or only in case.name]
    found = []
    with ProcessPoolExecutor(jobs, initializer=_quiet) as pool:
        for result in pool.map(_one, names, [source.__name__] * len(names)):
            found.append(result)
            sys.stderr.write(
                f"{result.outcome:12} {result.name}  {(result.silent or result.reason)[:400]} {result.applied}\n"
            )
            sys.stderr.flush()
    return found


def _quiet() -> None:
    import warnings

    warnings.simplefilter("ignore")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)


def _one(name: str, source: str) -> Result:
    """By name: what makes a case can't be sent to another process."""
    from bench.coverage_run import run

    case = next(one for one in globals()[source]() if one.name == name)
    with tempfile.TemporaryDirectory(prefix="lockship-coverage-") as folder:
        return run(case, Path(folder))


def page(found: dict[str, list[Result]]) -> str:
    """The page as Markdown."""
    from importlib.metadata import version

    every = [one for results in found.values() for one in results]
    silent = [one for one in every if one.silent]
    lines = [
        "# What converts to ONNX",
        "",
        "`python -m bench.coverage` writes this page. Each model is fitted, explained, converted for onnxruntime 1.14",
        "and newer, and gated on 300 rows and on rows made around its thresholds, categories and limits. A model that",
        "passes is then scored on 400 to 600 fresh rows by a program that shares no code with the gate.",
        "",
        f"Versions: {', '.join(f'{name} {version(name)}' for name in _LIBRARIES)}.",
        "",
        f"Wrong scores that got past the gate: **{len(silent) or 'none'}**.",
        "",
        "- **ok**: within the tolerance (1e-5 absolute, 1e-4 relative), labels equal, on 1, 2 and 4 threads and in",
        "  batches of 1, all and no rows.",
        "- **refused**: not converted, for the reason given; nothing is written.",
        "- **failed gate**: converted, but scores differ; nothing is written but the report.",
        "",
    ]
    for title, results in found.items():
        counts = Counter(one.outcome for one in results)
        lines += [
            f"## {title}",
            "",
            ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()) + ".",
            "",
        ]
        lines += ["| model | outcome | reason, or what was done |", "|---|---|---|"]
        lines += [_row(one) for one in results]
        lines.append("")
    if silent:
        lines += ["## Past the gate", "", *[f"- {one.name}: {one.silent}" for one in silent], ""]
    return "\n".join(lines).rstrip() + "\n"


def _row(one: Result) -> str:
    said = one.reason if one.outcome != "ok" else ", ".join(one.applied)
    text = " ".join(said.replace("|", "\\|").replace("<", "&lt;").split())
    return f"| {one.name} | {one.outcome} | {text[:240]} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
