"""A gzip encoder that wraps streams which exist (RFC 1952: a file is a series of members).

A wheel's files are DEFLATE streams already; giving each a member of its own makes a gzip file without compressing
anything, so nothing can come out differently on another machine. What has no stream yet is compressed by libdeflate
(pinned; its output doesn't depend on the processor), `MEMBER` bytes at a time.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from typing import Final, Protocol

import deflate

from builder.content import Digest
from builder.errors import ArtifactError
from builder.layers.tar import Deflated, Entry, iterate

__all__ = ["LEVEL", "MEMBER", "GzipEncoder", "PlainEncoder", "Sink", "TarEncoder", "content_of", "inflated"]

LEVEL: Final = 6
MEMBER: Final = 1 << 20  # bytes of plain data in one member at most: part of the format
# Bytes wrapped in one go at most. Bounds memory; not part of the format.
_WINDOW: Final = 1 << 20
# Streams up to these sizes, inflated and not, are inflated in one call, twice as fast. Not part of the format either.
_AT_ONCE: Final = 48 << 20
_AT_ONCE_RAW: Final = 16 << 20

# ID1 ID2, deflate, no flags, no time, no extra flags, OS unknown
_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class Sink(Protocol):
    """Where encoded bytes go."""

    def write(self, data: bytes, /) -> object:
        """Take `data`, all of it."""


class TarEncoder(Protocol):
    """Takes a tar's bytes in order and writes a blob."""

    size: int

    def plain(self, data: bytes) -> None:
        """Bytes as they are."""

    def wrap(self, stream: Deflated, size: int) -> None:
        """`size` bytes that are there as a DEFLATE stream."""

    def finish(self) -> Digest:
        """Flush; the digest of all plain bytes: the diff id."""


class PlainEncoder:
    """A tar as it is: for models, which don't compress."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._tar = hashlib.sha256()
        self.size = 0

    def plain(self, data: bytes) -> None:
        """Bytes as they are."""
        self._tar.update(data)
        self._sink.write(data)
        self.size += len(data)

    def wrap(self, stream: Deflated, size: int) -> None:
        """Inflate: there is nothing to wrap in."""
        for data in inflated(stream, size):
            self.plain(data)

    def finish(self) -> Digest:
        """The diff id, which is the blob's digest too."""
        return Digest.from_hex(self._tar.hexdigest())


class GzipEncoder:
    """Members of plain data compressed here, and members around streams that exist."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._tar = hashlib.sha256()
        self._pending: list[bytes] = []
        self._pending_size = 0
        self.size = 0

    def plain(self, data: bytes) -> None:
        """Queue bytes; a member is written for every `MEMBER` of them and before each wrapped stream."""
        self._tar.update(data)
        while self._pending_size + len(data) >= MEMBER:
            taken = MEMBER - self._pending_size
            self._pending.append(data[:taken])
            self._pending_size = MEMBER
            self._flush()
            data = data[taken:]
        if data:
            self._pending.append(data)
            self._pending_size += len(data)

    def wrap(self, stream: Deflated, size: int) -> None:
        """A member around `stream`, verified while it passes.

        Raises ArtifactError when it isn't a whole stream of `size` bytes with the CRC it claims.
        """
        self._flush()
        footer = _footer(stream, size)
        if _fits(stream, size):
            member = b"".join((_HEADER, *stream.open(), footer))
            if (whole := _inflate_member(member, size)) is not None:
                self._tar.update(whole)
                self._write(member)
                return
        self._write(_HEADER)
        for data, raw in _verified(stream, size):
            self._tar.update(data)
            if raw:
                self._write(raw)
        self._write(footer)

    def finish(self) -> Digest:
        """Write what is queued; the diff id."""
        self._flush()
        return Digest.from_hex(self._tar.hexdigest())

    def _flush(self) -> None:
        if not self._pending:
            return
        data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
        self._pending = []
        self._pending_size = 0
        crc = deflate.crc32(data)
        self._write(
            _HEADER
            + bytes(deflate.deflate_compress(data, LEVEL))
            + crc.to_bytes(4, "little")
            + len(data).to_bytes(4, "little")
        )

    def _write(self, data: bytes) -> None:
        self._sink.write(data)
        self.size += len(data)


def content_of(entry: Entry) -> Iterable[bytes]:
    """The bytes of a file in pieces, whichever form they have; raises ArtifactError as `GzipEncoder.wrap`."""
    if isinstance(entry.content, Deflated):
        return inflated(entry.content, entry.size)
    return iterate(entry.content)


def inflated(stream: Deflated, size: int) -> Iterable[bytes]:
    """The bytes of `stream`, in pieces, verified when they end; raises ArtifactError as `GzipEncoder.wrap`."""
    if _fits(stream, size):
        whole = _inflate_member(b"".join((_HEADER, *stream.open(), _footer(stream, size))), size)
        if whole is not None:
            yield bytes(whole)
            return
    for data, _ in _verified(stream, size):
        yield data


def _footer(stream: Deflated, size: int) -> bytes:
    """What ends a member: CRC-32 and size of the inflated bytes (RFC 1952, section 2.3.1)."""
    return stream.crc32.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")


def _fits(stream: Deflated, size: int) -> bool:
    return 0 < size <= _AT_ONCE and stream.compressed_size <= _AT_ONCE_RAW


def _inflate_member(member: bytes, size: int) -> bytearray | None:
    """What a whole member inflates to, or None when it must be looked at more closely.

    libdeflate checks the CRC and the size right behind the stream's end and passes over what follows. So a member
    that passes has nothing left over if the footer is found nowhere but at its very end.
    """
    # `size` is not 0: the library takes that for a file it need not look into
    if member.find(member[-8:]) != len(member) - 8:
        return None
    try:
        data = deflate.gzip_decompress(member, size)
    except deflate.DeflateError:
        return None
    return data if len(data) == size else None


def _verified(stream: Deflated, size: int) -> Iterable[tuple[bytes, bytes]]:
    """Pairs of (inflated, raw) pieces; nothing may be missing, left over, or other than claimed.

    Memory stays bounded whatever the stream claims: a bomb ends at the size it was declared with.
    """
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    crc = 0
    seen = 0
    try:
        for raw in stream.open():
            pending = raw
            piece = inflate.decompress(pending, _WINDOW)
            while True:
                crc = zlib.crc32(piece, crc)
                seen += len(piece)
                if seen > size:
                    raise ArtifactError(f"holds more than the {size:,} bytes it claims")
                yield piece, pending
                pending = b""
                if not inflate.unconsumed_tail:
                    break
                piece = inflate.decompress(inflate.unconsumed_tail, _WINDOW)
            if inflate.unused_data:
                raise ArtifactError("bytes follow the end of the stream")
        # what the window held back
        while not inflate.eof and (piece := inflate.decompress(b"", _WINDOW)):
            crc = zlib.crc32(piece, crc)
            seen += len(piece)
            if seen > size:
                raise ArtifactError(f"holds more than the {size:,} bytes it claims")
            yield piece, b""
    except zlib.error as error:
        raise ArtifactError(f"is not a DEFLATE stream ({error})") from error
    if not inflate.eof:
        raise ArtifactError("ends before its stream does")
    if seen != size:
        raise ArtifactError(f"holds {seen:,} bytes, claims {size:,}")
    if crc != stream.crc32:
        raise ArtifactError(f"has the CRC {crc:08x}, claims {stream.crc32:08x}")
