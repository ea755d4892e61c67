"""What the journal says of clean-ups: which releases one began to delete, and what a run that was cut off left.

A clean-up writes down what it is about to delete, looks once more, deletes, and writes down that it is done. The first
entry is a list to go on with for whoever comes next, and a warning for those who want to promote such a release.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from builder.content import Digest
from builder.errors import LockshipError
from builder.releases.journal import Entry, Journal

__all__ = ["begun", "collections_of", "finished", "leftovers", "notes_of", "open_collections"]


def notes_of(digests: Mapping[Digest, str], manifests: list[Digest], **marks: Any) -> dict[str, Any]:
    """What an entry says that begins: releases by digest with their versions, and all manifests that are to go."""
    return {
        **marks,
        "digests": {str(digest): version for digest, version in digests.items()},
        "manifests": [str(digest) for digest in manifests],
    }


def begun(journal: Journal) -> frozenset[Digest]:
    """Releases that some clean-up began to delete, and that weren't made again since."""
    found: set[Digest] = set()
    for entry in journal.entries:
        event = entry.event
        if event.kind == "release" and event.digest:
            found.discard(event.digest)
        elif event.kind == "collect":
            found |= set(_digests(event.notes.get("digests")))
            found -= set(_digests(event.notes.get("spared")))
    return frozenset(found)


def finished(journal: Journal) -> frozenset[Digest]:
    """Those of them that are gone, as the clean-up said: nobody need ask for them."""
    going = {digest for entry in open_collections(journal) for digest in _digests(entry.event.notes.get("digests"))}
    return begun(journal) - going


def leftovers(journal: Journal) -> tuple[Digest, ...]:
    """Manifests that a clean-up was to delete that never said it was done; they may be gone."""
    found: dict[Digest, None] = {}
    for entry in open_collections(journal):
        found |= dict.fromkeys(_digests(entry.event.notes.get("manifests")))
    return tuple(found)


def open_collections(journal: Journal) -> tuple[Entry, ...]:
    """Clean-ups that never said that they were done: they go on, or were cut off."""
    return tuple(entry for entry, end in _runs(journal) if end is None)


def collections_of(journal: Journal, digest: Digest) -> tuple[tuple[Entry, Entry | None], ...]:
    """Clean-ups that were to delete the release `digest` since it was made: how each began and, if it did, ended."""
    if digest not in begun(journal):
        return ()
    return tuple(run for run in _runs(journal) if digest in set(_digests(run[0].event.notes.get("digests"))))


def _runs(journal: Journal) -> Iterator[tuple[Entry, Entry | None]]:
    events = [entry for entry in journal.entries if entry.event.kind == "collect"]
    ends = {entry.event.of: entry for entry in events if entry.event.of is not None}
    for entry in events:
        if entry.event.of is None:
            yield entry, ends.get(entry.digest)


def _digests(value: object) -> Iterator[Digest]:
    """Those in a list or mapping that are digests; somebody else may have written it."""
    for one in value if isinstance(value, list | dict) else ():
        try:
            yield Digest(one)
        except (LockshipError, TypeError):
            continue
