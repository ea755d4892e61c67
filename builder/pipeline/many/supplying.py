"""The layers that many projects lack, each made once, however many need it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Self

from builder.content import Digest, Platform
from builder.errors import LockshipError, StoreError, VerificationError
from builder.layers.recipe import Layer
from builder.lock.file import Lock, LockedPlatform
from builder.lock.inputs import read_inputs
from builder.lock.pins import Artifact
from builder.pipeline.context import Context, host_platform
from builder.pipeline.making import interpreter_debs
from builder.pipeline.planning import Prepared
from builder.registry.layout import Layout
from builder.work import workers

__all__ = ["Supply", "Wish", "supply"]

_HOPELESS = 3  # stores and networks that failed in a row: what is left would fail alike


@dataclass(frozen=True, slots=True)
class Wish:
    """A project's plan, its store, and the layers that it lacks there and that aren't the project's own, each once."""

    prepared: Prepared
    store: Layout
    lacking: tuple[Layer, ...]

    @classmethod
    def of(cls, prepared: Prepared, store: Layout) -> Self:
        """Look into the store; raises VerificationError and StoreError as it does."""
        layers = {layer.digest: layer for image in prepared.plan.images for layer in image.layers}
        others = [layer for digest, layer in layers.items() if digest not in prepared.local]
        return cls(prepared, store, tuple(layer for layer in others if not store.adopt(layer.descriptor)))


@dataclass
class Supply:
    """What `supply` found out: layers that nobody could make, by those who tried."""

    context: Context
    failures: dict[tuple[Hashable, Digest], Exception] = field(default_factory=dict)
    made: int = 0

    def fill(self, wish: Wish) -> int:
        """Put what a project lacks into its store; how many layers that were. Raises what making one of them did."""
        for layer in wish.lacking:
            path = self.context.cache.blob(layer.digest)
            if path is None:
                known = self.failures.get((_circumstances(wish.prepared, self.context), layer.digest))
                raise known or StoreError(
                    f"layer {layer.title} is gone from the cache", hint="does somebody clean it? run the command again"
                )
            wish.store.add_file(layer.descriptor, path)
        return len(wish.lacking)


def supply(
    wishes: Sequence[Wish], context: Context, make: Callable[[Prepared, Context, Sequence[Layer]], None]
) -> Supply:
    """Have `make` (see `builder.pipeline.remaking.make_missing`) put into the cache what the projects' stores lack.

    Projects that get their packages from the same places, and compile with the same interpreter, are served together;
    one that differs tries by itself what the others didn't get. Nothing is raised for what can't be made.
    """
    found = Supply(context)
    sound = _sound({layer.digest: layer for wish in wishes for layer in wish.lacking}.values(), context)
    groups: dict[Hashable, list[Wish]] = {}
    for wish in wishes:
        if any(layer.digest not in sound for layer in wish.lacking):
            groups.setdefault(_circumstances(wish.prepared, context), []).append(wish)
    for key, group in groups.items():
        needed = {layer.digest: layer for wish in group for layer in wish.lacking}
        left = [layer for digest, layer in needed.items() if context.cache.blob(digest) is None]
        effort = _Effort(_together([wish.prepared for wish in group]), context, make)
        effort.make(left)
        found.failures |= {(key, digest): error for digest, error in effort.failures.items()}
        found.made += len(left) - len(effort.failures)
    return found


def _sound(layers: Iterable[Layer], context: Context) -> frozenset[Digest]:
    """Those whose bytes are in the cache, hashed again: they become part of something that lasts."""

    def is_sound(layer: Layer) -> bool:
        try:
            return context.cache.checked(layer.digest) is not None
        except VerificationError as error:
            context.progress.warn(f"{error.message}; {layer.title} is made again")
            return False

    several = sorted(layers, key=lambda layer: -layer.size)
    with ThreadPoolExecutor(workers()) as pool:
        return frozenset(layer.digest for layer, fine in zip(several, pool.map(is_sound, several), strict=True) if fine)


@dataclass
class _Effort:
    """Makes what can be made, and finds out what can't: halves, quarters, … of what failed together."""

    together: Prepared
    context: Context
    call: Callable[[Prepared, Context, Sequence[Layer]], None]
    failures: dict[Digest, Exception] = field(default_factory=dict)
    hopeless: int = 0

    def make(self, layers: Sequence[Layer]) -> None:
        """Make `layers`; what fails, alone, is written down."""
        if not layers:
            return
        try:
            self.call(self.together, self.context, layers)
            self.hopeless = 0
        except Exception as error:  # a bug of ours, too, is only the failure of those that need the layer
            self._divide([layer for layer in layers if self.context.cache.blob(layer.digest) is None], error)

    def _divide(self, left: Sequence[Layer], error: Exception) -> None:
        if isinstance(error, StoreError):
            self.hopeless += 1
        if len(left) == 1 or self.hopeless >= _HOPELESS:
            self.failures |= {layer.digest: error for layer in left}
            return
        middle = len(left) // 2
        self.make(left[:middle])
        self.make(left[middle:])


def _together(several: Sequence[Prepared]) -> Prepared:
    """One plan with the recipes of all, and a lock with the artifacts of all."""
    recipes = {digest: recipe for one in several for digest, recipe in one.recipes.items()}
    sources = {digest: source for one in several for digest, source in one.sources.items()}
    platforms: dict[Platform, list[LockedPlatform]] = {}
    for locked in (locked for one in several for locked in one.lock.platforms):
        platforms.setdefault(locked.platform, []).append(locked)
    lock: Lock = replace(several[0].lock, platforms=tuple(_merged(alike) for alike in platforms.values()))
    return replace(several[0], lock=lock, recipes=recipes, sources=sources)


def _merged(alike: Sequence[LockedPlatform]) -> LockedPlatform:
    def every(artifacts: Iterable[Artifact]) -> tuple[Artifact, ...]:
        return tuple({one.digest: one for one in artifacts}.values())

    return replace(
        alike[0],
        debs=every(one for locked in alike for one in locked.debs),
        wheels=every(one for locked in alike for one in locked.wheels),
    )


def _circumstances(prepared: Prepared, context: Context) -> Hashable:
    """What two projects must have in common to be served together.

    Where their packages come from, which interpreter compiles, and what is read in the project's own folder.
    """
    project, lock = prepared.project, prepared.lock
    options, alone = None, project.image.snapshot is not None or project.java is not None
    alone = alone or any(one.conda or any(wheel.built_from for wheel in one.wheels) for one in lock.platforms)
    try:
        options = read_inputs(project, context.environ).options
    except LockshipError:  # whoever fetches says it again
        alone = True
    host = host_platform()
    own = [locked.debs for locked in lock.platforms if locked.platform == host]
    debs = own[0] if own else lock.interpreters.get(host, ()) if host is not None else ()
    return (
        project.root.resolve() if alone else None,
        options,
        tuple((one, one.keyring and project.path(one.keyring).resolve()) for one in project.image.sources),
        (lock.base, lock.base_digest, lock.base_digest and (project.store.repository, project.store.plain_http)),
        tuple(sorted(one.digest for one in interpreter_debs(debs))),
        tuple(sorted((locked.platform, locked.python, locked.bytecode) for locked in lock.platforms)),
    )
