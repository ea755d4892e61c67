"""Blobs of a layout that nothing needs any more: marked from what ``index.json`` lists, and swept.

A build puts blobs first, then the manifests that name them, then the tag: in between nothing leads to them. So what is
young stays, and what young manifests name. Young is what was written, linked or counted on a short while ago
(`Blobs.touch`); a link changes an inode's ctime and not its mtime, hence the later of both counts.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Container, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from builder.content import Digest
from builder.registry.blobs import Blobs
from builder.registry.manifests import MAX_MANIFEST, parse_manifest

__all__ = ["Swept", "now_and_without", "sweep", "unreferenced"]

_BRACE: Final = b"{"


@dataclass(frozen=True, slots=True)
class Swept:
    """Blobs with their sizes; `linked` bytes of them have another name (a cache's), and are freed with that one."""

    blobs: Mapping[Digest, int]
    linked: int = 0

    @property
    def size(self) -> int:
        """Bytes on the disk that are free without them."""
        return sum(self.blobs.values()) - self.linked


def unreferenced(blobs: Blobs, roots: Iterable[Digest], before: float) -> Swept:
    """What `roots` don't lead to, and is older than `before`; raises VerificationError for a damaged manifest."""
    return _Marking(blobs).unmarked(roots, before)


def now_and_without(
    blobs: Blobs, roots: Collection[Digest], without: Container[Digest], before: float
) -> tuple[Swept, Swept]:
    """The same, and what would be when the roots in `without` are none any more."""
    marking = _Marking(blobs)
    return marking.unmarked(roots, before), marking.unmarked([one for one in roots if one not in without], before)


def sweep(blobs: Blobs, roots: Iterable[Digest], before: float) -> Swept:
    """Delete them; call it inside `Blobs.locked`."""
    found = unreferenced(blobs, roots, before)
    gone: dict[Digest, int] = {}
    linked = 0
    for digest, size in found.blobs.items():
        path = blobs.path(digest)
        with suppress(FileNotFoundError), blobs.errors("delete"):
            state = path.stat()
            if _age(state) < before:  # nobody came to count on it while we looked
                path.unlink()
                gone[digest] = size
                linked += size if state.st_nlink > 1 else 0
    return Swept(gone, linked)


def _age(state: os.stat_result) -> float:
    return max(state.st_mtime, state.st_ctime)


class _Marking:
    """The files of a layout at one moment; each manifest is read once."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._files = dict(blobs.files())
        self._named: dict[Digest, tuple[list[Digest], list[Digest]]] = {}

    def unmarked(self, roots: Iterable[Digest], before: float) -> Swept:
        """What `roots` and young manifests don't lead to, and is old."""
        marked: set[Digest] = set()
        self._mark(roots, marked)
        young = [digest for digest, state in self._files.items() if _age(state) >= before and digest not in marked]
        self._mark([digest for digest in young if self._looks_like_one(digest)], marked)
        found = {
            digest: state
            for digest, state in sorted(self._files.items())
            if digest not in marked and _age(state) < before
        }
        linked = sum(state.st_size for state in found.values() if state.st_nlink > 1)
        return Swept({digest: state.st_size for digest, state in found.items()}, linked)

    def _mark(self, roots: Iterable[Digest], marked: set[Digest]) -> None:
        waiting = [*roots]
        while waiting:
            digest = waiting.pop()
            if digest not in marked and digest in self._files:
                marked.add(digest)
                children, parts = self._parts(digest)
                waiting += children
                marked.update(parts)

    def _parts(self, digest: Digest) -> tuple[list[Digest], list[Digest]]:
        """The manifests that a manifest names, and its other parts; nothing for what is none."""
        if digest not in self._named:
            self._named[digest] = self._read(digest) if self._files[digest].st_size <= MAX_MANIFEST else ([], [])
        return self._named[digest]

    def _read(self, digest: Digest) -> tuple[list[Digest], list[Digest]]:
        try:
            data = self._blobs.path(digest).read_bytes()
        except FileNotFoundError:
            return [], []
        except OSError as error:
            raise self._blobs.failure("read", error) from error
        if (found := Digest.of(data)) != digest:
            raise self._blobs.damaged(digest, found.hex)
        document = parse_manifest(data)
        if document is None:
            return [], []
        config = document.get("config")
        parts = [*([config] if config else []), *document.get("layers", [])]
        return [Digest(one["digest"]) for one in document.get("manifests", [])], [
            Digest(one["digest"]) for one in parts
        ]

    def _looks_like_one(self, digest: Digest) -> bool:
        if self._files[digest].st_size > MAX_MANIFEST:
            return False
        with suppress(OSError), self._blobs.path(digest).open("rb") as file:
            return file.read(1) == _BRACE
        return False
