"""The smallest words: what a piece of content is called and which machine it is for.

`Descriptor` follows the OCI image specification v1.1, "OCI Content Descriptors".
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from builder.errors import UsageError, VerificationError

__all__ = [
    "CHUNK",
    "MEDIA_CONFIG",
    "MEDIA_INDEX",
    "MEDIA_LAYER_GZIP",
    "MEDIA_LAYER_TAR",
    "MEDIA_MANIFEST",
    "Descriptor",
    "Digest",
    "Platform",
    "canonical_json",
]

CHUNK: Final = 1 << 20  # bytes; how much of a file is held in memory at once

MEDIA_INDEX: Final = "application/vnd.oci.image.index.v1+json"
MEDIA_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
MEDIA_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
MEDIA_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
MEDIA_LAYER_TAR: Final = "application/vnd.oci.image.layer.v1.tar"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Digest(str):
    """A content address, ``sha256:`` and 64 lower-case hex digits.

    Raises VerificationError for anything else: an algorithm we can't check is as good as none.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Digest:
        if not _DIGEST.fullmatch(value):
            raise VerificationError(f"not a sha256 digest: {value[:100]!r}")
        return super().__new__(cls, value)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """The digest of `data`."""
        return cls("sha256:" + hashlib.sha256(data).hexdigest())

    @classmethod
    def of_chunks(cls, chunks: Iterable[bytes]) -> Digest:
        """The digest of all `chunks`, read once."""
        state = hashlib.sha256()
        for chunk in chunks:
            state.update(chunk)
        return cls("sha256:" + state.hexdigest())

    @classmethod
    def from_hex(cls, value: str) -> Digest:
        """From 64 hex digits without the algorithm, as wheels and debs are pinned."""
        return cls("sha256:" + value)

    @property
    def hex(self) -> str:
        """The 64 hex digits alone."""
        return self[7:]

    @property
    def short(self) -> str:
        """Twelve digits, for people."""
        return self[7:19]


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """An operating system and processor, in Go's words: ``linux/amd64``."""

    os: str
    architecture: str

    @classmethod
    def parse(cls, text: str) -> Platform:
        """From ``linux/amd64`` or ``linux/arm64``; raises UsageError for platforms we don't build for."""
        found = _PLATFORMS.get(text)
        if found is None:
            raise UsageError(
                f"unknown platform {text!r}", hint=f"lockship builds for {' and '.join(sorted(_PLATFORMS))}"
            )
        return found

    @property
    def debian(self) -> str:
        """Debian's name of the architecture."""
        return self.architecture

    @property
    def machine(self) -> str:
        """What ``uname -m`` prints there."""
        return {"amd64": "x86_64", "arm64": "aarch64"}[self.architecture]

    @property
    def multiarch(self) -> str:
        """Debian's multiarch triplet, the folder of its libraries."""
        return f"{self.machine}-linux-gnu"

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"


_PLATFORMS = {f"linux/{name}": Platform("linux", name) for name in ("amd64", "arm64")}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What some content is (media type), its digest and its size in bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    artifact_type: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The descriptor as it stands in manifests and indexes."""
        document: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.platform is not None:
            document["platform"] = {"architecture": self.platform.architecture, "os": self.platform.os}
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        if self.artifact_type is not None:
            document["artifactType"] = self.artifact_type
        return document


def canonical_json(document: object) -> bytes:
    """JSON with sorted keys, no white space, UTF-8: serialised once, then hashed and sent as these bytes."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
