"""A release's record: what made it, who, where and when, and how it is to be run. One JSON document in the store."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from builder.content import Descriptor, Digest, canonical_json
from builder.errors import VerificationError
from builder.registry.artifact import Artifact, File, Stored, artifact, read_artifact
from builder.registry.store import Store

__all__ = [
    "ARTIFACT_TYPE",
    "Git",
    "ModelFacts",
    "Record",
    "is_record_tag",
    "read_record",
    "record_artifact",
    "record_of",
    "record_tag",
]

ARTIFACT_TYPE: Final = "application/vnd.lockship.release.v1"
SCHEMA: Final = "dev.lockship.release/v1"
_FILE: Final = "release.json"
_PAGE: Final = "release.md"
_SUFFIX: Final = ".release"
_LONGEST_TAG: Final = 128


class _Value(BaseModel):
    # what a newer lockship adds is passed over: an old one must still be able to roll back
    model_config = ConfigDict(extra="ignore", frozen=True)


class Git(_Value):
    """The code: full commit id, branch (None when detached), where it can be read, and what was allowed by name."""

    commit: str
    branch: str | None = None
    remote: str | None = None
    dirty: bool = False
    pushed: bool = True


class ModelFacts(_Value):
    """A model in the release. `artifact` is its manifest; `onnx`, `contract`, `parity` and `source` are files' digests.

    `passed` says whether the parity gate did; None for a file that is shipped as it is.
    """

    name: str
    file: str
    source: str | None = None
    onnx: str | None = None
    contract: str | None = None
    parity: str | None = None
    artifact: str | None = None
    passed: bool | None = None
    summary: str = ""


class Record(_Value):
    """All of it. `images` are manifests by platform, `lock` digests by file name, `steps` seconds by step.

    `data`, `database`, `stages`, `retention` and `signing` are JSON as their own modules write it. `changes` are lines
    for people, under ``data`` and ``database``: what is other than in the release before, `since`.
    """

    schema_: str = Field(default=SCHEMA, alias="schema")
    name: str
    version: str
    index: str
    media_type: str
    size: int
    images: dict[str, str]
    git: Git | None = None
    lock: dict[str, str] = Field(default_factory=dict)
    base: str = ""
    models: tuple[ModelFacts, ...] = ()
    data: tuple[dict[str, Any], ...] = ()
    database: dict[str, Any] | None = None
    since: str | None = None
    changes: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    stages: dict[str, Any] = Field(default_factory=dict)
    retention: dict[str, Any] | None = None
    signing: dict[str, str] | None = None
    approvers: dict[str, str] = Field(default_factory=dict)
    by: str = ""
    where: str = ""
    at: str = ""
    steps: dict[str, float] = Field(default_factory=dict)
    allowed: tuple[str, ...] = ()
    tool: str = ""

    @property
    def digest(self) -> Digest:
        """The index's."""
        return Digest(self.index)

    @property
    def subject(self) -> Descriptor:
        """What the record is about."""
        return Descriptor(self.media_type, self.digest, self.size)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def record_tag(version: str) -> str:
    """The tag of a version's record; raises VerificationError when the version is too long for one."""
    tag = f"{version}{_SUFFIX}"
    if len(tag) > _LONGEST_TAG:
        raise VerificationError(
            f"the version {version[:40]}… is too long for a release",
            hint=f"tags have at most {_LONGEST_TAG} characters, and a release needs {len(_SUFFIX)} of them",
        )
    return tag


def is_record_tag(tag: str) -> bool:
    """Whether a tag is that of a record."""
    return tag.endswith(_SUFFIX)


def record_artifact(record: Record, page: str) -> Artifact:
    """The artifact of a record; `page` is the same for people."""
    files = [
        File(_FILE, "application/vnd.lockship.release.v1+json", canonical_json(record.to_json())),
        File(_PAGE, "text/markdown", page.encode()),
    ]
    notes = {
        "org.opencontainers.image.version": record.version,
        "org.opencontainers.image.title": record.name,
        "org.opencontainers.image.created": record.at,
    }
    return artifact(ARTIFACT_TYPE, files, subject=record.subject, annotations=notes)


def read_record(store: Store, version: str) -> tuple[Record, Stored] | None:
    """The record of `version`, as it is stored; None when that isn't a release.

    Raises VerificationError when it is damaged, or about something else.
    """
    found = read_artifact(store, record_tag(version), names=(_FILE,))
    if found is None:
        return None
    record = record_of(found)
    if record.version != version:
        raise VerificationError(f"the record of {version} is about {record.version}", hint="somebody moved its tag")
    return record, found


def record_of(stored: Stored) -> Record:
    """The record in an artifact that was read; raises VerificationError when it is none."""
    try:
        record = Record.model_validate_json(stored.files[_FILE])
        subject = stored.document["subject"]["digest"]
    except (KeyError, TypeError, ValidationError) as error:
        raise VerificationError(f"{stored.descriptor.digest} is not the record of a release") from error
    if record.schema_ != SCHEMA:
        raise VerificationError(f"the record says {record.schema_[:60]!r}", hint="take a newer lockship")
    if record.digest != subject:
        raise VerificationError(f"the record {stored.descriptor.digest} is about {record.index}, not {subject}")
    return record
