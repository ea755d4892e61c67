"""Provenance: the published shapes, the envelope's encoding, and what was tampered with."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from builder.content import Digest, canonical_json
from builder.errors import VerificationError
from builder.releases.keys import PrivateKey, generate
from builder.releases.provenance import (
    MEDIA_ENVELOPE,
    MEDIA_STATEMENT,
    Build,
    Resource,
    encode,
    open_envelope,
    pae,
    seal,
    statement,
    subjects_of,
)
from tests.support.cosign import cosign

DIGEST: Final = "ab" * 32

# in-toto/attestation, protos/in_toto_attestation/v1/{statement,resource_descriptor}.proto, and slsa.dev,
# docs/spec/v1.1/schema/provenance.proto, with what their texts call REQUIRED.
TEXT: Final = {"type": "string", "minLength": 1}
DIGESTS: Final = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]+$"},
}
RESOURCE: Final = {
    "type": "object",
    "properties": {
        "name": TEXT,
        "uri": TEXT,
        "digest": DIGESTS,
        "content": TEXT,
        "downloadLocation": TEXT,
        "mediaType": TEXT,
        "annotations": {"type": "object"},
    },
    "additionalProperties": False,
    "anyOf": [{"required": ["uri"]}, {"required": ["digest"]}, {"required": ["content"]}],
}
TIME: Final = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
SCHEMA: Final = {
    "type": "object",
    "required": ["_type", "subject", "predicateType", "predicate"],
    "additionalProperties": False,
    "properties": {
        "_type": {"const": "https://in-toto.io/Statement/v1"},
        "predicateType": {"const": "https://slsa.dev/provenance/v1"},
        "subject": {"type": "array", "minItems": 1, "items": {**RESOURCE, "required": ["digest"]}},
        "predicate": {
            "type": "object",
            "required": ["buildDefinition", "runDetails"],
            "additionalProperties": False,
            "properties": {
                "buildDefinition": {
                    "type": "object",
                    "required": ["buildType", "externalParameters"],
                    "additionalProperties": False,
                    "properties": {
                        "buildType": {"type": "string", "pattern": "^https://"},
                        "externalParameters": {"type": "object"},
                        "internalParameters": {"type": "object"},
                        "resolvedDependencies": {"type": "array", "items": RESOURCE},
                    },
                },
                "runDetails": {
                    "type": "object",
                    "required": ["builder"],
                    "additionalProperties": False,
                    "properties": {
                        "builder": {
                            "type": "object",
                            "required": ["id"],
                            "additionalProperties": False,
                            "properties": {
                                "id": {"type": "string", "pattern": "^https?://"},
                                "version": {"type": "object", "additionalProperties": TEXT},
                                "builderDependencies": {"type": "array", "items": RESOURCE},
                            },
                        },
                        "metadata": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {"invocationId": TEXT, "startedOn": TIME, "finishedOn": TIME},
                        },
                        "byproducts": {"type": "array", "items": RESOURCE},
                    },
                },
            },
        },
    },
}


def validate(document: dict[str, Any]) -> None:
    """Raise for anything that isn't an in-toto statement with SLSA provenance."""
    Draft202012Validator(SCHEMA).validate(document)


def made(digest: str = DIGEST) -> dict[str, Any]:
    build = Build(
        parameters={"project": "churn", "version": "1.4.0"},
        dependencies=(
            Resource({"gitCommit": "c0ffee" * 6 + "c0ff"}, "code", "git+https://example.com/ml/churn@c0ffee"),
            Resource({"sha256": DIGEST}, "lockship.lock"),
        ),
        builder="https://ci.example.com",
        invocation="https://ci.example.com/jobs/7",
        started="2026-01-02T03:04:05Z",
        finished="2026-01-02T03:05:05Z",
        versions={"lockship": "1.0"},
    )
    return statement([Resource({"sha256": digest}, "churn:1.4.0")], build)


def test_the_shape_is_the_published_one() -> None:
    validate(made())
    least = statement([Resource({"sha256": DIGEST}, "churn:1.4.0")], Build({}))
    validate(least)
    assert least["predicate"]["runDetails"] == {"builder": {"id": "https://lockship.dev/local"}}
    assert subjects_of(made()) == {"churn:1.4.0": Digest.from_hex(DIGEST)}


def test_pae_of_the_published_example() -> None:
    """secure-systems-lab/dsse, protocol.md, "Test vectors"."""
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@given(st.text(), st.binary(), st.text(), st.binary())
def test_no_two_pairs_have_one_encoding(kind: str, payload: bytes, other: str, more: bytes) -> None:
    assert (pae(kind, payload) == pae(other, more)) == ((kind, payload) == (other, more))


@given(st.text(), st.binary())
def test_lengths_are_those_of_bytes(kind: str, payload: bytes) -> None:
    """Read back as a reader of the format would, who knows nothing but the lengths."""
    head, _, rest = pae(kind, payload).partition(b" ")
    size, _, rest = rest.partition(b" ")
    found, rest = rest[: int(size)], rest[int(size) + 1 :]
    length, _, body = rest.partition(b" ")
    assert (head, found.decode(), int(length), body) == (b"DSSEv1", kind, len(payload), payload)


def test_signed_and_unsigned(key: PrivateKey, other: PrivateKey) -> None:
    kind, data = encode(made(), key)
    assert kind == MEDIA_ENVELOPE
    envelope = json.loads(data)
    assert envelope.keys() == {"payloadType", "payload", "signatures"}
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert open_envelope(data, key.public) == open_envelope(data, None) == made()
    with pytest.raises(VerificationError, match=f"but not with {other.public.fingerprint}") as caught:
        open_envelope(data, other.public)
    assert caught.value.hint
    kind, data = encode(made(), None)
    assert (kind, json.loads(data)) == (MEDIA_STATEMENT, made())
    assert open_envelope(data, None) == made()
    with pytest.raises(VerificationError, match="is not signed"):
        open_envelope(data, key.public)
    assert encode(made(), key) == encode(made(), key)


def test_what_was_changed(key: PrivateKey) -> None:
    envelope = json.loads(seal(canonical_json(made()), key))
    evil = base64.b64encode(canonical_json(made("cd" * 32))).decode()
    signature = envelope["signatures"][0]
    for change in (
        {"payload": evil},
        {"signatures": [{**signature, "sig": "AAAA"}]},
        {"signatures": [{**signature, "sig": ""}]},
    ):
        with pytest.raises(VerificationError, match="tampered with"):
            open_envelope(json.dumps(envelope | change).encode(), key.public)


@pytest.mark.parametrize(
    "change",
    [
        {"payloadType": "application/json"},
        {"payload": "not base64!"},
        {"payload": base64.b64encode(b"[]").decode()},
        {"signatures": []},
        {"signatures": None},
        {"signatures": [7]},
        {"signatures": [{}]},
    ],
)
def test_what_is_no_envelope(key: PrivateKey, change: dict[str, Any]) -> None:
    envelope = json.loads(seal(canonical_json(made()), key))
    with pytest.raises(VerificationError, match="damaged"):
        open_envelope(json.dumps(envelope | change).encode(), None)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"7", b"[" * 100_000, b"\xff", b'{"_type":"other"}'])
def test_what_is_nothing_at_all(data: bytes) -> None:
    with pytest.raises(VerificationError, match="damaged"):
        open_envelope(data, None)


@pytest.mark.parametrize("subject", [None, 7, [7], [{}], [{"name": "a", "digest": 7}], [{"digest": {"sha256": 7}}]])
def test_subjects_that_are_malformed(subject: object) -> None:
    with pytest.raises(VerificationError):
        subjects_of({"subject": subject})


def test_envelopes_of_others_are_read(key: PrivateKey, other: PrivateKey) -> None:
    """Two signatures, no key ids, and base64 of the other alphabet, as DSSE allows."""
    payload = canonical_json(made())
    mine, theirs = (json.loads(seal(payload, one))["signatures"][0]["sig"] for one in (key, other))
    envelope = {
        "payloadType": MEDIA_STATEMENT,
        "payload": base64.urlsafe_b64encode(payload).decode(),
        "signatures": [{"sig": theirs}, {"sig": mine.replace("+", "-").replace("/", "_")}],
    }
    data = json.dumps(envelope).encode()
    assert open_envelope(data, key.public) == open_envelope(data, other.public) == made()
    with pytest.raises(VerificationError, match="with another key"):
        open_envelope(data, generate().public)


def test_cosign_accepts_it(tmp_path: Path, key: PrivateKey, other: PrivateKey) -> None:
    (tmp_path / "index.json").write_bytes(b"an index")
    document = made(Digest.of(b"an index").hex)
    (tmp_path / "provenance.json").write_bytes(encode(document, key)[1])
    for name, one, code in (("mine.pub", key, 0), ("other.pub", other, 1)):
        (tmp_path / name).write_bytes(one.public.pem)
        words = ("verify-blob-attestation", "--insecure-ignore-tlog=true", "--type", "slsaprovenance1")
        done = cosign(
            *words, "--key", name, "--signature", "provenance.json", "index.json", cwd=tmp_path
        )  # fmt: skip
        assert bool(done.returncode) == bool(code), done.stderr
