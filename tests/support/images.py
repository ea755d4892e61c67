"""Small images for tests: real bytes, nothing that runs."""

from __future__ import annotations

from builder.content import (
    MEDIA_CONFIG,
    MEDIA_INDEX,
    MEDIA_LAYER_GZIP,
    MEDIA_MANIFEST,
    Descriptor,
    Digest,
    canonical_json,
)
from builder.registry.store import Manifest, Store


def blob(data: bytes, media_type: str = MEDIA_LAYER_GZIP) -> Descriptor:
    """The descriptor of `data`."""
    return Descriptor(media_type, Digest.of(data), len(data))


def put_blob(store: Store, data: bytes, media_type: str = MEDIA_LAYER_GZIP) -> Descriptor:
    """Store `data`."""
    descriptor = blob(data, media_type)
    store.write_blob(descriptor, [data])
    return descriptor


def small_image(store: Store, text: str = "a", subject: Descriptor | None = None) -> Manifest:
    """The manifest of an image with one layer holding `text`; its blobs are in the store, it itself is not."""
    layer = put_blob(store, f"layer {text}".encode())
    config = put_blob(store, canonical_json({"os": "linux", "architecture": "amd64", "text": text}), MEDIA_CONFIG)
    document = {
        "schemaVersion": 2,
        "mediaType": MEDIA_MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json()],
        "annotations": {"about": text},
    }
    if subject is not None:
        document |= {"subject": subject.to_json(), "artifactType": "application/vnd.example.note"}
    data = canonical_json(document)
    return Manifest(blob(data, MEDIA_MANIFEST), data)


def index_of(*manifests: Manifest) -> Manifest:
    """An index that names `manifests`."""
    data = canonical_json(
        {"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": [m.descriptor.to_json() for m in manifests]}
    )
    return Manifest(blob(data, MEDIA_INDEX), data)
