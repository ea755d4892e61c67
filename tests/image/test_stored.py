"""What an image in a store says it is made of, whoever put it there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.content import MEDIA_INDEX, Digest, Platform, canonical_json
from builder.deploy.docker import image_in
from builder.errors import StoreError, UsageError, VerificationError
from builder.image.stored import read_release
from builder.layers import tar
from builder.project import Project
from builder.registry.contents import contents_of
from builder.registry.layout import Layout
from builder.registry.manifests import MEDIA_DOCKER_LIST
from builder.registry.store import Manifest
from tests.support.images import blob, put_image, small_image
from tests.support.layers import put_layer

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "store")


def put_list(store: Layout, media_type: str, *entries: dict[str, Any]) -> None:
    """An index, or Docker's manifest list, tagged 1."""
    data = canonical_json({"schemaVersion": 2, "mediaType": media_type, "manifests": list(entries)})
    store.put_manifest(blob(data, media_type), data, tag="1")


def entry(manifest: Manifest, os: str, architecture: str) -> dict[str, Any]:
    return manifest.descriptor.to_json() | {"platform": {"os": os, "architecture": architecture}}


@pytest.mark.parametrize("media_type", [MEDIA_INDEX, MEDIA_DOCKER_LIST])
def test_lists_of_images_with_attestations(store: Layout, media_type: str) -> None:
    layer = put_layer(store, "code", [tar.file("a", b"")], ("a", "1"))
    plan = put_image(store, Project(name="churn", version="1.0"), [layer], "amd64")
    image = store.manifest(plan.images[0].descriptor.digest)
    assert image is not None
    attestation = small_image(store, "attestation")
    store.put_manifest(attestation.descriptor, attestation.data)
    put_list(store, media_type, entry(image, "linux", "amd64"), entry(attestation, "unknown", "unknown"))
    release = read_release(store, "1")
    assert release is not None
    assert list(release.images) == [AMD64]
    assert [part.digest for part in release.images[AMD64].parts] == [layer.digest]
    assert image_in(store, "1", AMD64).manifest == image
    with pytest.raises(UsageError, match="the image is for linux/amd64, not for linux/arm64"):
        image_in(store, "1", ARM64)


def test_a_list_with_a_hole(store: Layout) -> None:
    image = small_image(store)
    store.put_manifest(image.descriptor, image.data)
    put_list(store, MEDIA_DOCKER_LIST, entry(image, "linux", "amd64"))
    store.delete(image.descriptor.digest)
    with pytest.raises(StoreError, match=image.descriptor.digest):
        read_release(store, "1")


def test_what_is_not_there(store: Layout) -> None:
    assert read_release(store, "1") is None
    assert read_release(store, Digest.of(b"x")) is None


@pytest.mark.parametrize(
    ("read", "size", "message"),
    [
        (read_release, 1, "larger than its manifest says"),
        (image_in, 1, "larger than its manifest says"),
        (contents_of, 1, "larger than its manifest says"),
        (read_release, 1 << 30, "has 1,073,741,824 bytes"),
        (image_in, 1 << 30, "has 1,073,741,824 bytes"),
    ],
)
def test_a_configuration_is_no_larger_than_its_manifest_says(
    store: Layout, read: Callable[..., object], size: int, message: str
) -> None:
    document = json.loads(small_image(store).data)
    data = canonical_json(document | {"config": document["config"] | {"size": size}})
    lie = blob(data, document["mediaType"])
    store.write_blob(lie, [data])
    platform = () if read is read_release else (AMD64,)
    with pytest.raises(VerificationError, match=message):
        read(store, lie.digest, *platform)
