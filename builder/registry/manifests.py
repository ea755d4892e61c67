"""Manifests and indexes as documents: what every store checks before it believes one."""

from __future__ import annotations

import json
from typing import Any, Final

from builder.content import MEDIA_INDEX, MEDIA_MANIFEST, Descriptor, Digest
from builder.errors import LockshipError

__all__ = ["MAX_MANIFEST", "describe", "is_descriptor", "parse_manifest"]

# OCI distribution specification v1.1, "Pushing Manifests": registries take 4 MiB at least, and many no more.
MAX_MANIFEST: Final = 4 << 20


def parse_manifest(data: bytes) -> dict[str, Any] | None:
    """The JSON of a manifest or index, or None when `data` is neither."""
    try:
        document = json.loads(data)
    except ValueError:
        return None
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        return None
    lists = [document[key] for key in ("manifests", "layers") if key in document]
    parts = [part for items in lists if isinstance(items, list) for part in items]
    if not lists or not all(isinstance(items, list) for items in lists) or not all(map(is_descriptor, parts)):
        return None
    if "config" in document and not is_descriptor(document["config"]):
        return None
    return document


def is_descriptor(value: object) -> bool:
    """Whether a JSON value is a descriptor that can be checked: sha256 digest, size, annotations if any."""
    if not isinstance(value, dict) or not isinstance(value.get("size"), int):
        return False
    try:
        Digest(value.get("digest", ""))
    except (LockshipError, TypeError):
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
