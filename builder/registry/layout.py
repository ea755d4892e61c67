"""A store in a directory: the OCI image layout (OCI image specification v1.1, "Image Layout").

Any tool reads it (skopeo, umoci, crane). Tags are descriptors of ``index.json`` with the annotation
``org.opencontainers.image.ref.name``; manifests with a subject stand there too, without a tag. Files under
``blobs/sha256`` appear whole or not at all: they are written in ``.tmp`` and renamed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from builder.content import CHUNK, MEDIA_INDEX, Descriptor, Digest, canonical_json
from builder.errors import RefusedError, StoreError, VerificationError
from builder.files import write_file
from builder.registry.manifests import MAX_MANIFEST, describe, is_descriptor, parse_manifest
from builder.registry.reference import full_name
from builder.registry.store import Manifest

__all__ = ["Layout"]

_REF: Final = "org.opencontainers.image.ref.name"
_IMAGE_NAME: Final = "io.containerd.image.name"
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_VERSION: Final = {"imageLayoutVersion": "1.0.0"}
_EMPTY: Final = {"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": []}
# linux/fs.h: share a file's blocks with another, where the file system copies on write
_FICLONE: Final = 0x40049409


class Layout:
    """The layout in the folder `root`; made by the first write. `name` is the image's name for engines that load it.

    Raises StoreError when `root` is something else. Safe for several threads and processes.
    """

    def __init__(self, root: Path, *, name: str | None = None) -> None:
        self.root = root
        self._name = name
        self._blobs = root / "blobs" / "sha256"
        self._temporary = root / ".tmp"
        self._ready = False
        self._check()

    def __repr__(self) -> str:
        return f"Layout({str(self.root)!r})"

    # blobs

    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there."""
        return self._path(digest).is_file()

    def read_blob(self, digest: Digest) -> Iterator[bytes]:
        """The blob in chunks, verified at the end; raises StoreError when it isn't there."""
        state = hashlib.sha256()
        try:
            with self._path(digest).open("rb") as file:
                while chunk := file.read(CHUNK):
                    state.update(chunk)
                    yield chunk
        except FileNotFoundError as error:
            raise StoreError(f"{self.root} does not hold {digest}", hint="build or pull it again") from error
        except OSError as error:
            raise self._failure("read", error) from error
        if state.hexdigest() != digest.hex:
            raise self._damaged(digest, state.hexdigest())

    def path(self, digest: Digest) -> Path | None:
        """The file of a blob, or None; for readers that verify by themselves."""
        path = self._path(digest)
        return path if path.is_file() else None

    def write_blob(self, descriptor: Descriptor, chunks: Iterable[bytes]) -> None:
        """Store a blob; a no-op when it is there. Raises VerificationError when the bytes are others."""
        if self.has_blob(descriptor.digest):
            return
        state = hashlib.sha256()
        size = 0
        with self._new_blob(descriptor.digest) as file:
            for chunk in chunks:
                state.update(chunk)
                size += len(chunk)
                with self._errors("write"):
                    file.write(chunk)
            if size != descriptor.size or state.hexdigest() != descriptor.digest.hex:
                raise VerificationError(
                    f"expected {descriptor.digest} ({descriptor.size:,} bytes), "
                    f"got sha256:{state.hexdigest()} ({size:,} bytes)"
                )

    def add_file(self, descriptor: Descriptor, path: Path) -> None:
        """Store a blob from a file whose digest is known to be right.

        A file that nobody may write to is linked, any other copied (sharing its blocks where the file system can):
        a link to a file that is edited later would change the store.
        """
        if self.has_blob(descriptor.digest):
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
        if not status.st_mode & 0o222 and self._link(path, descriptor.digest):
            return
        if not self._clone(path, descriptor):
            self.write_blob(descriptor, _chunks(path))

    def _link(self, path: Path, digest: Digest) -> bool:
        try:
            os.link(path.resolve(), self._path(digest))
        except FileExistsError:
            return True
        except OSError:  # another file system, one without links, or too many of them
            return False
        return True

    def _clone(self, path: Path, descriptor: Descriptor) -> bool:
        with suppress(OSError), path.open("rb") as source, self._new_blob(descriptor.digest) as file:
            fcntl.ioctl(file.fileno(), _FICLONE, source.fileno())
            return True
        return False

    # manifests

    def manifest(self, reference: Digest | str) -> Manifest | None:
        """The manifest or index with this digest or tag, or None."""
        digest = reference if isinstance(reference, Digest) else self.tags().get(reference)
        if digest is None:
            return None
        path = self._path(digest)
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
            raise self._failure("read", error) from error
        if (found := Digest.of(data)) != digest:
            raise self._damaged(digest, found.hex)
        document = parse_manifest(data)
        return None if document is None else Manifest(describe(document, data), data)

    def put_manifest(self, descriptor: Descriptor, data: bytes, *, tag: str | None = None, move: bool = False) -> None:
        """Store a manifest or index, after everything it names; see `Store.put_manifest`."""
        if tag is not None and not _TAG.fullmatch(tag):
            raise StoreError(f"not a tag: {tag[:140]!r}", hint="letters, digits and . _ -, at most 128")
        document = parse_manifest(data)
        if document is None:
            raise VerificationError(f"{descriptor.digest} is not a manifest")
        if len(data) > MAX_MANIFEST:
            raise StoreError(f"a manifest of {len(data):,} bytes: registries take {MAX_MANIFEST:,} at most")
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
                    raise RefusedError(
                        f"{tag!r} is taken: it is {known['digest']}, not {descriptor.digest}",
                        hint="a version never changes; give this one a version of its own",
                    )
            names = {_REF: tag} | ({_IMAGE_NAME: f"{full_name(self._name)}:{tag}"} if self._name else {})
            entries[:] = [known for known in entries if _tag_of(known) != tag]
            entries.append(entry | {"annotations": entry.get("annotations", {}) | names})

    def tags(self) -> dict[str, Digest]:
        """All tags."""
        return {tag: Digest(entry["digest"]) for entry in self._entries() if (tag := _tag_of(entry)) is not None}

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
        with self._errors("delete"):
            self._path(digest).unlink(missing_ok=True)

    def _require_parts(self, document: dict[str, Any]) -> None:
        """What a manifest names must be there first: a reader never finds a hole. A subject may be missing (v1.1)."""
        config = document.get("config")
        parts = [*document.get("manifests", []), *document.get("layers", []), *([config] if config else [])]
        for part in parts:
            digest = Digest(part["digest"])
            if not part.get("urls") and not self.has_blob(digest):
                raise StoreError(f"{self.root}: a manifest names {digest}, which is not there")

    # the folder

    def _path(self, digest: Digest) -> Path:
        return self._blobs / digest.hex

    def _check(self) -> None:
        marker = self.root / "oci-layout"
        try:
            document = json.loads(marker.read_bytes())
        except FileNotFoundError as error:
            with self._errors("read"):
                strangers = self.root.is_dir() and any(not path.name.startswith(".") for path in self.root.iterdir())
            if strangers or (self.root.exists() and not self.root.is_dir()):
                raise StoreError(
                    f"{self.root} is not an OCI image layout", hint="name an empty folder, or one that was made as one"
                ) from error
            return
        except NotADirectoryError as error:
            raise StoreError(f"{self.root} is not an OCI image layout", hint="a file is in the way") from error
        except OSError as error:
            raise self._failure("read", error) from error
        except ValueError as error:
            raise StoreError(f"{marker} is damaged: not JSON") from error
        version = document.get("imageLayoutVersion") if isinstance(document, dict) else None
        if version != _VERSION["imageLayoutVersion"]:
            raise StoreError(f"{marker}: layout version {version!r} is unknown", hint="this lockship knows 1.0.0")

    def _prepare(self) -> None:
        """Make the folders, and throw away what killed writers left."""
        if self._ready:
            return
        with self._errors("write"):
            self.root.mkdir(parents=True, exist_ok=True)
        with self._locked(), self._errors("write"):
            # the marker first: whoever looks now must not take the folder for somebody else's
            if not (self.root / "oci-layout").exists():
                write_file(self.root / "oci-layout", canonical_json(_VERSION))
            if not (self.root / "index.json").exists():
                write_file(self.root / "index.json", canonical_json(_EMPTY))
            self._blobs.mkdir(parents=True, exist_ok=True)
            self._temporary.mkdir(exist_ok=True)
            for left in self._temporary.iterdir():
                _remove_abandoned(left)
        self._ready = True

    @contextmanager
    def _new_blob(self, digest: Digest) -> Iterator[BinaryIO]:
        """A file that becomes the blob when the context ends well."""
        self._prepare()
        with self._locked(), self._errors("write"):
            descriptor, name = tempfile.mkstemp(dir=self._temporary)
            # held while we live: `_prepare` of another process removes only files that nobody holds
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path = Path(name)
        file = os.fdopen(descriptor, "wb")
        try:
            yield file
            with self._errors("write"):
                file.flush()
                os.fchmod(descriptor, 0o444)
                path.replace(self._path(digest))
                file.close()
        except BaseException:
            with suppress(OSError):
                path.unlink()
            with suppress(OSError):
                file.close()
            raise

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Exclude other writers, in this process and others."""
        with self._errors("write"):
            # a descriptor of its own each time: flock(2) locks belong to open files, so threads exclude each other too
            descriptor = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _index(self) -> Iterator[dict[str, Any]]:
        """``index.json`` to be changed; written back when it did change and the context ends well."""
        self._prepare()
        with self._locked():
            index = self._read_index()
            before = canonical_json(index)
            yield index
            index["manifests"].sort(key=lambda entry: (_tag_of(entry) or "", entry["digest"]))
            if (after := canonical_json(index)) != before:
                with self._errors("write"):
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
            raise self._failure("read", error) from error
        except ValueError as error:
            raise StoreError(
                f"{path} is damaged: not JSON", hint="the blobs are untouched: build again to tag"
            ) from error
        entries = index.get("manifests") if isinstance(index, dict) else None
        if not isinstance(entries, list) or not all(is_descriptor(entry) for entry in entries):
            raise StoreError(f"{path} is damaged: not an image index")
        return index  # type: ignore[no-any-return]

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failure(what, error) from error

    def _failure(self, what: str, error: OSError) -> StoreError:
        hints = {
            errno.ENOSPC: "the disk is full: free some space, then run the same command again",
            errno.EDQUOT: "the quota is used up: free some space, then run the same command again",
            errno.EROFS: "the store must be writable: name another folder, or change its permissions",
        }
        hints[errno.EACCES] = hints[errno.EPERM] = hints[errno.EROFS]
        return StoreError(f"cannot {what} in {self.root}: {error.strerror or error}", hint=hints.get(error.errno or 0))

    def _damaged(self, digest: Digest, found: str) -> VerificationError:
        return VerificationError(
            f"{self.root}: the file of {digest} holds sha256:{found}",
            hint="the store is damaged: delete that file below blobs/sha256 and build or pull again",
        )


def _tag_of(entry: dict[str, Any]) -> str | None:
    tag = entry.get("annotations", {}).get(_REF)
    return tag if isinstance(tag, str) else None


def _remove_abandoned(path: Path) -> None:
    """Delete a temporary file unless its writer is alive, that is, holds its lock."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
