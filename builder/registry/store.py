"""What everything above a store knows of it. A layout directory and a registry are both this."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from builder.content import Descriptor, Digest
from builder.errors import RefusedError, StoreError, VerificationError
from builder.progress import Task
from builder.registry.manifests import MAX_MANIFEST, parse_manifest
from builder.registry.reference import Repository, is_tag

__all__ = ["MAX_CONFIG", "Manifest", "Store", "check_manifest", "read_config", "taken"]

MAX_CONFIG: Final = 16 << 20  # bytes; configurations are read into memory


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest's or index's exact bytes, with their descriptor."""

    descriptor: Descriptor
    data: bytes


class Store(Protocol):
    """Blobs by digest, manifests by digest or tag. All methods raise StoreError when the store can't be reached.

    Bytes that are read are verified: VerificationError when they are not what their digest says.
    """

    parallel: int
    """How many transfers at once do this store good."""

    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there, whole."""

    def adopt(self, descriptor: Descriptor, sources: Sequence[Repository] = ()) -> bool:
        """Have the blob without its bytes being sent: whether it is there, or could be taken from a neighbour.

        A registry mounts it from one of its own repositories among `sources`; others are passed over. Raises
        VerificationError when it is there with another size.
        """

    def read_blob(self, digest: Digest, *, start: int = 0) -> Iterator[bytes]:
        """The blob in chunks, verified at the end; raises StoreError when it isn't there.

        From byte `start` on, for a reader who has what stands before it: then it is the reader who verifies.
        """

    def write_blob(self, descriptor: Descriptor, chunks: Iterable[bytes], *, task: Task | None = None) -> None:
        """Store a blob; a no-op when it is there. Raises VerificationError when the bytes are others.

        `chunks` are iterated anew when a connection breaks, if they can be; an iterator can't. `task` is advanced by
        the bytes that are written.
        """

    def add_file(self, descriptor: Descriptor, path: Path, *, task: Task | None = None) -> None:
        """Store a blob from a file whose digest is known to be right, by a link where that is possible."""

    def manifest(self, reference: Digest | str) -> Manifest | None:
        """The manifest or index with this digest or tag, or None."""

    def put_manifest(self, descriptor: Descriptor, data: bytes, *, tag: str | None = None, move: bool = False) -> None:
        """Store a manifest or index, after everything it names.

        With `tag`, point the tag at it: the same digest again is a no-op; another digest raises RefusedError
        unless `move`.
        """

    def resolve(self, tag: str) -> Digest | None:
        """What a tag names, or None when there is no such tag."""

    def tags(self) -> dict[str, Digest]:
        """All tags. A registry is asked for each of them: `resolve` is for one."""

    def tag_names(self) -> list[str]:
        """The names of all tags, sorted; a registry is asked once."""

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """Descriptors of the manifests whose subject is `subject` (OCI distribution spec v1.1, "Listing Referrers")."""

    def delete(self, digest: Digest) -> None:
        """Drop a manifest or blob and every tag on it."""


def check_manifest(descriptor: Descriptor, data: bytes, tag: str | None) -> dict[str, Any]:
    """The document of a manifest that is to be stored as `descriptor` says; what no store would take is refused.

    Raises StoreError for a tag that is none and for a manifest that is too large, VerificationError for other bytes.
    """
    if tag is not None and not is_tag(tag):
        raise StoreError(f"not a tag: {tag[:140]!r}", hint="letters, digits and . _ -, at most 128")
    document = parse_manifest(data)
    if document is None:
        raise VerificationError(f"{descriptor.digest} is not a manifest")
    if ((found := Digest.of(data)), len(data)) != (descriptor.digest, descriptor.size):
        raise VerificationError(f"expected {descriptor.digest} ({descriptor.size:,} bytes), got {found}")
    if len(data) > MAX_MANIFEST:
        raise StoreError(f"a manifest of {len(data):,} bytes: registries take {MAX_MANIFEST:,} at most")
    return document


def taken(tag: str, found: str, wanted: Digest) -> RefusedError:
    """The error for a version's tag that names another digest."""
    return RefusedError(
        f"{tag!r} is taken: it is {found}, not {wanted}",
        hint="a version never changes; give this one a version of its own",
    )


def read_config(store: Store, descriptor: Mapping[str, Any], what: str) -> bytes:
    """The configuration that a manifest's `descriptor` names; `what` names the image for people.

    Raises VerificationError when it is larger than its manifest says, or than any is.
    """
    size = descriptor["size"]
    if size > MAX_CONFIG:
        raise VerificationError(f"the configuration of {what} has {size:,} bytes")
    data = bytearray()
    for chunk in store.read_blob(Digest(descriptor["digest"])):
        data += chunk
        if len(data) > size:
            raise VerificationError(f"the configuration of {what} is larger than its manifest says")
    return bytes(data)
