"""Releases that nothing needs any more are deleted: looked for first, then once more right before, then deleted.

Whoever promotes a release at that moment wins. A clean-up writes down which releases it is about to delete and then
looks at the journal; a promotion writes down what it wants and then looks: at least one of the two sees the other. A
clean-up that sees a promotion spares its release; a promotion that sees a clean-up waits for its end and looks again
(`builder.pipeline.claiming`). What a run that was cut off left is in the journal, and the next run goes on with it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic import ValidationError

from builder.content import Digest
from builder.errors import LockshipError, StoreError, VerificationError
from builder.parallel import Stop, each
from builder.pipeline.claiming import at_work, is_over, marks
from builder.pipeline.context import Context
from builder.pipeline.identity import Clock, actor, now, wall_clock
from builder.pipeline.promoting import Machine
from builder.pipeline.surveying import Surveyor
from builder.pipeline.targets import Target
from builder.project import Project, Retention
from builder.registry.client import Registry
from builder.registry.layout import Layout
from builder.registry.sweep import Swept
from builder.releases.chronicle import append, read_journal
from builder.releases.collected import notes_of, open_collections
from builder.releases.events import Event
from builder.releases.holdings import Facts, Policy, releases_of
from builder.releases.journal import Entry
from builder.releases.record import read_record
from builder.releases.retention import Decision, Drop, decide
from builder.words import listed

__all__ = ["GRACE", "Collected", "Collection", "collect", "plan_collection", "policy_of", "requests_of"]

GRACE: Final = 3600.0
"""Seconds that a blob of a layout stays although nothing names it: a build that goes on may be about to."""

_BATCH: Final = 50  # releases between two looks at what others do; a promotion of one of them waits so long
_PATIENCE: Final = 1800.0  # seconds after which nobody need believe that a clean-up still goes on
_AHEAD: Final = 60.0  # seconds: whatever is there is older than that moment
_NOTHING: Final = Digest.of(b"nothing has this digest")


@dataclass(frozen=True, slots=True)
class Collection:
    """What would go, and why the rest stays; `requests` were needed to find out.

    `loose` are blobs of a layout that nothing names already, `later` those that nothing will when all is done.
    """

    surveyor: Surveyor
    facts: Facts
    decision: Decision
    requests: int = 0
    loose: Swept = field(default_factory=lambda: Swept({}))
    later: Swept = field(default_factory=lambda: Swept({}))

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do, nor anything to go on with."""
        return not (self.decision.drops or self.later.blobs or open_collections(self.facts.journal))


@dataclass(frozen=True, slots=True)
class Collected:
    """What was deleted: releases, manifests, and blobs of a layout; `spared` are versions that are needed now.

    `young` are blobs that nothing needs, and that wait for a later run: a build may be about to name them.
    """

    versions: tuple[str, ...]
    spared: tuple[str, ...]
    manifests: int
    swept: Swept
    young: Swept
    requests: int = 0


def policy_of(
    target: Target, project: Project | None, keep: int | None = None, keep_days: float | None = None
) -> tuple[Policy, str]:
    """How much is kept, and who says so: the project file, else the newest release's record, else the defaults.

    `keep` and `keep_days` are from the command line, and count before.
    """
    said, source = project.retention if project is not None else None, "[retention] of the project file"
    if said is None and project is None:
        said, source = _recorded(target), "[retention] of the newest release"
    if said is None:
        said, source = Retention(), "the defaults"
    if keep is not None or keep_days is not None:
        source = "the command line" if keep is not None and keep_days is not None else f"the command line, and {source}"
    return Policy(said.keep if keep is None else keep, said.keep_days if keep_days is None else keep_days), source


def _recorded(target: Target) -> Retention | None:
    """What the newest release that is there says."""
    for one in reversed(releases_of(read_journal(target.store, target.memory))):
        with suppress(VerificationError, ValidationError):  # a newer lockship's words, or damaged: the one before
            read = read_record(target.store, one.version)
            if read is not None:
                return Retention.model_validate(read[0].retention) if read[0].retention else None
    return None


def plan_collection(
    target: Target,
    policy: Policy,
    clock: Clock = wall_clock,
    *,
    stages: frozenset[str] = frozenset(),
    grace: float = GRACE,
) -> Collection:
    """Find out what of `target` may go; nothing is written to it. `stages` are those of the project file.

    Raises StoreError when the store can't be reached, VerificationError when it is damaged: what can't be read may
    need anything.
    """
    before = requests_of(target)
    surveyor = Surveyor(target, policy, stages)
    facts = surveyor.survey(clock())
    decision = decide(facts)
    surveyor.remember()
    loose = later = Swept({})
    if isinstance(target.store, Layout):
        gone = {one for drop in decision.drops for one in drop.manifests}
        loose, later = target.store.unreferenced(time.time() - grace, gone)
    return Collection(surveyor, facts, decision, requests_of(target) - before, loose, later)


def collect(
    target: Target, context: Context, plan: Collection, machine: Machine | None = None, *, grace: float = GRACE
) -> Collected:
    """Delete what `plan` says, but for what somebody needs by now.

    Raises StoreError when the store can't be reached, or doesn't allow deleting: nothing is changed then. Cut off at
    any moment, it can be run again; every release that is not whole then is one that goes.
    """
    machine = machine or Machine(actor(context.environ))
    before = requests_of(target)
    run = _Run(target, plan.surveyor, machine)
    if plan.decision.drops or open_collections(plan.facts.journal):
        _require_deleting(target)
        gone = frozenset(digest for drop in plan.decision.drops for digest in (*drop.manifests, drop.digest) if digest)
        facts = plan.surveyor.ask_tied(plan.facts, gone)
        wanted = decide(facts).drops
        size = _BATCH if isinstance(target.store, Registry) else len(wanted)
        try:
            for first in range(0, len(wanted), size or 1):
                facts = run.batch(facts, wanted[first : first + size])
            run.finish(facts)
        finally:
            plan.surveyor.remember(run.deleted)
    swept = young = Swept({})
    if isinstance(target.store, Layout):
        swept = target.store.sweep(time.time() - grace)
        young, _ = target.store.unreferenced(time.time() + _AHEAD)
    requests = requests_of(target) - before
    return Collected(tuple(run.versions), tuple(run.spared), len(run.deleted), swept, young, requests)


def requests_of(target: Target) -> int:
    """How many requests the target's store has sent; 0 for a folder."""
    return int(getattr(target.store, "requests", 0))


def _require_deleting(target: Target) -> None:
    """Raise StoreError where nothing can be deleted, before anything is begun."""
    if isinstance(target.store, Registry):
        target.store.drop(_NOTHING)


@dataclass
class _Run:
    """One clean-up, a batch after the other."""

    target: Target
    surveyor: Surveyor
    machine: Machine
    versions: list[str] = field(default_factory=list)
    spared: list[str] = field(default_factory=list)
    deleted: set[Digest] = field(default_factory=set)

    def batch(self, facts: Facts, wanted: Sequence[Drop]) -> Facts:
        """Announce `wanted`, look again, delete what may still go, and say so; the facts as they are then."""
        until = self.machine.clock() + _PATIENCE
        names = {digest: version for drop in wanted for digest, version in _named(drop)}
        manifests = [digest for drop in wanted for digest in drop.manifests]
        notes = notes_of(names, manifests, **marks(self.machine.actor, self.machine.clock, _PATIENCE))
        entry = self._write(facts, self._event(sorted(set(names.values())), notes))
        with at_work(entry):
            facts = self.surveyor.again(facts, self.machine.clock())
            announced = set(manifests)
            going = [drop for drop in decide(facts).drops if drop.digest is None or drop.digest in names]
            stays = {digest: names[digest] for digest in names.keys() - {drop.digest for drop in going}}
            try:
                self._delete([(drop, [one for one in drop.manifests if one in announced]) for drop in going], until)
            except LockshipError as error:
                if not self.deleted & announced:
                    with suppress(LockshipError):  # a later run takes it for cut off, which costs a little time
                        self._end(facts, entry, {"spared": list(names), "why": error.message})
                raise
            self.surveyor.forget(self.deleted)
            facts = self._end(facts, entry, {"spared": list(stays)} if stays else {})
        self.spared += stays.values()
        self.versions += [version for drop in going for version in drop.versions]
        return facts

    def finish(self, facts: Facts) -> None:
        """What runs that were cut off left is gone now, or stays: nobody need look after it again."""
        store = self.target.store
        if isinstance(store, Registry):
            for subject in [one for one in self.surveyor.lists if one not in self.surveyor.nodes]:
                store.drop(self.surveyor.lists.pop(subject))
        for entry in open_collections(facts.journal):
            if is_over(entry, self.machine.actor, self.machine.clock):
                known = {str(one.digest) for one in releases_of(facts.journal) if one.digest in self.surveyor.nodes}
                stays = [one for one in entry.event.notes.get("digests", ()) if one in known]
                facts = self._end(facts, entry, {"spared": stays, "reason": "a run that was cut off is finished"})

    def _delete(self, drops: Sequence[tuple[Drop, Sequence[Digest]]], until: float) -> None:
        store = self.target.store
        if isinstance(store, Layout):
            gone = {digest for _, manifests in drops for digest in manifests}
            store.unlist(gone)
            self.deleted |= gone
            return
        assert isinstance(store, Registry)

        def drop_all(one: tuple[Drop, Sequence[Digest]]) -> None:
            for digest in one[1]:
                if self.machine.clock() > until - _PATIENCE / 3:
                    raise StoreError(
                        f"{self.target.name}: deleting takes so long that others will take it for dead",
                        hint="run the same command again: it goes on where it stopped",
                    )
                store.drop(digest)
                self.deleted.add(digest)
                if (names := self.surveyor.lists.pop(digest, None)) is not None:
                    store.drop(names)

        each(drops, drop_all, Stop(), threads=store.parallel)

    def _event(self, versions: Sequence[str], notes: dict[str, Any], of: Digest | None = None) -> Event:
        whoever = self.machine.actor
        said = {"reason": f"deletes {listed(versions, 5)}"} if versions else {}
        return Event("collect", now(self.machine.clock), whoever.by, whoever.where, of=of, notes={**said, **notes})

    def _end(self, facts: Facts, entry: Entry, notes: dict[str, Any]) -> Facts:
        ended = self._write(facts, self._event((), {"reason": "done", **notes}, of=entry.digest))
        return replace(facts, journal=facts.journal.with_entry(ended))

    def _write(self, facts: Facts, event: Event) -> Entry:
        return append(self.target.store, facts.journal, event, memory=self.target.memory)


def _named(drop: Drop) -> list[tuple[Digest, str]]:
    return [] if drop.digest is None else [(drop.digest, ", ".join(drop.versions))]
