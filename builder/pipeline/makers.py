"""Who makes layers that nobody has: this machine's processes, or a cluster (`builder.pipeline.cluster`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from builder.content import Digest
from builder.layers.recipe import Layer
from builder.models.artifact import ModelArtifact
from builder.parallel import Stop
from builder.pipeline.context import Context
from builder.pipeline.planning import Prepared
from builder.pipeline.sealing import seal
from builder.registry.reference import Repository
from builder.registry.store import Store

__all__ = ["LOCAL", "Build", "Made", "Makers", "makers_at"]


@dataclass(frozen=True, slots=True)
class Made:
    """Where layers are now: those in `cached` in this machine's cache, for the caller to write into the store.

    The others are in the store; `sent` says how many bytes that took, none for a layer that was there or mounted.
    """

    cached: frozenset[Digest] = frozenset()
    sent: Mapping[Digest, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Build:
    """A plan that becomes true in `store`; `shared` are repositories that it may take layers from.

    `stop` ends whatever is done for it with StoppedError.
    """

    prepared: Prepared
    context: Context
    store: Store
    shared: Sequence[Repository]
    stop: Stop


class Makers(Protocol):
    """Makes locked layers, and finishes an image once its store has them all. Safe for several threads."""

    def make(self, build: Build, layers: Sequence[Layer]) -> Made:
        """Make `layers`, verified: what the lock says, or VerificationError."""

    def finish(self, build: Build, models: Sequence[ModelArtifact], *, move: bool) -> int:
        """As `builder.pipeline.sealing.seal`; the bytes that others than the build's own store sent for it."""


class _Local:
    """The process pool of `builder.work`; layers stay in this machine's cache."""

    def make(self, build: Build, layers: Sequence[Layer]) -> Made:
        from builder.pipeline.remaking import make_missing  # heavy, and needed seldom

        make_missing(build.prepared, build.context, layers)
        return Made(frozenset(layer.digest for layer in layers))

    def finish(self, build: Build, models: Sequence[ModelArtifact], *, move: bool) -> int:
        seal(build.prepared.plan, models, build.store, build.stop, move=move)
        return 0


LOCAL: Final[Makers] = _Local()


@contextmanager
def makers_at(scheduler: str | None, context: Context) -> Iterator[Makers]:
    """The cluster whose scheduler is at the address `scheduler`; without one, this machine's own processes."""
    if scheduler is None:
        yield LOCAL
        return
    from builder.pipeline.cluster.scheduler import open_cluster  # Dask: only who names a scheduler needs it

    with open_cluster(scheduler, context.progress) as cluster:
        yield cluster
