"""What is measured, row by row, on all sides."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.contexts import Context
from bench.project import Project, change_code
from bench.sides import ALL, LOCKSHIP, Side
from bench.stage import Stage, say

__all__ = ["ROWS", "Row"]

_HEAVY = "sklearn, pandas, onnxruntime, scipy.stats"
_IMPORT = (
    "import sys, time; start = time.perf_counter(); import {heavy}; "
    "print(time.perf_counter() - start); assert sys.version_info >= (3, 11)"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: samples by side, in `unit` (``s`` or ``MB``); `note` says what was equal and what was not."""

    key: str
    title: str
    unit: str
    samples: Mapping[str, list[float]]
    note: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As results are kept."""
        return asdict(self)


def _timed(prepare: Callable[[], object], act: Callable[[], float]) -> Callable[[], float]:
    def action() -> float:
        prepare()
        return act()

    return action


def _both(
    stage: Stage, ours: Callable[[Project], Callable[[], float]], theirs: Callable[[Context], Callable[[], float]]
) -> dict[str, Callable[[], float]]:
    """An action for every side."""
    stage.docker()
    actions: dict[str, Callable[[], float]] = {}
    for side in ALL:
        if side in LOCKSHIP:
            actions[side.name] = ours(stage.projects[side.bytecode])
        else:
            actions[side.name] = theirs(stage.contexts[side])
    return actions


def _build(project: Project) -> float:
    return project.call("build").seconds


def downloads(stage: Stage) -> list[Row]:
    """The environment with all downloads: no wheel was ever here."""
    fresh = itertools.count(1)

    def ours(project: Project) -> Callable[[], float]:
        def prepare() -> None:
            project.switch("new")
            project.forget_layers()
            project.forget_wheels()
            project.forget_store()

        return _timed(prepare, lambda: _build(project))

    def theirs(context: Context) -> Callable[[], float]:
        def prepare() -> None:
            context.engine.prune()
            context.write(stage.projects[False].requirements("new"), cache=f"{context.cache}-fresh-{next(fresh)}")
            context.touch()

        return _timed(prepare, lambda: context.build().seconds)

    samples = stage.interleaved(_both(stage, ours, theirs), repeat=min(stage.repeat, 3))
    stage.docker().prune(caches="-fresh-")
    return [Row("downloads", "environment, with its downloads", "s", samples)]


def cached(stage: Stage) -> list[Row]:
    """The environment from downloads that are there; no layer was ever made."""

    def ours(project: Project) -> Callable[[], float]:
        return _timed(lambda: _unmade(project), lambda: _build(project))

    def theirs(context: Context) -> Callable[[], float]:
        lock = stage.projects[False].requirements("new")
        stage.fill(context, [lock])

        def prepare() -> None:
            context.engine.prune()
            context.write(lock)
            context.touch()

        return _timed(prepare, lambda: context.build().seconds)

    return [Row("cached", "environment, downloads cached", "s", stage.interleaved(_both(stage, ours, theirs)))]


def _unmade(project: Project) -> None:
    project.switch("new")
    _ensure_wheels(project)
    project.forget_layers()
    project.forget_store()


def _ensure_wheels(project: Project) -> None:
    """Another row may have thrown the wheels away; a build without layers fetches them."""
    from builder.cache import Cache

    cache = Cache(project.cache)
    if any(cache.blob(wheel.digest) is None for wheel in project.locked().wheels):
        project.forget_layers()
        project.forget_store()
        project.call("build")


def nothing_changed(stage: Stage) -> list[Row]:
    """A second build of the same."""
    actions = _built(stage, lambda _: None)
    return [Row("nothing-changed", "nothing changed", "s", stage.interleaved(actions))]


def code_changed(stage: Stage) -> list[Row]:
    """One line of the project's own code is another."""
    return [Row("code-changed", "code changed", "s", stage.interleaved(_built(stage, change_code)))]


def _built(stage: Stage, change: Callable[[Any], None]) -> dict[str, Callable[[], float]]:
    """Builds after a first one that isn't measured."""

    def ours(project: Project) -> Callable[[], float]:
        project.switch("new")
        project.call("build")
        return _timed(lambda: change(project.folder), lambda: _build(project))

    def theirs(context: Context) -> Callable[[], float]:
        lock = stage.projects[False].requirements("new")
        stage.fill(context, [lock])
        context.write(lock)
        context.build()
        return _timed(lambda: change(context.folder), lambda: context.build().seconds)

    return _both(stage, ours, theirs)


def bump(stage: Stage) -> list[Row]:
    """One small dependency moved; the new lock is checked out, its wheel is there, the old image has been built."""

    def ours(project: Project) -> Callable[[], float]:
        project.switch("old")
        _ensure_wheels(project)
        project.call("build")

        def prepare() -> None:
            project.switch("new")
            project.forget_layers(but="old")

        return _timed(prepare, lambda: _build(project))

    def theirs(context: Context) -> Callable[[], float]:
        old, new = (stage.projects[False].requirements(name) for name in ("old", "new"))
        stage.fill(context, [old, new])
        context.write(old)
        context.build()

        def prepare() -> None:
            context.write(new)
            context.touch()

        return _timed(prepare, lambda: context.build().seconds)

    samples = stage.interleaved(_both(stage, ours, theirs))
    return [Row("bump", "one small dependency bumped", "s", samples, note=stage.facts["bumped"])]


def engine(stage: Stage) -> list[Row]:
    """As `cached` and `bump`, until the image can be run in the engine: `docker build` ends there anyway."""
    docker = stage.docker()

    def load(project: Project) -> float:
        seconds = project.call("load").seconds
        docker.adopt(_tag(project))
        return seconds

    def fresh(project: Project) -> Callable[[], float]:
        def prepare() -> None:
            docker.forget_adopted()
            _unmade(project)

        return _timed(prepare, lambda: load(project))

    def bumped(project: Project) -> Callable[[], float]:
        def prepare() -> None:
            docker.forget_adopted()
            project.switch("old")
            _ensure_wheels(project)
            load(project)
            project.switch("new")
            project.forget_layers(but="old")

        return _timed(prepare, lambda: load(project))

    rows = []
    for key, title, ours in (("engine", "environment, downloads cached", fresh), ("engine-bump", "one bumped", bumped)):
        actions = {side.name: ours(stage.projects[side.bytecode]) for side in LOCKSHIP}
        rows.append(Row(key, f"{title}, and loaded into the engine", "s", stage.interleaved(actions)))
    return rows


def _tag(project: Project) -> str:
    return f"{project.name}:1.0.0"


def _images(stage: Stage) -> dict[Side, str]:
    """The example's image on every side, in the engine, by tag."""
    docker = stage.docker()
    images = {}
    for side in ALL:
        if side in LOCKSHIP:
            project = stage.projects[side.bytecode]
            project.switch("new")
            project.call("load")
            docker.adopt(_tag(project))
            images[side] = _tag(project)
        else:
            context = stage.contexts[side]
            lock = stage.projects[False].requirements("new")
            stage.fill(context, [lock])
            context.write(lock)
            context.build()
            images[side] = context.tag
    return images


def imports(stage: Stage) -> list[Row]:
    """Importing the heavy packages in a container, timed inside; the first start of each image doesn't count."""
    docker = stage.docker()
    program = _IMPORT.format(heavy=_HEAVY)

    def action(image: str) -> Callable[[], float]:
        return lambda: float(docker.python(image, program))

    actions = {side.name: action(image) for side, image in _images(stage).items()}
    for act in actions.values():
        act()
    samples = stage.interleaved(actions, repeat=stage.repeat if stage.repeat == 1 else 2 * stage.repeat + 1)
    return [Row("import", f"import {_HEAVY} in a container", "s", samples)]


def sizes(stage: Stage) -> list[Row]:
    """The image without its base, compressed as it is transferred and unpacked; the base is one and the same."""
    from bench.engine import base_image
    from bench.sizes import compressed_above, unpacked_above

    docker = stage.docker()
    transfer: dict[str, list[float]] = {}
    unpacked: dict[str, list[float]] = {}
    for side, image in _images(stage).items():
        unpacked[side.name] = [unpacked_above(docker, image, base_image(side.bytecode)) / 1e6]
        if side in LOCKSHIP:
            project = stage.projects[side.bytecode]
            base = {layer.digest for layer in project.locked().layers if layer.kind == "deb"}
            layers = [one for one in project.manifest()["layers"] if one["digest"] not in base]
            transfer[side.name] = [sum(one["size"] for one in layers) / 1e6]
        else:
            transfer[side.name] = [compressed_above(docker, image, base_image(side.bytecode)) / 1e6]
        say(f"  {side.name:<20} {transfer[side.name][0]:8.1f} MB, unpacked {unpacked[side.name][0]:8.1f} MB")
    note = "docker's layers compressed by gzip at its default level, as `docker push` does"
    return [
        Row("size", "image above the base, compressed", "MB", transfer, note=note),
        Row("size-unpacked", "image above the base, unpacked", "MB", unpacked),
    ]


def startup(stage: Stage) -> list[Row]:
    """Whole processes that have nothing to do."""
    import sys

    from bench.measure import run

    project = stage.projects[True]
    project.switch("new")
    project.call("build")
    bare = [sys.executable, "-c", "pass"]
    actions = {
        "python -c pass": lambda: run(bare, project.environ, settle=False).seconds,
        "lockship --help": lambda: run([*project.argv("--help")[:3], "--help"], project.environ, settle=False).seconds,
        "lockship plan": lambda: run(project.argv("plan"), project.environ, settle=False).seconds,
        "lockship build": lambda: run(project.argv("build"), project.environ, settle=False).seconds,
        "lockship lock --check": lambda: run(project.argv("lock", "--check"), project.environ, settle=False).seconds,
    }
    samples = stage.interleaved(actions, repeat=stage.repeat if stage.repeat == 1 else 2 * stage.repeat + 1)
    return [Row("startup", "whole process, nothing to do", "s", samples)]


def memory(stage: Stage) -> list[Row]:
    """Peak memory of everything lockship starts."""
    from bench.memory import memory_rows

    return memory_rows(stage)


def growth(stage: Stage) -> list[Row]:
    """The environment from cached downloads, for ever more packages."""
    from bench.growth import growth_rows

    return growth_rows(stage)


def push_first(stage: Stage) -> list[Row]:
    """A built image into an empty registry."""
    from bench.releases import first

    return [first(stage)]


def push_bump(stage: Stage) -> list[Row]:
    """One small dependency bumped: build and push."""
    from bench.releases import bumped

    return [bumped(stage)]


def push_code(stage: Stage) -> list[Row]:
    """Other code, from runners that start with nothing."""
    from bench.releases import code

    return [code(stage)]


def push_second(stage: Stage) -> list[Row]:
    """A second project with the same packages."""
    from bench.releases import neighbour

    return [neighbour(stage)]


def arrival(stage: Stage) -> list[Row]:
    """One changed dependency on its way into an engine."""
    from bench.arrival import arrival_row

    return [arrival_row(stage)]


def model(stage: Stage) -> list[Row]:
    """A model of 2 GB."""
    from bench.throughput import model_rows

    return model_rows(stage)


def questions(stage: Stage) -> list[Row]:
    """Whether many blobs are there."""
    from bench.throughput import questions_row

    return [questions_row(stage)]


ROWS: Mapping[str, Callable[[Stage], list[Row]]] = {
    "downloads": downloads,
    "cached": cached,
    "nothing-changed": nothing_changed,
    "code-changed": code_changed,
    "bump": bump,
    "engine": engine,
    "import": imports,
    "size": sizes,
    "memory": memory,
    "growth": growth,
    "startup": startup,
    "push-first": push_first,
    "push-bump": push_bump,
    "push-code": push_code,
    "push-second": push_second,
    "arrival": arrival,
    "model": model,
    "questions": questions,
}
