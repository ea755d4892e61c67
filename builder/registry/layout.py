"""A store in a directory: the OCI image layout (OCI image specification v1.1, "Image Layout").

Any tool reads it (skopeo, umoci, crane). Tags are descriptors of ``index.json`` with the annotation
``org.opencontainers.image.ref.name``; manifests with a subject stand there too, without a tag. Files under
``blobs/sha256`` appear whole or not at all: they are written in ``.tmp`` and renamed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from builder.content import CHUNK, MEDIA_INDEX, Descriptor, Digest, canonical_json
from builder.errors import StoreError, VerificationError
from builder.files import read_chunks, write_file
from builder.progress import Task
from builder.registry.blobs import DAMAGED, Blobs
from builder.registry.manifests import MAX_MANIFEST, describe, is_descriptor, parse_manifest
from builder.registry.reference import Repository, full_name
from builder.registry.store import Manifest, check_manifest, taken
from builder.registry.sweep import Swept, now_and_without, sweep

__all__ = ["Layout"]

_REF: Final = "org.opencontainers.image.ref.name"
_IMAGE_NAME: Final = "io.containerd.image.name"
_VERSION: Final = {"imageLayoutVersion": "1.0.0"}
_EMPTY: Final = {"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": []}
# linux/fs.h: share a file's blocks with another, where the file system copies on write
_FICLONE: Final = 0x40049409


class Layout:
    """The layout in the folder `root`; made by the first write. `name` is the image's name for engines that load it.

    Raises StoreError when `root` is something else. Safe for several threads and processes.
    """

    parallel = 1

    def __init__(self, root: Path, *, name: str | None = None) -> None:
        self.root = root
        self._name = name
        self._blobs = Blobs(root)
        self._ready = False
        self._check()

    def __repr__(self) -> str:
        return f"Layout({str(self.root)!r})"

    # blobs

    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there."""
        return self._blobs.path(digest).is_file()

    def adopt(self, descriptor: Descriptor, sources: Sequence[Repository] = ()) -> bool:
        """Whether the blob is there; a folder takes nothing from others. See `Store.adopt`."""
        try:
            size = self._blobs.path(descriptor.digest).stat().st_size
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._blobs.failure("read", error) from error
        if size != descriptor.size:
            raise VerificationError(
                f"{self.root}: the file of {descriptor.digest} has {size:,} bytes, not {descriptor.size:,}",
                hint=DAMAGED,
            )
        self._blobs.touch(descriptor.digest)
        return True

    def read_blob(self, digest: Digest, *, start: int = 0) -> Iterator[bytes]:
        """The blob in chunks, verified at the end; raises StoreError when it isn't there. See `Store.read_blob`."""
        state = hashlib.sha256()
        try:
            with self._blobs.path(digest).open("rb") as file:
                file.seek(start)
                while chunk := file.read(CHUNK):
                    state.update(chunk)
                    yield chunk
        except FileNotFoundError as error:
            raise StoreError(f"{self.root} does not hold {digest}", hint="build or pull it again") from error
        except OSError as error:
            raise self._blobs.failure("read", error) from error
        if not start and state.hexdigest() != digest.hex:
            raise self._blobs.damaged(digest, state.hexdigest())

    def path(self, digest: Digest) -> Path | None:
        """The file of a blob, or None; for readers that verify by themselves."""
        path = self._blobs.path(digest)
        return path if path.is_file() else None

    def write_blob(self, descriptor: Descriptor, chunks: Iterable[bytes], *, task: Task | None = None) -> None:
        """Store a blob; a no-op when it is there. Raises VerificationError when the bytes are others."""
        if self._there(descriptor, task):
            return
        state = hashlib.sha256()
        size = 0
        self._prepare()
        with self._blobs.new(descriptor.digest) as file:
            for chunk in chunks:
                state.update(chunk)
                size += len(chunk)
                with self._blobs.errors("write"):
                    file.write(chunk)
                if task is not None:
                    task.advance(len(chunk))
            if size != descriptor.size or state.hexdigest() != descriptor.digest.hex:
                raise VerificationError(
                    f"expected {descriptor.digest} ({descriptor.size:,} bytes), "
                    f"got sha256:{state.hexdigest()} ({size:,} bytes)"
                )

    def receive_blob(self, descriptor: Descriptor, read: Callable[[int], Iterable[bytes]]) -> None:
        """Store a blob from `read`, which gives its bytes from an offset on; a no-op when it is there.

        What an interrupted transfer left of it is kept, and gone on with. Raises VerificationError when the bytes are
        others.
        """
        if not self.adopt(descriptor):
            self._prepare()
            self._blobs.receive(descriptor, read)

    def add_file(self, descriptor: Descriptor, path: Path, *, task: Task | None = None) -> None:
        """Store a blob from a file whose digest is known to be right.

        A file that nobody may write to is linked, any other copied (sharing its blocks where the file system can):
        a link to a file that is edited later would change the store.
        """
        if self._there(descriptor, task):
            return
        try:
            status = path.stat()
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from error
        if status.st_size != descriptor.size:
            raise VerificationError(
                f"{path.name}: expected {descriptor.size:,} bytes, the file has {status.st_size:,}", file=path
            )
        self._prepare()
        linked = not status.st_mode & 0o222 and self._link(path, descriptor.digest)
        if not linked and not self._clone(path, descriptor):
            self.write_blob(descriptor, read_chunks(path), task=task)
        elif task is not None:
            task.advance(descriptor.size)

    def _there(self, descriptor: Descriptor, task: Task | None) -> bool:
        there = self.has_blob(descriptor.digest)
        if there:
            self._blobs.touch(descriptor.digest)
        if there and task is not None:
            task.advance(descriptor.size)
        return there

    def _link(self, path: Path, digest: Digest) -> bool:
        try:
            os.link(path.resolve(), self._blobs.path(digest))
        except FileExistsError:
            return True
        except OSError:  # another file system, one without links, or too many of them
            return False
        return True

    def _clone(self, path: Path, descriptor: Descriptor) -> bool:
        with suppress(OSError), path.open("rb") as source, self._blobs.new(descriptor.digest) as file:
            fcntl.ioctl(file.fileno(), _FICLONE, source.fileno())
            return True
        return False

    # manifests

    def manifest(self, reference: Digest | str) -> Manifest | None:
        """The manifest or index with this digest or tag, or None."""
        digest = reference if isinstance(reference, Digest) else self.resolve(reference)
        if digest is None:
            return None
        path = self._blobs.path(digest)
        try:
            if path.stat().st_size > MAX_MANIFEST:
                return None  # a layer
            data = path.read_bytes()
        except FileNotFoundError as error:
            if not isinstance(reference, Digest):
                raise StoreError(
                    f"{self.root}: tag {reference!r} names {digest}, which is not there",
                    hint="the layout is incomplete: build or pull it again",
                ) from error
            return None
        except OSError as error:
            raise self._blobs.failure("read", error) from error
        if (found := Digest.of(data)) != digest:
            raise self._blobs.damaged(digest, found.hex)
        document = parse_manifest(data)
        return None if document is None else Manifest(describe(document, data), data)

    def put_manifest(self, descriptor: Descriptor, data: bytes, *, tag: str | None = None, move: bool = False) -> None:
        """Store a manifest or index, after everything it names; see `Store.put_manifest`."""
        document = check_manifest(descriptor, data, tag)
        self._require_parts(document)
        self.write_blob(descriptor, [data])
        subject = "subject" in document
        if tag is None and not subject:
            return
        with self._index() as index:
            entries = index["manifests"]
            entry = describe(document, data).to_json()
            if tag is None:
                if not any(known["digest"] == descriptor.digest for known in entries):
                    entries.append(entry)
                return
            for known in entries:
                if _tag_of(known) == tag and known["digest"] != descriptor.digest and not move:
                    raise taken(tag, known["digest"], descriptor.digest)
            names = {_REF: tag} | ({_IMAGE_NAME: f"{full_name(self._name)}:{tag}"} if self._name else {})
            entries[:] = [known for known in entries if _tag_of(known) != tag]
            entries.append(entry | {"annotations": entry.get("annotations", {}) | names})

    def keep(self, descriptor: Descriptor) -> None:
        """List a manifest without a tag: other tools find it then, and none of them takes it for rubbish."""
        with self._index() as index:
            if not any(known["digest"] == descriptor.digest for known in index["manifests"]):
                index["manifests"].append(descriptor.to_json())

    def resolve(self, tag: str) -> Digest | None:
        """What a tag names, or None."""
        return self.tags().get(tag)

    def tags(self) -> dict[str, Digest]:
        """All tags."""
        return {tag: Digest(entry["digest"]) for entry in self._entries() if (tag := _tag_of(entry)) is not None}

    def tag_names(self) -> list[str]:
        """The names of all tags, sorted."""
        return sorted(self.tags())

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """Descriptors of the manifests whose subject is `subject`, by digest."""
        found: dict[Digest, Descriptor] = {}
        for entry in self._entries():
            manifest = self.manifest(Digest(entry["digest"]))
            if manifest is None:
                continue
            target = json.loads(manifest.data).get("subject")
            if isinstance(target, dict) and target.get("digest") == subject:
                found[manifest.descriptor.digest] = manifest.descriptor
        return tuple(found[digest] for digest in sorted(found))

    def delete(self, digest: Digest) -> None:
        """Drop a manifest or blob and every tag on it; a no-op when it isn't there."""
        if not self.root.is_dir():
            return
        with self._index() as index:
            index["manifests"][:] = [entry for entry in index["manifests"] if entry["digest"] != digest]
        with self._blobs.errors("delete"):
            self._blobs.path(digest).unlink(missing_ok=True)

    def listed(self) -> frozenset[Digest]:
        """All that ``index.json`` lists, with a tag or without."""
        return frozenset(Digest(entry["digest"]) for entry in self._entries())

    def unlist(self, digests: Container[Digest]) -> None:
        """Drop manifests and every tag on them, at once; their bytes stay until `sweep`."""
        with self._index() as index:
            index["manifests"][:] = [entry for entry in index["manifests"] if entry["digest"] not in digests]

    def unreferenced(self, before: float, without: Container[Digest] = ()) -> tuple[Swept, Swept]:
        """Blobs older than `before` (seconds since 1970) that nothing needs: now, and when `without` isn't listed."""
        return now_and_without(self._blobs, self.listed(), without, before)

    def sweep(self, before: float) -> Swept:
        """Delete the blobs that nothing needs and that are older than `before`; other writers wait meanwhile."""
        if not self.root.is_dir():
            return Swept({})
        self._prepare()
        with self._blobs.locked():
            return sweep(self._blobs, self.listed(), before)

    def _require_parts(self, document: dict[str, Any]) -> None:
        """What a manifest names must be there first: a reader never finds a hole. A subject may be missing (v1.1)."""
        config = document.get("config")
        parts = [*document.get("manifests", []), *document.get("layers", []), *([config] if config else [])]
        for part in parts:
            digest = Digest(part["digest"])
            if not part.get("urls") and not self.has_blob(digest):
                raise StoreError(f"{self.root}: a manifest names {digest}, which is not there")

    # the folder

    def _check(self) -> None:
        marker = self.root / "oci-layout"
        try:
            document = json.loads(marker.read_bytes())
        except FileNotFoundError as error:
            with self._blobs.errors("read"):
                names = [path.name for path in self.root.iterdir()] if self.root.is_dir() else []
            if marker.name in names:  # made since: another writer was the first
                self._check()
            elif any(not name.startswith(".") for name in names) or (self.root.exists() and not self.root.is_dir()):
                raise StoreError(
                    f"{self.root} is not an OCI image layout", hint="name an empty folder, or one that was made as one"
                ) from error
            return
        except NotADirectoryError as error:
            raise StoreError(f"{self.root} is not an OCI image layout", hint="a file is in the way") from error
        except OSError as error:
            raise self._blobs.failure("read", error) from error
        except ValueError as error:
            raise StoreError(f"{marker} is damaged: not JSON") from error
        version = document.get("imageLayoutVersion") if isinstance(document, dict) else None
        if version != _VERSION["imageLayoutVersion"]:
            raise StoreError(f"{marker}: layout version {version!r} is unknown", hint="this lockship knows 1.0.0")

    def _prepare(self) -> None:
        """Make the folders, and throw away what killed writers left."""
        if self._ready:
            return
        with self._blobs.errors("write"):
            self.root.mkdir(parents=True, exist_ok=True)
        with self._blobs.locked(), self._blobs.errors("write"):
            # the marker first: whoever looks now must not take the folder for somebody else's
            if not (self.root / "oci-layout").exists():
                write_file(self.root / "oci-layout", canonical_json(_VERSION))
            if not (self.root / "index.json").exists():
                write_file(self.root / "index.json", canonical_json(_EMPTY))
            self._blobs.prepare()
        self._ready = True

    @contextmanager
    def _index(self) -> Iterator[dict[str, Any]]:
        """``index.json`` to be changed; written back when it did change and the context ends well."""
        self._prepare()
        with self._blobs.locked():
            index = self._read_index()
            before = canonical_json(index)
            yield index
            index["manifests"].sort(key=lambda entry: (_tag_of(entry) or "", entry["digest"]))
            if (after := canonical_json(index)) != before:
                with self._blobs.errors("write"):
                    write_file(self.root / "index.json", after)

    def _entries(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._read_index()["manifests"]
        return entries

    def _read_index(self) -> dict[str, Any]:
        path = self.root / "index.json"
        try:
            index = json.loads(path.read_bytes())
        except FileNotFoundError:
            return json.loads(canonical_json(_EMPTY))  # type: ignore[no-any-return]
        except OSError as error:
            raise self._blobs.failure("read", error) from error
        except ValueError as error:
            raise StoreError(
                f"{path} is damaged: not JSON", hint="the blobs are untouched: build again to tag"
            ) from error
        entries = index.get("manifests") if isinstance(index, dict) else None
        if not isinstance(entries, list) or not all(is_descriptor(entry) for entry in entries):
            raise StoreError(f"{path} is damaged: not an image index")
        return index  # type: ignore[no-any-return]


def _tag_of(entry: dict[str, Any]) -> str | None:
    tag = entry.get("annotations", {}).get(_REF)
    return tag if isinstance(tag, str) else None
