"""``python -m bench.packages``: twenty projects before and after they have one list of packages, as Markdown.

The projects are made: five kinds of work, each begun four times in the past, with real wheels of those times in their
locks. All are locked, pushed to an empty registry, aligned, locked with the list, and pushed to another empty one.
Needs apt, the package index and docker-registry; takes some minutes and 2 GB where temporary files go.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.measure import run
from bench.project import Project
from bench.registry import registry
from bench.tables import size, table
from builder.lock.file import REQUIREMENTS_FILE

VINTAGES = {
    "2023": ("numpy==1.24.4", "pandas==2.0.3", "scipy==1.10.1", "scikit-learn==1.3.0", "requests==2.31.0",
             "pydantic==2.1.1", "pydantic-core==2.4.0", "joblib==1.3.1", "certifi==2023.7.22"),
    "2024": ("numpy==1.26.4", "pandas==2.2.2", "scipy==1.13.1", "scikit-learn==1.5.0", "requests==2.32.3",
             "pydantic==2.7.4", "pydantic-core==2.18.4", "joblib==1.4.2", "certifi==2024.6.2"),
    "spring": ("numpy==2.2.6", "pandas==2.2.3", "scipy==1.15.3", "scikit-learn==1.6.1", "requests==2.32.3",
               "pydantic==2.11.4", "pydantic-core==2.33.2", "joblib==1.5.0", "certifi==2025.4.26"),
    "autumn": ("numpy==2.3.3", "pandas==2.3.2", "scipy==1.16.2", "scikit-learn==1.7.2", "requests==2.32.5",
               "pydantic==2.11.9", "pydantic-core==2.33.2", "joblib==1.5.2", "certifi==2025.8.3"),
}  # fmt: skip
"""What a project got when it was locked then: a lock stays, as far as its inputs allow."""

KINDS = {
    "report": ("pandas>=2", "requests"),
    "model": ("scikit-learn>=1.3", "pandas>=2"),
    "service": ("scikit-learn>=1.3", "pydantic>=2", "requests"),
    "stats": ("scipy", "pandas>=2"),
    "features": ("numpy", "pydantic>=2"),
}
BOUNDS = {"report-2023": ("pandas<3",), "model-2024": ("scikit-learn<1.8",)}
"""Projects that aren't ready for everything new: the list has to respect them."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What twenty pushes to an empty registry cost: bytes sent (all of them), bytes and blobs that it has then."""

    sent: int
    stored: int
    blobs: int


def projects(folder: Path, environ: Mapping[str, str]) -> list[Project]:
    """The projects, locked as in their time."""
    found = []
    for vintage, pins in VINTAGES.items():
        for kind, requirements in KINDS.items():
            name = f"{kind}-{vintage}"
            one = Project(folder / "team" / name, folder / "cache", environ, name)
            one.write((*requirements, *BOUNDS.get(name, ())))
            (one.folder / REQUIREMENTS_FILE).write_text("".join(f"{pin}\n" for pin in pins))
            say(f"lock {name}")
            one.call("lock")
            found.append(one)
    return found


def pushed(team: list[Project], folder: Path) -> Cost:
    """All projects to an empty registry, each to a repository of its own that may take layers from those before."""
    with registry(folder) as where:
        before = where.traffic()
        earlier: tuple[str, ...] = ()
        for one in team:
            repository = f"{where.host}/team/{one.name}"
            one.release(repository, shared=earlier)
            say(f"push {one.name}")
            one.call("push")
            earlier = (*earlier, repository)
        blobs = [path.stat().st_size for path in (where.folder / "storage").rglob("blobs/sha256/*/*/data")]
        return Cost(where.traffic().since(before).sent, sum(blobs), len(blobs))


def lockship(folder: Path, environ: Mapping[str, str], *words: str) -> str:
    """What a command says."""
    argv = [sys.executable, "-m", "builder", "packages", *words]
    return run(argv, {**environ, "LOCKSHIP_CACHE": str(folder / "cache")}, cwd=folder).stdout


def rows(before: Cost, after: Cost, drift: tuple[int, int]) -> list[tuple[str, ...]]:
    """The lines of the table."""
    facts = [
        ("packages in several versions", str(drift[0]), str(drift[1]), drift[0], drift[1]),
        ("blobs in the registry", str(before.blobs), str(after.blobs), before.blobs, after.blobs),
        ("bytes in the registry", size([before.stored]), size([after.stored]), before.stored, after.stored),
        ("sent by the twenty pushes", size([before.sent]), size([after.sent]), before.sent, after.sent),
    ]
    return [(what, old, new, f"{100 * (1 - y / x):.0f} %" if x else "") for what, old, new, x, y in facts]


def drifting(document: str) -> int:
    """How many packages of a survey have several versions."""
    return sum(1 for one in json.loads(document)["packages"] if one["apart"])


def measure(folder: Path, environ: Mapping[str, str]) -> str:
    """Everything, as Markdown."""
    team = projects(folder, environ)
    shown = lockship(folder, environ, "team")
    old = drifting(lockship(folder, environ, "team", "--json"))
    before = pushed(team, folder)
    aligned = lockship(folder, environ, "align", "team")
    for one in team:
        requirements = (*KINDS[one.name.partition("-")[0]], *BOUNDS.get(one.name, ()))
        one.write(requirements, ["-c ../packages.txt"])
        say(f"lock {one.name} with the list")
        one.call("lock")
    checked = lockship(folder, environ, "align", "team", "--check")
    new = drifting(lockship(folder, environ, "team", "--json"))
    after = pushed(team, folder)
    parts = [
        table(("", "each as it was locked", "with one list", "less"), rows(before, after, (old, new))),
        f"```console\n$ lockship packages team\n{shown}$ lockship packages align team\n{aligned}"
        f"$ lockship packages align team --check\n{checked}```",
        f"```\n{(folder / 'team' / 'packages.txt').read_text()}```",
        lockship(folder, environ, "team"),
    ]
    return "\n\n".join(parts)


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="work here, and leave it there")
    work = parser.parse_args().work
    root = str(Path(__file__).parents[1])
    environ = {**os.environ, "PYTHONPATH": root}
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
        print(measure(work.absolute(), environ))
        return
    with tempfile.TemporaryDirectory(prefix="lockship-bench-") as name:
        print(measure(Path(name), {**environ, "HOME": name}))


if __name__ == "__main__":
    main()
