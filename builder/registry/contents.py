"""Everything that a manifest or index in a store leads to: read, checked and bounded before a byte of it is used.

Digests make cycles impossible, not floods: whoever serves manifests may name as much as they like, so what is followed
has limits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from builder.content import MEDIA_LAYER_GZIP, Descriptor, Digest, Platform
from builder.errors import RefusedError, StoreError, UsageError, VerificationError
from builder.parallel import Stop, each
from builder.registry.manifests import images_of, platform_name
from builder.registry.store import MAX_CONFIG, Manifest, Store, read_config

__all__ = ["MAX_BLOBS", "MAX_DEPTH", "MAX_MANIFESTS", "Contents", "contents_of", "platforms_of"]

MAX_DEPTH: Final = 4  # an index in an index is legal, and seldom
MAX_MANIFESTS: Final = 1000
MAX_BLOBS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Contents:
    """What `root` leads to.

    `manifests` are all others: children before parents, referrers among them. `blobs` are configurations and layers,
    each once; those in `foreign` may lie somewhere else than in the store (``urls`` in their descriptor).
    """

    root: Manifest
    manifests: tuple[Manifest, ...]
    blobs: tuple[Descriptor, ...]
    foreign: frozenset[Digest]
    referrers: frozenset[Digest]

    @property
    def size(self) -> int:
        """Bytes of everything."""
        return sum(len(one.data) for one in (self.root, *self.manifests)) + sum(one.size for one in self.blobs)


def contents_of(
    store: Store, reference: Digest | str | Manifest, platform: Platform | None = None, *, stop: Stop | None = None
) -> Contents | None:
    """What `reference` names in `store`, with all that it leads to; None when there is no such tag or digest.

    With `platform`, an index counts as the one manifest that it has for it. Raises UsageError when it has none,
    StoreError when a manifest is missing, VerificationError when manifests contradict each other, RefusedError when
    there is more than anybody could want.
    """
    found = reference if isinstance(reference, Manifest) else store.manifest(reference)
    if found is None:
        return None
    walk = _Walk(store, stop or Stop())
    root = found if platform is None else walk.only(found, platform)
    walk.visit(root)
    walk.follow_referrers(root)
    others = tuple(one for digest, one in walk.manifests.items() if digest != root.descriptor.digest)
    return Contents(root, others, tuple(walk.blobs.values()), frozenset(walk.foreign), frozenset(walk.referrers))


def platforms_of(manifest: Manifest, store: Store) -> tuple[str, ...]:
    """The platforms of an index, or of an image by its configuration in `store`, as ``linux/amd64``.

    Nothing for what is no image. Raises StoreError when the configuration is not there.
    """
    document = json.loads(manifest.data)
    if "manifests" in document:
        return tuple(images_of(document))
    said = _platform_of(store, manifest, document)
    return () if said is None else (said,)


def _platform_of(store: Store, manifest: Manifest, document: dict[str, Any]) -> str | None:
    """What the configuration of one image says; None where it isn't one of an image."""
    config = document.get("config")
    if config is None or config["size"] > MAX_CONFIG:
        return None
    try:
        said = json.loads(read_config(store, config, manifest.descriptor.digest))
        return f"{said['os']}/{said['architecture']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


class _Walk:
    """What was found so far, by digest; a manifest stands behind all that it names."""

    def __init__(self, store: Store, stop: Stop) -> None:
        self._store = store
        self._stop = stop
        self._sizes: dict[Digest, int] = {}
        self.manifests: dict[Digest, Manifest] = {}
        self.blobs: dict[Digest, Descriptor] = {}
        self.foreign: set[Digest] = set()
        self.referrers: set[Digest] = set()

    def only(self, found: Manifest, platform: Platform) -> Manifest:
        """The manifest for one platform."""
        document = json.loads(found.data)
        if "manifests" not in document:
            self._require_platform(found, document, platform)
            return found
        images = images_of(document)
        if (entry := images.get(str(platform))) is not None:
            return self._child(found, entry)
        offered = ", ".join(images) or "no platform that it names"
        raise UsageError(
            f"{found.descriptor.digest} is for {offered}, not for {platform}", hint="leave --platform out to take all"
        )

    def _require_platform(self, found: Manifest, document: dict[str, Any], platform: Platform) -> None:
        theirs = _platform_of(self._store, found, document)
        if theirs is not None and theirs != str(platform):
            raise UsageError(
                f"{found.descriptor.digest} is for {theirs}, not for {platform}", hint="leave --platform out to take it"
            )

    def visit(self, manifest: Manifest, depth: int = 1) -> None:
        """Note `manifest` and all that it names."""
        if manifest.descriptor.digest in self.manifests:
            return
        if depth > MAX_DEPTH:
            raise RefusedError(
                f"{manifest.descriptor.digest}: indexes within indexes, {depth} deep",
                hint="no image is like that; ask whoever pushed it",
            )
        document = json.loads(manifest.data)
        self._note_blobs(manifest, document)
        entries = list({entry["digest"]: entry for entry in document.get("manifests", [])}.values())
        self._bound(manifest, len(entries))
        for child in self._all(entries, lambda entry: self._child(manifest, entry)):
            self.visit(child, depth + 1)
        self.manifests[manifest.descriptor.digest] = manifest

    def follow_referrers(self, root: Manifest) -> None:
        """Note what refers to anything that was noted, and so on."""
        asked: set[Digest] = set()
        while waiting := [digest for digest in self.manifests if digest not in asked]:
            asked.update(waiting)
            listed = self._all(waiting, self._store.referrers)
            for subject, descriptors in zip(waiting, listed, strict=True):
                new = [one for one in descriptors if one.digest not in self.manifests]
                self._bound(root, len(new))
                for manifest in self._all(new, lambda one, subject=subject: self._referrer(one, subject)):
                    self.referrers.add(manifest.descriptor.digest)
                    self.visit(manifest)

    def _all(self, items: Sequence[Any], work: Any) -> list[Any]:
        if len(items) < 2:
            return [work(item) for item in items]
        return each(items, work, self._stop, threads=self._store.parallel)

    def _child(self, parent: Manifest, entry: dict[str, Any]) -> Manifest:
        digest = Digest(entry["digest"])
        child = self._store.manifest(digest)
        if child is None:
            where = platform_name(entry)
            raise StoreError(
                f"{parent.descriptor.digest} names {digest}{f' for {where}' if where else ''}, which is not there",
                hint="the release is incomplete: push it again, or take one platform with --platform",
            )
        self._agree(digest, entry["size"], parent)
        self._agree(digest, len(child.data), parent)
        return child

    def _referrer(self, descriptor: Descriptor, subject: Digest) -> Manifest:
        found = self._store.manifest(descriptor.digest)
        if found is None:
            raise StoreError(
                f"{subject} has the referrer {descriptor.digest}, which is not there",
                hint="the release is incomplete: attach it again",
            )
        target = json.loads(found.data).get("subject")
        if not isinstance(target, dict) or target.get("digest") != subject:
            raise VerificationError(
                f"{descriptor.digest} is listed as a referrer of {subject}, and is none", hint="the store is damaged"
            )
        return found

    def _note_blobs(self, manifest: Manifest, document: dict[str, Any]) -> None:
        parts: Iterable[dict[str, Any]] = [document["config"]] if document.get("config") else []
        for part in (*parts, *document.get("layers", [])):
            digest, kind = Digest(part["digest"]), part.get("mediaType")
            self._agree(digest, part["size"], manifest)
            self.blobs.setdefault(
                digest, Descriptor(kind if isinstance(kind, str) else MEDIA_LAYER_GZIP, digest, part["size"])
            )
            if part.get("urls"):
                self.foreign.add(digest)
        if len(self.blobs) > MAX_BLOBS:
            raise RefusedError(
                f"{manifest.descriptor.digest}: more than {MAX_BLOBS:,} blobs",
                hint="no image is like that; ask whoever pushed it",
            )

    def _agree(self, digest: Digest, size: int, manifest: Manifest) -> None:
        """One digest, one size."""
        if self._sizes.setdefault(digest, size) != size:
            raise VerificationError(
                f"{manifest.descriptor.digest} says that {digest} has {size:,} bytes, not {self._sizes[digest]:,}",
                hint="whoever made it made a mistake, or means harm",
            )

    def _bound(self, manifest: Manifest, more: int) -> None:
        if len(self.manifests) + more > MAX_MANIFESTS:
            raise RefusedError(
                f"{manifest.descriptor.digest}: more than {MAX_MANIFESTS:,} manifests",
                hint="no image is like that; ask whoever pushed it",
            )
