"""Inside a layer: what files it holds, and where two layers first differ."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from builder.content import CHUNK
from builder.errors import VerificationError

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["FileFact", "files_of", "first_difference", "layer_files"]

_KINDS: Final = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.LNKTYPE: "hard link",
    tarfile.SYMTYPE: "symbolic link",
    tarfile.DIRTYPE: "directory",
}


@dataclass(frozen=True, slots=True)
class FileFact:
    """A file of a layer: its size in bytes, and a digest (hex) of its kind, mode, owner, link and content."""

    size: int
    identity: str


def files_of(chunks: Iterable[bytes]) -> dict[str, FileFact]:
    """The files and links of a layer blob, gzip or plain, by path; directories are left out.

    Raises VerificationError when it is not a layer.
    """
    found = {}
    with _errors(), _Layer(chunks) as layer:
        for member in layer.tar:
            if member.isdir():
                continue
            state = hashlib.sha256(repr(_facts(member)).encode("utf-8", "surrogateescape"))
            for piece in layer.content(member):
                state.update(piece)
            found[member.name] = FileFact(member.size, state.hexdigest())
    return found


def layer_files(chunks: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """The regular files of a layer blob, gzip or plain, with their bytes; raises VerificationError when it is none."""
    with _errors(), _Layer(chunks) as layer:
        for member in layer.tar:
            if member.isreg():
                yield member.name, b"".join(layer.content(member))


def first_difference(old: Iterable[bytes], new: Iterable[bytes], *, what: str = "") -> str | None:
    """Where two layer blobs, given in chunks, first differ: path and field, as ``app/x.py: mode 0644 != 0755``.

    `what` names the layer and comes first. None when they are equal to the byte. Both are streamed. Raises
    VerificationError when one is not a layer.
    """
    with _errors(), _Layer(old) as one, _Layer(new) as other:
        found = _first(one, other)
        if found is None:
            one.drain()
            other.drain()
            if one.tar_hash.digest() != other.tar_hash.digest():
                found = "the same files, but the tar is written differently"
            elif one.blob_hash.digest() != other.blob_hash.digest():
                found = "the same tar, but compressed differently"
    return f"{what}: {found}" if found and what else found


def _first(one: _Layer, other: _Layer) -> str | None:
    for mine, theirs in zip_longest(one.tar, other.tar):
        if mine is None or theirs is None:
            return f"{(mine or theirs).name}: only in the {'old' if theirs is None else 'new'} layer"
        if mine.name != theirs.name:
            first = min(mine.name, theirs.name, key=lambda name: name.replace("/", "\0"))  # as layers are sorted
            return f"{first}: only in the {'old' if first == mine.name else 'new'} layer, or in another place"
        for field, value in _facts(mine).items():
            if (found := _facts(theirs)[field]) != value:
                return f"{mine.name}: {field} {value} != {found}"
        offset = 0
        for left, right in zip_longest(one.content(mine), other.content(theirs), fillvalue=b""):
            if left != right:
                at = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), 0)
                return f"{mine.name}: content differs from byte {offset + at:,} on"
            offset += len(left)
    return None


def _facts(member: tarfile.TarInfo) -> dict[str, str]:
    """What of an entry is compared, in words."""
    facts = {
        "kind": _KINDS.get(member.type, repr(member.type)),
        "mode": f"{member.mode:04o}",
        "owner": f"{member.uid}:{member.gid}",
        "owner's name": f"{member.uname}:{member.gname}",
        "link": member.linkname,
        "size": f"{member.size:,}",
        "time": str(member.mtime),
    }
    extended = {key: value for key, value in member.pax_headers.items() if key not in ("path", "linkpath", "size")}
    return facts | {"extended attributes": repr(sorted(extended.items()))}


class _Layer:
    """A layer blob as a stream of tar entries; hashes of the blob and of its tar on the way."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        raw = _Chunks(chunks)
        self.blob_hash = raw.hash
        blob = io.BufferedReader(raw, CHUNK)
        inflated: io.BufferedIOBase = blob
        if blob.peek(2)[:2] == b"\x1f\x8b":
            inflated = gzip.GzipFile(fileobj=blob)
        plain = _Chunks(iter(lambda: inflated.read(CHUNK), b""))
        self.tar_hash = plain.hash
        self._plain = io.BufferedReader(plain, CHUNK)
        self.tar = tarfile.open(fileobj=self._plain, mode="r|", errorlevel=2, errors="surrogateescape")  # noqa: SIM115

    def __enter__(self) -> _Layer:
        return self

    def __exit__(self, *_: object) -> None:
        self.tar.close()

    def content(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        """The bytes of a regular file; nothing of anything else."""
        file = self.tar.extractfile(member) if member.isreg() else None
        while file is not None and (piece := file.read(CHUNK)):
            yield piece

    def drain(self) -> None:
        """Read what follows the last entry."""
        while self._plain.read(CHUNK):
            pass


class _Chunks(io.RawIOBase):
    """Chunks of bytes as a file, hashed while they are read."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")
        self.hash: _Hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self.hash.update(chunk)
            self._rest = memoryview(chunk)
        target = memoryview(buffer)
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise VerificationError(f"not a layer that can be read: {error}") from error
