"""Is a release all there? Every manifest is read and verified, every blob is asked for; nothing big is downloaded."""

from __future__ import annotations

from builder.content import Descriptor, Digest
from builder.errors import LockshipError, VerificationError
from builder.parallel import Stop, each
from builder.pipeline.copying import missing
from builder.registry.contents import Contents, contents_of
from builder.registry.store import Manifest, Store
from builder.words import plural

__all__ = ["read_whole", "require_whole"]


def require_whole(store: Store, reference: Digest | str | Manifest, name: str, *, stop: Stop | None = None) -> Contents:
    """What `reference` leads to in `store`, which people call `name`; all of it is there, with its size.

    Raises StoreError when there is no such release, VerificationError when a part of it is missing or damaged.
    """
    stop = stop or Stop()
    found = contents_of(store, reference, stop=stop)
    asked = reference.descriptor.digest if isinstance(reference, Manifest) else reference
    if found is None:
        raise missing(store, asked, name)
    wanted = [blob for blob in found.blobs if blob.digest not in found.foreign]
    states = each(wanted, lambda blob: _state(store, blob), stop, threads=store.parallel)
    bad = [state for state in states if state is not None]
    if bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise VerificationError(
            f"{name}: {asked} is not whole: {bad[0]}{more}",
            hint="it can't run as it is: push or pull it again from where it is whole, or take another release",
        )
    return found


def _state(store: Store, blob: Descriptor) -> str | None:
    """What is wrong with a blob."""
    try:
        return None if store.adopt(blob) else f"the blob {blob.digest} is missing"
    except VerificationError as error:
        return error.message


def read_whole(store: Store, contents: Contents, *, stop: Stop | None = None) -> int:
    """Read every blob of `contents`, which verifies it; how many bytes. Raises VerificationError, StoreError."""
    stop = stop or Stop()

    def read(blob: Descriptor) -> int:
        size = 0
        for chunk in store.read_blob(blob.digest):
            stop.check()
            size += len(chunk)
        if size != blob.size:
            raise VerificationError(f"{blob.digest} has {size:,} bytes, its manifest says {blob.size:,}")
        return size

    try:
        return sum(each(list(contents.blobs), read, stop, threads=store.parallel))
    except LockshipError as error:
        error.hint = error.hint or f"{plural(len(contents.blobs), 'blob')} were to be read"
        raise
