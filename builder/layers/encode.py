"""Entries to a blob: the one place where a layer's bytes are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from builder.content import CHUNK, MEDIA_LAYER_GZIP, MEDIA_LAYER_TAR, Digest
from builder.errors import ArtifactError
from builder.layers import tar
from builder.layers.gzip import GzipEncoder, PlainEncoder, Sink, TarEncoder, inflated

__all__ = ["FORMAT", "Encoded", "encode", "stream"]

# Raised whenever the same entries would give other bytes: part of every layer's key.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Encoded:
    """What came out: the diff id (digest of the tar) and the blob's size in bytes and media type."""

    diff_id: Digest
    size: int
    media_type: str


def encode(entries: Iterable[tar.Entry], sink: Sink, *, compress: bool = True) -> Encoded:
    """Write `entries`, arranged already (`tar.arrange`), as one layer blob.

    Raises ArtifactError naming the path whose content is not what its entry says.
    """
    encoder: TarEncoder = GzipEncoder(sink) if compress else PlainEncoder(sink)
    for _ in _steps(entries, encoder):
        pass
    diff_id = encoder.finish()
    return Encoded(diff_id, encoder.size, MEDIA_LAYER_GZIP if compress else MEDIA_LAYER_TAR)


def stream(entries: Iterable[tar.Entry], *, compress: bool = True) -> Iterator[bytes]:
    """The bytes that `encode` writes, in chunks; raises as it does."""
    buffer = _Buffer()
    encoder: TarEncoder = GzipEncoder(buffer) if compress else _Unhashed(buffer)
    for _ in _steps(entries, encoder):
        if buffer.size >= CHUNK:
            yield buffer.taken()
    encoder.finish()
    yield buffer.taken()


class _Unhashed(PlainEncoder):
    """A tar as it is, of which nobody asks the digest: models are large, and whoever takes their bytes hashes them."""

    def plain(self, data: bytes) -> None:
        self._sink.write(data)
        self.size += len(data)


class _Buffer:
    """Keeps bytes until somebody takes them."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0

    def write(self, data: bytes) -> None:
        self._parts.append(bytes(data))
        self.size += len(data)

    def taken(self) -> bytes:
        parts, self._parts, self.size = self._parts, [], 0
        return b"".join(parts)


def _steps(entries: Iterable[tar.Entry], encoder: TarEncoder) -> Iterator[None]:
    """Write all of a tar, stopping after each piece for whoever wants to take what was written."""
    for entry in entries:
        encoder.plain(tar.header(entry))
        if entry.kind is not tar.Kind.FILE or not entry.size:
            if isinstance(entry.content, tar.Deflated):
                _drain(entry)
            continue
        try:
            if isinstance(entry.content, tar.Deflated):
                encoder.wrap(entry.content, entry.size)
            else:
                yield from _plain(entry, encoder)
        except ArtifactError as error:
            raise ArtifactError(f"{entry.path}: {error.message}", hint=error.hint) from error
        if rest := tar.padding(entry.size):
            encoder.plain(rest)
        yield
    encoder.plain(tar.END)


def _plain(entry: tar.Entry, encoder: TarEncoder) -> Iterator[None]:
    assert not isinstance(entry.content, tar.Deflated)
    seen = 0
    for chunk in tar.iterate(entry.content):
        seen += len(chunk)
        encoder.plain(chunk)
        yield
    if seen != entry.size:
        raise ArtifactError(f"holds {seen:,} bytes, {entry.size:,} were announced")


def _drain(entry: tar.Entry) -> None:
    """An empty file may still come with a stream, and the stream may lie: verify it, wrap nothing."""
    assert isinstance(entry.content, tar.Deflated)
    try:
        for _ in inflated(entry.content, 0):
            pass
    except ArtifactError as error:
        raise ArtifactError(f"{entry.path}: {error.message}", hint=error.hint) from error
