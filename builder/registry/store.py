"""What everything above a store knows of it. A layout directory and a registry are both this."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from builder.content import Descriptor, Digest

__all__ = ["Manifest", "Store"]

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest's or index's exact bytes, with their descriptor."""

    descriptor: Descriptor
    data: bytes


class Store(Protocol):
    """Blobs by digest, manifests by digest or tag. All methods raise StoreError when the store can't be reached.

    Bytes that are read are verified: VerificationError when they are not what their digest says.
    """

    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there, whole."""

    def read_blob(self, digest: Digest) -> Iterator[bytes]:
        """The blob in chunks, verified at the end; raises StoreError when it isn't there."""

    def write_blob(self, descriptor: Descriptor, chunks: Iterable[bytes]) -> None:
        """Store a blob; a no-op when it is there. Raises VerificationError when the bytes are others."""

    def add_file(self, descriptor: Descriptor, path: Path) -> None:
        """Store a blob from a file whose digest is known to be right, by a link where that is possible."""

    def manifest(self, reference: Digest | str) -> Manifest | None:
        """The manifest or index with this digest or tag, or None."""

    def put_manifest(self, descriptor: Descriptor, data: bytes, *, tag: str | None = None, move: bool = False) -> None:
        """Store a manifest or index, after everything it names.

        With `tag`, point the tag at it: the same digest again is a no-op; another digest raises RefusedError
        unless `move`.
        """

    def tags(self) -> dict[str, Digest]:
        """All tags."""

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """Descriptors of the manifests whose subject is `subject` (OCI distribution spec v1.1, "Listing Referrers")."""

    def delete(self, digest: Digest) -> None:
        """Drop a manifest or blob and every tag on it."""
