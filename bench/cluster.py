"""``python -m bench.cluster``: many projects pushed by this machine and by a Dask cluster on it, one or two at work.

The projects of `bench.many`, none of their layers made, all wheels and debs in the caches; into an empty registry on
this machine. Its own processes may use one processor or two; the cluster has one worker or two, each with its own
cache. Two processors are all there are: client, scheduler and registry take their share of them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.many import Yard, locked_yard
from bench.measure import run
from bench.stage import say
from bench.tables import table
from builder.words import plural
from tests.support.cluster import Workers, serve_cluster
from tests.support.registry import serve_registry


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    parser.add_argument("--work", type=Path, help="keep repository and cache in this folder, as bench.many does")
    parser.add_argument("--counts", default="10,50,100", help="how many projects; several with commas")
    options = parser.parse_args(arguments)
    counts = sorted(int(count) for count in options.counts.split(","))
    rows = []
    with tempfile.TemporaryDirectory(prefix="lockship-cluster-") as temporary:
        yard = locked_yard((options.work or Path(temporary)).absolute(), max(counts), environ)
        for count in counts:
            for label, seconds in _measured(yard.first(count), Path(temporary), count):
                rows.append((str(count), label, f"{seconds:.1f} s", f"{seconds / count:.2f} s"))
    sys.stdout.write(f"{table(('projects', 'who makes the layers', 'all', 'for each project'), rows)}\n")
    return 0


def _measured(yard: Yard, folder: Path, count: int) -> Iterator[tuple[str, float]]:
    processors = sorted(os.sched_getaffinity(0))[:2]
    for number in (1, len(processors)):
        say(f"{count} projects, {plural(number, 'processor')}")
        os.sched_setaffinity(0, processors[:number])  # what is started inherits it
        try:
            with _registry_for(yard, folder):
                yard.forget(layers=True)
                yield f"this machine, {plural(number, 'processor')}", yard.call("push", "--all").seconds
        finally:
            os.sched_setaffinity(0, processors)
    yard.forget(layers=True)
    for number in (1, 2):
        say(f"{count} projects, {plural(number, 'worker')}")
        with _registry_for(yard, folder), serve_cluster(number) as workers, _equipped(workers, yard, folder):
            cost = yard.call("push", "--all", "--scheduler", workers.scheduler)
        yield f"a cluster, {plural(number, 'worker')}", cost.seconds


@contextmanager
def _registry_for(yard: Yard, folder: Path) -> Iterator[None]:
    """An empty registry, which the projects' files name, committed, while the context lasts."""
    git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    before = {project: (project / "lockship.toml").read_text() for project in yard.projects}
    with serve_registry(folder / "registry") as server:
        for project, text in before.items():
            repository = f'\n[store]\nrepository = "{server.host}/bench/{project.name}"\n'
            (project / "lockship.toml").write_text(text + repository)
        run([*git, "commit", "-q", "-a", "-m", "a registry"], yard.environ, cwd=yard.folder, settle=False)
        try:
            yield
        finally:
            for project, text in before.items():
                (project / "lockship.toml").write_text(text)
    shutil.rmtree(folder / "registry", ignore_errors=True)


@contextmanager
def _equipped(workers: Workers, yard: Yard, folder: Path) -> Iterator[None]:
    """The workers, each with the wheels and debs of the yard's cache, and no layer."""
    place = folder / "workers"
    workers.live_in(place, yard.environ)
    for cache in workers.caches():
        shutil.copytree(yard.cache, cache, copy_function=os.link, dirs_exist_ok=True)
    try:
        yield
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:], os.environ))
