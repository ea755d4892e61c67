"""Which release somebody means, and how its stage is set up: read out of the journal and the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from builder.content import Digest
from builder.errors import LockshipError, RefusedError, StoreError, UsageError, VerificationError
from builder.pipeline.targets import Target
from builder.releases.collected import finished
from builder.releases.journal import Journal
from builder.releases.record import Record, is_record_tag, record_tag
from builder.releases.stages import Move, interrupted, rollback_candidates, settled
from builder.releases.stages import Stage as History
from builder.stagekeys import Stage
from builder.words import listed

if TYPE_CHECKING:
    from builder.project import Project

__all__ = ["Action", "Wish", "chosen", "known_versions", "no_release", "stage_config", "stage_of"]

Action = Literal["promote", "rollback"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for. `version` may be None for a rollback: the last release that was healthy there."""

    action: Action
    stage: str
    version: str | None = None
    accept: tuple[str, ...] = ()
    take_over: bool = False
    reason: str = ""


def chosen(
    target: Target, wish: Wish, journal: Journal, known: History, before: Digest | None
) -> tuple[str, Move | None]:
    """The version that is asked for, and the last time that it was good in this stage.

    `known` are the stage's moves as the journal has them, `before` what its tag names. Raises UsageError where there
    is nothing to choose from, RefusedError when there is nothing to go back to, VerificationError when the journal,
    which must say it, is not whole.
    """
    history = settled(known, before)
    good = [move for move in history.moves if move.was_good]
    if wish.version is not None:
        return wish.version, next((move for move in reversed(good) if move.version == wish.version), None)
    if wish.action == "promote":
        raise UsageError("name the version to promote")
    try:
        journal.require_whole()
    except VerificationError as error:
        error.hint = f"{error.hint}; name the release with --to, then the journal isn't asked for it"
        raise
    if (move := interrupted(known, before)) is not None:
        return move.version, move
    gone = finished(journal)
    candidates = [move for move in rollback_candidates(history, before) if move.digest not in gone]
    if not candidates:
        had = (
            f"it has {history.current.version}, and had no other that was healthy" if history.current else "it is empty"
        )
        raise RefusedError(
            f"{wish.stage} has nothing to roll back to: {had}",
            hint=f"name one with --to; releases that are there: {known_versions(target, journal)}",
        )
    return candidates[0].version, candidates[0]


def no_release(target: Target, wish: Wish, version: str, journal: Journal) -> LockshipError:
    """The error for a version that is not there, or no release."""
    hint = f"releases that are there: {known_versions(target, journal)}"
    if target.store.resolve(version) is not None:
        return StoreError(
            f"{target.name}: {version} is an image, but no release: it has no record",
            hint="`lockship release` makes one of it; `lockship push` and `lockship build` don't",
        )
    return StoreError(f"{target.name} has no release {version!r}: {wish.stage} stays as it is", hint=hint)


def known_versions(target: Target, journal: Journal, but: str = "") -> str:
    """Releases that are there, whatever the journal says, the newest by the journal first; without `but`."""
    there = {tag.removesuffix(record_tag("")) for tag in target.store.tag_names() if is_record_tag(tag)} - {but}
    written = dict.fromkeys(one.event.version or "" for one in journal.entries if one.event.kind == "release")
    known = [version for version in reversed(written) if version in there]
    return listed([*known, *sorted(there.difference(known))], 8) or "none"


def stage_config(wish: Wish, record: Record, move: Move | None, project: Project | None) -> Stage:
    """How the stage is set up: a rollback as it was when the release was good there, a promotion as it is now."""
    if wish.action == "rollback" and move is not None and isinstance(move.entry.event.notes.get("stage"), dict):
        return stage_of(move.entry.event.notes["stage"], f"the journal ({move.entry.digest.short})")
    if project is not None and project.name == record.name and wish.stage in project.stages:
        return project.stages[wish.stage]
    if wish.stage in record.stages:
        return stage_of(record.stages[wish.stage], f"the record of {record.version}")
    if wish.action == "rollback":
        return Stage()
    known = sorted(record.stages.keys() | (project.stages.keys() if project else set()))
    raise UsageError(
        f"there is no stage {wish.stage!r}",
        hint=f"there are: {', '.join(known)}" if known else f"write [stages.{wish.stage}] into the project file first",
    )


def stage_of(said: object, where: str) -> Stage:
    """The stage that somebody wrote down as JSON in `where`; raises VerificationError when it is none."""
    try:
        return Stage.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]  # the values may be secret
        problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise VerificationError(
            f"{where} says of the stage what this lockship doesn't understand: {problem}",
            hint="take the newest lockship; if this is the newest, somebody changed it",
        ) from error
