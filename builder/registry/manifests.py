"""Manifests and indexes as documents: what every store checks before it believes one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from builder.content import MEDIA_INDEX, MEDIA_MANIFEST, Descriptor, Digest, canonical_json
from builder.errors import LockshipError

__all__ = [
    "ACCEPTED",
    "MAX_MANIFEST",
    "MEDIA_DOCKER_LIST",
    "MEDIA_DOCKER_MANIFEST",
    "describe",
    "images_of",
    "is_descriptor",
    "parse_manifest",
    "platform_name",
    "referrers_index",
    "to_descriptor",
]

# OCI distribution specification v1.1, "Pushing Manifests": registries take 4 MiB at least, and many no more.
MAX_MANIFEST: Final = 4 << 20

MEDIA_DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
MEDIA_DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
ACCEPTED: Final = (MEDIA_INDEX, MEDIA_MANIFEST, MEDIA_DOCKER_LIST, MEDIA_DOCKER_MANIFEST)


def parse_manifest(data: bytes) -> dict[str, Any] | None:
    """The JSON of a manifest or index, or None when `data` is neither."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        return None
    lists = [document[key] for key in ("manifests", "layers") if key in document]
    parts = [part for items in lists if isinstance(items, list) for part in items]
    if not lists or not all(isinstance(items, list) for items in lists) or not all(map(is_descriptor, parts)):
        return None
    if any(key in document and not is_descriptor(document[key]) for key in ("config", "subject")):
        return None
    if not isinstance(document.get("annotations", {}), dict):
        return None
    if not all(isinstance(document.get(key, ""), str) for key in ("mediaType", "artifactType")):
        return None
    if not re.fullmatch(r"[\x21-\x7e]*", document.get("mediaType", "")):
        return None  # it is said in headers, too
    return document


def images_of(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The entries of an index by platform (``linux/amd64``); attestations, of an unknown one, are passed over.

    Of several for one platform the plain one counts, and not a processor's special variant, else the first.
    """
    found: dict[str, dict[str, Any]] = {}
    for entry in sorted(document.get("manifests", []), key=_is_special):
        if name := platform_name(entry):
            found.setdefault(name, entry)
    return found


def platform_name(entry: Mapping[str, Any]) -> str:
    """``linux/amd64``; empty for an entry of an index that is for no platform."""
    of = entry.get("platform")
    if not isinstance(of, dict) or of.get("os") in (None, "", "unknown") or not of.get("architecture"):
        return ""
    return f"{of['os']}/{of['architecture']}"


def _is_special(entry: Mapping[str, Any]) -> bool:
    platform = entry.get("platform")
    return isinstance(platform, dict) and platform.get("variant") not in (None, "", "v1", "v8")


def is_descriptor(value: object) -> bool:
    """Whether a JSON value is a descriptor that can be checked: sha256 digest, size, annotations if any."""
    if not isinstance(value, dict):
        return False
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 63:
        return False
    try:
        Digest(value.get("digest", ""))
    except (LockshipError, TypeError):
        return False
    if not isinstance(value.get("mediaType", ""), str) or not isinstance(value.get("platform", {}), dict):
        return False
    return isinstance(value.get("annotations", {}), dict)


def describe(document: dict[str, Any], data: bytes) -> Descriptor:
    """The descriptor of a manifest as a referrers list holds it (OCI distribution specification v1.1)."""
    kind = document.get("mediaType") or (MEDIA_INDEX if "manifests" in document else MEDIA_MANIFEST)
    artifact = document.get("artifactType")
    if artifact is None and "subject" in document and "config" in document:
        artifact = document["config"].get("mediaType")
    annotations = document.get("annotations", {}) if "subject" in document else {}
    return Descriptor(kind, Digest.of(data), len(data), annotations=annotations, artifact_type=artifact)


def to_descriptor(entry: dict[str, Any]) -> Descriptor:
    """An entry of a referrers list, which `is_descriptor` holds for."""
    artifact = entry.get("artifactType")
    return Descriptor(
        entry.get("mediaType", MEDIA_MANIFEST),
        Digest(entry["digest"]),
        entry["size"],
        annotations={str(key): str(value) for key, value in entry.get("annotations", {}).items()},
        artifact_type=artifact if isinstance(artifact, str) else None,
    )


def referrers_index(entries: list[dict[str, Any]]) -> bytes:
    """The index under a referrers tag (OCI distribution specification v1.1, "Referrers Tag Schema")."""
    ordered = sorted(entries, key=lambda entry: str(entry["digest"]))
    return canonical_json({"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": ordered})
