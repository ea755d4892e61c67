"""Small images for tests: real bytes, nothing that runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.content import (
    MEDIA_CONFIG,
    MEDIA_INDEX,
    MEDIA_LAYER_GZIP,
    MEDIA_MANIFEST,
    Descriptor,
    Digest,
    Platform,
    canonical_json,
)
from builder.image.config import Facts
from builder.image.index import Plan, plan_index
from builder.image.plan import plan_image
from builder.layers.recipe import Layer
from builder.project import Project
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
    """The manifest of an image with one layer holding `text`; its blobs are in the store, it itself is not.

    It is for linux/amd64, or for linux/arm64 where `text` begins with ``arm``.
    """
    architecture = "arm64" if text.startswith("arm") else "amd64"
    layer = put_blob(store, f"layer {text}".encode())
    config = put_blob(store, canonical_json({"os": "linux", "architecture": architecture, "text": text}), MEDIA_CONFIG)
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


def plan_of(
    project: Project, layers: Mapping[Platform, Sequence[Layer]] | Sequence[Layer], facts: Facts | None = None
) -> Plan:
    """The plan of an image with these layers; a bare sequence is for linux/amd64."""
    if not isinstance(layers, Mapping):
        layers = {Platform("linux", "amd64"): layers}
    facts = facts or Facts(project.name, str(project.version), base=project.image.base)
    images = [plan_image(project, platform, each, facts, python="3.11.2") for platform, each in layers.items()]
    return plan_index(images, facts)


def put_plan(store: Store, plan: Plan, tag: str, *, move: bool = False) -> None:
    """Store everything of `plan` but its layers."""
    for image in plan.images:
        store.write_blob(image.config_descriptor, [image.config])
        store.put_manifest(image.descriptor, image.manifest)
    store.put_manifest(plan.descriptor, plan.index, tag=tag, move=move)


def put_image(store: Store, project: Project, layers: Sequence[Layer], tag: str) -> Plan:
    """Store an image whose layers are there."""
    plan = plan_of(project, layers)
    put_plan(store, plan, tag)
    return plan
