"""A converted model as an OCI artifact: what `oras pull`, or any HTTP client, gets without Lockship.

OCI image specification v1.1, "Guidelines for Artifact Usage". One manifest: the model, its contract and its parity
report are its layers, each under its file's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from builder.content import CHUNK, MEDIA_MANIFEST, Descriptor, Digest, canonical_json
from builder.errors import ModelError
from builder.models.contract import Contract

__all__ = [
    "ARTIFACT_TYPE",
    "EMPTY",
    "MEDIA_MODEL",
    "SUFFIXES",
    "ModelArtifact",
    "describe_files",
    "model_artifact",
    "tag_of",
]

ARTIFACT_TYPE: Final = "application/vnd.lockship.model.v1"
MEDIA_MODEL: Final = "application/vnd.lockship.model.v1.onnx"
_MEDIA: Final = {
    ".onnx": MEDIA_MODEL,
    ".contract.json": "application/vnd.lockship.model.contract.v1+json",
    ".parity.json": "application/vnd.lockship.model.parity.v1+json",
    ".parity.html": "text/html",
}
_TITLE: Final = "org.opencontainers.image.title"
_EMPTY_BYTES: Final = b"{}"
EMPTY: Final = Descriptor("application/vnd.oci.empty.v1+json", Digest.of(_EMPTY_BYTES), len(_EMPTY_BYTES))
"""The descriptor of the empty JSON object ("Guidance for an Empty Descriptor")."""

SUFFIXES: Final = tuple(_MEDIA)
"""How the names of a model's files end, the model's own first."""

_LONGEST_TAG: Final = 128


@dataclass(frozen=True, slots=True)
class ModelArtifact:
    """One model's manifest, its tag, and the files that are its layers, by digest."""

    name: str
    tag: str
    manifest: bytes
    layers: tuple[Descriptor, ...]
    files: Mapping[Digest, Path]

    @property
    def descriptor(self) -> Descriptor:
        """The manifest's."""
        return Descriptor(MEDIA_MANIFEST, Digest.of(self.manifest), len(self.manifest), artifact_type=ARTIFACT_TYPE)


def tag_of(version: str, name: str) -> str:
    """The tag of a model of a release: ``1.4.0.churn.onnx``; raises ModelError when that is too long for one."""
    tag = f"{version}.{name}.onnx"
    if len(tag) > _LONGEST_TAG:
        raise ModelError(
            f"the model {name!r} of version {version!r} would have a tag of {len(tag)} characters",
            hint=f"tags have at most {_LONGEST_TAG}: give the model a shorter name",
        )
    return tag


def describe_files(folder: Path, name: str) -> tuple[tuple[Descriptor, Path], ...]:
    """What `lockship convert` wrote of the model `name` into `folder`, the model first; reports may be missing.

    Raises ModelError when the model or its contract can't be read.
    """
    found = []
    for suffix, media_type in _MEDIA.items():
        file = folder / f"{name}{suffix}"
        if suffix.startswith(".parity") and not file.is_file():
            continue
        try:
            with file.open("rb") as opened:
                digest = Digest.of_chunks(iter(lambda: opened.read(CHUNK), b""))
                size = opened.tell()
        except OSError as error:
            raise ModelError(
                f"cannot read: {error.strerror}", file=file, hint="`lockship convert` writes it"
            ) from error
        found.append((Descriptor(media_type, digest, size, annotations={_TITLE: file.name}), file))
    return tuple(found)


def model_artifact(
    contract: Contract,
    files: Sequence[tuple[Descriptor, Path]],
    *,
    version: str,
    subject: Descriptor,
    created: str,
    annotations: Mapping[str, str],
) -> ModelArtifact:
    """The artifact of `contract`'s model in the release `version`, whose index is `subject`.

    It depends on nothing else, so that it is known before anything is sent. `created` is the release's time. Raises
    ModelError when the model is not the one that the contract is about.
    """
    layers = tuple(descriptor for descriptor, _ in files)
    contract.require_model(layers[0].digest, files[0][1])
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MEDIA_MANIFEST,
        "artifactType": ARTIFACT_TYPE,
        "config": EMPTY.to_json(),
        "layers": [layer.to_json() for layer in layers],
        "subject": Descriptor(subject.media_type, subject.digest, subject.size).to_json(),
        "annotations": {
            **annotations,
            "org.opencontainers.image.created": created,
            "org.opencontainers.image.version": version,
            _TITLE: contract.name,
        },
    }
    tag = tag_of(version, contract.name)
    return ModelArtifact(
        contract.name, tag, canonical_json(document), layers, {one.digest: path for one, path in files}
    )
