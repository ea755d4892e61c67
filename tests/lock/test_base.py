"""Base images as references name them: what is locked of them, and what can't be a base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builder.content import MEDIA_LAYER_GZIP, Descriptor, Digest, Platform
from builder.errors import LockshipError, ProjectError, StoreError, VerificationError
from builder.lock import base
from builder.lock.base import Offer, find, names_of, reference_of, settings
from builder.registry.layout import Layout
from builder.registry.reference import parse_reference
from builder.registry.store import Manifest
from tests.support.bases import AMD64, ARM64, DOCKER, OCI, layer, put_base, put_index

REFERENCE = parse_reference("registry.test/ml/base:1")
FILE = Path("lockship.toml")
TAR = layer([])


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "store")


def offered(store: Layout) -> Offer:
    return find(store, REFERENCE, file=FILE)


@pytest.mark.parametrize("text", ["debian:bookworm", "debian:trixie", "debian", "debian:sid", "debian@sha256:1"])
def test_debian_is_put_together_from_packages(text: str) -> None:
    assert reference_of(text) is None


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("python:3.11-slim", "docker.io/library/python:3.11-slim"),
        ("docker.io/library/debian:bookworm", "docker.io/library/debian:bookworm"),
        ("lab/base", "docker.io/lab/base:latest"),
        ("127.0.0.1:5000/base:1", "127.0.0.1:5000/base:1"),
        (f"lab/base:1@{Digest.of(b'')}", f"docker.io/lab/base:1@{Digest.of(b'')}"),
    ],
)
def test_short_names_mean_what_docker_means(text: str, full: str) -> None:
    assert str(reference_of(text)) == full


@pytest.mark.parametrize(
    "text", ["", "Python:3.11", "https://docker.io/library/python", "python:", "me:secret@lab/x:1"]
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(ProjectError, match=r"image\.base") as caught:
        reference_of(text, file=FILE)
    assert caught.value.file == "lockship.toml"
    assert caught.value.hint
    assert "secret" not in str(caught.value) + caught.value.hint


def test_a_base_can_be_named_for_an_upgrade() -> None:
    assert names_of("python:3.11-slim") == {
        "python",
        "python:3.11-slim",
        "docker.io/library/python",
        "docker.io/library/python:3.11-slim",
    }
    assert "localhost:5000/base" in names_of("localhost:5000/base")


@pytest.mark.parametrize("media", [OCI, DOCKER], ids=["oci", "docker"])
def test_an_index_and_its_images(store: Layout, media: Any) -> None:
    one = put_base(store, [TAR, layer([])], media=media)
    other = put_base(store, [TAR], platform=ARM64, media=media)
    attestation = one.descriptor.to_json() | {"platform": {"os": "unknown", "architecture": "unknown"}}
    special = other.descriptor.to_json() | {"platform": {"os": "linux", "architecture": "amd64", "variant": "v3"}}
    index = put_index(store, one, other, tag="1", media=media, more=[attestation, special])
    offer = offered(store)
    assert offer.digest == index.descriptor.digest
    assert offer.manifests == {AMD64: one.descriptor.digest, ARM64: other.descriptor.digest}
    found = settings(store, offer, AMD64)
    manifest = json.loads(one.data)
    assert [layer.digest for layer in found.layers] == [part["digest"] for part in manifest["layers"]]
    assert {layer.media_type for layer in found.layers} == {MEDIA_LAYER_GZIP}
    assert found.layers[0].diff_id == Digest.of(TAR)
    assert [layer.created_by for layer in found.layers] == ["RUN step 0", "RUN step 1"]


def test_a_manifest_of_its_own(store: Layout) -> None:
    one = put_base(store, [TAR], platform=ARM64, tag="1")
    offer = offered(store)
    assert offer == Offer(str(REFERENCE), one.descriptor.digest, {ARM64: one.descriptor.digest})
    with pytest.raises(ProjectError) as caught:
        settings(store, offer, AMD64, file=FILE)
    assert (
        caught.value.message == "image.base: registry.test/ml/base:1 has no image for linux/amd64; it has linux/arm64"
    )
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_another_operating_system(store: Layout) -> None:
    put_base(store, [TAR], platform=Platform("windows", "amd64"), tag="1")
    with pytest.raises(ProjectError, match="no image for linux/amd64; it has windows/amd64"):
        settings(store, offered(store), AMD64)


def test_what_an_image_passes_on(store: Layout) -> None:
    put_base(
        store,
        [TAR],
        tag="1",
        config={
            "Env": ["PATH=/opt/bin", "A=b=c", "EMPTY="],
            "User": "app:users",
            "Entrypoint": ["/tini", "--"],
            "Cmd": ["bash"],
            "WorkingDir": "/srv",
            "Labels": {"team": "x", "org.opencontainers.image.title": "the base"},
            "ExposedPorts": {"8080": {}, "53/udp": {}},
            "Volumes": {"/data": {}},
            "StopSignal": "SIGINT",
            "OnBuild": ["RUN x"],
            "Healthcheck": {"Test": ["CMD", "true"]},
        },
    )
    found = settings(store, offered(store), AMD64)
    assert found.env == ("PATH=/opt/bin", "A=b=c", "EMPTY=")
    assert (found.user, found.entrypoint, found.labels) == ("app:users", ("/tini", "--"), {"team": "x"})
    assert (found.ports, found.volumes, found.stop_signal) == (("53/udp", "8080/tcp"), ("/data",), "SIGINT")
    assert found.left_out == ("its ONBUILD instructions", "its HEALTHCHECK")


def test_the_pinned_digest_decides_whatever_the_tag_names(store: Layout) -> None:
    old = put_base(store, [TAR], tag="1")
    new = put_base(store, [TAR, TAR], tag="1")
    assert find(store, REFERENCE).digest == new.descriptor.digest
    assert find(store, REFERENCE, pinned=old.descriptor.digest).digest == old.descriptor.digest
    with pytest.raises(StoreError, match="no longer has") as caught:
        find(store, REFERENCE, pinned=Digest.of(b"gone"))
    assert "--upgrade" in (caught.value.hint or "")


def test_a_tag_that_is_not_there(store: Layout) -> None:
    with pytest.raises(ProjectError, match=r"there is no registry\.test/ml/base:1") as caught:
        offered(store)
    assert caught.value.hint


def layers_of(media_type: str, **more: Any) -> dict[str, Any]:
    return {"layers": [Descriptor(media_type, Digest.of(b"x"), 1).to_json() | more]}


WRONG = {
    "application/vnd.oci.image.layer.v1.tar+zstd": "zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "may not be distributed",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "may not be distributed",
    "application/vnd.example.squashfs": "not known here",
}


@pytest.mark.parametrize("media_type", WRONG)
def test_layers_that_a_base_can_not_have(store: Layout, media_type: str) -> None:
    store.write_blob(Descriptor(media_type, Digest.of(b"x"), 1), [b"x"])
    put_base(store, [TAR], tag="1", **layers_of(media_type))
    with pytest.raises(ProjectError, match=WRONG[media_type]) as caught:
        settings(store, offered(store), AMD64)
    assert media_type in caught.value.message
    assert caught.value.hint


def test_docker_schema_1_is_refused() -> None:
    data = json.dumps({"schemaVersion": 1, "fsLayers": []}).encode()
    with pytest.raises(ProjectError, match="schema 1") as caught:
        base._document(Manifest(Descriptor("application/json", Digest.of(data), len(data)), data), "an image")
    assert "skopeo" in (caught.value.hint or "")


def test_what_is_no_image(store: Layout) -> None:
    media = (OCI[0], "application/vnd.cncf.helm.config.v1+json", OCI[2], OCI[3])
    put_base(store, [TAR], tag="1", media=media)
    with pytest.raises(ProjectError, match=r"is not an image: its configuration is .*helm"):
        offered(store)


def test_a_manifest_that_its_configuration_contradicts(store: Layout) -> None:
    put_base(store, [TAR], tag="1", layers=[])
    with pytest.raises(VerificationError, match="0 layers, and its configuration has 1"):
        settings(store, offered(store), AMD64)


def test_an_index_that_lies_about_a_platform(store: Layout) -> None:
    one = put_base(store, [TAR])
    lying = Manifest(
        Descriptor(one.descriptor.media_type, one.descriptor.digest, len(one.data), platform=ARM64), one.data
    )
    put_index(store, lying, tag="1")
    with pytest.raises(VerificationError, match="its configuration is for linux/amd64"):
        settings(store, offered(store), ARM64)


@pytest.mark.parametrize(
    "config",
    [
        {"Env": [1]},
        {"Env": 7},
        {"Labels": {"a": None}},
        {"Labels": []},
        {"User": ["x"]},
        {"Entrypoint": [{}]},
        {"User": "\0"},
    ],
)
def test_settings_that_are_nonsense(store: Layout, config: dict[str, Any]) -> None:
    put_base(store, [TAR], tag="1", config=config)
    with pytest.raises(LockshipError) as caught:
        found = settings(store, offered(store), AMD64)
        assert found.labels == {}, found  # an empty list is as good as nothing
        raise VerificationError("nothing was passed on")
    assert caught.value.exit_code == 6
