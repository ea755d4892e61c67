"""Somebody says that a release may go on: an entry of the journal, signed."""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from builder.content import Digest
from builder.errors import UsageError
from builder.pipeline.copying import missing
from builder.pipeline.identity import Actor, Clock, now
from builder.pipeline.targets import Target
from builder.releases.chronicle import append, read_journal
from builder.releases.events import Event
from builder.releases.journal import Entry
from builder.releases.record import Record, read_record

__all__ = ["Approval", "approval_of", "approve"]

_REPOSITORY: Final = "repository"


@dataclass(frozen=True, slots=True)
class Approval:
    """What somebody signs: this release may go to this stage of this repository, whatever host it is reached by."""

    digest: Digest
    stage: str
    repository: str

    def is_meant(self, event: Event) -> bool:
        """Whether `event`, whoever wrote it, says exactly that, and not of another stage or repository."""
        said = (event.kind, event.digest, event.stage, event.notes.get(_REPOSITORY))
        return said == ("approve", self.digest, self.stage, self.repository)


def approval_of(target: Target, record: Record, stage: str) -> Approval:
    """The approval that `stage` of `target` asks for; in a folder, the project's name stands for the repository."""
    return Approval(record.digest, stage, record.name if target.repository is None else target.repository.name)


def approve(
    target: Target,
    version: str,
    stage: str,
    actor: Actor,
    clock: Clock,
    sign: Callable[[bytes], bytes],
    *,
    stages: Collection[str] = (),
) -> Entry:
    """Write that `actor` approves `version` for `stage`, signed by `sign`.

    Raises StoreError when it is no release, UsageError for a stage that neither its record nor `stages` has.
    """
    read = read_record(target.store, version)
    if read is None:
        raise missing(target.store, version, target.name)
    known = sorted({*read[0].stages, *stages})
    if stage not in known:
        raise UsageError(
            f"there is no stage {stage!r}: nobody would look at the approval",
            hint=f"there are: {', '.join(known) or 'none'}",
        )
    wanted = approval_of(target, read[0], stage)
    event = Event(
        "approve", now(clock), actor.by, actor.where, stage=stage, version=version, digest=wanted.digest,
        notes={_REPOSITORY: wanted.repository},
    )  # fmt: skip
    journal = read_journal(target.store, target.memory)
    signed = lambda data: base64.b64encode(sign(data)).decode()  # noqa: E731
    return append(target.store, journal, event, signed, memory=target.memory)
