"""An image from a store into a Docker engine, streamed: no temporary file, nothing sent that is there already."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from builder.content import MEDIA_INDEX, Digest, Platform, canonical_json
from builder.deploy.engine import Engine, connect, engine_errors
from builder.deploy.run import Streams, run
from builder.errors import StoreError, UsageError, VerificationError
from builder.layers import tar
from builder.progress import SILENT, Progress, Task
from builder.registry.manifests import images_of
from builder.registry.reference import full_name
from builder.registry.store import Manifest, Store, read_config

__all__ = ["Blobs", "Engine", "Image", "Streams", "command_of", "connect", "image_in", "image_of", "load", "run"]

_ZSTD: Final = "its layers are compressed by zstd: Docker Engine reads that from 23.0 on; push it with gzip instead"


class Blobs(Protocol):
    """Where an image's layers are read from: any `Store`, or what stands in front of one."""

    def read_blob(self, digest: Digest, *, start: int = 0) -> Iterator[bytes]:
        """See `Store.read_blob`."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image in a store, for one platform: its manifest, and what engines need to know of it.

    `layers` are the blobs' (digest, size in bytes) with the diff ids, lowest first; `config` is the digest that
    engines with a store of their own use as the image's id, `configuration` what it is the digest of.
    """

    manifest: Manifest
    config: Digest
    configuration: bytes
    layers: tuple[tuple[Digest, int], ...]
    diff_ids: tuple[Digest, ...]


def image_in(store: Store, reference: Digest | str, platform: Platform) -> Image:
    """The image that a tag or digest of `store` has for `platform`.

    Raises StoreError when it isn't there, UsageError when there is none for the platform.
    """
    found = store.manifest(reference)
    if found is None:
        raise StoreError(f"{reference!s} is not in the store", hint="run `lockship build` first")
    return image_of(store, found, platform, what=str(reference))


def image_of(store: Store, found: Manifest, platform: Platform, *, what: str) -> Image:
    """As `image_in`, of a manifest that was looked up already; `what` names it for people."""
    document = json.loads(found.data)
    if "manifests" in document:
        found = _child(store, found, platform)
        document = json.loads(found.data)
    if "config" not in document or "layers" not in document:
        raise VerificationError(f"{what} is not an image")
    config = read_config(store, document["config"], what)
    try:
        diff_ids = tuple(Digest(value) for value in json.loads(config)["rootfs"]["diff_ids"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise VerificationError(f"the configuration of {what} is not an image's") from error
    layers = tuple((Digest(layer["digest"]), int(layer["size"])) for layer in document["layers"])
    if len(layers) != len(diff_ids):
        raise VerificationError(f"{what} names {len(layers)} layers, its configuration {len(diff_ids)}")
    return Image(found, Digest(document["config"]["digest"]), config, layers, diff_ids)


def _child(store: Store, index: Manifest, platform: Platform) -> Manifest:
    offered = images_of(json.loads(index.data))
    if str(platform) not in offered:
        raise UsageError(
            f"the image is for {', '.join(sorted(offered))}, not for {platform}",
            hint=f'add "{platform}" to platforms in [image], then lock and build again',
        )
    child = store.manifest(Digest(offered[str(platform)]["digest"]))
    if child is None:
        raise StoreError(f"the store has no image for {platform}", hint="build for that platform too")
    return child


def command_of(engine: Engine, image_id: str, arguments: Sequence[str]) -> list[str]:
    """`arguments` as words behind the command that the image has itself."""
    with engine_errors(engine):
        config = engine.api.inspect_image(image_id)["Config"]
    own = [] if config.get("Entrypoint") else config.get("Cmd") or []
    return [*own, *arguments]


def load(engine: Engine, store: Blobs, image: Image, tags: Sequence[str], progress: Progress = SILENT) -> str:
    """Bring `image` into the engine under `tags` (``name:version``); its id there.

    A no-op when it is there. Layers that the engine has below an image of its own are not sent. Raises StoreError
    when the engine fails, VerificationError when it ends up with another image.
    """
    with engine_errors(engine):
        present = _present(engine, image)
        if present is not None:
            for tag in tags:
                name, _, version = tag.rpartition(":")
                engine.api.tag(present, name, version)
            return present
        known = 0 if engine.containerd else _shared(engine, image.diff_ids)
    try:
        _send(engine, store, image, tags, known, progress)
    except StoreError:
        if not known:
            raise
        # an image was removed while we looked, or this engine wants every layer after all
        _send(engine, store, image, tags, 0, progress)
    with engine_errors(engine):
        loaded = _present(engine, image)
    if loaded is None:
        raise VerificationError(f"the engine at {engine.host} took {image.config} and has another image now")
    return loaded


def _present(engine: Engine, image: Image) -> str | None:
    """The image's id in the engine: its configuration's digest, or its manifest's where containerd keeps images."""
    from docker.errors import ImageNotFound

    for digest in (image.config, image.manifest.descriptor.digest):
        try:
            return str(engine.api.inspect_image(str(digest))["Id"])
        except ImageNotFound:
            continue
    return None


def _shared(engine: Engine, diff_ids: tuple[Digest, ...]) -> int:
    """How many of the lowest layers lie, in this order, at the bottom of some image that the engine has."""
    from docker.errors import ImageNotFound

    best = 0
    for summary in engine.api.images(all=True):
        try:
            theirs = engine.api.inspect_image(summary["Id"])["RootFS"].get("Layers") or []
        except ImageNotFound:  # removed meanwhile
            continue
        best = max(best, _common(diff_ids, theirs))
    return best


def _common(ours: Sequence[str], theirs: Sequence[str]) -> int:
    count = 0
    for mine, other in zip(ours, theirs, strict=False):
        if mine != other:
            break
        count += 1
    return count


def _send(engine: Engine, store: Blobs, image: Image, tags: Sequence[str], known: int, progress: Progress) -> None:
    total = sum(size for _, size in image.layers[known:])
    with progress.task(f"loading {tags[0] if tags else image.config.short}", total) as task, engine_errors(engine):
        failure: Exception | None = None

        def stream() -> Iterator[bytes]:
            nonlocal failure
            try:
                yield from _archive(store, image, tags, known, task)
            except Exception as error:
                failure = error  # what requests makes of it would hide whose fault it was
                raise

        patience, engine.api.timeout = engine.api.timeout, None
        try:
            for message in engine.api.load_image(stream()):
                if "error" in message:
                    raise StoreError(
                        f"the engine at {engine.host} refused the image: {message['error']}",
                        hint=_ZSTD if b"+zstd" in image.manifest.data else None,
                    )
        except Exception:
            if failure is not None:
                raise failure from None
            raise
        finally:
            engine.api.timeout = patience


def _archive(store: Blobs, image: Image, tags: Sequence[str], known: int, task: Task) -> Iterator[bytes]:
    """What ``docker load`` reads: ``manifest.json`` for every engine, and an OCI layout for those that prefer one.

    Without the lowest `known` layers: an engine looks for a layer's file only when it doesn't have the layer.
    """
    legacy = [
        {
            "Config": _blob(image.config),
            "RepoTags": list(tags) or None,
            "Layers": [_blob(digest) for digest, _ in image.layers],
        }
    ]
    descriptor = image.manifest.descriptor.to_json()
    if not known:
        entries = [{**descriptor, "annotations": _names(tag)} for tag in tags] or [descriptor]
        index = {"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": entries}
        yield from _file("oci-layout", canonical_json({"imageLayoutVersion": "1.0.0"}))
        yield from _file("index.json", canonical_json(index))
        yield from _file(_blob(image.manifest.descriptor.digest), image.manifest.data)
    yield from _file("manifest.json", canonical_json(legacy))
    yield from _file(_blob(image.config), image.configuration)
    sent = set()
    for digest, size in image.layers[known:]:
        if digest in sent:
            continue
        sent.add(digest)
        yield tar.header(tar.Entry(_blob(digest), tar.Kind.FILE, 0o644, size=size))
        yield from _counted(store.read_blob(digest), digest, size, task)
        if rest := tar.padding(size):
            yield rest
    yield tar.END


def _counted(chunks: Iterable[bytes], digest: Digest, size: int, task: Task) -> Iterator[bytes]:
    seen = 0
    for chunk in chunks:
        seen += len(chunk)
        if seen > size:  # the engine would take what follows for more of the archive
            break
        yield chunk
        task.advance(len(chunk))
    if seen != size:
        more = " or more" if seen > size else ""
        raise VerificationError(f"{digest} has {seen:,} bytes{more}, the manifest says {size:,}")


def _blob(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"


def _names(tag: str) -> dict[str, str]:
    name, _, version = tag.rpartition(":")
    return {"io.containerd.image.name": f"{full_name(name)}:{version}", "org.opencontainers.image.ref.name": version}


def _file(path: str, data: bytes) -> Iterator[bytes]:
    yield tar.header(tar.file(path, data)) + data + tar.padding(len(data))
