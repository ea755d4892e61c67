"""Signatures in both kinds of store: made, checked, changed by others; and checked by cosign itself."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.content import MEDIA_MANIFEST, Digest, canonical_json
from builder.errors import StoreError, VerificationError
from builder.registry.artifact import File, artifact, store_artifact
from builder.registry.layout import Layout
from builder.registry.reference import parse_repository
from builder.registry.store import Store
from builder.releases.keys import PrivateKey, generate
from builder.releases.signing import (
    MEDIA_PAYLOAD,
    SIGNATURE,
    SIGNER,
    docker_reference,
    payload_of,
    sign,
    signature_tag,
    signatures_of,
    signed_digest,
    verify,
)
from tests.registry.conftest import new_name, open_registry
from tests.support.cosign import cosign
from tests.support.images import blob, index_of, small_image
from tests.support.registry import RegistryServer

pytestmark = pytest.mark.slow

NAME = "registry.example.com/ml/churn"


def release(store: Store, text: str = "a") -> Digest:
    """A release of two images."""
    images = [small_image(store, text), small_image(store, f"arm {text}")]
    for image in images:
        store.put_manifest(image.descriptor, image.data)
    index = index_of(*images)
    store.put_manifest(index.descriptor, index.data)
    return index.descriptor.digest


def layers(store: Store, digest: Digest) -> list[dict[str, Any]]:
    found = store.manifest(signature_tag(digest))
    assert found is not None
    listed: list[dict[str, Any]] = json.loads(found.data)["layers"]
    return listed


def rewrite(store: Store, digest: Digest, changed: list[dict[str, Any]]) -> None:
    """Put other layers under the tag of the signatures of `digest`, as somebody with access could."""
    found = store.manifest(signature_tag(digest))
    assert found is not None
    data = canonical_json(json.loads(found.data) | {"layers": changed})
    store.put_manifest(blob(data, MEDIA_MANIFEST), data, tag=signature_tag(digest), move=True)


def test_what_is_signed_is_verified(store: Store, key: PrivateKey, other: PrivateKey) -> None:
    digest = release(store)
    with pytest.raises(VerificationError, match="is not signed") as caught:
        verify(store, digest, key.public)
    assert (caught.value.exit_code, bool(caught.value.hint)) == (6, True)
    sign(store, digest, key, NAME)
    found = verify(store, digest, key.public)
    assert (found.signer, found.payload) == (key.public.fingerprint, payload_of(digest, NAME))
    with pytest.raises(VerificationError, match=f"not with {other.public.fingerprint}: with {found.signer}"):
        verify(store, digest, other.public)


def test_the_format_is_the_published_one(store: Store, key: PrivateKey) -> None:
    """cosign, specs/SIGNATURE_SPEC.md, and containers-signature(5)."""
    digest = release(store)
    sign(store, digest, key, NAME)
    assert store.tags().keys() == {f"sha256-{digest.hex}.sig"}
    found = store.manifest(f"sha256-{digest.hex}.sig")
    assert found is not None
    assert found.descriptor.media_type == "application/vnd.oci.image.manifest.v1+json"
    document = json.loads(found.data)
    assert document.keys() == {"schemaVersion", "mediaType", "config", "layers"}
    assert document["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    [layer] = document["layers"]
    assert layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
    payload = b"".join(store.read_blob(Digest(layer["digest"])))
    assert json.loads(payload) == {
        "critical": {
            "identity": {"docker-reference": NAME},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": None,
    }
    signature = base64.b64decode(layer["annotations"]["dev.cosignproject.cosign/signature"], validate=True)
    assert key.public.accepts(signature, payload)
    config = json.loads(b"".join(store.read_blob(Digest(document["config"]["digest"]))))
    assert config["rootfs"] == {"type": "layers", "diff_ids": [layer["digest"]]}


def test_signing_again_changes_nothing(store: Store, key: PrivateKey, other: PrivateKey) -> None:
    digest = release(store)
    first = sign(store, digest, key, NAME)
    assert sign(store, digest, key, NAME) == first
    second = sign(store, digest, other, NAME)
    assert len(layers(store, digest)) == 2
    assert sign(store, digest, key, NAME) == sign(store, digest, other, NAME) == second
    assert verify(store, digest, key.public).signer == key.public.fingerprint
    assert verify(store, digest, other.public).signer == other.public.fingerprint


def test_a_signature_that_is_not_ours_to_understand_is_kept(store: Store, key: PrivateKey) -> None:
    """Such as a keyless one of cosign's, with its certificate."""
    digest = release(store)
    sign(store, digest, key, NAME)
    [mine] = layers(store, digest)
    theirs = mine | {"annotations": {SIGNATURE: "AAAA", "dev.sigstore.cosign/certificate": "-----BEGIN…"}}
    rewrite(store, digest, [theirs])
    sign(store, digest, key, NAME)
    assert layers(store, digest) == [theirs, mine]
    assert verify(store, digest, key.public).signer == key.public.fingerprint


def test_another_repository_is_another_statement(store: Store, key: PrivateKey) -> None:
    digest = release(store)
    sign(store, digest, key, NAME)
    sign(store, digest, key, "mirror.example.com/ml/churn")
    assert len(layers(store, digest)) == 2
    assert [json.loads(one.payload)["critical"]["identity"]["docker-reference"] for one in signatures_of(store, digest)]


def test_what_is_not_there_is_not_signed(store: Store, key: PrivateKey) -> None:
    with pytest.raises(StoreError, match="is not in the store"):
        sign(store, Digest.of(b"absent"), key, NAME)
    assert store.tags() == {}


def test_signers_that_write_at_once_all_stay(key: PrivateKey, tmp_path: Path) -> None:
    """Each looks whether it is there after it has written; the layout's lock orders the writes themselves."""
    digest = release(Layout(tmp_path / "store"))
    signers = [generate() for _ in range(3)]
    done: dict[str, str] = {}

    def work(one: PrivateKey) -> None:
        for _ in range(3):
            sign(Layout(tmp_path / "store"), digest, one, NAME)
        done[one.public.fingerprint] = "yes"

    threads = [threading.Thread(target=work, args=(one,)) for one in signers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 3
    for one in signers:
        sign(Layout(tmp_path / "store"), digest, one, NAME)
    assert {one.signer for one in signatures_of(Layout(tmp_path / "store"), digest)} == done.keys()


# Tampering. Each changes the layers of an honest signature, or what it is about.


def moved(store: Store, honest: Digest, key: PrivateKey) -> Digest:
    """The signature of one release, put beside another."""
    victim = release(store, "evil")
    data = (found := store.manifest(signature_tag(honest))) and found.data
    assert data
    store.put_manifest(blob(data, MEDIA_MANIFEST), data, tag=signature_tag(victim), move=True)
    return victim


def test_a_signature_of_another_release(store: Store, key: PrivateKey) -> None:
    honest = release(store)
    sign(store, honest, key, NAME)
    victim = moved(store, honest, key)
    with pytest.raises(VerificationError, match=f"is about another manifest: {honest}"):
        verify(store, victim, key.public)
    sign(store, victim, key, NAME)  # what is wrong beside it doesn't make a good one bad
    assert verify(store, victim, key.public).payload == payload_of(victim, NAME)


def changed(layer: Mapping[str, Any], **notes: str) -> dict[str, Any]:
    return {**layer, "annotations": {**layer["annotations"], **notes}}


def test_a_signature_that_was_changed(store: Store, key: PrivateKey) -> None:
    digest = release(store)
    sign(store, digest, key, NAME)
    [layer] = layers(store, digest)
    for text in ("", "AAAA", "not base64!", layer["annotations"][SIGNATURE][:-8] + "AAAAAA=="):
        rewrite(store, digest, [changed(layer, **{SIGNATURE: text})])
        with pytest.raises(VerificationError, match="tampered with"):
            verify(store, digest, key.public)


def test_a_payload_that_was_changed(store: Store, key: PrivateKey) -> None:
    """It says the right thing, but nobody signed that."""
    honest = release(store)
    sign(store, honest, key, NAME)
    victim = release(store, "evil")
    [layer] = layers(store, honest)
    payload = payload_of(victim, NAME)
    forged = blob(payload, MEDIA_PAYLOAD)
    store.write_blob(forged, [payload])
    moved(store, honest, key)
    rewrite(store, victim, [forged.to_json() | {"annotations": layer["annotations"]}])
    with pytest.raises(VerificationError, match="tampered with"):
        verify(store, victim, key.public)


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"[]", b"{}", b'{"critical":{"type":"atomic container signature"}}', b'{"critical":7}', b"[" * 9999],
)
def test_a_payload_that_says_nothing(tmp_path: Path, key: PrivateKey, payload: bytes) -> None:
    """Signed with the right key, but no statement about an image."""
    store = Layout(tmp_path / "store")
    digest = release(store)
    sign(store, digest, key, NAME)
    described = blob(payload, MEDIA_PAYLOAD)
    store.write_blob(described, [payload])
    notes = {SIGNATURE: base64.b64encode(key.sign(payload)).decode()}
    rewrite(store, digest, [described.to_json() | {"annotations": notes}])
    with pytest.raises(VerificationError, match="is about another manifest: none at all"):
        verify(store, digest, key.public)


def test_the_name_of_a_signer_is_believed_by_nobody(store: Store, key: PrivateKey, other: PrivateKey) -> None:
    digest = release(store)
    sign(store, digest, other, NAME)
    [layer] = layers(store, digest)
    rewrite(store, digest, [changed(layer, **{SIGNER: key.public.fingerprint})])
    with pytest.raises(VerificationError, match="which it didn't"):
        verify(store, digest, key.public)
    assert verify(store, digest, other.public)  # and a true one needs no name


def test_damaged_bytes_are_found(tmp_path: Path, key: PrivateKey) -> None:
    store = Layout(tmp_path / "store")
    digest = release(store)
    sign(store, digest, key, NAME)
    [layer] = layers(store, digest)
    path = tmp_path / "store" / "blobs" / "sha256" / Digest(layer["digest"]).hex
    data = path.read_bytes()
    path.chmod(0o644)
    for content in (data[:-1] + b"?", data[:-1], data + b" "):
        path.write_bytes(content)
        with pytest.raises(VerificationError):
            verify(store, digest, key.public)


def test_a_tag_that_holds_something_else(store: Store, key: PrivateKey) -> None:
    digest = release(store)
    found = store.manifest(digest)
    assert found is not None
    store.put_manifest(found.descriptor, found.data, tag=signature_tag(digest), move=True)
    for work in (lambda: verify(store, digest, key.public), lambda: sign(store, digest, key, NAME)):
        with pytest.raises(VerificationError, match="holds no signatures"):
            work()


@given(st.binary(min_size=32, max_size=32), st.text(max_size=40))
def test_payloads_are_canonical_and_say_it_all(seed: bytes, name: str) -> None:
    digest = Digest.from_hex(seed.hex())
    payload = payload_of(digest, name)
    critical = json.loads(payload)["critical"]
    assert (critical["image"]["docker-manifest-digest"], critical["identity"]["docker-reference"]) == (digest, name)
    assert canonical_json(json.loads(payload)) == payload
    assert signed_digest(signature_tag(digest)) == digest


@pytest.mark.parametrize("tag", ["", "1.0", "sha256-.sig", "sha256-abc.sig", "sha256-" + "0" * 64, "0" * 64 + ".sig"])
def test_other_tags_are_no_signatures(tag: str) -> None:
    assert signed_digest(tag) is None


def test_docker_hub_has_a_name_of_its_own() -> None:
    assert docker_reference(parse_repository("python")) == "index.docker.io/library/python"
    assert docker_reference(parse_repository("localhost:5000/ml/churn")) == "localhost:5000/ml/churn"


def test_cosign_accepts_them(registry: RegistryServer, tmp_path: Path, key: PrivateKey, other: PrivateKey) -> None:
    """The index by its tag, evidence by its digest, each signed by two; and a third key is refused."""
    name = new_name()
    for file, one in (("mine.pub", key), ("other.pub", other), ("third.pub", generate())):
        (tmp_path / file).write_bytes(one.public.pem)
    with open_registry(registry, name) as store:
        index = release(store)
        found = store.manifest(index)
        assert found is not None
        store.put_manifest(found.descriptor, found.data, tag="1.0")
        note = artifact("application/vnd.example", [File("a.txt", "text/plain", b"a")], subject=found.descriptor)
        store_artifact(store, note)
        reference = docker_reference(parse_repository(f"{registry.host}/{name}"))
        for digest in (index, note.descriptor.digest):
            for one in (key, other):
                sign(store, digest, one, reference)
    for image in (f"{registry.host}/{name}:1.0", f"{registry.host}/{name}@{note.descriptor.digest}"):
        for file, code in (("mine.pub", 0), ("other.pub", 0), ("third.pub", 1)):
            done = cosign("verify", "--key", file, "--insecure-ignore-tlog=true", image, cwd=tmp_path)
            assert bool(done.returncode) == bool(code), done.stderr
            assert code or "signatures were verified against the specified public key" in done.stderr


def test_we_accept_cosign_s(registry: RegistryServer, tmp_path: Path, key: PrivateKey) -> None:
    (tmp_path / "plain.key").write_bytes(key.to_pem(None))
    name = new_name()
    words = ("import-key-pair", "--key", "plain.key", "--output-key-prefix", "its")
    assert cosign(*words, cwd=tmp_path, password="x").returncode == 0
    with open_registry(registry, name) as store:
        digest = release(store)
        image = f"{registry.host}/{name}@{digest}"
        words = ("sign", "--key", "its.key", "--tlog-upload=false", "--yes", "--new-bundle-format=false")
        done = cosign(*words, "--use-signing-config=false", image, cwd=tmp_path, password="x")
        if done.returncode:  # version 2 has no such option
            done = cosign(*words[:-1], image, cwd=tmp_path, password="x")
        assert done.returncode == 0, done.stderr
        assert verify(store, digest, key.public)
        before = layers(store, digest)
        sign(store, digest, key, docker_reference(parse_repository(f"{registry.host}/{name}")))
        assert layers(store, digest) == before
