"""How a release came to be: SLSA provenance v1 in an in-toto Statement v1, in a DSSE envelope when there is a key.

slsa.dev/spec/v1.0/provenance, in-toto/attestation ``spec/v1`` and secure-systems-lab/dsse ``envelope.md``. An envelope
without a signature is none (DSSE asks for one at least): unsigned, the statement stands there alone.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from builder.content import Digest, canonical_json
from builder.errors import VerificationError
from builder.releases.keys import PrivateKey, PublicKey

__all__ = [
    "BUILD_TYPE",
    "LOCAL_BUILDER",
    "MEDIA_ENVELOPE",
    "MEDIA_STATEMENT",
    "PREDICATE",
    "Build",
    "Resource",
    "encode",
    "open_envelope",
    "pae",
    "seal",
    "statement",
    "subjects_of",
]

MEDIA_STATEMENT: Final = "application/vnd.in-toto+json"
MEDIA_ENVELOPE: Final = "application/vnd.dsse.envelope.v1+json"
STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "https://lockship.dev/build/v1"
LOCAL_BUILDER: Final = "https://lockship.dev/local"

_NEITHER: Final = "it is neither an in-toto statement nor a DSSE envelope"


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that a build took or gave (in-toto's ResourceDescriptor): a name or an address, and its digests.

    `digest` maps algorithms (``sha256``, ``gitCommit``) to hex digits.
    """

    digest: Mapping[str, str]
    name: str = ""
    uri: str = ""
    media_type: str = ""

    def to_json(self) -> dict[str, Any]:
        """As it stands in statements; what is empty is left out."""
        said: dict[str, Any] = {"name": self.name, "uri": self.uri, "mediaType": self.media_type}
        return {key: value for key, value in said.items() if value} | {"digest": dict(self.digest)}


@dataclass(frozen=True, slots=True)
class Build:
    """What was asked for, what went in, and where and when it was done.

    `parameters` are JSON values (SLSA's externalParameters), `internal` those that the user has no say in;
    `builder` is an address that names the machine or service that is trusted (`LOCAL_BUILDER` for a laptop);
    `invocation` the CI job's address, `started` and `finished` RFC 3339 in UTC, each of them empty when not known;
    `versions` are of the builder's parts.
    """

    parameters: Mapping[str, Any]
    dependencies: tuple[Resource, ...] = ()
    builder: str = LOCAL_BUILDER
    invocation: str = ""
    started: str = ""
    finished: str = ""
    internal: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def statement(subjects: Sequence[Resource], build: Build) -> dict[str, Any]:
    """The statement that `build` gave `subjects`, each with a name and a digest."""
    metadata = {"invocationId": build.invocation, "startedOn": build.started, "finishedOn": build.finished}
    metadata = {key: value for key, value in metadata.items() if value}
    definition: dict[str, Any] = {"buildType": BUILD_TYPE, "externalParameters": dict(build.parameters)}
    if build.internal:
        definition["internalParameters"] = dict(build.internal)
    if build.dependencies:
        definition["resolvedDependencies"] = [one.to_json() for one in build.dependencies]
    builder: dict[str, Any] = {"id": build.builder}
    if build.versions:
        builder["version"] = dict(build.versions)
    return {
        "_type": STATEMENT,
        "subject": [one.to_json() for one in subjects],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": definition,
            "runDetails": {"builder": builder, **({"metadata": metadata} if metadata else {})},
        },
    }


def pae(payload_type: str, payload: bytes) -> bytes:
    """What a DSSE signature is over (``protocol.md``, "PAE"): no two pairs give the same bytes."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, key: PrivateKey) -> bytes:
    """The envelope of a statement's bytes, signed."""
    signature = base64.b64encode(key.sign(pae(MEDIA_STATEMENT, payload))).decode()
    return canonical_json(
        {
            "payloadType": MEDIA_STATEMENT,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": key.public.fingerprint, "sig": signature}],
        }
    )


def encode(document: Mapping[str, Any], key: PrivateKey | None) -> tuple[str, bytes]:
    """Media type and bytes of a statement: signed in an envelope, or without a key as it is."""
    payload = canonical_json(document)
    return (MEDIA_STATEMENT, payload) if key is None else (MEDIA_ENVELOPE, seal(payload, key))


def open_envelope(data: bytes, key: PublicKey | None) -> dict[str, Any]:
    """The statement in `data`, an envelope or a bare one; with `key`, only if the other half of it signed.

    Raises VerificationError, saying what is wrong.
    """
    document = _object(data)
    if document.get("_type") == STATEMENT:
        if key is not None:
            raise VerificationError("the provenance is not signed", hint="`lockship release` signs it, with a key")
        return document
    try:
        kind, payload = document["payloadType"], _base64(document["payload"])
        signatures = [(str(one.get("keyid", "")), _base64(one["sig"])) for one in document["signatures"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _broken(_NEITHER) from error
    if kind != MEDIA_STATEMENT or not signatures:
        raise _broken(_NEITHER)
    if key is not None and not any(key.accepts(one, pae(kind, payload)) for _, one in signatures):
        raise _not_by(key, [name for name, _ in signatures])
    inner = _object(payload)
    if inner.get("_type") != STATEMENT:
        raise _broken("its envelope holds no in-toto statement")
    return inner


def _not_by(key: PublicKey, names: Sequence[str]) -> VerificationError:
    if key.fingerprint in names:
        return VerificationError(
            f"the provenance was tampered with: it says that {key.fingerprint} signed it, which it didn't",
            hint="don't use this release before it is known who changed it",
        )
    others = ", ".join(sorted({name for name in names if name})) or "another key"
    return VerificationError(
        f"the provenance is signed, but not with {key.fingerprint}: with {others[:300]}",
        hint="[signing] key in the project file (or --key) names the public key that is trusted",
    )


def _object(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _broken(_NEITHER) from error
    if not isinstance(document, dict):
        raise _broken(_NEITHER)
    return document


def _base64(text: object) -> bytes:
    """DSSE lets writers choose between base64's two alphabets."""
    plain = str(text).translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(plain, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def _broken(why: str) -> VerificationError:
    return VerificationError(f"the provenance is damaged: {why}", hint="attach it anew: `lockship release` does")


def subjects_of(document: Mapping[str, Any]) -> dict[str, Digest]:
    """The subjects of a statement by name, those with a sha256; raises VerificationError for malformed ones."""
    try:
        found = {str(one.get("name", "")): one["digest"] for one in document["subject"]}
        return {name: Digest.from_hex(digest["sha256"]) for name, digest in found.items() if "sha256" in digest}
    except (KeyError, TypeError, AttributeError) as error:
        raise _broken("its subjects are malformed") from error
