"""Which project brings a layer to a registry first: the others wait for it, and take it from there."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from builder.content import Digest
from builder.layers.recipe import Layer
from builder.parallel import Stop
from builder.registry.reference import Repository

__all__ = ["Brought", "Claimant", "Claims"]

_LOOK: Final = 0.2  # seconds between two looks whether it is still wanted


@dataclass(frozen=True, slots=True)
class Brought:
    """A layer that is in `repository`; the worker at the address `worker` has it, too."""

    repository: Repository
    worker: str


class Claims:
    """What is being brought, and what was. Safe for several threads, one a claimant."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._known: dict[Digest, Claimant | Brought] = {}

    @contextmanager
    def made_for(self, repository: Repository) -> Iterator[Claimant]:
        """Somebody who brings layers to `repository`; what was claimed and not brought is free in the end."""
        claimant = Claimant(repository, self._changed, self._known)
        try:
            yield claimant
        finally:
            claimant.give_up()


class Claimant:
    """Claims layers for one repository."""

    def __init__(
        self, repository: Repository, changed: threading.Condition, known: dict[Digest, Claimant | Brought]
    ) -> None:
        self._repository = repository
        self._changed = changed
        self._known = known

    def claim(self, layers: Sequence[Layer]) -> tuple[list[Layer], list[Layer]]:
        """Of `layers`, those that are this one's to bring from now on, and those that others have or are bringing."""
        with self._changed:
            mine = [layer for layer in layers if layer.digest not in self._known]
            self._known |= dict.fromkeys((layer.digest for layer in mine), self)
        owned = {layer.digest for layer in mine}
        return mine, [layer for layer in layers if layer.digest not in owned]

    def settled(self, digests: Iterable[Digest], stop: Stop) -> tuple[dict[Digest, Brought], list[Digest]]:
        """Those of `digests` that somebody has brought meanwhile, and those that nobody brings any more: mine now.

        Waits until there is one. What is mine is to be brought before this is asked again: others wait for it, and
        claimants that wait for each other would wait forever. Raises StoppedError.
        """
        wanted = list(digests)
        with self._changed:
            while True:
                stop.check()
                found = {one: where for one in wanted if isinstance(where := self._known.get(one), Brought)}
                free = [one for one in wanted if one not in self._known]
                if found or free:
                    self._known |= dict.fromkeys(free, self)
                    return found, free
                self._changed.wait(_LOOK)

    def brought(self, digest: Digest, worker: str) -> None:
        """Tell the others, if they wait for this one."""
        with self._changed:
            if self._known.get(digest) is self:
                self._known[digest] = Brought(self._repository, worker)
                self._changed.notify_all()

    def give_up(self) -> None:
        """Free what was not brought."""
        with self._changed:
            for digest in [one for one, owner in self._known.items() if owner is self]:
                del self._known[digest]
            self._changed.notify_all()
