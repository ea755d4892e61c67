"""Small OCI artifacts: a manifest whose layers are files that fit into memory, attached to a release.

OCI image specification v1.1, "Guidelines for Artifact Usage"; any registry keeps them, `oras pull` gets them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from builder.content import MEDIA_MANIFEST, Descriptor, Digest, canonical_json
from builder.errors import VerificationError
from builder.registry.store import Manifest, Store

__all__ = ["EMPTY", "MAX_FILE", "TITLE", "Artifact", "File", "Stored", "artifact", "read_artifact", "store_artifact"]

_EMPTY_BYTES: Final = b"{}"
EMPTY: Final = Descriptor("application/vnd.oci.empty.v1+json", Digest.of(_EMPTY_BYTES), len(_EMPTY_BYTES))
"""The descriptor of the empty JSON object ("Guidance for an Empty Descriptor")."""

TITLE: Final = "org.opencontainers.image.title"
MAX_FILE: Final = 64 << 20  # bytes; files of artifacts are read into memory


@dataclass(frozen=True, slots=True)
class File:
    """A file of an artifact: its name, media type and bytes."""

    name: str
    media_type: str
    data: bytes
    annotations: Mapping[str, str] | None = None

    @property
    def descriptor(self) -> Descriptor:
        """As it stands among the layers."""
        notes = {TITLE: self.name} if self.name else {}
        return Descriptor(
            self.media_type, Digest.of(self.data), len(self.data), annotations={**notes, **(self.annotations or {})}
        )


@dataclass(frozen=True, slots=True)
class Artifact:
    """A manifest, serialised, with the files that it names."""

    artifact_type: str
    manifest: bytes
    files: tuple[File, ...]

    @property
    def descriptor(self) -> Descriptor:
        """The manifest's."""
        return Descriptor(
            MEDIA_MANIFEST, Digest.of(self.manifest), len(self.manifest), artifact_type=self.artifact_type
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """An artifact that was read: its manifest's descriptor and document, and its files by name."""

    descriptor: Descriptor
    document: Mapping[str, Any]
    files: Mapping[str, bytes]

    @property
    def annotations(self) -> Mapping[str, str]:
        """The manifest's."""
        return self.document.get("annotations") or {}


def artifact(
    artifact_type: str,
    files: Sequence[File] = (),
    *,
    subject: Descriptor | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Artifact:
    """The artifact of `files`, about `subject` when there is one; the same arguments give the same bytes."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MEDIA_MANIFEST,
        "artifactType": artifact_type,
        "config": EMPTY.to_json(),
        # a manifest without layers is not allowed: the empty object stands in
        "layers": [file.descriptor.to_json() for file in files] or [EMPTY.to_json()],
    }
    if subject is not None:
        document["subject"] = Descriptor(subject.media_type, subject.digest, subject.size).to_json()
    if annotations:
        document["annotations"] = dict(annotations)
    return Artifact(artifact_type, canonical_json(document), tuple(files))


def store_artifact(store: Store, made: Artifact, *, tag: str | None = None, move: bool = False) -> Descriptor:
    """Put files, manifest and tag into `store`, in that order; what is there stays. See `Store.put_manifest`."""
    store.write_blob(EMPTY, [_EMPTY_BYTES])
    for file in made.files:
        store.write_blob(file.descriptor, [file.data])
    store.put_manifest(made.descriptor, made.manifest, tag=tag, move=move)
    return made.descriptor


def read_artifact(store: Store, reference: Digest | str | Manifest, *, names: Sequence[str] = ()) -> Stored | None:
    """The artifact with this digest or tag, its files verified; None when it isn't there. `names`: only these files.

    Raises VerificationError when it is no such artifact, or larger than any is.
    """
    found = reference if isinstance(reference, Manifest) else store.manifest(reference)
    if found is None:
        return None
    document = json.loads(found.data)
    if "layers" not in document:
        raise VerificationError(f"{found.descriptor.digest} is not an artifact")
    files = {}
    for layer in document["layers"]:
        name = str((layer.get("annotations") or {}).get(TITLE, ""))
        if not name or (names and name not in names):
            continue
        if layer["size"] > MAX_FILE:
            raise VerificationError(f"{name} of {found.descriptor.digest} has {layer['size']:,} bytes")
        files[name] = _read(store, Digest(layer["digest"]), layer["size"], name)
    return Stored(found.descriptor, document, files)


def _read(store: Store, digest: Digest, size: int, name: str) -> bytes:
    data = bytearray()
    for chunk in store.read_blob(digest):
        data += chunk
        if len(data) > size:
            raise VerificationError(f"{name} ({digest}) is larger than its manifest says")
    return bytes(data)
