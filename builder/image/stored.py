"""What an image in a store says it is made of: read from its manifests alone, without a lock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from builder.content import Digest, Platform
from builder.errors import StoreError, VerificationError
from builder.image.index import Plan
from builder.image.plan import HOLDS, KIND
from builder.registry.store import Manifest, Store, read_config

__all__ = ["Image", "Part", "Release", "planned_release", "read_release"]


@dataclass(frozen=True, slots=True)
class Part:
    """A layer: its kind (empty when another tool made it), blob, and what it holds as (name, version) pairs."""

    kind: str
    digest: Digest
    size: int
    holds: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Image:
    """An image for one platform: its layers, lowest first, its configuration and annotations."""

    parts: tuple[Part, ...]
    config: Mapping[str, Any]
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Release:
    """What a tag names: the digest, and an image per platform."""

    digest: Digest
    images: Mapping[Platform, Image]


def read_release(store: Store, reference: Digest | str) -> Release | None:
    """What `reference` names in `store`, or None when there is no such tag or digest.

    Raises StoreError when a part of it is missing, VerificationError when it isn't an image.
    """
    found = store.manifest(reference)
    if found is None:
        return None
    images = {}
    for manifest in _manifests(store, found):
        document = json.loads(manifest.data)
        if "config" not in document or "layers" not in document:
            continue
        config = _config(store, document)
        platform = Platform(str(config.get("os", "")), str(config.get("architecture", "")))
        images[platform] = _image(document, config)
    return Release(found.descriptor.digest, images)


def planned_release(plan: Plan) -> Release:
    """A plan in the same words."""
    return Release(
        plan.descriptor.digest,
        {image.platform: _image(json.loads(image.manifest), json.loads(image.config)) for image in plan.images},
    )


def _manifests(store: Store, found: Manifest) -> list[Manifest]:
    document = json.loads(found.data)
    if "manifests" not in document:
        return [found]
    children = []
    for entry in document["manifests"]:  # of an index, or of Docker's manifest list
        platform = entry.get("platform") or {}
        if platform.get("os") == "unknown":  # how other tools mark attestations
            continue
        child = store.manifest(Digest(entry["digest"]))
        if child is None:
            raise StoreError(f"{found.descriptor.digest} names {entry['digest']}, which is not in the store")
        children.append(child)
    return children


def _config(store: Store, document: dict[str, Any]) -> dict[str, Any]:
    try:
        config = json.loads(read_config(store, document["config"], "an image"))
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"{document['config']['digest']} is not an image's configuration") from error
    if not isinstance(config, dict):
        raise VerificationError(f"{document['config']['digest']} is not an image's configuration")
    return config


def _image(document: dict[str, Any], config: Mapping[str, Any]) -> Image:
    parts = []
    for layer in document["layers"]:
        notes = layer.get("annotations") or {}
        parts.append(Part(notes.get(KIND, ""), Digest(layer["digest"]), int(layer["size"]), _holds(notes.get(HOLDS))))
    return Image(tuple(parts), config, document.get("annotations") or {})


def _holds(text: str | None) -> tuple[tuple[str, str], ...]:
    try:
        items = json.loads(text or "[]")
    except ValueError:
        return ()
    if not isinstance(items, list):
        return ()
    split = (str(item).partition("==") for item in items)
    return tuple((name, version) for name, _, version in split)
