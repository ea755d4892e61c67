"""`lockship verify VERSION`: a release, its evidence, its signatures, every blob; and the journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from builder.content import Digest
from builder.errors import LockshipError, StoreError, VerificationError
from builder.parallel import Stop
from builder.pipeline.context import Context
from builder.pipeline.copying import missing
from builder.pipeline.evidence_checks import Finding, check_evidence
from builder.pipeline.preflight import Trust
from builder.pipeline.recounting import recount
from builder.pipeline.targets import Target
from builder.pipeline.wholeness import read_whole, require_whole
from builder.project import Project
from builder.registry.artifact import Stored
from builder.releases.chronicle import Memory
from builder.releases.record import Record, read_record
from builder.words import plural

__all__ = ["Audit", "audit_journal", "audit_release", "require_same_sources"]


@dataclass(frozen=True, slots=True)
class Audit:
    """What was looked at, the bad first; `size` bytes were read."""

    version: str
    digest: Digest
    findings: tuple[Finding, ...]
    size: int

    @property
    def ok(self) -> bool:
        """Whether all of it holds."""
        return all(one.ok for one in self.findings)

    def require(self) -> None:
        """Raise VerificationError with all that doesn't hold."""
        bad = [one for one in self.findings if not one.ok]
        if bad:
            lines = "".join(f"\n  {one.what}: {one.detail}" for one in bad)
            raise VerificationError(
                f"{self.version} does not hold:{lines}",
                hint="what is missing `lockship release` attaches; what was changed was changed by somebody",
            )

    def to_json(self) -> Mapping[str, Any]:
        """JSON values."""
        return {
            "version": self.version,
            "digest": self.digest,
            "ok": self.ok,
            "bytes": self.size,
            "findings": [one.to_json() for one in self.findings],
        }


def audit_release(target: Target, version: str, trust: Trust, context: Context) -> Audit:
    """Look at all of the release `version`, and read every byte of it.

    Without a key in `trust`, and none in the record, nothing need be signed. Raises StoreError when there is no such
    release or the store can't be reached.
    """
    from builder.releases.keys import parse_public

    store, stop = target.store, Stop()
    record, stored = _record(target, version)
    key, source = None, ""
    if trust.key is not None:
        key, source = parse_public(trust.key, trust.source), trust.source
    elif record.signing is not None:
        key, source = (
            parse_public(record.signing.get("key", "").encode(), "the record"),
            "the key that the record names",
        )
    found = [_about_tag(target, record)]
    size = 0
    try:
        contents = require_whole(store, record.digest, target.name, stop=stop)
        with context.progress.task(f"reading {version}", contents.size):
            size = read_whole(store, contents, stop=stop)
        found.append(Finding("image", record.digest, True, f"{plural(len(contents.blobs), 'blob')}, every byte read"))
        found += check_evidence(store, record.digest, key, stop=stop)
    except (VerificationError, StoreError) as error:
        if isinstance(error, StoreError) and not _is_about_content(error):
            raise
        found.append(Finding("image", record.digest, False, error.message))
    if key is not None:
        from builder.releases.signing import verify

        try:
            verify(store, stored.descriptor.digest, key)
            found.append(Finding("record", stored.descriptor.digest, True, f"signed ({source})"))
        except VerificationError as error:
            found.append(Finding("record", stored.descriptor.digest, False, error.message))
    found.append(_about_journal(target, record, stored))
    return Audit(version, record.digest, tuple(sorted(found, key=lambda one: one.ok)), size)


def _record(target: Target, version: str) -> tuple[Record, Stored]:
    read = read_record(target.store, version)
    if read is None:
        raise missing(target.store, version, target.name)
    return read


def _is_about_content(error: StoreError) -> bool:
    return "is not there" in error.message or "does not hold" in error.message or "has no" in error.message


def _about_tag(target: Target, record: Record) -> Finding:
    found = target.store.resolve(record.version)
    if found == record.digest:
        return Finding("tag", found, True, "names the image that the record is about")
    return Finding("tag", found, False, f"names {found or 'nothing'}, the record is about {record.index}")


def _about_journal(target: Target, record: Record, stored: Stored) -> Finding:
    found = recount(target)
    for line in reversed(found.lines):
        event = line.entry.event
        if event.kind == "release" and event.version == record.version:
            if event.digest != record.digest:
                why = f"says that {record.version} is {event.digest}, the record {record.index}"
                return Finding("journal", line.entry.digest, False, why)
            if (said := event.notes.get("record")) not in (None, str(stored.descriptor.digest)):
                return Finding("journal", line.entry.digest, False, f"names another record: {said}")
            return Finding("journal", line.entry.digest, True, f"released {event.at} by {event.by}")
    return Finding("journal", None, False, f"knows no release {record.version}")


def audit_journal(target: Target) -> tuple[int, tuple[str, ...]]:
    """How many entries the journal has, and what is wrong with it: entries, their tags, the stages' tags."""
    from builder.releases.journal import tagged_digest

    found = recount(replace(target, memory=Memory()))  # what this machine remembers proves nothing
    problems = list(found.problems)
    for tag in target.store.tag_names():
        digest = tagged_digest(tag)
        if digest is not None and target.store.resolve(tag) != digest:
            problems.append(f"the tag {tag} names another manifest than its own: it was moved")
    return len(found.journal.entries), tuple(problems)


def require_same_sources(project: Project, context: Context, record: Record) -> None:
    """Raise VerificationError unless the project's sources, as they are here, give the release's digest."""
    from builder.pipeline.planning import prepare

    try:
        planned = prepare(project.with_version(record.version), context)
    except LockshipError as error:
        error.hint = error.hint or f"check out the commit of the release: {record.git.commit if record.git else '?'}"
        raise
    if planned.plan.descriptor.digest != record.digest:
        commit = f"; it was made from commit {record.git.commit}" if record.git else ""
        raise VerificationError(
            f"these sources give {planned.plan.descriptor.digest}, {record.version} is {record.index}{commit}",
            hint=f"check that commit out; `lockship why {record.version}` says what differs",
        )
