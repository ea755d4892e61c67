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
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from builder.content import CHUNK
from builder.errors import ArtifactError
from builder.layers import tarstream
from builder.layers.tarstream import Member, Reader

__all__ = ["Member", "Reader", "control", "members"]

_AR: Final = b"!<arch>\n"
_CONTROL_LIMIT: Final = 64 << 20  # bytes, of all control files together


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
        yield from tarstream.members(archive, what, lambda: _readable(what))


@contextmanager
def _tar(path: Path, name: str, what: str) -> Iterator[tarfile.TarFile]:
    with _readable(what), path.open("rb") as file:
        kind, start, size = _find(file, name, what)
        raw = io.BufferedReader(_Slice(file.fileno(), start, size), CHUNK)
        with _stream(kind, raw, what) as stream, tarstream.opened(stream) as archive:
            yield archive


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
