"""Peak memory of lockship and of everything it starts, on the example and on a wheel of 2 GB."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import Cost, Memory
from bench.project import Project
from bench.rows import Row
from bench.stage import Stage, say
from bench.wheel import synthetic_wheel

__all__ = ["memory_rows"]

_SIZE = 2_200_000_000


def memory_rows(stage: Stage) -> list[Row]:
    """Builds without a layer, of the example and of one huge wheel, and the lock that downloads that wheel."""
    found: dict[str, tuple[Cost, Memory]] = {}
    for bytecode, project in stage.projects.items():
        project.switch("new")
        project.call("build")
        project.forget_layers()
        project.forget_store()
        title = f"build, the example, {'with' if bytecode else 'without'} byte code"
        found[title] = project.watched("build")
        _say(title, *found[title])
    with _served(stage) as (huge, size):
        found[f"lock, a wheel of {size}"] = huge.watched("lock")
        _say("lock, huge", *found[f"lock, a wheel of {size}"])
        huge.forget_layers()
        found[f"build, a wheel of {size}"] = huge.watched("build")
        _say("build, huge", *found[f"build, a wheel of {size}"])
        huge.forget_layers()
        huge.forget_wheels()
        huge.forget_store()
    note = (
        "Each row is the peak of the sum over all processes, looked at a hundred times a second. The first column "
        "shares out pages that several processes have in common (PSS), the second counts them in each (RSS)."
    )
    samples = {title: [memory.pss / 1e6] for title, (_, memory) in found.items()}
    extra = {
        title: {"rss": memory.rss / 1e6, "largest": memory.largest / 1e6, "seconds": cost.seconds}
        for title, (cost, memory) in found.items()
    }
    return [Row("memory", "peak memory", "MB", samples, note, extra)]


def _say(title: str, cost: Cost, memory: Memory) -> None:
    say(f"  {title}: {memory.pss / 1e6:.0f} MB shared out, {memory.rss / 1e6:.0f} MB summed, {cost.seconds:.1f} s")


@contextmanager
def _served(stage: Stage) -> Iterator[tuple[Project, str]]:
    """A project that needs one huge wheel, and an index of our own that has it."""
    folder = stage.folder / "index"
    (folder / "simple" / "heavy").mkdir(parents=True, exist_ok=True)
    say("writing a wheel of 2 GB")
    wheel = synthetic_wheel(folder, _SIZE)
    (folder / "simple" / "heavy" / "index.html").write_text(f'<a href="../../{wheel.name}">{wheel.name}</a>')
    # a process of its own: the watcher keeps this one busy
    argv = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    server = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    port = server.stdout.readline().partition(" port ")[2].split()[0]
    environ = {key: value for key, value in stage.environ.items() if not key.startswith(("PIP_", "UV_"))}
    environ |= {"PIP_CONFIG_FILE": "/dev/null", "PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple"}
    try:
        project = Project(stage.folder / "huge", stage.cache, environ, "lockship-bench-huge")
        project.write(["heavy"])
        for left in (project.folder / "lockship.lock", project.folder / "requirements.lock"):
            left.unlink(missing_ok=True)
        project.forget_store()
        yield project, f"{wheel.stat().st_size / 1e9:.1f} GB"
    finally:
        server.terminate()
        server.communicate()
        Path(wheel).unlink()
