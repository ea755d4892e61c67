"""Small releases in any store, without a lock or a build: what promote, rollback, history and gc work on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.cache import Cache
from builder.content import Digest
from builder.pipeline.context import Context
from builder.pipeline.identity import Actor
from builder.pipeline.preflight import Trust
from builder.pipeline.promoting import Machine, Moved, Proposal, Wish, carry_out, propose
from builder.pipeline.targets import Target
from builder.registry.artifact import store_artifact
from builder.registry.layout import Layout
from builder.registry.reference import Repository, parse_repository
from builder.registry.store import Store
from builder.releases.chronicle import Memory, append, read_journal
from builder.releases.events import Event
from builder.releases.journal import Journal
from builder.releases.page import page
from builder.releases.record import Record, record_artifact, record_tag
from tests.support.images import index_of, small_image

__all__ = ["Yard", "layout_yard", "put_release", "registry_yard"]


class Clock:
    """A clock that goes on by a second whenever somebody looks."""

    def __init__(self, start: float = 1_700_000_000) -> None:
        self.now = float(start)

    def __call__(self) -> float:
        self.now += 1
        return self.now


def put_release(
    target: Target, version: str, *, clock: Clock | None = None, image: Digest | None = None, **facts: Any
) -> Record:
    """A release of a small image (or of the index `image`, which is there), with a record and an entry in the journal.

    `facts` go into the record.
    """
    store, ticks = target.store, clock or Clock()
    if image is None:
        child = small_image(store, f"image of {version}")
        store.put_manifest(child.descriptor, child.data)
        index = index_of(child)
    else:
        known = store.manifest(image)
        assert known is not None
        index = known
    store.put_manifest(index.descriptor, index.data, tag=version)
    described = index.descriptor
    record = Record(
        name="demo", version=version, index=described.digest, media_type=described.media_type, size=described.size,
        images={"linux/amd64": str(described.digest)}, by="ada", at="2026-01-01T00:00:00Z", tool="lockship", **facts,
    )  # fmt: skip
    store_artifact(store, record_artifact(record, page(record)), tag=record_tag(version))
    event = Event("release", stamp(ticks), "ada", version=version, digest=record.digest)
    append(store, read_journal(store, target.memory), event)
    return record


def stamp(clock: Clock) -> str:
    """The moment, as events have it."""
    from builder.pipeline.identity import now

    return now(clock)


@dataclass
class Yard:
    """A store with releases and stages, and somebody who works on it."""

    target: Target
    context: Context
    clock: Clock = field(default_factory=Clock)
    stages: Mapping[str, Any] = field(default_factory=lambda: {"staging": {}, "production": {}})

    def release(self, version: str, **facts: Any) -> Record:
        """See `put_release`."""
        return put_release(self.target, version, clock=self.clock, **{"stages": dict(self.stages), **facts})

    def machine(self, by: str = "ada", pid: int | None = None) -> Machine:
        """A machine whose waiting takes no time; of a process that is gone when `pid` is none."""
        import os

        whoever = Actor(by, "https://ci.example.com/1", "here", os.getpid() if pid is None else pid)
        return Machine(whoever, self.clock, lambda seconds: None, lambda: 0.5)

    def propose(self, action: Any, stage: str, version: str | None = None, **wishes: Any) -> Proposal:
        """See `builder.pipeline.promoting.propose`."""
        trust = wishes.pop("trust", Trust())
        return propose(self.target, self.context, Wish(action, stage, version, **wishes), trust)

    def promote(self, version: str, stage: str = "production", **wishes: Any) -> Moved:
        """Promote."""
        return carry_out(self.target, self.context, self.propose("promote", stage, version, **wishes), self.machine())

    def rollback(self, stage: str = "production", version: str | None = None, **wishes: Any) -> Moved:
        """Roll back."""
        return carry_out(self.target, self.context, self.propose("rollback", stage, version, **wishes), self.machine())

    def has(self, stage: str = "production") -> Digest | None:
        """What the stage's tag names."""
        return self.store.resolve(stage)

    @property
    def store(self) -> Store:
        """The store."""
        return self.target.store

    def journal(self) -> Journal:
        """The journal."""
        return read_journal(self.store, self.target.memory)


def layout_yard(folder: Path) -> Yard:
    """A yard in a folder."""
    store = Layout(folder / "store")
    context = Context(Cache(folder / "cache"), {})
    return Yard(Target(store, f"oci:{folder / 'store'}", None, Memory(folder / "memory.jsonl")), context)


@contextmanager
def registry_yard(folder: Path, host: str, name: str, environ: Mapping[str, str] | None = None) -> Iterator[Yard]:
    """A yard in a repository of the registry at `host`."""
    from builder.pipeline.stores import open_registry

    repository: Repository = parse_repository(f"{host}/{name}")
    context = Context(Cache(folder / "cache"), dict(environ or {}))
    with open_registry(repository, context, push=True) as registry:
        yield Yard(Target(registry, str(repository), repository, Memory(folder / "memory.jsonl")), context)
