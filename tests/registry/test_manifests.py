from __future__ import annotations

import json
from typing import Any

import pytest

from builder.content import MEDIA_INDEX, MEDIA_MANIFEST, Digest
from builder.registry.manifests import describe, images_of, is_descriptor, parse_manifest
from tests.support.images import blob

PART = {"digest": Digest.of(b"x"), "size": 1, "mediaType": "text/plain"}


@pytest.mark.parametrize(
    "document",
    [
        {"schemaVersion": 2, "layers": [], "config": PART},
        {"schemaVersion": 2, "manifests": [PART]},
        {"schemaVersion": 2, "manifests": [], "subject": PART},
    ],
)
def test_manifests(document: dict[str, Any]) -> None:
    assert parse_manifest(json.dumps(document).encode()) == document


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"null",
        b'{"schemaVersion": 1, "layers": []}',
        b'{"schemaVersion": 2}',
        b'{"schemaVersion": 2, "layers": 7}',
        b'{"schemaVersion": 2, "layers": ["x"]}',
        b'{"schemaVersion": 2, "layers": [], "config": {"digest": "sha512:0", "size": 1}}',
    ],
)
def test_what_is_none(data: bytes) -> None:
    assert parse_manifest(data) is None


def test_descriptors() -> None:
    assert is_descriptor(PART)
    for change in ({"size": "1"}, {"digest": None}, {"digest": 7}, {"annotations": []}):
        assert not is_descriptor(PART | change)


def test_a_media_type_that_is_not_said_follows_from_the_content() -> None:
    for document, expected in (
        ({"manifests": []}, MEDIA_INDEX),
        ({"layers": [], "config": PART}, MEDIA_MANIFEST),
        ({"layers": [], "mediaType": "application/vnd.docker.distribution.manifest.v2+json"}, None),
    ):
        found = describe(document, b"data")
        assert found.media_type == (expected or document["mediaType"])


def test_the_artifact_type_of_a_referrer() -> None:
    config = PART | {"mediaType": "application/vnd.example.config"}
    by_config = describe({"layers": [], "config": config, "subject": PART, "annotations": {"a": "b"}}, b"")
    assert by_config.artifact_type == "application/vnd.example.config"
    assert by_config.annotations == {"a": "b"}
    said = describe({"layers": [], "config": config, "subject": PART, "artifactType": "text/x"}, b"")
    assert said.artifact_type == "text/x"
    assert describe({"layers": [], "config": config, "annotations": {"a": "b"}}, b"").annotations == {}


def entry(text: str, platform: object) -> dict[str, object]:
    return blob(text.encode()).to_json() | {"platform": platform}


def test_the_plain_image_counts_and_not_a_special_one() -> None:
    special = entry("v3", {"os": "linux", "architecture": "amd64", "variant": "v3"})
    plain = entry("plain", {"os": "linux", "architecture": "amd64"})
    second = entry("second", {"os": "linux", "architecture": "amd64"})
    arm = entry("arm", {"os": "linux", "architecture": "arm64", "variant": "v8"})
    note = entry("note", {"os": "unknown", "architecture": "unknown"})
    found = images_of({"manifests": [special, note, plain, second, arm, blob(b"none").to_json(), entry("x", "linux")]})
    assert found == {"linux/amd64": plain, "linux/arm64": arm}
    assert images_of({"manifests": [special]}) == {"linux/amd64": special}
