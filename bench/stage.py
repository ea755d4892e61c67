"""Everything that is there before the first measurement: projects, locks, contexts, filled caches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.config import index_configuration
from bench.contexts import Context
from bench.engine import Engine, base_image
from bench.project import ROOT, Project, write_tree
from bench.sides import ALL, LOCKSHIP, Side

__all__ = ["BUMPED", "EXAMPLE", "FILES", "Stage", "say"]

EXAMPLE = ROOT / "examples" / "breast-cancer"
FILES = ("data", "model.onnx", "score")
BUMPED = "prometheus-client"
_NAME = "lockship-bench"


def say(text: str) -> None:
    """One line about what happens."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


@dataclass
class Stage:
    """The example, locked with and without byte code, each at two locks: ``new`` and ``old`` (one package behind)."""

    folder: Path
    environ: Mapping[str, str]
    engine: Engine | None
    repeat: int
    projects: dict[bool, Project] = field(default_factory=dict)
    contexts: dict[Side, Context] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    _filled: set[str] = field(default_factory=set)

    @property
    def cache(self) -> Path:
        """Our cache."""
        return self.folder / "cache"

    def prepare(self) -> None:
        """Lock the example and set up the contexts. Takes the downloads of everything, once."""
        requirements = [line for line in (EXAMPLE / "requirements.in").read_text().splitlines() if line[:1] not in "#"]
        for side in LOCKSHIP:
            project = Project(
                folder=self.folder / side.name,
                cache=self.cache,
                environ=self.environ,
                name=f"{_NAME}-{'bytecode' if side.bytecode else 'plain'}",
                bytecode=side.bytecode,
                files=FILES,
            )
            write_tree(project.folder, EXAMPLE, FILES)
            if side.bytecode:  # the same pins on all sides
                (project.folder / "requirements.lock").write_bytes(self.projects[False].requirements("new"))
            self._lock_twice(project, requirements)
            self.projects[side.bytecode] = project

    def _lock_twice(self, project: Project, requirements: Iterable[str]) -> None:
        say(f"locking {project.name}")
        project.write(requirements)
        project.call("lock")
        project.keep("new")
        newest = project.pinned(BUMPED)
        project.write(requirements, [f"{BUMPED}<{newest}"])
        project.call("lock")
        project.keep("old")
        self.facts["bumped"] = f"{BUMPED} {project.pinned(BUMPED)} → {newest}"
        project.switch("new")
        self.facts["wheels"] = str(len(project.locked().wheels))
        self.facts["wheels size"] = f"{sum(one.size for one in project.locked().wheels) / 1e6:.0f} MB"

    def docker(self) -> Engine:
        """The engine, with the base and the tools in it, contexts written and cache mounts filled."""
        assert self.engine is not None
        if self.contexts:
            return self.engine
        say("base image into the engine")
        for bytecode in (False, True):
            name, _, version = base_image(bytecode).partition(":")
            base = Project(self.folder / name, self.cache, self.engine.environ, name, version, bytecode)
            base.call("lock")
            base.call("load")
            self.engine.adopt(base_image(bytecode))
        self.facts["docker side"] = self.engine.prepare(*index_configuration(self.environ))
        for side in ALL:
            if side in LOCKSHIP:
                continue
            self.contexts[side] = Context(self.engine, side, self.folder / "docker" / side.name, EXAMPLE, FILES)
        return self.engine

    def fill(self, context: Context, locks: Iterable[bytes]) -> None:
        """Everything that `locks` name is in the cache mount of `context` afterwards."""
        for lock in locks:
            if (mark := f"{context.cache} {hash(lock)}") in self._filled:
                continue
            self._filled.add(mark)
            say(f"filling the cache mount of docker + {context.side.tool}")
            context.write(lock, offline=False)
            context.touch()
            context.build()

    def interleaved(
        self, actions: Mapping[str, Callable[[], float]], *, repeat: int | None = None
    ) -> dict[str, list[float]]:
        """Each action in turn, `repeat` times over; what they return, by name."""
        samples: dict[str, list[float]] = {name: [] for name in actions}
        for number in range(repeat or self.repeat):
            for name, action in actions.items():
                value = action()
                samples[name].append(value)
                say(f"  {number + 1}. {name:<20} {value:8.3f}")
        return samples
