from __future__ import annotations

import hashlib
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.content import MEDIA_LAYER_GZIP, Descriptor, Digest, Platform, canonical_json
from builder.errors import UsageError, VerificationError

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_digests() -> None:
    assert Digest.of(b"") == EMPTY
    digest = Digest.of_chunks([b"a", b"", b"bc"])
    assert digest == "sha256:" + hashlib.sha256(b"abc").hexdigest()
    assert Digest.from_hex(digest.hex) == digest
    assert digest.short == digest.hex[:12]
    assert len(digest.hex) == 64
    assert {digest: 1}[Digest(str(digest))] == 1
    assert pickle.loads(pickle.dumps(digest)) == digest
    assert json.loads(json.dumps({"digest": digest})) == {"digest": str(digest)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        EMPTY[7:],
        EMPTY[:-1],
        EMPTY + "0",
        EMPTY + "\n",
        EMPTY.upper(),
        EMPTY.replace("sha256", "md5"),
        "sha512:" + "0" * 128,
        " " + EMPTY,
        "sha256:" + "g" * 64,
        "sha256:" + "٣" * 64,
    ],
)
def test_what_is_no_sha256_digest_is_refused(text: str) -> None:
    with pytest.raises(VerificationError, match="not a sha256 digest") as caught:
        Digest(text)
    assert caught.value.exit_code == 6


def test_a_huge_non_digest_is_not_repeated_whole() -> None:
    with pytest.raises(VerificationError) as caught:
        Digest("x" * 10**6)
    assert len(str(caught.value)) < 200


def test_platforms() -> None:
    arm = Platform.parse("linux/arm64")
    assert str(arm) == "linux/arm64"
    assert (arm.debian, arm.machine, arm.multiarch) == ("arm64", "aarch64", "aarch64-linux-gnu")
    amd = Platform.parse("linux/amd64")
    assert (amd.machine, amd.multiarch) == ("x86_64", "x86_64-linux-gnu")
    assert sorted([arm, amd]) == [amd, arm]


@pytest.mark.parametrize(
    "text", ["", "linux", "amd64", "linux/amd64/v3", "linux/riscv64", "windows/amd64", "Linux/amd64"]
)
def test_other_platforms_are_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(UsageError, match="unknown platform") as caught:
        Platform.parse(text)
    assert caught.value.hint == "lockship builds for linux/amd64 and linux/arm64"


def test_descriptors_say_only_what_they_have() -> None:
    digest = Digest(EMPTY)
    assert Descriptor(MEDIA_LAYER_GZIP, digest, 0).to_json() == {
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": EMPTY,
        "size": 0,
    }
    full = Descriptor("a/b", digest, 5, {"x": "y"}, Platform.parse("linux/arm64"), "c/d")
    assert full.to_json() == {
        "mediaType": "a/b",
        "digest": EMPTY,
        "size": 5,
        "platform": {"architecture": "arm64", "os": "linux"},
        "annotations": {"x": "y"},
        "artifactType": "c/d",
    }


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), _JSON, max_size=5))
def test_canonical_json_depends_on_the_value_alone(document: dict[str, object]) -> None:
    data = canonical_json(document)
    assert json.loads(data) == document
    assert canonical_json(dict(reversed(document.items()))) == data


def test_canonical_json_is_frozen() -> None:
    assert (
        canonical_json({"b": [1, "ä", None], "a": {"d": True, "c": ""}})
        == '{"a":{"c":"","d":true},"b":[1,"ä",null]}'.encode()
    )
