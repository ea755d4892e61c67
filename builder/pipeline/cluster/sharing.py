"""Tasks that bring a layer to a registry, for all the projects that want it there at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.content import Digest
from builder.layers.recipe import Layer
from builder.registry.reference import Repository

if TYPE_CHECKING:
    from distributed import Future

__all__ = ["Bringing", "Sharing"]


@dataclass(eq=False, slots=True)
class Bringing:
    """A task that brings a layer to `repository`; `users` are the projects that wait for it."""

    repository: Repository
    future: Future
    users: int = 1


class Sharing:
    """The newest task for each layer in each registry. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, Digest], Bringing] = {}

    def join(
        self,
        layers: Sequence[Layer],
        repository: Repository,
        submit: Callable[[Sequence[Layer]], Mapping[Digest, Future]],
        failed: Mapping[Digest, Bringing],
    ) -> tuple[dict[Digest, Bringing], set[Digest]]:
        """The task of each of `layers` for the registry of `repository`, and the layers whose task is new.

        `submit` begins those that nobody has begun, and those whose newest task is the one that `failed`.
        """
        with self._lock:
            keys = {layer.digest: (repository.host, layer.digest) for layer in layers}
            lacking = [one for one in layers if self._known.get(keys[one.digest]) in (None, failed.get(one.digest))]
            begun = submit(lacking) if lacking else {}
            found = {}
            for digest, key in keys.items():
                if digest in begun:
                    self._known[key] = Bringing(repository, begun[digest])
                else:
                    self._known[key].users += 1
                found[digest] = self._known[key]
            return found, set(begun)

    def leave(self, tasks: Mapping[Digest, Bringing]) -> list[Future]:
        """Wait for `tasks` no longer; those that run on for nobody, to be called off."""
        unwanted = []
        with self._lock:
            for digest, task in tasks.items():
                task.users -= 1
                if task.users == 0 and not task.future.done():
                    unwanted.append(task.future)
                    key = (task.repository.host, digest)
                    if self._known.get(key) is task:
                        del self._known[key]
        return unwanted
