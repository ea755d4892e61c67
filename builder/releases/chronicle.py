"""The journal in a store: read with few requests, and written to.

Entries never change, so what was read once is remembered in a file of this machine. For those who read a long journal
for the first time there are packs: artifacts that hold many entries' manifests, a line each. Nothing rests on either:
every line is held to the digest in its entry's own tag.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from builder.content import Digest
from builder.errors import LockshipError, StoreError, VerificationError
from builder.parallel import Stop, each
from builder.registry.artifact import EMPTY, Artifact, File, artifact, read_artifact, store_artifact
from builder.registry.store import Store
from builder.releases.events import Event, unsigned
from builder.releases.journal import Entry, Journal, entry_artifact, entry_tag, journal_of, parse_entry, tagged_digest

__all__ = ["PACK", "Memory", "append", "pack", "read_journal"]

PACK: Final = 500
"""How many entries a pack holds; so many may be read one by one."""

_PACK_TYPE: Final = "application/vnd.lockship.journal.pack.v1"
_PACK_TAG: Final = "journal-pack."
_LINES: Final = "entries.jsonl"
_FEW: Final = 20  # entries that are fetched one by one rather than by packs


@dataclass(frozen=True, slots=True)
class Memory:
    """What this machine read before, in `file`; nothing without one. Damage to it costs time and nothing else."""

    file: Path | None = None

    def lines(self) -> dict[Digest, bytes]:
        """Manifests by digest."""
        if self.file is None:
            return {}
        try:
            return _by_digest(self.file.read_bytes())
        except OSError:
            return {}

    def add(self, manifests: Iterable[bytes]) -> None:
        """Remember `manifests`; where that is not possible, don't."""
        data = b"".join(one + b"\n" for one in manifests)
        if self.file is None or not data:
            return
        with suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write(data)


def read_journal(store: Store, memory: Memory | None = None, *, stop: Stop | None = None) -> Journal:
    """The whole journal of `store`; empty when nothing was ever written to it.

    What is missing or damaged is among its `problems`. Raises StoreError when the store can't be reached.
    """
    memory, stop = memory or Memory(), stop or Stop()
    known = memory.lines()
    read = _manifests(store, memory, known, stop)
    journal = journal_of(read)
    if any(digest not in read for entry in journal.entries for digest in entry.saw):
        # a list of tags is no snapshot: an entry may come into it without the one that it saw
        journal = journal_of(_manifests(store, memory, {**known, **_there(read)}, stop))
    return journal


def append(
    store: Store,
    journal: Journal,
    event: Event,
    sign: Callable[[bytes], str] | None = None,
    *,
    memory: Memory | None = None,
) -> Entry:
    """Write `event` behind the newest entries of `journal`; others may write at the same moment.

    `sign` gives the signature of the event's bytes, in base64. `memory` need not read it again, then.
    """
    made = entry_artifact(event, journal.heads, sign(unsigned(event)) if sign else None)
    entry = parse_entry(made.manifest)  # what nobody could read is not written
    # the tag says the digest: it can't be anybody else's, and nobody need look for that
    tag = entry_tag(event, made.descriptor.digest)
    if journal.entries:
        _put(store, made, tag)
    else:
        store_artifact(store, made, tag=tag, move=True)
    (memory or Memory()).add([made.manifest])
    return entry


def pack(store: Store, journal: Journal, memory: Memory) -> int:
    """Pack entries, when there are enough that no pack holds; how many were packed.

    A convenience for readers: when it fails nothing is lost, and the next writer tries again.
    """
    packs = [name for name in store.tag_names() if name.startswith(_PACK_TAG)]
    if len(journal.entries) - PACK * len(packs) < PACK:
        return 0
    packed: set[Digest] = set()
    for tag in packs:
        packed |= _unpacked(store, tag).keys()
    lines = memory.lines()
    chosen = [entry.digest for entry in journal.entries if entry.digest not in packed][:PACK]
    if len(chosen) < PACK:
        return 0
    data = [lines.get(digest) or _fetch(store, digest) for digest in chosen]
    whole = b"".join(line + b"\n" for line in data if line is not None)
    made = artifact(_PACK_TYPE, [File(_LINES, "application/jsonl", whole)])
    store_artifact(store, made, tag=f"{_PACK_TAG}{made.descriptor.digest.hex}")
    return len(chosen)


def _put(store: Store, made: Artifact, tag: str) -> None:
    """Other entries have the one blob that an entry names; where it is gone all the same, it is sent."""
    try:
        store.put_manifest(made.descriptor, made.manifest, tag=tag, move=True)
    except StoreError:
        if store.has_blob(EMPTY.digest):
            raise
        store_artifact(store, made, tag=tag, move=True)


def _manifests(store: Store, memory: Memory, lines: Mapping[Digest, bytes], stop: Stop) -> dict[Digest, bytes | None]:
    """The manifests that the journal's tags name now; None for one that is not there."""
    names = store.tag_names()
    wanted = {digest for name in names if (digest := tagged_digest(name)) is not None}
    known = {digest: line for digest, line in lines.items() if digest in wanted}
    fresh: dict[Digest, bytes] = {}
    if len(wanted) - len(known) > _FEW:
        for tag in (name for name in names if name.startswith(_PACK_TAG)):
            fresh |= {key: line for key, line in _unpacked(store, tag).items() if key in wanted and key not in known}
    missing = sorted(wanted - known.keys() - fresh.keys())
    found = each(missing, lambda digest: _fetch(store, digest), stop, threads=store.parallel)
    read = dict(zip(missing, found, strict=True))
    memory.add([*fresh.values(), *_there(read).values()])
    return {**known, **fresh, **read}


def _there(read: Mapping[Digest, bytes | None]) -> dict[Digest, bytes]:
    return {digest: line for digest, line in read.items() if line and Digest.of(line) == digest}


def _fetch(store: Store, digest: Digest) -> bytes | None:
    """An entry's manifest; None when it is not there, nothing at all when it is damaged."""
    try:
        found = store.manifest(digest)
    except VerificationError:
        return b""
    except StoreError:
        # registries say 500 of what their disk has lost; whoever answers other questions is not down
        if not _answers(store):
            raise
        return b""
    return None if found is None else found.data


def _answers(store: Store) -> bool:
    """Whether the store is there: it has what every entry consists of."""
    try:
        return store.has_blob(EMPTY.digest)
    except StoreError:
        return False


def _unpacked(store: Store, tag: str) -> Mapping[Digest, bytes]:
    try:
        found = read_artifact(store, tag, names=(_LINES,))
    except LockshipError:  # entries are read one by one then
        return {}
    return {} if found is None else _by_digest(found.files.get(_LINES, b""))


def _by_digest(lines: bytes) -> dict[Digest, bytes]:
    return {Digest.of(line): line for line in lines.splitlines() if line}
