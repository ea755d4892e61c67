"""Reading a .deb (deb(5)): an ar archive of ``debian-binary``, ``control.tar*`` and ``data.tar*``.

Nothing in here is trusted: sizes are checked against the file, every stream is read to its end so that its checksum
counts, and whatever doesn't parse is an ArtifactError that names the package.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, Protocol, Self, cast

from builder.content import CHUNK
from builder.errors import ArtifactError

__all__ = ["Member", "Reader", "control", "members"]

_AR: Final = b"!<arch>\n"
_CONTROL_LIMIT: Final = 64 << 20  # bytes, of all control files together
_XATTR: Final = "SCHILY.xattr."
# not in typeshed
_HEADER_ERROR: type[Exception] = vars(tarfile)["HeaderError"]
_END: type[Exception] = vars(tarfile)["EOFHeaderError"]


class Reader(Protocol):
    """Gives bytes in order."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


@dataclass(frozen=True, slots=True)
class Member:
    """One path of the data archive as it stands there. `kind` is tarfile's type flag; `read` gives a file's bytes."""

    path: str
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    link: str
    xattrs: tuple[tuple[str, bytes], ...]
    read: Reader | None


def control(path: Path, what: str) -> dict[str, bytes]:
    """The control files (``control``, ``md5sums``, …) by name. `what` names the package for messages."""
    found: dict[str, bytes] = {}
    total = 0
    with _tar(path, "control.tar", what) as archive:
        for info in archive:
            name = info.name.removeprefix("./")
            if not info.isreg() or "/" in name:
                continue
            total += info.size
            if total > _CONTROL_LIMIT:
                raise ArtifactError(f"{what}: its control files are larger than {_CONTROL_LIMIT:,} bytes")
            file = archive.extractfile(info)
            found[name] = file.read() if file is not None else b""
    if "control" not in found:
        raise ArtifactError(f"{what}: not a Debian package, it has no control file")
    return found


def members(path: Path, what: str) -> Iterator[Member]:
    """Everything in the data archive, in its order. A member's `read` is good until the next one is asked for."""
    with _tar(path, "data.tar", what) as archive:
        for info in archive:
            if info.issparse() or info.size < 0:
                raise ArtifactError(f"{what}: {info.name!r} is a sparse file, which packages don't have")
            xattrs = tuple(
                (key.removeprefix(_XATTR), value.encode("utf-8", "surrogateescape"))
                for key, value in sorted(info.pax_headers.items())
                if key.startswith(_XATTR)
            )
            content = archive.extractfile(info) if info.isreg() else None
            read = None if content is None else _Guarded(content, what)
            yield Member(
                info.name, info.type, info.mode & 0o7777, info.uid, info.gid, info.size, info.linkname, xattrs, read
            )


class _Guarded:
    """A member's bytes: whoever reads them gets our errors too."""

    def __init__(self, content: IO[bytes], what: str) -> None:
        self._content = content
        self._what = what

    def read(self, size: int, /) -> bytes:
        with _readable(self._what):
            return self._content.read(size)


class _Header(tarfile.TarInfo):
    """tarfile takes a header that doesn't parse for the end of the archive; here it is an error."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except _END:
            raise
        except _HEADER_ERROR as error:
            raise tarfile.ReadError(str(error)) from error


@contextmanager
def _tar(path: Path, name: str, what: str) -> Iterator[tarfile.TarFile]:
    with _readable(what), path.open("rb") as file:
        kind, start, size = _find(file, name, what)
        with _stream(kind, io.BufferedReader(_Slice(file.fileno(), start, size), CHUNK), what) as stream:
            with tarfile.open(
                fileobj=stream, mode="r|", bufsize=CHUNK, tarinfo=_Header, encoding="utf-8", errors="surrogateescape"
            ) as archive:
                yield archive
            # the compressor's checksum comes last
            while stream.read(CHUNK):
                pass


@contextmanager
def _readable(what: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, ValueError, OverflowError) as error:
        raise ArtifactError(f"{what}: not a Debian package, or a damaged one ({error})") from error
    except gzip.BadGzipFile as error:
        raise ArtifactError(f"{what}: not a Debian package, or a damaged one ({error})") from error
    except FileNotFoundError as error:
        raise ArtifactError(f"{what}: its file is gone from the cache") from error


def _find(file: BinaryIO, wanted: str, what: str) -> tuple[str, int, int]:
    """(suffix, offset, size) of the ar member `wanted` plus suffix."""
    if file.read(len(_AR)) != _AR:
        raise ArtifactError(f"{what}: not a Debian package")
    length = os.fstat(file.fileno()).st_size
    first = True
    while header := file.read(60):
        if len(header) != 60 or header[58:] != b"`\n":
            raise ArtifactError(f"{what}: damaged, its archive ends in the middle")
        name = header[:16].decode("ascii", "replace").rstrip().removesuffix("/")
        size = int(header[48:58])
        start = file.tell()
        if size < 0 or start + size > length:
            raise ArtifactError(f"{what}: damaged, {name} should have {size:,} bytes and ends early")
        if first and name != "debian-binary":
            raise ArtifactError(f"{what}: not a Debian package, its first member is {name!r}")
        if name == wanted or name.startswith(wanted + "."):
            return name.removeprefix(wanted), start, size
        first = False
        file.seek(start + size + size % 2)
    raise ArtifactError(f"{what}: not a Debian package, it has no {wanted}")


def _stream(kind: str, raw: BinaryIO, what: str) -> BinaryIO:
    if kind == ".xz":
        return cast(BinaryIO, lzma.LZMAFile(raw, format=lzma.FORMAT_XZ))
    if kind == ".gz":
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if kind == "":
        return raw
    raise ArtifactError(
        f"{what}: compressed as {kind[1:]!r}, which this version does not read",
        hint="Debian compresses with xz or gzip; is this a package of another distribution?",
    )


class _Slice(io.RawIOBase):
    """A part of a file, read without moving anybody's position."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self._descriptor = descriptor
        self._at = start
        self._end = start + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        data = os.pread(self._descriptor, min(len(view), self._end - self._at), self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
