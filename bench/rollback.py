"""``python -m bench.rollback``: how long a rollback takes, whole processes, as Markdown.

From the command to the moved pointer, in a folder and in a registry on this machine; and, where a Docker engine
answers, to a healthy container, beside what the engine itself needs to start the same container and to see it healthy.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from builder.deploy.engine import Engine, connect
from builder.errors import StoreError
from tests.support.registry import serve_registry
from tests.support.releases import Yard, layout_yard, registry_yard
from tests.support.services import put_python, put_release

ROOT = Path(__file__).parents[1]


def command(yard: Yard, environ: dict[str, str], *words: str) -> float:
    """Seconds of one whole command."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "builder", *words, "--repository", yard.target.name, "--yes"],
        cwd=environ["HOME"], env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - begun


def pointer(yard: Yard, environ: dict[str, str], rounds: int) -> tuple[float, float]:
    """Medians of a promotion and of a rollback that only move the pointer."""
    for version in ("1.0", "1.1"):
        yard.release(version)
    command(yard, environ, "promote", "1.0", "production")
    promotions, rollbacks = [], []
    for _ in range(rounds):
        promotions.append(command(yard, environ, "promote", "1.1", "production"))
        rollbacks.append(command(yard, environ, "rollback", "production"))
    return statistics.median(promotions), statistics.median(rollbacks)


def container(yard: Yard, engine: Engine, environ: dict[str, str], rounds: int) -> tuple[float, float]:
    """Medians of a rollback to a healthy container, and of the engine's own start."""
    health = {"path": "/", "port": 8080, "within": 60, "watch": 0, "interval": 0.1}
    stage = f"b{uuid.uuid4().hex[:8]}"
    yard.stages = {stage: {"deploy": {"target": "docker", "drain": 1, "health": health}}}
    layer = put_python(yard.store)
    images = {version: put_release(yard.store, layer, version) for version in ("1.0", "1.1")}
    for version, image in images.items():
        yard.release(version, image=image)
    rollbacks, starts = [], []
    try:
        command(yard, environ, "promote", "1.0", stage)
        for _ in range(rounds):
            command(yard, environ, "promote", "1.1", stage)
            rollbacks.append(command(yard, environ, "rollback", stage))
            starts.append(own_start(engine, "demo:1.0"))
    finally:
        for one in engine.api.containers(all=True, filters={"name": f"demo-{stage}"}):
            engine.api.remove_container(one["Id"], force=True)
    return statistics.median(rollbacks), statistics.median(starts)


def own_start(engine: Engine, image: str) -> float:
    """What the engine needs from `create` until the server in the container answers: asked as lockship asks."""
    ask = "import socket; socket.create_connection(('127.0.0.1', 8080), 1).close()"
    begun = time.perf_counter()
    made = engine.api.create_container(image)["Id"]
    try:
        engine.api.start(made)
        while True:
            execution = engine.api.exec_create(made, ["python3", "-I", "-S", "-c", ask])["Id"]
            engine.api.exec_start(execution)
            if engine.api.exec_inspect(execution)["ExitCode"] == 0:
                return time.perf_counter() - begun
            time.sleep(0.05)
    finally:
        engine.api.remove_container(made, force=True)


@contextmanager
def yards(folder: Path) -> Iterator[dict[str, Yard]]:
    """A folder, and a registry."""
    with ExitStack() as stack:
        server = stack.enter_context(serve_registry(folder / "registry"))
        (folder / "one").mkdir()
        (folder / "other").mkdir()
        registry = stack.enter_context(registry_yard(folder / "other", server.host, "bench/rollback"))
        yield {"a folder": layout_yard(folder / "one"), "a registry on this machine": registry}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as name:
        environ = {**os.environ, "HOME": name, "PYTHONPATH": str(ROOT), "LOCKSHIP_CACHE": f"{name}/cache"}
        with yards(Path(name)) as found:
            for where, yard in found.items():
                promotion, rollback = pointer(yard, environ, rounds)
                rows.append((where, f"{promotion:.2f} s", f"{rollback:.2f} s", ""))
        rows += _containers(Path(name) / "engine", environ, rounds)
    print("| releases in | promote | rollback | the engine's own start |")
    print("|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def _containers(folder: Path, environ: dict[str, Any], rounds: int) -> list[tuple[str, ...]]:
    try:
        engine = connect(environ)
    except StoreError as error:
        print(f"no engine: {error.message}", file=sys.stderr)
        return []
    folder.mkdir()
    yard = layout_yard(folder)
    rollback, start = container(yard, engine, environ, rounds)
    engine.close()
    return [("a folder, to a healthy container", "", f"{rollback:.2f} s", f"{start:.2f} s")]


if __name__ == "__main__":
    main()
