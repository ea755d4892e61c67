"""Who makes layers that nobody has: this machine's processes, or a cluster (`builder.pipeline.cluster`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

__all__ = ["LOCAL", "Made", "Makers"]


@dataclass(frozen=True, slots=True)
class Made:
    """Where layers are now: those in `cached` in this machine's cache, for the caller to write into the store.

    The others are in the store; `sent` says how many bytes that took, none for a layer that was there or mounted.
    """

    cached: frozenset[Digest] = frozenset()
    sent: Mapping[Digest, int] = field(default_factory=dict)


class Makers(Protocol):
    """Makes locked layers, and finishes an image once its store has them all. Safe for several threads."""

    def make(
        self,
        prepared: Prepared,
        context: Context,
        layers: Sequence[Layer],
        store: Store,
        shared: Sequence[Repository],
        stop: Stop,
    ) -> Made:
        """Make `layers` of `prepared`, verified: what the lock says, or VerificationError.

        `shared` are repositories that `store` may take layers from; `stop` ends it with StoppedError.
        """

    def finish(
        self, prepared: Prepared, models: Sequence[ModelArtifact], store: Store, stop: Stop, *, move: bool
    ) -> int:
        """As `builder.pipeline.sealing.seal`; the bytes that others than `store` sent for it."""


class _Local:
    """The process pool of `builder.work`; layers stay in this machine's cache."""

    def make(
        self,
        prepared: Prepared,
        context: Context,
        layers: Sequence[Layer],
        store: Store,
        shared: Sequence[Repository],
        stop: Stop,
    ) -> Made:
        from builder.pipeline.remaking import make_missing  # heavy, and needed seldom

        make_missing(prepared, context, layers)
        return Made(frozenset(layer.digest for layer in layers))

    def finish(
        self, prepared: Prepared, models: Sequence[ModelArtifact], store: Store, stop: Stop, *, move: bool
    ) -> int:
        seal(prepared.plan, models, store, stop, move=move)
        return 0


LOCAL: Final[Makers] = _Local()
