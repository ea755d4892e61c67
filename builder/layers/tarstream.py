"""Tar archives of packages, read as a stream and with suspicion: what debs and conda packages have in common."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import IO, BinaryIO, Protocol, Self

from builder.content import CHUNK
from builder.errors import ArtifactError

__all__ = ["Member", "Reader", "members", "opened"]

_XATTR = "SCHILY.xattr."
# not in typeshed
_HEADER_ERROR: type[Exception] = vars(tarfile)["HeaderError"]
_END: type[Exception] = vars(tarfile)["EOFHeaderError"]


class Reader(Protocol):
    """Gives bytes in order."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


@dataclass(frozen=True, slots=True)
class Member:
    """One path of an archive as it stands there. `kind` is tarfile's type flag; `read` gives a file's bytes.

    `time` is the modification time in whole seconds.
    """

    path: str
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    link: str
    xattrs: tuple[tuple[str, bytes], ...]
    read: Reader | None
    time: int = 0


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


class _Guarded:
    """A member's bytes: whoever reads them gets our errors too."""

    def __init__(self, content: IO[bytes], readable: Callable[[], AbstractContextManager[None]]) -> None:
        self._content = content
        self._readable = readable

    def read(self, size: int, /) -> bytes:
        with self._readable():
            return self._content.read(size)


@contextmanager
def opened(stream: BinaryIO) -> Iterator[tarfile.TarFile]:
    """The tar that `stream` holds; when the context ends the stream is read out, for the compressor's checksum."""
    with tarfile.open(
        fileobj=stream, mode="r|", bufsize=CHUNK, tarinfo=_Header, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        yield archive
    while stream.read(CHUNK):
        pass


def members(
    archive: tarfile.TarFile, what: str, readable: Callable[[], AbstractContextManager[None]]
) -> Iterator[Member]:
    """Everything in `archive`, in its order. A member's `read` is good until the next one is asked for.

    `readable` turns what reading raises into errors of ours that name `what`.
    """
    for info in archive:
        if info.issparse() or info.size < 0:
            raise ArtifactError(f"{what}: {info.name!r} is a sparse file, which packages don't have")
        xattrs = tuple(
            (key.removeprefix(_XATTR), value.encode("utf-8", "surrogateescape"))
            for key, value in sorted(info.pax_headers.items())
            if key.startswith(_XATTR)
        )
        content = archive.extractfile(info) if info.isreg() else None
        read = None if content is None else _Guarded(content, readable)
        yield Member(
            info.name,
            info.type,
            info.mode & 0o7777,
            info.uid,
            info.gid,
            info.size,
            info.linkname,
            xattrs,
            read,
            int(info.mtime),
        )
