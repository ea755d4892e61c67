"""The journal: an append-only history of releases and stages, kept in the store beside them.

A grow-only set of small OCI artifacts, one tag each. An entry names the entries that were the newest when it was
written, by digest, and its tag names its own: what was changed, or taken away behind a later entry, shows. Registries
have no compare-and-swap, and a grow-only set needs none: two writers at once lose nothing, their entries stand side
by side, and the next one names both. (A Merkle DAG, as git's history is one.)
"""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from builder.content import Digest
from builder.errors import LockshipError, VerificationError
from builder.registry.artifact import Artifact, artifact
from builder.registry.manifests import parse_manifest
from builder.releases.events import Event, parse_event

__all__ = [
    "ARTIFACT_TYPE",
    "Entry",
    "Journal",
    "entry_artifact",
    "entry_tag",
    "is_journal_tag",
    "journal_of",
    "parse_entry",
    "tagged_digest",
]

ARTIFACT_TYPE: Final = "application/vnd.lockship.journal.entry.v1"
_EVENT: Final = "dev.lockship.journal.event"
_SAW: Final = "dev.lockship.journal.saw"
_SIGNATURE: Final = "dev.lockship.journal.signature"
_TAG: Final = re.compile(r"journal\.[0-9]{8}T[0-9]{6}Z\.([0-9a-f]{64})")
_PREFIXES: Final = ("journal.", "journal-pack.")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: its manifest's digest, the entries that it saw as the newest, and what happened.

    `time` is when, for the order of things: never before what it saw, whatever the writer's clock said.
    `signature` is base64, over the event's bytes, by a key that whoever reads must have from elsewhere.
    """

    digest: Digest
    saw: tuple[Digest, ...]
    event: Event
    signature: str | None = None
    time: str = ""

    @property
    def clock_went_back(self) -> bool:
        """Whether the writer's clock was behind that of somebody who wrote before."""
        return self.time != self.event.at


@dataclass(frozen=True, slots=True)
class Journal:
    """All entries, causes before effects; `problems` says what is missing or not what it should be."""

    entries: tuple[Entry, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def heads(self) -> tuple[Digest, ...]:
        """Entries that no other saw, by digest: what the next one names."""
        seen = {digest for entry in self.entries for digest in entry.saw}
        return tuple(sorted(entry.digest for entry in self.entries if entry.digest not in seen))

    def with_entry(self, entry: Entry) -> Journal:
        """The journal with one more, written after all the others."""
        latest = max((one.time for one in self.entries), default="")
        timed = Entry(entry.digest, entry.saw, entry.event, entry.signature, max(latest, entry.event.at))
        return Journal((*self.entries, timed), self.problems)

    def require_whole(self) -> None:
        """Raise VerificationError when entries are missing or damaged."""
        if self.problems:
            more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
            raise VerificationError(
                f"the journal is not whole: {self.problems[0]}{more}",
                hint="somebody changed or deleted what must stay: `lockship verify --journal` lists all of it",
            )


def is_journal_tag(tag: str) -> bool:
    """Whether a tag belongs to the journal, and to nothing that people gave."""
    return tag.startswith(_PREFIXES)


def tagged_digest(tag: str) -> Digest | None:
    """The digest of the entry that has this tag, which says it itself; None for other tags."""
    found = _TAG.fullmatch(tag)
    return Digest.from_hex(found[1]) if found else None


def entry_tag(event: Event, digest: Digest) -> str:
    """The tag of an entry: sorted by time for people who list tags, unique by its digest."""
    return f"journal.{event.at.replace('-', '').replace(':', '')}.{digest.hex}"


def entry_artifact(event: Event, saw: Iterable[Digest], signature: str | None = None) -> Artifact:
    """The artifact of an entry; the event stands in its manifest, so that one request reads it."""
    notes = {_EVENT: json.dumps(event.to_json(), sort_keys=True, ensure_ascii=False), _SAW: " ".join(sorted(saw))}
    if signature:
        notes[_SIGNATURE] = signature
    return artifact(ARTIFACT_TYPE, annotations=notes)


def parse_entry(data: bytes) -> Entry:
    """The entry whose manifest has the bytes `data`; raises VerificationError for anything else."""
    document = parse_manifest(data)
    if document is None or document.get("artifactType") != ARTIFACT_TYPE:
        raise VerificationError("it is not an entry of a journal")
    notes: Mapping[str, Any] = document.get("annotations", {})
    if not all(isinstance(notes.get(key, ""), str) for key in (_EVENT, _SAW, _SIGNATURE)):
        raise VerificationError("it is not an entry of a journal")
    saw = tuple(Digest(text) for text in notes.get(_SAW, "").split())
    event = parse_event(notes.get(_EVENT, ""))
    return Entry(Digest.of(data), saw, event, notes.get(_SIGNATURE), event.at)


def journal_of(manifests: Mapping[Digest, bytes | None]) -> Journal:
    """The journal whose tags name `manifests`; None for one that is not there."""
    entries: dict[Digest, Entry] = {}
    problems = []
    for digest in sorted(manifests):
        data = manifests[digest]
        if data is None:
            problems.append(f"the entry {digest} is gone: its tag is there")
        elif not data:
            problems.append(f"the entry {digest} is damaged: the store doesn't give it any more")
        elif Digest.of(data) != digest:
            problems.append(f"the entry {digest} was changed: it is {Digest.of(data)} now")
        else:
            try:
                entries[digest] = parse_entry(data)
            except LockshipError as error:
                problems.append(f"the entry {digest} can't be read: {error.message}")
    for entry in entries.values():
        problems += [
            f"the entry {digest} is gone: {entry.digest.short} ({entry.event.kind}, {entry.event.at}) names it"
            for digest in entry.saw
            if digest not in manifests
        ]
    return Journal(_ordered(entries), tuple(problems))


def _ordered(entries: Mapping[Digest, Entry]) -> tuple[Entry, ...]:
    """Causes before effects; side by side, by the clocks of their writers. (Kahn 1962; digests rule cycles out.)"""
    waiting = {digest: {one for one in entry.saw if one in entries} for digest, entry in entries.items()}
    effects: dict[Digest, list[Digest]] = {}
    for digest, causes in waiting.items():
        for cause in causes:
            effects.setdefault(cause, []).append(digest)
    times: dict[Digest, str] = {}
    ready = [(entry.event.at, digest) for digest, entry in entries.items() if not waiting[digest]]
    heapq.heapify(ready)
    found = []
    while ready:
        time, digest = heapq.heappop(ready)
        entry = entries[digest]
        found.append(Entry(digest, entry.saw, entry.event, entry.signature, time))
        times[digest] = time
        for effect in effects.get(digest, ()):
            waiting[effect].discard(digest)
            if not waiting[effect]:
                after: Sequence[str] = [times[one] for one in entries[effect].saw if one in times]
                heapq.heappush(ready, (max(entries[effect].event.at, *after), effect))
    return tuple(found)
