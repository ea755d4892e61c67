"""Releases to a registry: the first, one with a bumped dependency, one with other code, and a neighbour's.

On docker's side it is uv with its cache mount and byte code, the strongest of the alternatives.
"""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

from bench.contexts import Context
from bench.engine import Engine
from bench.measure import Cost
from bench.project import Project, change_code, write_tree
from bench.registry import Registry, registry
from bench.rows import Row
from bench.samples import Sample, metered, taking_turns
from bench.sides import Side
from bench.stage import BUMPED, EXAMPLE, FILES, Stage

__all__ = ["OURS", "THEIRS", "Team", "bumped", "code", "first", "neighbour", "shipped"]

OURS = "lockship"
THEIRS = "docker + uv"
FRESH = "docker + uv, fresh runner"
INLINE = "docker + uv, fresh runner, --cache-from"
SIDE = Side("uv", True)
_COLD = "-cold"


class Team:
    """The people with the Dockerfile: builds and pushes of one context."""

    def __init__(self, stage: Stage, context: Context | None = None) -> None:
        self.docker: Engine = stage.docker()
        self.context = context or stage.contexts[SIDE]
        self._stage = stage

    def at(self, lock: str) -> None:
        """Check out a lock, on a builder whose cache mount has what it names."""
        text = self._stage.projects[False].requirements(lock)
        self._stage.fill(self.context, [text])
        self.context.write(text)

    def start_runner(self, lock: str) -> None:
        """A runner that was just started: no image, no build cache, an empty cache mount; `lock` is checked out."""
        self.forget(self.context.tag)
        self.docker.prune()
        self.docker.prune(caches=_COLD)
        # always the same name: it is part of what a build cache knows a step by
        self.context.write(self._stage.projects[False].requirements(lock), cache=f"{self.context.cache}{_COLD}")

    def build(self, name: str, *options: str) -> Cost:
        """``docker build`` under `name`."""
        return self.docker.build_as(self.context.folder, name, *options)

    def push(self, name: str) -> Cost:
        """``docker push``."""
        return self.docker.call("push", "--quiet", name)

    def forget(self, *names: str) -> None:
        """Remove images, but for what the build cache holds of them."""
        for name in names:
            self.docker.remove(name)

    def release(self, where: Registry, name: str, *options: str) -> Sample:
        """Build and push, measured; the image is removed afterwards."""
        sample = metered(where, lambda: self.build(name, *options), lambda: self.push(name))
        self.forget(name)
        return sample


def first(stage: Stage) -> Row:
    """The built image into an empty registry."""
    ours, theirs = shipped(stage), Team(stage)
    ours.switch("new")
    ours.call("build")
    theirs.at("new")
    theirs.build(theirs.context.tag)

    def push() -> Sample:
        with registry(stage.folder) as where:
            ours.release(f"{where.host}/bench/first")
            return metered(where, lambda: ours.call("push"))

    def docker_push() -> Sample:
        with registry(stage.folder) as where:
            name = f"{where.host}/bench/first:1"
            theirs.docker.tag(theirs.context.tag, name)
            sample = metered(where, lambda: theirs.push(name))
            theirs.forget(name)
            return sample

    return taking_turns(
        "push-first", "first push, of an image that is built", {OURS: push, THEIRS: docker_push}, stage.repeat
    )


def bumped(stage: Stage) -> Row:
    """The version before is in the registry, the new wheel is here; build and push."""
    ours, theirs = shipped(stage), Team(stage)
    with registry(stage.folder) as where:
        repository = f"{where.host}/bench/bumped"
        ours.switch("old")
        ours.release(repository)
        ours.call("push")
        theirs.at("old")
        theirs.release(where, f"{repository}-docker:1")
        where.keep()

        def push() -> Sample:
            where.restore()
            ours.switch("new")
            ours.forget_layers(but="old")
            ours.release()
            return metered(where, lambda: ours.call("push"))

        def docker_push() -> Sample:
            theirs.at("new")
            theirs.context.touch()
            return theirs.release(where, f"{repository}-docker:2")

        title = f"one small dependency bumped ({stage.facts['bumped']})"
        row = taking_turns("push-bump", title, {OURS: push, THEIRS: docker_push}, stage.repeat)
        layer = next(one.size for one in ours.locked().layers if BUMPED in one.holds)
        return replace(row, extra={**row.extra, "layer": layer})


def code(stage: Stage) -> Row:
    """One line of code is another; the version before is in the registry, and runners start with nothing."""
    ours, theirs = shipped(stage), Team(stage)
    with registry(stage.folder) as where:
        repository = f"{where.host}/bench/code"
        ours.switch("new")
        ours.release(repository)
        ours.call("push")
        runner = _elsewhere(ours, stage.folder / "runner")
        inline = ("--build-arg", "BUILDKIT_INLINE_CACHE=1")
        numbers = itertools.count(2)

        def push() -> Sample:
            change_code(runner.folder)
            _empty(runner)
            runner.release(repository)
            return metered(where, lambda: runner.call("push"))

        def released(name: str, *options: str) -> Sample:
            change_code(theirs.context.folder)
            return theirs.release(where, f"{repository}-{name}:{next(numbers)}", *options)

        def fresh() -> Sample:
            theirs.start_runner("new")
            return released("fresh")

        def cached() -> Sample:
            theirs.start_runner("new")
            return released("inline", "--cache-from", f"{repository}-inline:1", *inline)

        few = min(stage.repeat, 3)
        theirs.at("new")
        theirs.release(where, f"{repository}-warm:1")
        warm = taking_turns("push-code", "code changed", {THEIRS: lambda: released("warm")}, few)
        theirs.start_runner("new")
        theirs.release(where, f"{repository}-inline:1", *inline)
        row = taking_turns("push-code", "code changed", {OURS: push, FRESH: fresh, INLINE: cached}, few)
        theirs.docker.prune(caches=_COLD)
        return _joined(row, warm)


def _joined(row: Row, other: Row) -> Row:
    extra = {key: {**row.extra[key], **other.extra[key]} for key in row.extra}
    return Row(row.key, row.title, row.unit, {**row.samples, **other.samples}, row.note, extra)


def neighbour(stage: Stage) -> Row:
    """A second project with the same lock: its layers are in the registry, in another repository."""
    ours, theirs = shipped(stage), Team(stage)
    with registry(stage.folder) as where:
        first = f"{where.host}/bench/first"
        ours.switch("new")
        ours.release(first)
        ours.call("push")
        second = _elsewhere(ours, stage.folder / "second", name="lockship-bench-second")
        context = Context(theirs.docker, SIDE, stage.folder / "docker" / "second", EXAMPLE, FILES, name="second")
        team = Team(stage, context)
        theirs.at("new")
        theirs.build(theirs.context.tag)
        name = f"{first}-docker:1"
        theirs.docker.tag(theirs.context.tag, name)
        theirs.push(name)
        numbers = itertools.count(1)

        def push() -> Sample:
            change_code(second.folder)
            _empty(second)
            second.release(f"{where.host}/bench/second-{next(numbers)}", shared=(first,))
            return metered(where, lambda: second.call("push"))

        def warm() -> Sample:
            team.at("new")
            change_code(context.folder)
            return team.release(where, f"{where.host}/bench/docker-{next(numbers)}:1")

        few = min(stage.repeat, 3)
        title = "a second project with the same packages"
        row = taking_turns("push-second", title, {OURS: push, THEIRS: warm}, few)
        theirs.forget(name)
        return row


def shipped(stage: Stage) -> Project:
    """The example with both of its locks, to be pushed."""
    example = stage.projects[True]
    project = example.elsewhere(stage.folder / "shipped", example.cache)
    write_tree(project.folder, EXAMPLE, FILES)
    return project


def _elsewhere(project: Project, folder: Path, *, name: str | None = None) -> Project:
    """The same project, checked out on another machine."""
    found = project.elsewhere(folder, folder / "cache", name=name)
    write_tree(folder, EXAMPLE, FILES)
    found.switch("new")
    return found


def _empty(project: Project) -> None:
    """A runner that was just started: nothing in the cache, no store."""
    shutil.rmtree(project.cache, ignore_errors=True)
    project.forget_store()
