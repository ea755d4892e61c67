"""Somebody says that a release may go on: an entry of the journal, signed."""

from __future__ import annotations

import base64
from collections.abc import Callable

from builder.content import Digest
from builder.pipeline.copying import missing
from builder.pipeline.identity import Actor, Clock, now
from builder.pipeline.targets import Target
from builder.releases.chronicle import append, read_journal
from builder.releases.events import Event
from builder.releases.journal import Entry
from builder.releases.record import read_record

__all__ = ["approve"]


def approve(
    target: Target, version: str, stage: str | None, actor: Actor, clock: Clock, sign: Callable[[bytes], bytes]
) -> Entry:
    """Write that `actor` approves `version` (for `stage`), signed by `sign`; StoreError when it is no release."""
    read = read_record(target.store, version)
    if read is None:
        raise missing(target.store, version, target.name)
    digest: Digest = read[0].digest
    event = Event("approve", now(clock), actor.by, actor.where, stage=stage, version=version, digest=digest)
    journal = read_journal(target.store, target.memory)
    return append(target.store, journal, event, lambda data: base64.b64encode(sign(data)).decode())
