"""Base images: what a reference names in a store, and what of it an image built upon it needs.

OCI image specification v1.1 and Docker's image manifest version 2, schema 2, which differ in names only: layers are
the same bytes under another media type, so they are locked under OCI's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from builder.content import (
    MEDIA_CONFIG,
    MEDIA_INDEX,
    MEDIA_LAYER_GZIP,
    MEDIA_LAYER_TAR,
    MEDIA_MANIFEST,
    Digest,
    Platform,
)
from builder.errors import ProjectError, StoreError, UsageError, VerificationError
from builder.lock.images import BaseLayer
from builder.registry.manifests import is_descriptor
from builder.registry.reference import Reference, parse_reference
from builder.registry.store import Manifest, Store, read_config

__all__ = ["Inherited", "Offer", "find", "names_of", "reference_of", "settings"]

_DOCKER: Final = "application/vnd.docker."
_INDEXES: Final = (MEDIA_INDEX, _DOCKER + "distribution.manifest.list.v2+json")
_MANIFESTS: Final = (MEDIA_MANIFEST, _DOCKER + "distribution.manifest.v2+json")
_CONFIGS: Final = (MEDIA_CONFIG, _DOCKER + "container.image.v1+json")
_LAYERS: Final = {
    MEDIA_LAYER_GZIP: MEDIA_LAYER_GZIP,
    MEDIA_LAYER_TAR: MEDIA_LAYER_TAR,
    _DOCKER + "image.rootfs.diff.tar.gzip": MEDIA_LAYER_GZIP,
    _DOCKER + "image.rootfs.diff.tar": MEDIA_LAYER_TAR,
}
# Processor variants whose programs run on every processor of that name that we build for.
_PLAIN: Final = {"amd64": (None, "", "v1"), "arm64": (None, "", "v8")}
_LONGEST: Final = 200  # characters of a history entry


@dataclass(frozen=True, slots=True)
class Offer:
    """What a reference names: `digest`, and the manifest of each of its platforms.

    `name` is the reference as messages and annotations give it.
    """

    name: str
    digest: Digest
    manifests: Mapping[Platform, Digest]


@dataclass(frozen=True, slots=True)
class Inherited:
    """An image's layers, lowest first, and the settings that ``FROM`` passes on.

    `left_out` are words for settings that are not passed on.
    """

    layers: tuple[BaseLayer, ...]
    env: tuple[str, ...]
    user: str
    entrypoint: tuple[str, ...]
    labels: Mapping[str, str]
    ports: tuple[str, ...]
    volumes: tuple[str, ...]
    stop_signal: str
    left_out: tuple[str, ...]


def reference_of(base: str, *, file: Path | None = None) -> Reference | None:
    """The image that `base` names, or None for ``debian:SUITE``, which is put together from packages.

    Raises ProjectError for what is neither.
    """
    if re.split("[:@]", base)[0] == "debian":
        return None
    try:
        return parse_reference(base)
    except UsageError as error:
        raise ProjectError(f"image.base: {error.message}", hint=error.hint, file=file) from error


def names_of(base: str) -> frozenset[str]:
    """What ``--upgrade-package`` may call a base that is an image: as written, or in full; the tag may be left out."""
    reference = parse_reference(base)
    written = base.partition("@")[0]
    head, colon, tag = written.rpartition(":")
    short = head if colon and "/" not in tag else written
    return frozenset((base, str(reference), str(reference.repository), short))


def find(store: Store, reference: Reference, *, pinned: Digest | None = None, file: Path | None = None) -> Offer:
    """What `reference` names in `store`; with `pinned`, that manifest or index whatever the tag names now.

    Raises ProjectError when there is no such image or when it is of a sort that can't be a base, StoreError when a
    part of it is missing, VerificationError when it contradicts itself.
    """
    name = str(reference)
    found = store.manifest(pinned or reference.selector)
    if found is None:
        if pinned is not None:
            raise StoreError(
                f"{reference.repository} no longer has {pinned}, which the lock names",
                hint="run `lockship lock --upgrade` to take what the tag names now",
            )
        raise ProjectError(
            f"image.base: there is no {name}", hint="check the name and the tag; a tag can be removed", file=file
        )
    document = _document(found, name)
    media_type = str(document.get("mediaType") or found.descriptor.media_type)
    if media_type in _INDEXES or "manifests" in document:
        return Offer(name, found.descriptor.digest, _entries(document, name))
    config = _config(store, _manifest(found, name), name)
    return Offer(name, found.descriptor.digest, {_platform_of(config): found.descriptor.digest})


def _document(found: Manifest, name: str) -> dict[str, Any]:
    try:
        document = json.loads(found.data)
    except ValueError as error:
        raise VerificationError(f"{name}: its manifest is not JSON") from error
    if not isinstance(document, dict):
        raise VerificationError(f"{name}: its manifest is not a JSON object")
    if document.get("schemaVersion") == 1:
        raise ProjectError(
            f"image.base: {name} has a manifest of Docker's schema 1, which is out of use since 2017",
            hint="push it again with a current docker or skopeo, which write schema 2",
        )
    return document


def _entries(document: Mapping[str, Any], name: str) -> dict[Platform, Digest]:
    """The images of an index by platform; attestations and processors' special variants are passed over."""
    found: dict[Platform, Digest] = {}
    for entry in document["manifests"]:
        if not is_descriptor(entry):
            raise VerificationError(f"{name}: its index holds what is no descriptor")
        platform = entry.get("platform")
        if not isinstance(platform, dict) or platform.get("os") == "unknown":
            continue
        one = Platform(str(platform.get("os", "")), str(platform.get("architecture", "")))
        if platform.get("variant") in _PLAIN.get(one.architecture, (platform.get("variant"),)):
            found.setdefault(one, Digest(entry["digest"]))
    return found


def settings(store: Store, offer: Offer, platform: Platform, *, file: Path | None = None) -> Inherited:
    """The layers and settings of the image for `platform`.

    Raises ProjectError when there is none or its layers are of a sort that can't be used, VerificationError when it
    contradicts itself.
    """
    what = f"{offer.name} ({platform})"
    digest = offer.manifests.get(platform)
    if digest is None:
        has = ", ".join(sorted(str(one) for one in offer.manifests)) or "none"
        raise ProjectError(
            f"image.base: {offer.name} has no image for {platform}; it has {has}",
            hint="choose a base that has it, or take the platform out of [image] platforms",
            file=file,
        )
    found = store.manifest(digest)
    if found is None:
        raise StoreError(f"{offer.name} names {digest} for {platform}, which is not there")
    document = _manifest(found, what)
    config = _config(store, document, what)
    if _platform_of(config) != platform:
        raise VerificationError(f"{what}: its configuration is for {_platform_of(config)}")
    try:
        return _inherited(document, config, what)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VerificationError(f"{what}: its configuration is damaged ({error})") from error


def _manifest(found: Manifest, name: str) -> dict[str, Any]:
    document = _document(found, name)
    media_type = str(document.get("mediaType") or found.descriptor.media_type)
    if media_type not in _MANIFESTS or not is_descriptor(document.get("config")):
        raise ProjectError(f"image.base: {name} is not an image ({media_type})", hint="a base is an image")
    if document["config"].get("mediaType") not in _CONFIGS:
        raise ProjectError(
            f"image.base: {name} is not an image: its configuration is {document['config'].get('mediaType')}",
            hint="registries hold other things too, such as charts and signatures; a base is an image",
        )
    layers = document.get("layers")
    if not isinstance(layers, list) or not all(map(is_descriptor, layers)):
        raise VerificationError(f"{name}: its manifest has no layers")
    return document


def _config(store: Store, document: Mapping[str, Any], name: str) -> dict[str, Any]:
    try:
        config = json.loads(read_config(store, document["config"], name))
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"{name}: its configuration is not JSON") from error
    if not isinstance(config, dict):
        raise VerificationError(f"{name}: its configuration is not a JSON object")
    return config


def _platform_of(config: Mapping[str, Any]) -> Platform:
    return Platform(str(config.get("os", "")), str(config.get("architecture", "")))


def _inherited(document: Mapping[str, Any], config: Mapping[str, Any], what: str) -> Inherited:
    own: Mapping[str, Any] = config.get("config") or {}
    left_out = [words for key, words in _NOT_PASSED_ON.items() if own.get(key)]
    return Inherited(
        layers=_layers(document, config, what),
        env=tuple(_utf8(one) for one in own.get("Env") or () if "=" in one and not one.startswith("=")),
        user=_utf8(own.get("User") or ""),
        entrypoint=tuple(_utf8(one) for one in own.get("Entrypoint") or ()),
        labels={_utf8(key): _utf8(value) for key, value in (own.get("Labels") or {}).items() if not _about_itself(key)},
        ports=tuple(sorted(_port(key) for key in own.get("ExposedPorts") or {})),
        volumes=tuple(sorted(_utf8(key) for key in own.get("Volumes") or {})),
        stop_signal=_utf8(own.get("StopSignal") or ""),
        left_out=tuple(left_out),
    )


# What an image says that is not for images built upon it: instructions for `docker build`, and whether *its* service
# is well.
_NOT_PASSED_ON: Final = {"OnBuild": "its ONBUILD instructions", "Healthcheck": "its HEALTHCHECK"}


def _about_itself(label: str) -> bool:
    """Labels that say what the base itself is: wrong for an image built upon it."""
    return label.startswith(("org.opencontainers.image.", "dev.lockship.", "org.label-schema."))


def _port(text: str) -> str:
    return text if "/" in text else f"{text}/tcp"


def _utf8(value: object) -> str:
    """A string that can be written down; raises ValueError for anything else."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"{str(value)[:80]!r} is not a text")
    value.encode()
    return value


def _layers(document: Mapping[str, Any], config: Mapping[str, Any], what: str) -> tuple[BaseLayer, ...]:
    descriptors = document["layers"]
    diff_ids = [Digest(one) for one in config["rootfs"]["diff_ids"]]
    if len(diff_ids) != len(descriptors) or not descriptors:
        raise VerificationError(f"{what}: {len(descriptors)} layers, and its configuration has {len(diff_ids)}")
    said = [str(one.get("created_by") or "") for one in config.get("history") or () if not one.get("empty_layer")]
    if len(said) != len(descriptors):  # a history is optional, and some tools leave it incomplete
        said = [""] * len(descriptors)
    return tuple(
        BaseLayer(Digest(one["digest"]), one["size"], diff_id, _media_type(one, what), _short(created_by))
        for one, diff_id, created_by in zip(descriptors, diff_ids, said, strict=True)
    )


def _media_type(descriptor: Mapping[str, Any], what: str) -> str:
    media_type = str(descriptor.get("mediaType"))
    if media_type in _LAYERS:
        return _LAYERS[media_type]
    if "foreign" in media_type or "nondistributable" in media_type or descriptor.get("urls"):
        why, hint = "may not be distributed", "a base's layers must be free to go where the image goes; choose another"
    elif "zstd" in media_type:
        why = "is compressed by zstd, which not every engine reads"
        hint = "push the base again with gzip: `skopeo copy --dest-compress-format gzip --dest-force-compress-format`"
    else:
        why, hint = "is of a sort that is not known here", "a base's layers are tar archives, plain or in gzip"
    raise ProjectError(f"image.base: {what}: layer {descriptor['digest']} {why} ({media_type})", hint=hint)


def _short(created_by: str) -> str:
    """A history entry on one line, of a length that fits a lock."""
    line = " ".join(created_by.encode("utf-8", "replace").decode().split())
    line = re.sub(r"[\x00-\x1f\x7f]", "", line)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
