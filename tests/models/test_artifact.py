"""Models as OCI artifacts: what their manifest says, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.content import MEDIA_INDEX, Descriptor, Digest
from builder.errors import ModelError
from builder.models.artifact import (
    ARTIFACT_TYPE,
    EMPTY,
    MEDIA_MODEL,
    ModelArtifact,
    describe_files,
    model_artifact,
    tag_of,
)
from builder.models.contract import Contract
from tests.models.test_contract import document

MODEL = b"not really a model, but these very bytes"
SUBJECT = Descriptor(MEDIA_INDEX, Digest.of(b"the release"), 11)


def written(folder: Path, *suffixes: str) -> Path:
    for suffix in suffixes:
        (folder / f"churn{suffix}").write_bytes(MODEL if suffix == ".onnx" else suffix.encode())
    return folder


def contract(**changes: object) -> Contract:
    return Contract.model_validate_json(json.dumps(document(digest=str(Digest.of(MODEL)), **changes)))


def artifact(folder: Path, **changes: object) -> ModelArtifact:
    return model_artifact(
        contract(**changes),
        describe_files(folder, "churn"),
        version="1.4.0",
        subject=SUBJECT,
        created="1970-01-01T00:00:00Z",
        annotations={"org.opencontainers.image.revision": "abc"},
    )


def test_the_manifest_names_every_file_and_the_release(tmp_path: Path) -> None:
    made = artifact(written(tmp_path, ".onnx", ".contract.json", ".parity.json", ".parity.html"))
    said = json.loads(made.manifest)
    assert said["artifactType"] == ARTIFACT_TYPE
    assert said["config"] == EMPTY.to_json()
    assert said["subject"]["digest"] == SUBJECT.digest
    assert [layer["annotations"]["org.opencontainers.image.title"] for layer in said["layers"]] == [
        "churn.onnx",
        "churn.contract.json",
        "churn.parity.json",
        "churn.parity.html",
    ]
    assert said["layers"][0]["mediaType"] == MEDIA_MODEL
    assert said["layers"][0]["digest"] == Digest.of(MODEL)
    assert said["annotations"]["org.opencontainers.image.revision"] == "abc"
    assert made.tag == "1.4.0.churn.onnx"
    assert made.descriptor.digest == Digest.of(made.manifest)
    assert {path.name for path in made.files.values()} == {path.name for path in tmp_path.iterdir()}


def test_the_same_files_give_the_same_manifest_wherever_they_are(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        written(folder, ".onnx", ".contract.json")
    assert artifact(here).manifest == artifact(there).manifest


def test_reports_may_be_missing_and_models_may_not(tmp_path: Path) -> None:
    written(tmp_path, ".onnx", ".contract.json")
    assert len(artifact(tmp_path).layers) == 2
    (tmp_path / "churn.onnx").unlink()
    with pytest.raises(ModelError, match="cannot read") as caught:
        artifact(tmp_path)
    assert caught.value.file == str(tmp_path / "churn.onnx")


def test_a_model_that_is_not_its_contracts_is_refused(tmp_path: Path) -> None:
    written(tmp_path, ".onnx", ".contract.json")
    (tmp_path / "churn.onnx").write_bytes(MODEL + b"!")
    with pytest.raises(ModelError, match="not the model of its contract"):
        artifact(tmp_path)


def test_a_tag_that_is_too_long() -> None:
    assert len(tag_of("1.0", "m" * 119)) == 128
    with pytest.raises(ModelError, match="129 characters"):
        tag_of("1.0", "m" * 120)
