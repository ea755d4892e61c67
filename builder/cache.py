"""This machine's cache: verified bytes by digest, and what each layer key came out as.

Nothing here is precious: every entry can be fetched or made again. Bytes are verified before they are put in, and
`Cache.checked` again before they become part of something that lasts. Processes may share one cache; entries appear
whole or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from builder.content import CHUNK, Digest, canonical_json
from builder.errors import StoreError, UsageError, VerificationError
from builder.files import new_file, temporary_folder, unused, write_file

__all__ = ["BlobWriter", "Cache", "cache_root", "storage_error"]


def cache_root(environ: Mapping[str, str]) -> Path:
    """Where the cache is: ``LOCKSHIP_CACHE``, or ``lockship`` in the user's cache folder; raises UsageError."""
    chosen = environ.get("LOCKSHIP_CACHE")
    if chosen:
        try:
            return Path(chosen).expanduser().absolute()
        except RuntimeError as error:  # ~somebody that doesn't exist
            raise UsageError(f"LOCKSHIP_CACHE names no folder: {chosen}") from error
    from platformdirs import user_cache_path

    return user_cache_path("lockship", appauthor=False)


def storage_error(error: OSError, folder: Path, what: str) -> StoreError:
    """`error` in words for a person, with what to do next."""
    hints = {
        errno.ENOSPC: "free some space, or name another folder with LOCKSHIP_CACHE",
        errno.EDQUOT: "the quota is used up: free some space, or name another folder with LOCKSHIP_CACHE",
        errno.EROFS: "name a writable folder with LOCKSHIP_CACHE",
        errno.EACCES: "name a writable folder with LOCKSHIP_CACHE",
        errno.EPERM: "name a writable folder with LOCKSHIP_CACHE",
    }
    return StoreError(
        f"cannot {what} in {folder}: {error.strerror or error}", hint=hints.get(error.errno or 0, hints[errno.EROFS])
    )


class BlobWriter:
    """Takes bytes, hashes them, and puts them into the cache under their digest on `commit`.

    Use as a context manager: leaving it without `commit` throws the bytes away.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder = folder
        self._root = root
        self._hash = hashlib.sha256()
        self.size = 0
        self._path: Path | None = None

    def __enter__(self) -> Self:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._path = unused(self._folder, ".blob.")
            self._file = new_file(self._path)
        except OSError as error:
            raise storage_error(error, self._root, "write") from error
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        with suppress(OSError):
            self._file.close()
        self._discard()

    def _discard(self) -> None:
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()

    def write(self, data: bytes | memoryview) -> None:
        """Add `data`; raises StoreError when the disk doesn't take it."""
        self._hash.update(data)
        self.size += len(data)
        try:
            self._file.write(data)
        except OSError as error:
            raise storage_error(error, self._root, "write") from error

    def commit(self, expected: Digest | None = None) -> Digest:
        """Keep the bytes; raises VerificationError when they are not `expected`."""
        digest = Digest.from_hex(self._hash.hexdigest())
        if expected is not None and digest != expected:
            raise VerificationError(f"expected {expected}, got {digest} ({self.size:,} bytes)")
        assert self._path is not None
        try:
            self._file.flush()
            os.fchmod(self._file.fileno(), 0o444)
            self._file.close()
            self._path.replace(self._folder / digest.hex)
        except OSError as error:
            raise storage_error(error, self._root, "write") from error
        self._path = None
        return digest


def _checksum(key: str, document: Mapping[str, Any]) -> str:
    """Holds a record to its bytes and its key: one wrong digit in it would be a wrong image."""
    return Digest.of(canonical_json([key, document]))


class Cache:
    """A folder of blobs by digest, layer records by key, and unpacked trees by key."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "blobs" / "sha256"
        self._keys = root / "keys"

    def require_writable(self) -> None:
        """Raises StoreError, with a way out, when nothing can be put in: before any work, and in our own words."""
        with self.writer():
            pass

    def blob(self, digest: Digest) -> Path | None:
        """The file that holds `digest`, or None. Its bytes were verified when it was put in."""
        path = self._blobs / digest.hex
        return path if path.is_file() else None

    def checked(self, digest: Digest) -> Path | None:
        """As `blob`, with the bytes hashed again: disks and people change files.

        Raises VerificationError for a blob that is no longer what it was; it is dropped, so that asking again, or
        running again, gets it anew.
        """
        path = self.blob(digest)
        if path is None:
            return None
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:  # dropped by somebody else meanwhile
            return None
        except OSError as error:
            raise storage_error(error, self.root, "read") from error
        if found != digest.hex:
            self.forget(digest)
            raise VerificationError(
                f"the cache was damaged: its file of {digest} held sha256:{found}",
                hint="the file was removed: run the command again to get it anew",
            )
        return path

    def writer(self) -> BlobWriter:
        """A writer for one new blob."""
        return BlobWriter(self._blobs, self.root)

    @contextmanager
    def passing(self) -> Iterator[Cache]:
        """A cache in this one, on the same disk, of the caller alone: gone when the context ends."""
        with self._folder(self.root, ".passing.") as folder:
            yield Cache(folder)

    @contextmanager
    def _folder(self, parent: Path, prefix: str) -> Iterator[Path]:
        """A new folder in the cache, gone when the context ends."""
        with ExitStack() as stack:
            try:
                parent.mkdir(parents=True, exist_ok=True)
                folder = stack.enter_context(temporary_folder(prefix, parent))
            except OSError as error:
                raise storage_error(error, self.root, "write") from error
            yield folder

    def adopt(self, path: Path, expected: Digest | None = None) -> Digest:
        """Copy the file at `path` in; raises VerificationError when it is not `expected`."""
        with self.writer() as writer, path.open("rb") as file:
            while chunk := file.read(CHUNK):
                writer.write(chunk)
            return writer.commit(expected)

    def forget(self, digest: Digest) -> None:
        """Drop a blob, if it is there."""
        with suppress(OSError):
            (self._blobs / digest.hex).unlink()

    def record(self, key: str) -> dict[str, Any] | None:
        """What was recorded under `key` (64 hex digits), or None; a damaged record counts as none."""
        try:
            record = json.loads((self._keys / key).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        document = record.get("document") if isinstance(record, dict) else None
        if not isinstance(document, dict) or record.get("checksum") != _checksum(key, document):
            return None
        return document

    def put_record(self, key: str, document: Mapping[str, Any]) -> None:
        """Remember `document` under `key`."""
        record = {"document": document, "checksum": _checksum(key, document)}
        try:
            write_file(self._keys / key, json.dumps(record, sort_keys=True).encode())
        except OSError as error:
            raise storage_error(error, self.root, "write") from error

    @contextmanager
    def folder(self, kind: str, key: str) -> Iterator[tuple[Path, bool]]:
        """The folder of an unpacked tree: ``(path, whether it is there already)``.

        When it is not, fill ``path``; it is renamed into place when the context ends well, and removed otherwise.
        Ask again for the final path.
        """
        final = self.root / kind / key
        if final.is_dir():
            yield final, True
            return
        with self._folder(final.parent, f".{key[:12]}.") as temporary:
            yield temporary, False
            temporary.chmod(0o755)
            try:
                temporary.rename(final)
            except OSError as error:
                # somebody else was faster: theirs is as good
                if not final.is_dir():
                    raise storage_error(error, self.root, "write") from error
