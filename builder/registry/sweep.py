"""Blobs of a layout that nothing needs any more: marked from what ``index.json`` lists, and swept.

A build puts blobs first, then the manifests that name them, then the tag: in between nothing leads to them. So what is
young stays, and what young manifests name. Young is what was written, linked or counted on a short while ago
(`Blobs.touch`); a link changes an inode's ctime and not its mtime, hence the later of both counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from builder.content import Digest
from builder.registry.blobs import Blobs
from builder.registry.manifests import MAX_MANIFEST, parse_manifest

__all__ = ["Swept", "sweep", "unreferenced"]

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
    files = dict(blobs.files())
    young = [digest for digest, state in files.items() if _age(state) >= before]
    marked = _mark(blobs, files, [*roots, *(one for one in young if _is_manifest(blobs, one, files[one].st_size))])
    found = {digest: state for digest, state in files.items() if digest not in marked and _age(state) < before}
    linked = sum(state.st_size for state in found.values() if state.st_nlink > 1)
    return Swept({digest: state.st_size for digest, state in sorted(found.items())}, linked)


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


def _mark(blobs: Blobs, files: Mapping[Digest, os.stat_result], roots: Iterable[Digest]) -> set[Digest]:
    marked: set[Digest] = set()
    waiting = [*roots]
    while waiting:
        digest = waiting.pop()
        if digest in marked or digest not in files:
            continue
        marked.add(digest)
        if files[digest].st_size <= MAX_MANIFEST:
            children, parts = _named(blobs, digest)
            waiting += children
            marked.update(parts)
    return marked


def _named(blobs: Blobs, digest: Digest) -> tuple[list[Digest], Iterator[Digest]]:
    """The manifests that a manifest names, and its other parts."""
    try:
        data = blobs.path(digest).read_bytes()
    except FileNotFoundError:
        return [], iter(())
    except OSError as error:
        raise blobs.failure("read", error) from error
    document = parse_manifest(data)
    if Digest.of(data) != digest:
        raise blobs.damaged(digest, Digest.of(data).hex)
    if document is None:
        return [], iter(())
    config = document.get("config")
    parts = [*([config] if config else []), *document.get("layers", [])]
    return [Digest(one["digest"]) for one in document.get("manifests", [])], (Digest(one["digest"]) for one in parts)


def _is_manifest(blobs: Blobs, digest: Digest, size: int) -> bool:
    if size > MAX_MANIFEST:
        return False
    with suppress(OSError), blobs.path(digest).open("rb") as file:
        return file.read(1) == _BRACE and parse_manifest(_BRACE + file.read()) is not None
    return False
