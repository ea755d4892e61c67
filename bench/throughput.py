"""A model of 2 GB next to ``curl -T`` of the same bytes, and how long it takes to ask for many blobs."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from pathlib import Path

from bench.measure import CommandError, Cost, Memory, run
from bench.project import Project
from bench.registry import Registry, registry
from bench.rows import Row
from bench.samples import Sample, metered, taking_turns
from bench.stage import BUMPED, Stage, say
from bench.traffic import Traffic

__all__ = ["model_rows", "questions_row"]

SIZE = 2_000_000_000
QUESTIONS = 130
_CHUNK = 1 << 22


def model_rows(stage: Stage) -> list[Row]:
    """The model's way, and the memory that it takes."""
    folder = stage.folder / "model"
    project = Project(folder, stage.cache, stage.environ, "lockship-bench-model", bytecode=False)
    project.write([BUMPED])
    project.call("lock")
    say("writing a model of 2 GB")
    model, digest = _noise(folder / "model.bin")
    try:
        return _transfers(stage, project, model, digest)
    finally:
        model.unlink()


def _transfers(stage: Stage, project: Project, model: Path, digest: str) -> list[Row]:
    def rest(where: Registry) -> None:
        """Everything else is there before."""
        project.model = None
        project.release(f"{where.direct}/bench/model")
        project.call("push")
        project.model = model.name
        project.release()
        os.sync()

    def push() -> Sample:
        with registry(stage.folder) as where:
            rest(where)
            return metered(where, lambda: project.call("push"))

    def plan() -> Sample:
        project.model = model.name
        project.describe()
        cost = project.call("plan")
        return Sample(cost.seconds, cost.user, Traffic(0, 0))

    def curl() -> Sample:
        with registry(stage.folder) as where:
            os.sync()
            return metered(where, lambda: _curl(where, model, digest, project))

    def checksum() -> Sample:
        cost = run(["sha256sum", str(model)], project.environ)
        return Sample(cost.seconds, cost.user, Traffic(0, 0))

    def watched() -> tuple[Cost, Memory]:
        with registry(stage.folder) as where:
            rest(where)
            return project.watched("push")

    sides = {
        "lockship push": push,
        "lockship plan": plan,
        "curl -T": curl,
        "sha256sum": checksum,
    }
    row = taking_turns("model", "a model of 2 GB", sides, min(stage.repeat, 5))
    cost, memory = watched()
    say(f"  model, watched: {memory.pss / 1e6:.0f} MB in {cost.seconds:.1f} s")
    extra = {"rss": memory.rss / 1e6, "largest": memory.largest / 1e6, "seconds": cost.seconds}
    title = "push, a model of 2 GB"
    return [row, Row("model-memory", "peak memory", "MB", {title: [memory.pss / 1e6]}, extra={title: extra})]


def _curl(where: Registry, model: Path, digest: str, project: Project) -> Cost:
    """POST, then one PUT with all bytes (OCI distribution specification, "POST then PUT")."""
    program = shutil.which("curl")
    if program is None:
        raise CommandError("curl is not installed")
    uploads = f"http://{where.direct}/v2/bench/curl/blobs/uploads/"
    silent = [program, "--silent", "--show-error", "--fail"]
    start = time.perf_counter()
    begun = run([*silent, "--dump-header", "-", "--request", "POST", uploads], project.environ, settle=False)
    location = re.search(r"(?im)^location: (\S+)", begun.stdout)
    if location is None:
        raise CommandError("the registry did not say where to send the blob")
    headers = ["--header", "Content-Type: application/octet-stream", "--header", "Expect:"]
    target = f"{location[1]}&digest={digest}"
    sent = run([*silent, *headers, "--request", "PUT", "-T", str(model), target], project.environ, settle=False)
    return Cost(time.perf_counter() - start, "", "", begun.user + sent.user, begun.system + sent.system)


def _noise(path: Path) -> tuple[Path, str]:
    state = hashlib.sha256()
    with path.open("wb") as file:
        left = SIZE
        while left:
            chunk = os.urandom(min(_CHUNK, left))
            state.update(chunk)
            file.write(chunk)
            left -= len(chunk)
    return path, f"sha256:{state.hexdigest()}"


def questions_row(stage: Stage) -> Row:
    """How long `QUESTIONS` requests take that ask for blobs which are all there."""
    from builder.content import Descriptor, Digest
    from builder.network import Network
    from builder.parallel import Stop, each
    from builder.registry.client import Registry as Client
    from builder.registry.reference import parse_repository

    blobs = [os.urandom(100) for _ in range(QUESTIONS)]
    wanted = [Descriptor("application/octet-stream", Digest.of(blob), len(blob)) for blob in blobs]
    seconds: list[float] = []
    with registry(stage.folder) as where:
        repository = parse_repository(f"{where.direct}/bench/questions")

        def client() -> Client:
            return Client(repository, Network(), lambda: None, push=True)

        with client() as store:
            pairs = list(zip(wanted, blobs, strict=True))
            each(pairs, lambda one: store.write_blob(one[0], [one[1]]), Stop(), threads=store.parallel)
        for _ in range(max(3, stage.repeat)):
            with client() as store:
                start = time.perf_counter()
                there = each(wanted, store.adopt, Stop(), threads=store.parallel)
                seconds.append(time.perf_counter() - start)
                assert all(there)
    say(f"  {QUESTIONS} questions: {sorted(seconds)[len(seconds) // 2]:.3f} s")
    return Row("questions", f"whether {QUESTIONS} blobs are there", "s", {"lockship": seconds})
