"""A stage gets a release: promote it, roll it back, and go back by itself when the new one isn't well.

In this order: look (`propose`), write down what is about to happen, move the stage's tag, write that down, deploy,
write down how that went. Whatever cuts it off, the tag names the old release or the new one, and the journal, with the
tag, says which.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from builder.content import Digest
from builder.errors import LockshipError, RefusedError, VerificationError
from builder.pipeline.choosing import Wish, chosen, known_versions, no_release, stage_config, stage_of
from builder.pipeline.claiming import Claims, marks
from builder.pipeline.context import Context
from builder.pipeline.differing import brief
from builder.pipeline.identity import Actor, Clock, actor, now, wall_clock
from builder.pipeline.preflight import Preflight, Trust, preflight
from builder.pipeline.targets import Target
from builder.registry.store import Manifest
from builder.releases.chronicle import read_journal
from builder.releases.events import Event, Kind
from builder.releases.journal import Entry, Journal
from builder.releases.record import Record, read_record
from builder.releases.stages import Move, settled, stages_of
from builder.releases.stages import Stage as History
from builder.stagekeys import Deploy, Stage

if TYPE_CHECKING:
    from builder.project import Project

__all__ = ["Moved", "Proposal", "Wish", "carry_out", "propose"]

_GRACE: Final = 300.0  # seconds that a change may take beside its deployment


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would happen: nothing has, yet. `before` is what the stage has now."""

    wish: Wish
    record: Record
    manifest: Manifest
    config: Stage
    before: Digest | None
    before_record: Record | None
    checks: Preflight
    history: History
    changes: tuple[str, ...] = ()
    journal: Journal | None = None

    @property
    def there(self) -> bool:
        """Whether the stage has this release already, with nothing to be run."""
        current = self.history.current
        good = current is not None and current.digest == self.record.digest and current.was_good
        return self.before == self.record.digest and good and self.config.deploy.target == "none"


@dataclass(frozen=True, slots=True)
class Moved:
    """What was done: the action's entry, seconds by step, and what the deployment said."""

    proposal: Proposal
    entry: Entry | None
    healthy: bool | None
    why: str = ""
    steps: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Machine:
    """Who does it, and what of this machine that needs: the clock, and ways to wait."""

    actor: Actor
    clock: Clock = wall_clock
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random


def propose(target: Target, context: Context, wish: Wish, trust: Trust, project: Project | None = None) -> Proposal:
    """Look at everything that `wish` is about.

    Raises StoreError when a release is not there (naming those that are), UsageError for a stage that nobody knows,
    RefusedError when there is nothing to roll back to, VerificationError when something is damaged.
    """
    # the tag first: whatever moved it until then stands in the journal that is read behind it
    before = target.store.resolve(wish.stage)
    journal = read_journal(target.store, target.memory)
    known = stages_of(journal).get(wish.stage) or History(wish.stage)
    history = settled(known, before)
    version, move = chosen(target, wish, journal, known, before)
    read = read_record(target.store, version)
    if read is None:
        raise no_release(target, wish, version, journal)
    record = read[0]
    if target.store.resolve(version) not in (None, record.digest):
        raise VerificationError(
            f"the tag {version} names another image than the record of the release, which is about {record.index}",
            hint="somebody moved the tag: `lockship history` says what was released",
        )
    config = stage_config(wish, record, move, project)
    manifest = target.store.manifest(record.digest)
    if manifest is None:
        raise VerificationError(
            f"{target.name}: the image of {version} ({record.index}) is gone",
            hint=f"releases that are there: {known_versions(target, journal, version)}",
        )
    checks = preflight(
        target, context, record, manifest, read[1].descriptor.digest, wish.stage, config, journal,
        _completed(trust, record, move),
        entering=wish.action == "promote", project=project,
    ).but(wish.accept)  # fmt: skip
    before_record = _record_of(target, history, before)
    changes: tuple[str, ...] = ()
    if before_record is not None and before_record.digest != record.digest:
        changes = brief(target, before_record, record)
    return Proposal(wish, record, manifest, config, before, before_record, checks, history, changes, journal)


def carry_out(target: Target, context: Context, proposal: Proposal, machine: Machine | None = None) -> Moved:
    """Do what `propose` proposed; a no-op when the stage has the release already.

    Raises RefusedError when the preflight found something in the way, when somebody else is at the stage, and when
    the release didn't become healthy (the stage is back where it was, then); StoreError when the store fails.
    """
    wish = proposal.wish
    refuse(proposal)
    machine = machine or Machine(actor(context.environ))
    claims = Claims(
        target, wish.stage, machine.actor, machine.clock, machine.sleep, machine.jitter, journal=proposal.journal
    )
    if proposal.there:
        claims.settle(take_over=wish.take_over)  # it may be there by a run that was cut off before it said so
        return Moved(proposal, None, None, "the stage has it already")
    steps: dict[str, float] = {}
    deploy = proposal.config.deploy
    entry = claims.begin(_event(proposal, machine), take_over=wish.take_over)
    try:
        _move(claims, context, entry, proposal.manifest, proposal.before, steps)
        if deploy.target == "none":
            return Moved(proposal, entry, None, steps=steps)
        return _deployed(claims, context, proposal, entry, machine, steps)
    finally:
        claims.over(entry)


def refuse(proposal: Proposal) -> None:
    """Raise RefusedError for what the preflight found in the way."""
    refused = proposal.checks.refused
    if not refused:
        return
    lines = "".join(f"\n  {one.about}: {one.text}" for one in refused)
    hint = None
    if {one.about for one in refused} <= {"schema", "data"}:
        hint = "bring the database back (or the release forward); --accept-schema goes on, and the journal says so"
    raise RefusedError(f"{proposal.record.version} may not go to {proposal.wish.stage}:{lines}", hint=hint)


def _completed(trust: Trust, record: Record, move: Move | None) -> Trust:
    """Where the project file isn't there to say them: approvers from the record, the signer from the journal."""
    approvers = trust.approvers
    if approvers is None:
        approvers = {name: pem.encode() for name, pem in record.approvers.items()}
    signer = str(move.entry.event.notes.get("signer", "")) if move is not None else ""
    return Trust(trust.key, approvers, trust.source, signer or None)


def _record_of(target: Target, history: History, digest: Digest | None) -> Record | None:
    """The record of what the stage has, if that is a release."""
    version = next((move.version for move in reversed(history.moves) if move.digest == digest), None)
    if version is None:
        return None
    try:
        read = read_record(target.store, version)
    except VerificationError:  # what is there now may be what is to be got rid of
        return None
    return read[0] if read is not None and read[0].digest == digest else None


def _event(proposal: Proposal, machine: Machine, kind: Literal["promote", "rollback", "return"] | None = None) -> Event:
    wish, record, deploy = proposal.wish, proposal.record, proposal.config.deploy
    watched = deploy.target != "none"
    patience = _GRACE + (deploy.health.within + deploy.health.watch + deploy.drain) * 2
    notes: dict[str, Any] = {
        **marks(machine.actor, machine.clock, patience),
        "stage": proposal.config.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "watched": watched,
    }
    if record.signing:
        notes["signer"] = record.signing.get("fingerprint", "")
    if wish.accept:
        notes["accepted"] = [one.text for one in proposal.checks.findings if one.text.startswith("accepted: ")]
    if wish.reason:
        notes["reason"] = wish.reason
    before = proposal.before_record
    return Event(
        kind or wish.action, now(machine.clock), machine.actor.by, machine.actor.where, stage=wish.stage,
        version=record.version, digest=record.digest, previous=proposal.before,
        previous_version=before.version if before else None, notes=notes,
    )  # fmt: skip


def _move(
    claims: Claims,
    context: Context,
    entry: Entry,
    manifest: Manifest,
    before: Digest | None,
    steps: dict[str, float],
) -> None:
    """Move the stage's tag, and write down that it moved."""
    store, begun = claims.target.store, time.monotonic()
    wanted = manifest.descriptor.digest
    try:
        found = store.resolve(claims.stage)
        if found != before and found != wanted:
            raise claims.changed(found)
        claims.require_time(entry)
        store.put_manifest(manifest.descriptor, manifest.data, tag=claims.stage, move=True)
    except LockshipError as error:
        _give_up(claims, entry, wanted, error)
        raise
    steps["pointer"] = round(time.monotonic() - begun, 3)
    _tell(claims, context, entry, "moved")


def _tell(claims: Claims, context: Context, entry: Entry, kind: Kind, why: str = "", **notes: Any) -> None:
    """Write what became of `entry`; where that is not possible, warn."""
    try:
        claims.end(entry, kind, why, **notes)
    except LockshipError as error:
        # it is done all the same: who is told that it failed does it again, and a second rollback leads further back
        context.progress.warn(
            f"{claims.stage} has {entry.event.version}, which the journal could not be told ({kind}): {error.message}"
        )


def _give_up(claims: Claims, entry: Entry, wanted: Digest, error: LockshipError) -> None:
    """Write that nothing moved, if that is sure: an answer that was lost is no sign that nothing was done."""
    try:
        if claims.target.store.resolve(claims.stage) != wanted:
            claims.end(entry, "abandoned", why=error.message)
    except LockshipError:
        return  # whoever comes next reads it off the tag


def _deployed(
    claims: Claims, context: Context, proposal: Proposal, entry: Entry, machine: Machine, steps: dict[str, float]
) -> Moved:
    from builder.pipeline.deploying import deploy_release

    record, stage = proposal.record, proposal.wish.stage
    try:
        result = deploy_release(claims.target, context, record, stage, proposal.config.deploy, machine.sleep)
    except LockshipError as error:
        _tell(claims, context, entry, "unhealthy", error.message)
        back = _returned(claims, context, proposal, entry, machine, error.message)
        error.hint = "; ".join(filter(None, (error.hint, back)))
        raise
    steps.update(result.steps)
    if result.healthy:
        _tell(claims, context, entry, "healthy", result.why, steps=dict(result.steps))
        return Moved(proposal, entry, True, result.why, steps)
    _tell(claims, context, entry, "unhealthy", result.why, steps=dict(result.steps))
    back = _returned(claims, context, proposal, entry, machine, result.why)
    raise RefusedError(f"{record.version} did not become healthy in {stage}: {result.why}\n  {back}", hint=_LOOK)


_LOOK: Final = "`lockship history` has all of it; mend the release, or promote another"


def _returned(claims: Claims, context: Context, proposal: Proposal, action: Entry, machine: Machine, why: str) -> str:
    """See `_return`; that it failed is no reason to be silent about why it was tried."""
    stage = proposal.wish.stage
    claims.over(action)  # whether the journal could be told or not
    try:
        return _return(claims, context, proposal, machine, why)
    except LockshipError as error:
        return f"{stage} could not be taken back: {error.message}; run `lockship rollback {stage}`"


def _return(claims: Claims, context: Context, proposal: Proposal, machine: Machine, why: str) -> str:
    """Back to what the stage had, when that was a release; what was done, in words."""
    stage, former = proposal.wish.stage, proposal.before_record
    if former is None or former.digest == proposal.record.digest:
        return f"{stage} had no other release to go back to: it names {proposal.record.version}, which is not well"
    manifest = claims.target.store.manifest(former.digest)
    if manifest is None:
        return f"{stage} can't go back: the image of {former.version} is gone"
    good = next((one for one in reversed(proposal.history.moves) if one.digest == former.digest and one.happened), None)
    settings = good.entry.event.notes.get("stage") if good else None
    config = stage_of(settings, "the journal") if isinstance(settings, dict) else proposal.config
    back = Proposal(
        Wish("rollback", stage, former.version, reason=f"{proposal.record.version} was not well: {why}"[:500]),
        former, manifest, config, proposal.record.digest, proposal.record, Preflight(), proposal.history,
    )  # fmt: skip
    entry = claims.begin(_event(back, machine, "return"))
    try:
        _move(claims, context, entry, manifest, proposal.record.digest, {})
        return _redeployed(claims, context, former, entry, config.deploy, machine)
    finally:
        claims.over(entry)


def _redeployed(
    claims: Claims, context: Context, former: Record, entry: Entry, deploy: Deploy, machine: Machine
) -> str:
    from builder.pipeline.deploying import deploy_release

    stage = claims.stage
    if deploy.target == "none":
        return f"{stage} is back on {former.version}"
    try:
        result = deploy_release(claims.target, context, former, stage, deploy, machine.sleep)
    except LockshipError as error:
        _tell(claims, context, entry, "unhealthy", error.message)
        return f"{stage} names {former.version} again, but whether that runs is not known: {error.message}"
    _tell(claims, context, entry, "healthy" if result.healthy else "unhealthy", result.why)
    state = "which is healthy" if result.healthy else f"which is NOT healthy: {result.why}"
    return f"{stage} is back on {former.version}, {state}"
