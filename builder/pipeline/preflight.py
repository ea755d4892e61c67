"""What must hold before a stage gets a release: it is whole, signed, admitted, and fits the live database and data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from builder.content import Digest
from builder.errors import VerificationError
from builder.pipeline.approving import Approval, approval_of
from builder.pipeline.context import Context
from builder.pipeline.deploying import obstacle
from builder.pipeline.targets import Target
from builder.pipeline.wholeness import require_whole
from builder.registry.store import Manifest
from builder.releases.events import unsigned
from builder.releases.journal import Journal
from builder.releases.record import Record
from builder.releases.stages import stages_of
from builder.stagekeys import Stage

if TYPE_CHECKING:
    from builder.project import Project

__all__ = ["Finding", "Preflight", "Trust", "preflight"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found: it refuses, or is to be known. `about` is a word: schema, signature, policy, …"""

    level: Literal["refuse", "warn", "note"]
    about: str
    text: str


@dataclass(frozen=True, slots=True)
class Preflight:
    """All findings, the worst first."""

    findings: tuple[Finding, ...] = ()

    @property
    def refused(self) -> tuple[Finding, ...]:
        """What stands in the way."""
        return tuple(one for one in self.findings if one.level == "refuse")

    def but(self, about: Sequence[str]) -> Preflight:
        """The same, where refusals `about` these were accepted by name."""
        return Preflight(
            tuple(
                Finding("warn", one.about, f"accepted: {one.text}") if one.about in about else one
                for one in self.findings
            )
        )


@dataclass(frozen=True, slots=True)
class Trust:
    """Public keys that count: of the project file or the command line; `approvers` by name. PEM bytes."""

    key: bytes | None = None
    approvers: Mapping[str, bytes] | None = None
    source: str = ""
    signer: str | None = None
    """The fingerprint that the journal says, of the key that the release was checked with when it was promoted."""


def preflight(
    target: Target,
    context: Context,
    record: Record,
    manifest: Manifest,
    recorded: Digest,
    stage: str,
    config: Stage,
    journal: Journal,
    trust: Trust,
    *,
    entering: bool,
    project: Project | None = None,
) -> Preflight:
    """Compare `record`, in the manifest `recorded`, with what `stage` asks for.

    `entering` is False for a release that was there before.

    Raises StoreError when the store or the database can't be reached, VerificationError when the release is not whole.
    """
    require_whole(target.store, manifest, target.name)
    found = [
        *_journal(journal),
        *_recorded(record, recorded, journal),
        *_signature(target, record, recorded, config, trust, entering),
    ]
    if entering:
        found += _policy(target, stage, record, config, journal, trust)
    found += _database(context, record, stage, config, project, entering)
    if (hindrance := obstacle(context, config.deploy)) is not None:
        found.append(Finding("refuse", "deploy", hindrance))
    if project is not None:
        found += _data(context, record, project)
    order = {"refuse": 0, "warn": 1, "note": 2}
    return Preflight(tuple(sorted(found, key=lambda one: order[one.level])))


def _signature(
    target: Target, record: Record, recorded: Digest, config: Stage, trust: Trust, entering: bool
) -> Iterator[Finding]:
    from builder.releases.keys import parse_public
    from builder.releases.signing import verify

    if record.signing is None and (trust.key is None or not config.signed):
        if config.signed:
            yield Finding("refuse", "signature", f"{record.version} is not signed, and the stage wants that")
        else:
            yield Finding("note", "signature", f"{record.version} is not signed")
        return
    if trust.key is None:
        if config.signed and entering:
            yield Finding(
                "refuse", "signature", "no public key to check the signature with: give --key FILE (cosign.pub)"
            )
            return
        pem, source = str((record.signing or {}).get("key", "")).encode(), "the key that its record names"
    else:
        pem, source = trust.key, trust.source
    try:
        key = parse_public(pem, source)
        verify(target.store, record.digest, key)
        verify(target.store, recorded, key)
    except VerificationError as error:
        yield Finding("refuse", "signature", f"checked with {source}: {error.message}")
        return
    if trust.key is None and trust.signer not in (None, key.fingerprint):
        why = f"its record names the key {key.fingerprint}; when it was promoted that was {trust.signer}"
        yield Finding("refuse", "signature", why)
        return
    yield Finding("note", "signature", f"signed by {key.fingerprint[:23]}… ({source})")


def _journal(journal: Journal) -> Iterator[Finding]:
    if journal.problems:
        more = f" (and {len(journal.problems) - 1} more)" if len(journal.problems) > 1 else ""
        yield Finding("warn", "journal", f"it is not whole: {journal.problems[0]}{more}")


def _recorded(record: Record, recorded: Digest, journal: Journal) -> Iterator[Finding]:
    """The record is the one that was written down when the release was made."""
    for entry in reversed(journal.entries):  # the last word: a release that was deleted may be made again
        event = entry.event
        if event.kind == "release" and event.version == record.version:
            said = event.notes.get("record", str(recorded))
            if event.digest != record.digest or said != str(recorded):
                why = f"the journal says that {record.version} is {event.digest} with the record {said}, not {recorded}"
                yield Finding("refuse", "record", why)
            return


def _policy(
    target: Target, stage: str, record: Record, config: Stage, journal: Journal, trust: Trust
) -> Iterator[Finding]:
    if config.parity:
        for model in record.models:
            if model.passed is not True:
                why = "it is shipped without a comparison" if model.passed is None else "the comparison failed"
                yield Finding("refuse", "policy", f"the model {model.name} has not passed parity: {why}")
    if config.after is not None:
        before = stages_of(journal).get(config.after)
        good = before is not None and any(one.digest == record.digest and one.was_good for one in before.moves)
        if not good:
            yield Finding(
                "refuse", "policy", f"{record.version} was never healthy in {config.after}: promote it there first"
            )
    if config.approvers:
        keys = {name: pem for name, pem in (trust.approvers or {}).items() if name in config.approvers}
        approved = _approvers(approval_of(target, record, stage), journal, keys)
        if approved:
            yield Finding("note", "policy", f"approved by {', '.join(approved)}")
        else:
            names = ", ".join(sorted(config.approvers))
            why = f"nobody approved {record.version} for {stage}: {names} may, with `lockship approve`"
            yield Finding("refuse", "policy", why)


def _approvers(approval: Approval, journal: Journal, keys: Mapping[str, bytes]) -> list[str]:
    """Who gave `approval`, by the signatures of their entries."""
    import base64

    from builder.releases.keys import parse_public

    found = set()
    known = {name: parse_public(pem, f"the key of {name}") for name, pem in keys.items()}
    for entry in journal.entries:
        if not approval.is_meant(entry.event) or not entry.signature:
            continue
        try:
            signature = base64.b64decode(entry.signature, validate=True)
        except ValueError:
            continue
        found |= {name for name, key in known.items() if key.accepts(signature, unsigned(entry.event))}
    return sorted(found)


def _database(
    context: Context, record: Record, stage: str, config: Stage, project: Project | None, entering: bool
) -> Iterator[Finding]:
    if record.database is None:
        return
    if config.database is None:
        yield Finding("note", "schema", f"not compared: [stages.{stage}] names no database")
        return
    from builder.pipeline.stating import check_database

    root = project.root if project is not None else Path()
    direction: Literal["back", "forward"] = "forward" if entering else "back"
    for level, text in check_database(record.database, config.database, context, root=root, direction=direction):
        yield Finding(level, "schema", text)


def _data(context: Context, record: Record, project: Project) -> Iterator[Finding]:
    if not record.data or not project.data:
        return
    from builder.pipeline.stating import check_data

    for level, text in check_data(record.data, project, context):
        yield Finding(level, "data", text)
