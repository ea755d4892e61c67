"""Many projects built, pushed and released: planned first, their layers made together, then one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence, Set
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from builder.content import Digest, Platform
from builder.errors import LockshipError
from builder.lock.file import LOCK_FILE, read_lock
from builder.parallel import Stop, each
from builder.pipeline.building import build_prepared
from builder.pipeline.context import Context
from builder.pipeline.makers import makers_at
from builder.pipeline.many.projects import Many, Member
from builder.pipeline.many.running import Done, Outcome, named, run_each
from builder.pipeline.many.supplying import Supply, Wish, supply
from builder.pipeline.planning import prepare
from builder.pipeline.stores import open_store
from builder.project import Project
from builder.registry.reference import parse_repository
from builder.words import human_size, plural
from builder.work import workers

if TYPE_CHECKING:
    from builder.pipeline.pushing import Pushed
    from builder.pipeline.releasing import Checked, Released
    from builder.releases.keys import PrivateKey

__all__ = ["build_all", "push_all", "release_all"]

_NEIGHBOURS: Final = 3  # repositories that a registry is asked to take layers from: each costs a request a layer


def build_all(
    many: Many, selected: Set[Path], context: Context, platforms: Sequence[Platform] | None = None
) -> Iterator[Outcome]:
    """Build each of `selected` into its own store; what they have in common is made once, and linked.

    All are planned before anything is made, and every layer is made before the first image is put together: what one
    project lacks at the end, because it could not be made, is that project's failure alone.
    """
    from builder.pipeline.remaking import make_missing  # heavy

    plans = _Plans(context, platforms)
    members = [member for member in many.members if member.file in selected and member.error is None]
    with context.progress.task("planning", len(members), unit="projects") as task:

        def one(member: Member) -> None:
            plans.make(member)
            task.advance(1)

        each(members, one, Stop(), threads=workers())
    found = supply([plans.made[one.file] for one in members if one.file in plans.made], context, make_missing)
    if found.made:
        context.progress.note(f"{plural(found.made, 'layer')} made for {plural(len(members), 'project')}")
    each(members, lambda member: plans.fill(member, found), Stop())  # mostly waits for the disk

    def build(member: Member) -> Done:
        wish, linked = plans.of(member), plans.linked.get(member.file, 0)
        built = build_prepared(wish.prepared, named(context, member.name), wish.store)
        for warning in built.warnings:
            context.progress.warn(f"{member.name}: {warning}")
        word = "built" if linked or built.written or built.previous else "was there"
        written = linked + len(built.written)
        note = f"{plural(written, 'layer')} written" if written else ""
        details = {"written": written, "previous": built.previous}
        return Done(word, built.tag, built.plan.descriptor.digest, note, details)

    yield from run_each(many, selected, build, context, "building", before=plans.seconds)


class _Plans:
    """Plans by the project's file, with what their stores lack, and why there is none. For several threads."""

    def __init__(self, context: Context, platforms: Sequence[Platform] | None) -> None:
        self._context = context
        self._platforms = platforms
        self.made: dict[Path, Wish] = {}
        self.linked: dict[Path, int] = {}
        self.seconds: dict[Path, float] = {}
        self._failed: dict[Path, Exception] = {}

    def make(self, member: Member) -> None:
        """Plan a project; whoever asks for the plan meets what it failed at."""
        assert member.project is not None
        begun = time.monotonic()
        try:
            prepared = prepare(member.project, named(self._context, member.name), self._platforms)
            self.made[member.file] = Wish.of(prepared, open_store(member.project))
        except Exception as error:
            self._failed[member.file] = error
        self.seconds[member.file] = time.monotonic() - begun

    def fill(self, member: Member, supply: Supply) -> None:
        """Put the layers into the project's store; whoever asks for the plan meets what that failed at."""
        if (wish := self.made.get(member.file)) is None:
            return
        begun = time.monotonic()
        try:
            self.linked[member.file] = supply.fill(wish)
        except Exception as error:
            self._failed[member.file] = error
        self.seconds[member.file] += time.monotonic() - begun

    def of(self, member: Member) -> Wish:
        """The plan; raises what making it did."""
        if (error := self._failed.get(member.file)) is not None:
            raise error
        return self.made[member.file]


def push_all(
    many: Many,
    selected: Set[Path],
    context: Context,
    platforms: Sequence[Platform] | None = None,
    *,
    scheduler: str | None = None,
) -> Iterator[Outcome]:
    """Push each of `selected` to its registry, which takes from those before what they have in common.

    A cluster, whose scheduler is at the address `scheduler`, has several of them at once.
    """
    from builder.pipeline.many.waves import Waves, push_wave
    from builder.pipeline.pushing import push

    neighbours = _Neighbours()

    def alone(member: Member) -> Pushed:
        project = neighbours.beside(_project_of(member))
        pushed = push(project, named(context, member.name), platforms)
        neighbours.add(project)
        return pushed

    with makers_at(scheduler, context) as makers:
        waves = Waves(many, selected, lambda wave: push_wave(wave, context, platforms, makers))
        one = alone if scheduler is None else waves.of
        yield from run_each(many, selected, lambda member: _sent(one(member), member, context), context, "pushing")


def _sent(pushed: Pushed, member: Member, context: Context) -> Done:
    for warning in pushed.prepared.warnings:
        context.progress.warn(f"{member.name}: {warning}")
    details = {
        "repository": str(pushed.reference.repository), "sent": len(pushed.sent), "mounted": pushed.mounted,
        "bytes_sent": pushed.bytes_sent,
    }  # fmt: skip
    note = f"{plural(len(pushed.sent), 'layer')} sent, {human_size(pushed.bytes_sent)}"
    note += f", {pushed.mounted} taken from others" if pushed.mounted else ""
    word, note = ("was there", "") if pushed.there else ("pushed", note)
    return Done(word, pushed.prepared.plan.facts.version, pushed.digest, note, details)


def release_all(
    many: Many,
    selected: Set[Path],
    context: Context,
    *,
    allow: Sequence[str] = (),
    key: PrivateKey | None = None,
    scheduler: str | None = None,
) -> Iterator[Outcome]:
    """Release each of `selected` into its store; see `push_all` for what they have in common, and for a cluster."""
    from builder.pipeline.many.waves import Waves, release_wave
    from builder.pipeline.releasing import checked, release

    neighbours = _Neighbours()

    def alone(member: Member) -> Released:
        project = neighbours.beside(_project_of(member))
        released = release(project, named(context, member.name), allow=allow, key=key)
        neighbours.add(project)
        return released

    with makers_at(scheduler, context) as makers:

        def check(member: Member, stop: Stop) -> AbstractContextManager[Checked]:
            its = named(context, member.name)
            return checked(_project_of(member), its, allow=allow, key=key, makers=makers, stop=stop)

        waves = Waves(many, selected, lambda wave: release_wave(wave, check))
        one = alone if scheduler is None else waves.of
        yield from run_each(
            many, selected, lambda member: _released(one(member), member, context), context, "releasing"
        )


def _released(released: Released, member: Member, context: Context) -> Done:
    for warning in released.warnings:
        context.progress.warn(f"{member.name}: {warning}")
    record = released.record
    details = {"store": released.store, "bytes_sent": released.sent}
    word, note = ("was there", "") if released.there else ("released", f"to {released.store}")
    return Done(word, record.version, record.digest, note, details)


def _project_of(member: Member) -> Project:
    assert member.project is not None
    return member.project


class _Neighbours:
    """Repositories that this run brought layers to: a registry copies nothing that it can take from them."""

    def __init__(self) -> None:
        self._holds: dict[str, frozenset[Digest]] = {}

    def add(self, project: Project) -> None:
        """`project` is in its registry now."""
        if project.store.repository is not None:
            self._holds[project.store.repository] = _layers(project)

    def beside(self, project: Project) -> Project:
        """`project`, with those repositories of its registry that have most of its layers as shared ones."""
        if project.store.repository is None:
            return project
        host = parse_repository(project.store.repository).host
        near = {name for name in self._holds if parse_repository(name).host == host} - {project.store.repository}
        wanted, chosen = set(_layers(project)), list[str]()
        while near and len(chosen) < _NEIGHBOURS:
            best = max(sorted(near), key=lambda name: len(wanted & self._holds[name]))
            if not wanted & self._holds[best]:
                break
            chosen.append(best)
            near.discard(best)
            wanted -= self._holds[best]
        shared = tuple(dict.fromkeys((*project.store.shared, *chosen)))
        return project.model_copy(update={"store": project.store.model_copy(update={"shared": shared})})


def _layers(project: Project) -> frozenset[Digest]:
    """What the lock says of layers; a lock that can't be read is for others to complain of."""
    with suppress(LockshipError):
        if (lock := read_lock(project.path(LOCK_FILE))) is not None:
            return frozenset(layer.digest for locked in lock.platforms for layer in locked.layers)
    return frozenset()
