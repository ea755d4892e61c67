"""Does a release's evidence hold: all there, whole, about this release, signed, and in line with the images?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from builder.content import Descriptor, Digest
from builder.errors import LockshipError, StoreError, VerificationError
from builder.image.stored import Image, read_release
from builder.lock.file import LOCK_FILE, parse_lock
from builder.models.artifact import ARTIFACT_TYPE as MODEL
from builder.parallel import Stop, each
from builder.pipeline.evidence import LOCK, PLATFORM, PROVENANCE, SBOM
from builder.registry.artifact import TITLE, read_artifact
from builder.registry.manifests import images_of
from builder.registry.store import Store
from builder.releases import signing
from builder.releases.keys import PublicKey
from builder.releases.provenance import open_envelope, subjects_of
from builder.releases.sbom import Listed, read_bill

__all__ = ["Finding", "check_evidence", "require_evidence"]

_NAMES: Final = {SBOM: "sbom", PROVENANCE: "provenance", LOCK: "lock", MODEL: "model"}

# What layers of packages are called, and what the packages are in a bill of materials.
_KINDS: Final = {"wheel": "python", "conda": "conda", "jar": "maven", "deb": "deb"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what (``sbom linux/amd64``), which manifest, and what was found in words."""

    what: str
    digest: Digest | None
    ok: bool
    detail: str

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"what": self.what, "digest": self.digest, "ok": self.ok, "detail": self.detail}


def check_evidence(
    store: Store, index: Digest, key: PublicKey | None, *, stop: Stop | None = None
) -> tuple[Finding, ...]:
    """Everything that is attached to `index`, looked at, and what should be there but isn't, by what it is.

    With `key` all of it must be signed by its other half; without, nothing need be signed. Referrers of kinds that
    lockship doesn't attach are somebody else's business, and passed over. Raises StoreError when the store can't be
    reached or has no such release.
    """
    release = read_release(store, index)
    if release is None:
        raise StoreError(f"{index} is not in the store")
    images = {str(platform): image for platform, image in release.images.items()}
    ours = [one for one in store.referrers(index) if one.artifact_type in _NAMES]
    look = _Look(store, index, images, key)
    found = each(ours, look.at, stop or Stop(), threads=store.parallel)
    if key is not None:
        found.append(look.signature("index", index))
    wanted = {f"sbom {platform}" for platform in images} | {"provenance", "lock"}
    for name in wanted - {one.what for one in found}:
        found.append(Finding(name, None, False, "is not there"))
    return tuple(sorted(found, key=lambda one: (one.what, one.ok, one.digest or "")))


def require_evidence(store: Store, index: Digest, key: PublicKey | None) -> tuple[Finding, ...]:
    """As `check_evidence`; raises VerificationError with the first that doesn't hold."""
    found = check_evidence(store, index, key)
    bad = [one for one in found if not one.ok]
    if bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise VerificationError(
            f"{bad[0].what} {bad[0].detail}{more}",
            hint="`lockship release` attaches what is missing; what was changed was changed by somebody",
        )
    return found


@dataclass(frozen=True, slots=True)
class _Look:
    store: Store
    index: Digest
    images: Mapping[str, Image]
    key: PublicKey | None

    def at(self, referrer: Descriptor) -> Finding:
        """A referrer: whole, about the index, right in itself, signed."""
        kind = referrer.artifact_type or ""
        what = _name(kind, referrer.annotations)
        try:
            document, files = self._read(referrer)
            notes = document.get("annotations") or {}
            what = _name(kind, notes)
            checks: dict[str, Callable[[], str]] = {
                SBOM: lambda: self._bill(files, str(notes.get(PLATFORM, ""))),
                PROVENANCE: lambda: self._provenance(files),
                LOCK: lambda: _lock(files),
            }
            detail = checks[kind]() if kind in checks else "is whole"
        except VerificationError as error:
            return Finding(what, referrer.digest, False, error.message)
        if self.key is None:
            return Finding(what, referrer.digest, True, detail)
        signed = self.signature(what, referrer.digest)
        return signed if not signed.ok else Finding(what, referrer.digest, True, f"{detail}, {signed.detail}")

    def signature(self, what: str, digest: Digest) -> Finding:
        """The signature of a manifest."""
        assert self.key is not None
        try:
            signing.verify(self.store, digest, self.key)
        except VerificationError as error:
            return Finding(what, digest, False, error.message)
        return Finding(what, digest, True, f"signed with {self.key.fingerprint[:19]}…")

    def _read(self, referrer: Descriptor) -> tuple[dict[str, Any], Mapping[str, bytes]]:
        """A referrer's manifest and files; models are read whole, but not kept."""
        found = self.store.manifest(referrer.digest)
        if found is None:
            raise VerificationError(f"{referrer.digest} is not there, though the store names it")
        document: dict[str, Any] = json.loads(found.data)
        subject = (document.get("subject") or {}).get("digest")
        if subject != self.index:
            raise VerificationError(f"{referrer.digest} is about another release: {subject}")
        if referrer.artifact_type == MODEL:
            for layer in document.get("layers", ()):
                _read_through(self.store, layer)
            return document, {}
        try:
            stored = read_artifact(self.store, found)
        except StoreError as error:
            raise VerificationError(f"{referrer.digest} is not whole: {error.message}") from error
        return document, stored.files if stored else {}

    def _bill(self, files: Mapping[str, bytes], platform: str) -> str:
        about, listed = read_bill(_only(files))
        image = self.images.get(platform)
        if image is None:
            raise VerificationError(f"is a bill of materials for {platform or 'no platform'}, which has no image")
        if about is None or about != self._manifest(platform):
            raise VerificationError(f"is a bill of materials of another image: {about}")
        if problem := next(_differences(image, listed), None):
            raise VerificationError(f"is not what the image says: {problem}")
        return f"lists {len(listed):,} components, as the image says"

    def _manifest(self, platform: str) -> Digest:
        """The manifest for `platform`; a release of one image may do without an index."""
        found = self.store.manifest(self.index)
        assert found is not None
        entries = images_of(json.loads(found.data))
        return Digest(entries[platform]["digest"]) if platform in entries else self.index

    def _provenance(self, files: Mapping[str, bytes]) -> str:
        content = _only(files)
        statement = open_envelope(content, self.key if _is_ours(content, self.key) else None)
        missing = {self.index} - set(subjects_of(statement).values())
        if missing:
            raise VerificationError(f"is the provenance of another release: {self.index} is not among its subjects")
        try:
            run = statement["predicate"]["runDetails"]
            return f"built by {run['builder']['id']}"
        except (KeyError, TypeError) as error:
            raise VerificationError("is no SLSA provenance: it doesn't say who built") from error


def _is_ours(content: bytes, key: PublicKey | None) -> bool:
    """Whether an envelope says to be signed with `key`; for any other the signature of its manifest must do."""
    document = json.loads(content) if key is not None and content.startswith(b"{") else {}
    signatures = document.get("signatures") if isinstance(document, dict) else None
    names = [one.get("keyid") for one in signatures or () if isinstance(one, dict)]
    return key is not None and key.fingerprint in names


def _name(kind: str, notes: Mapping[str, Any]) -> str:
    detail = {SBOM: PLATFORM, MODEL: TITLE}.get(kind)
    return f"{_NAMES[kind]} {notes.get(detail, '')}".strip() if detail else _NAMES[kind]


def _only(files: Mapping[str, bytes]) -> bytes:
    if len(files) != 1:
        raise VerificationError(f"holds {len(files)} files, one is expected")
    return next(iter(files.values()))


def _read_through(store: Store, layer: Mapping[str, Any]) -> None:
    size = 0
    try:
        for chunk in store.read_blob(Digest(layer["digest"])):
            size += len(chunk)
    except StoreError as error:
        raise VerificationError(f"is not whole: {error.message}") from error
    if size != layer["size"]:
        raise VerificationError(f"is not whole: {layer['digest']} has {size:,} bytes, not {layer['size']:,}")


def _differences(image: Image, listed: tuple[Listed, ...]) -> Iterator[str]:
    """What a bill lists that no layer holds in that version, and the other way round."""
    held = {
        (_KINDS[part.kind], name, version, str(part.digest))
        for part in image.parts
        if part.kind in _KINDS
        for name, version in part.holds
    }
    said = {(one.kind, one.name, one.version, one.layer) for one in listed if one.kind in _KINDS.values()}
    for kind, name, version, _ in sorted(said - held):
        yield f"no layer holds the {kind} package {name} {version}, which is listed"
    for kind, name, version, _ in sorted(held - said):
        yield f"a layer holds the {kind} package {name} {version}, which is not listed"
    layers = {str(part.digest) for part in image.parts}
    for one in listed:
        if one.layer and one.layer not in layers:
            yield f"{one.name} is listed in a layer that the image doesn't have"


def _lock(files: Mapping[str, bytes]) -> str:
    """The lock binds the files beside it."""
    if LOCK_FILE not in files:
        raise VerificationError(f"holds no {LOCK_FILE}")
    try:
        lock = parse_lock(files[LOCK_FILE])
    except LockshipError as error:
        raise VerificationError(f"{LOCK_FILE} {error.message}") from error
    for name, digest in lock.outputs.items():
        if name in files and Digest.of(files[name]) != digest:
            raise VerificationError(f"{name} is not the one that {LOCK_FILE} binds")
    return f"holds {', '.join(sorted(files))}"
