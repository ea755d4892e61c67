"""The format of a bundle: one tar that is an OCI image layout, with all that a project needs besides.

Its first member, ``lockship/bundle.json``, announces every other with digest and size; then come ``oci-layout``,
``index.json``, the lock's files below ``lockship/``, and everything else below ``blobs/sha256``, sorted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from builder.content import MEDIA_INDEX, Descriptor, Digest, canonical_json
from builder.errors import LockshipError, VerificationError
from builder.lock.pins import Artifact
from builder.registry.manifests import is_descriptor
from builder.registry.reference import full_name, is_tag

__all__ = ["ANNOUNCEMENT", "MAX_ANNOUNCEMENT", "MAX_FILE", "Bundle", "blob_path"]

ANNOUNCEMENT: Final = "lockship/bundle.json"
MAX_ANNOUNCEMENT: Final = 32 << 20  # bytes
MAX_FILE: Final = 64 << 20  # bytes; files of the lock are read into memory
_SCHEMA: Final = "dev.lockship.bundle/v1"
_KINDS: Final = frozenset({"wheel", "conda", "jar", "deb", "base"})
_LAYOUT: Final = canonical_json({"imageLayoutVersion": "1.0.0"})
# What the names of the lock's files may be: they are given back to whoever asks, and written nowhere.
_FILES: Final = frozenset({"lockship.lock", "requirements.lock", "conda-lock.yml"})


def blob_path(digest: Digest) -> str:
    """Where a blob is in a layout."""
    return f"blobs/sha256/{digest.hex}"


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle holds.

    `root` is the release that `tag` names; `manifests` are all others, children before parents; `blobs` are
    configurations and layers. `artifacts` is what the layers are made from. `files` are the lock's, by name; `lock` is
    the digest of lockship.lock.
    """

    name: str
    tag: str
    platforms: tuple[str, ...]
    root: Descriptor
    manifests: tuple[Descriptor, ...]
    blobs: tuple[Descriptor, ...]
    artifacts: tuple[Artifact, ...]
    files: Mapping[str, Descriptor]

    @property
    def lock(self) -> Digest | None:
        """The digest of lockship.lock."""
        found = self.files.get("lockship.lock")
        return None if found is None else found.digest

    @property
    def release(self) -> dict[Digest, Descriptor]:
        """Everything that goes into a layout."""
        return {one.digest: one for one in (*self.blobs, *self.manifests, self.root)}

    @property
    def sizes(self) -> dict[Digest, int]:
        """Every blob with its size in bytes."""
        return {digest: one.size for digest, one in self.release.items()} | {
            one.digest: one.size for one in self.artifacts
        }

    @property
    def fixed(self) -> dict[str, bytes]:
        """The members of the layout that follow from what is announced."""
        names = {
            "io.containerd.image.name": f"{full_name(self.name)}:{self.tag}",
            "org.opencontainers.image.ref.name": self.tag,
        }
        entry = {**self.root.to_json(), "annotations": names}
        index = {"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": [entry]}
        return {"oci-layout": _LAYOUT, "index.json": canonical_json(index)}

    def render(self) -> bytes:
        """The announcement, in canonical JSON."""
        return canonical_json(
            {
                "schema": _SCHEMA,
                "name": self.name,
                "version": self.tag,
                "tag": self.tag,
                "platforms": list(self.platforms),
                "index": self.root.to_json(),
                "lock": self.lock,
                "files": {name: _plain(one) for name, one in self.files.items()},
                "manifests": [_plain(one) for one in self.manifests],
                "blobs": [_plain(one) for one in self.blobs],
                "artifacts": [
                    {
                        "kind": one.kind,
                        "name": one.name,
                        "version": one.version,
                        "file": one.file,
                        "sha256": one.digest.hex,
                        "size": one.size,
                    }
                    for one in self.artifacts
                ],
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Bundle:
        """From an announcement; raises VerificationError for one that isn't sound."""
        try:
            document = json.loads(data)
            if document["schema"] != _SCHEMA:
                raise VerificationError(
                    f"{ANNOUNCEMENT} is of the format {str(document['schema'])[:80]!r}",
                    hint=f"this lockship reads {_SCHEMA}",
                )
            found = cls(
                name=_text(document["name"]),
                tag=_text(document["tag"]),
                platforms=tuple(_text(one) for one in document["platforms"]),
                root=_descriptor(document["index"]),
                manifests=tuple(_descriptor(one) for one in document["manifests"]),
                blobs=tuple(_descriptor(one) for one in document["blobs"]),
                artifacts=tuple(_artifact(one) for one in document["artifacts"]),
                files={_text(name): _descriptor(one) for name, one in document["files"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise VerificationError(f"{ANNOUNCEMENT} is damaged", hint="make the bundle again") from error
        except LockshipError as error:
            raise VerificationError(f"{ANNOUNCEMENT}: {error.message}", hint=error.hint) from error
        if not is_tag(found.tag) or found.files.keys() - _FILES:
            raise VerificationError(f"{ANNOUNCEMENT} is damaged", hint="make the bundle again")
        return found


def _plain(descriptor: Descriptor) -> dict[str, Any]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}


def _descriptor(value: Any) -> Descriptor:
    if not is_descriptor(value):
        raise ValueError("not a descriptor")
    return Descriptor(_text(value["mediaType"]), Digest(value["digest"]), value["size"])


def _artifact(value: Any) -> Artifact:
    size, kind = value["size"], _text(value["kind"])
    if type(size) is not int or size < 0 or kind not in _KINDS:
        raise ValueError("not an artifact")
    digest = Digest.from_hex(_text(value["sha256"]))
    return Artifact(kind, _text(value["name"]), _text(value["version"]), _text(value["file"]), digest, size)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 1000 or not value.isprintable():
        raise ValueError("not a text")
    return value
