"""A release from one store to another: what is there stays, what lacks is fetched and verified, the tag comes last."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from builder.content import Descriptor, Digest, Platform
from builder.errors import LockshipError, StoreError, VerificationError
from builder.parallel import THREADS, Stop, each
from builder.progress import SILENT, Progress, Task
from builder.registry.contents import Contents, contents_of, platforms_of
from builder.registry.layout import Layout
from builder.registry.store import Store
from builder.releases.tags import is_version

__all__ = ["Copied", "copy", "copy_contents", "missing"]

_SHOWN = 8  # tags that an error lists


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy left in the target: the digest and the tag (with the digest it had, if another).

    `fetched` blobs were transferred, in `received` bytes; `present` blobs of `present_size` bytes were there already.
    `platforms` is empty for what is no image. `referrers` counts manifests that came along.
    """

    digest: Digest
    tag: str | None
    previous: Digest | None
    platforms: tuple[str, ...]
    fetched: int
    received: int
    present: int
    present_size: int
    referrers: int


def copy(
    source: Store,
    target: Store,
    reference: Digest | str,
    *,
    tag: str | None,
    platform: Platform | None = None,
    move: bool = True,
    progress: Progress = SILENT,
    stop: Stop | None = None,
) -> Copied:
    """Copy what `reference` names in `source`, with all that it leads to and all that refers to it, as `tag`.

    With `platform`, the manifest for it alone. Bytes are copied as they are, whatever their media types; each blob and
    manifest is verified. A copy that is interrupted leaves no tag, and the next one goes on. Raises StoreError when
    something is not there, VerificationError when bytes are not what they should be, RefusedError when the tag is
    another digest's and not to `move`.
    """
    stop = stop or Stop()
    found = contents_of(source, reference, platform, stop=stop)
    if found is None:
        raise missing(source, reference)
    return copy_contents(source, target, found, tag=tag, move=move, progress=progress, stop=stop)


def copy_contents(
    source: Store,
    target: Store,
    contents: Contents,
    *,
    tag: str | None,
    move: bool = True,
    progress: Progress = SILENT,
    stop: Stop | None = None,
) -> Copied:
    """As `copy`, of what was looked up already."""
    stop = stop or Stop()
    previous = target.resolve(tag) if tag is not None else None
    there = each(contents.blobs, lambda one: _is_whole(target, one, progress), stop, threads=THREADS)
    present = [blob for blob, has in zip(contents.blobs, there, strict=True) if has]
    lacking = [blob for blob, has in zip(contents.blobs, there, strict=True) if not has]
    lacking = _without_foreign(source, contents, lacking, progress)
    lacking.sort(key=lambda one: -one.size)  # the longest first: they decide the end
    transfer = _Transfer(source, target, stop)
    if lacking:
        with progress.task("copying", sum(one.size for one in lacking)) as task:
            transfer.task = task
            each(lacking, transfer.one, stop, threads=max(source.parallel, target.parallel))
    root = contents.root
    platforms = platforms_of(root, target)
    for manifest in contents.manifests:
        target.put_manifest(manifest.descriptor, manifest.data)
    target.put_manifest(root.descriptor, root.data, tag=tag, move=move)
    if tag is None and isinstance(target, Layout):
        target.keep(root.descriptor)
    return Copied(
        digest=root.descriptor.digest,
        tag=tag,
        previous=previous if previous != root.descriptor.digest else None,
        platforms=platforms,
        fetched=len(lacking),
        received=transfer.received,
        present=len(present),
        present_size=sum(one.size for one in present),
        referrers=len(contents.referrers),
    )


def _is_whole(target: Store, blob: Descriptor, progress: Progress) -> bool:
    """Whether the blob is there; in a folder, where disks and people change files, its bytes are hashed."""
    if not isinstance(target, Layout):
        return target.adopt(blob)
    try:
        return target.adopt(blob) and all(True for _ in target.read_blob(blob.digest))
    except VerificationError as error:
        progress.warn(f"{error.message}; it is fetched anew")
        target.delete(blob.digest)
        return False


def missing(source: Store, reference: Digest | str, name: str | None = None) -> StoreError:
    """The error for a tag or digest that `source` hasn't, with some tags that it has; `name` is the source's."""
    where = name or "the store"
    if isinstance(reference, Digest):
        return StoreError(f"{where} has no {reference}", hint="check the digest; it may have been deleted")
    try:
        tags = [tag for tag in source.tag_names() if is_version(tag)]
    except LockshipError:  # not everybody who may pull may list
        return StoreError(f"{where} has no tag {reference!r}", hint="check the tag; it may have been deleted")
    more = f" and {len(tags) - _SHOWN} more" if len(tags) > _SHOWN else ""
    listed = f"there: {', '.join(tags[-_SHOWN:])}{more}" if tags else "no tags are there at all"
    return StoreError(f"{where} has no tag {reference!r}", hint=listed)


def _without_foreign(
    source: Store, contents: Contents, lacking: list[Descriptor], progress: Progress
) -> list[Descriptor]:
    """Layers that lie somewhere else, as some base images of Windows do, stay there."""
    kept = []
    for one in lacking:
        if one.digest in contents.foreign and not source.has_blob(one.digest):
            progress.warn(f"{one.digest} lies outside of registries and is not copied")
        else:
            kept.append(one)
    return kept


@dataclass
class _Transfer:
    """Blobs on their way; counts the bytes that came."""

    source: Store
    target: Store
    stop: Stop
    task: Task | None = None
    received: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def one(self, blob: Descriptor) -> None:
        if isinstance(self.target, Layout):
            self.target.receive_blob(blob, lambda start: self._read(blob, start))
        else:
            self.target.write_blob(blob, _Again(self, blob))

    def _read(self, blob: Descriptor, start: int) -> Iterator[bytes]:
        self._advance(start)  # was there from the last time
        for chunk in self.source.read_blob(blob.digest, start=start):
            self.stop.check()
            with self._lock:
                self.received += len(chunk)
            self._advance(len(chunk))
            yield chunk

    def _advance(self, amount: int) -> None:
        if self.task is not None:
            self.task.advance(amount)


@dataclass(frozen=True)
class _Again:
    """A blob's bytes, from the beginning each time they are asked for."""

    transfer: _Transfer
    blob: Descriptor

    def __iter__(self) -> Iterator[bytes]:
        return self.transfer._read(self.blob, 0)
