"""Signatures as cosign keeps them: beside the manifest that they are about, under a tag that its digest gives.

Cosign's ``specs/SIGNATURE_SPEC.md``: a manifest with a layer for each signature; the layer is the payload that was
signed (containers-signature(5), "simple signing"), its annotation the signature.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from builder.content import MEDIA_CONFIG, MEDIA_MANIFEST, Descriptor, Digest, canonical_json
from builder.errors import StoreError, VerificationError
from builder.registry.reference import Repository
from builder.registry.store import Manifest, Store
from builder.releases.keys import PrivateKey, PublicKey

__all__ = [
    "MEDIA_PAYLOAD",
    "SIGNATURE",
    "SIGNER",
    "Signature",
    "docker_reference",
    "payload_of",
    "sign",
    "signature_tag",
    "signatures_of",
    "signed_digest",
    "verify",
]

MEDIA_PAYLOAD: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE: Final = "dev.cosignproject.cosign/signature"
SIGNER: Final = "dev.lockship.signer"
"""Annotation with the fingerprint of the key: a word for people, believed by nobody."""

_TYPE: Final = "cosign container image signature"
_MAX_PAYLOAD: Final = 1 << 20  # bytes
_MAX_SIGNATURES: Final = 1000
_TRIES: Final = 8  # writers that may be in each other's way
_NO_TIME: Final = "0001-01-01T00:00:00Z"  # as cosign has it: Go's zero


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature: the bytes that were signed, the signature (DER), and who says to have made it."""

    payload: bytes
    signature: bytes
    signer: str = ""

    @property
    def layer(self) -> Descriptor:
        """As it stands in the manifest of signatures."""
        notes = {SIGNATURE: base64.b64encode(self.signature).decode()}
        if self.signer:
            notes[SIGNER] = self.signer
        return Descriptor(MEDIA_PAYLOAD, Digest.of(self.payload), len(self.payload), annotations=notes)


def signature_tag(digest: Digest) -> str:
    """The tag under which the signatures of the manifest `digest` are ("Tag-based Discovery")."""
    return f"sha256-{digest.hex}.sig"


def signed_digest(tag: str) -> Digest | None:
    """What the signatures under `tag` are about; None when it is no such tag."""
    name = tag.removeprefix("sha256-").removesuffix(".sig")
    if tag != f"sha256-{name}.sig":
        return None
    try:
        return Digest.from_hex(name)
    except VerificationError:
        return None


def docker_reference(repository: Repository) -> str:
    """What a payload calls `repository`: without a tag, docker.io by the name that go-containerregistry gives it."""
    host = "index.docker.io" if repository.host == "docker.io" else repository.host
    return f"{host}/{repository.name}"


def payload_of(digest: Digest, reference: str) -> bytes:
    """The bytes that are signed: that `reference` (a repository) holds the manifest `digest`."""
    critical = {
        "identity": {"docker-reference": reference},
        "image": {"docker-manifest-digest": str(digest)},
        "type": _TYPE,
    }
    return canonical_json({"critical": critical, "optional": None})


def sign(store: Store, subject: Digest, key: PrivateKey, reference: str) -> Descriptor:
    """Sign the manifest `subject` in `store`, of the repository `reference`; the descriptor of all its signatures.

    Those of other keys stay. One that `key` made already is enough: then nothing is written. Raises StoreError when
    there is no such manifest or others write at the same time without end, VerificationError when what is there is
    no manifest of signatures.
    """
    if store.manifest(subject) is None:
        raise StoreError(f"{subject} is not in the store: it can't be signed", hint="push the release first")
    tag, payload = signature_tag(subject), payload_of(subject, reference)
    mine: Signature | None = None
    for _ in range(_TRIES):
        found = store.manifest(tag)
        known = _parse(store, found, subject) if found else ()
        if found and any(_is_by(one, key.public) and _about(one) == (str(subject), reference) for one in known):
            return found.descriptor
        mine = mine or Signature(payload, key.sign(payload), key.public.fingerprint)
        _write(store, tag, (*known, mine), () if found is None else json.loads(found.data)["layers"])
    raise StoreError(f"others keep writing to {tag}", hint="try again when they are done")


def signatures_of(store: Store, subject: Digest) -> tuple[Signature, ...]:
    """All signatures of the manifest `subject`, checked by nobody; raises VerificationError for damaged ones."""
    found = store.manifest(signature_tag(subject))
    return () if found is None else _parse(store, found, subject)


def verify(store: Store, subject: Digest, key: PublicKey) -> Signature:
    """The signature of the manifest `subject` that the other half of `key` made.

    Raises VerificationError, saying what is wrong, when there is none.
    """
    found = signatures_of(store, subject)
    if not found:
        raise VerificationError(f"{subject} is not signed", hint="`lockship release` signs, with a key")
    made = [one for one in found if _is_by(one, key)]
    for one in made:
        if _about(one)[0] == str(subject):
            return one
    if made:
        raise VerificationError(
            f"the signature of {subject} is about another manifest: {_about(made[0])[0] or 'none at all'}",
            hint="somebody put it there: don't use this release before it is known who and why",
        )
    raise _not_by(subject, key, [one.signer for one in found])


def _not_by(subject: Digest, key: PublicKey, signers: Sequence[str]) -> VerificationError:
    if key.fingerprint in signers:
        return VerificationError(
            f"the signature of {subject} was tampered with: it says that {key.fingerprint} made it, which it didn't",
            hint="don't use this release before it is known who changed it",
        )
    names = sorted({name for name in signers if name}) or ["another key"]
    return VerificationError(
        f"{subject} is signed, but not with {key.fingerprint}: with {', '.join(names)[:300]}",
        hint="[signing] key in the project file (or --key) names the public key that is trusted",
    )


def _is_by(one: Signature, key: PublicKey) -> bool:
    return key.accepts(one.signature, one.payload)


def _about(one: Signature) -> tuple[str, str]:
    """The digest and the repository that a payload names, where it is one of cosign's; else empty."""
    try:
        critical = json.loads(one.payload)["critical"]
        if critical["type"] != _TYPE:
            return "", ""
        return str(critical["image"]["docker-manifest-digest"]), str(critical["identity"]["docker-reference"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", ""


def _parse(store: Store, found: Manifest, subject: Digest) -> tuple[Signature, ...]:
    layers = json.loads(found.data).get("layers")
    if layers is None or len(layers) > _MAX_SIGNATURES:
        raise VerificationError(f"{signature_tag(subject)} holds no signatures", hint="delete that tag, and sign again")
    payloads: dict[str, bytes] = {}
    signatures = []
    for layer in layers:
        notes: Mapping[str, Any] = layer.get("annotations") or {}
        if layer.get("mediaType") != MEDIA_PAYLOAD or SIGNATURE not in notes:
            continue
        digest = layer["digest"]
        if digest not in payloads:
            payloads[digest] = _payload(store, Digest(digest), layer["size"], subject)
        signatures.append(Signature(payloads[digest], _decoded(notes[SIGNATURE]), str(notes.get(SIGNER, ""))))
    return tuple(signatures)


def _payload(store: Store, digest: Digest, size: int, subject: Digest) -> bytes:
    data = bytearray()
    if size <= _MAX_PAYLOAD:
        for chunk in store.read_blob(digest):
            data += chunk
            if len(data) > size:
                break
    if len(data) != size:
        raise VerificationError(f"a signature of {subject} was tampered with: its payload {digest} has another size")
    return bytes(data)


def _decoded(text: object) -> bytes:
    """The signature; one that is no base64 verifies with no key."""
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _write(store: Store, tag: str, signatures: Sequence[Signature], before: Sequence[Mapping[str, Any]]) -> None:
    """Put the manifest: the layers of the one `before` as they were, the last of `signatures` behind them."""
    new = signatures[-1]
    layers = [*before, new.layer.to_json()]
    history = [{"created": _NO_TIME} for _ in layers]
    rootfs = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
    config = canonical_json(
        {"architecture": "", "config": {}, "created": _NO_TIME, "history": history, "os": "", "rootfs": rootfs}
    )
    described = Descriptor(MEDIA_CONFIG, Digest.of(config), len(config))
    document = {"schemaVersion": 2, "mediaType": MEDIA_MANIFEST, "config": described.to_json(), "layers": layers}
    manifest = canonical_json(document)
    store.write_blob(new.layer, [new.payload])
    store.write_blob(described, [config])
    store.put_manifest(Descriptor(MEDIA_MANIFEST, Digest.of(manifest), len(manifest)), manifest, tag=tag, move=True)
