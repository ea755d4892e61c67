from __future__ import annotations

import json

import pytest

from builder.content import MEDIA_LAYER_TAR, Digest, Platform
from builder.errors import LockshipError, ProjectError
from builder.image.config import Facts
from builder.image.plan import MAX_LAYERS, ImagePlan, plan_image
from builder.layers.recipe import Layer
from builder.project import Project

PROJECT = Project(name="churn", version="1.0")
AMD64 = Platform("linux", "amd64")


def plan(*layers: Layer) -> ImagePlan:
    return plan_image(PROJECT, AMD64, layers, Facts("churn", "1.0"), python="3.11.2")


def layer(number: int, *holds: tuple[str, str]) -> Layer:
    return Layer("wheel", Digest.of(b"%d" % number), number, Digest.of(b"tar %d" % number), holds)


def test_the_manifest_names_everything_exactly() -> None:
    model = Layer("model", Digest.of(b"m"), 7, Digest.of(b"m"), (("model.onnx", ""),), MEDIA_LAYER_TAR)
    image = plan(layer(1, ("numpy", "2.1.3")), layer(2, ("a", "1"), ("b", "2")), model)
    manifest = json.loads(image.manifest)
    assert manifest["schemaVersion"] == 2
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert manifest["config"] == {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": Digest.of(image.config),
        "size": len(image.config),
    }
    assert [part["mediaType"].rpartition(".")[2] for part in manifest["layers"]] == ["tar+gzip", "tar+gzip", "tar"]
    assert manifest["layers"][0] == {
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": Digest.of(b"1"),
        "size": 1,
        "annotations": {"dev.lockship.kind": "wheel", "dev.lockship.holds": '["numpy==2.1.3"]'},
    }
    assert manifest["layers"][1]["annotations"]["dev.lockship.holds"] == '["a==1", "b==2"]'
    assert manifest["layers"][2]["annotations"]["dev.lockship.holds"] == '["model.onnx"]'
    assert manifest["annotations"]["dev.lockship.python"] == "3.11.2"
    assert image.descriptor.digest == Digest.of(image.manifest)
    assert image.descriptor.size == len(image.manifest)
    assert image.descriptor.platform == AMD64


def test_the_layer_limit() -> None:
    layers = [layer(number) for number in range(MAX_LAYERS + 1)]
    plan(*layers[:-1])
    with pytest.raises(ProjectError, match="128 layers") as caught:
        plan(*layers)
    assert caught.value.exit_code == 2
    assert caught.value.hint is not None


def test_a_manifest_that_no_registry_takes() -> None:
    crowd = tuple((f"package-{number:050}", "1") for number in range(100_000))
    with pytest.raises(LockshipError, match="registries take"):
        plan(layer(1, *crowd))
