"""Entries to a blob: the one place where a layer's bytes are written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from builder.content import MEDIA_LAYER_GZIP, MEDIA_LAYER_TAR, Digest
from builder.errors import ArtifactError
from builder.layers import tar
from builder.layers.gzip import GzipEncoder, PlainEncoder, Sink, TarEncoder, inflated

__all__ = ["FORMAT", "Encoded", "encode"]

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
                _plain(entry, encoder)
        except ArtifactError as error:
            raise ArtifactError(f"{entry.path}: {error.message}", hint=error.hint) from error
        if rest := tar.padding(entry.size):
            encoder.plain(rest)
    encoder.plain(tar.END)
    diff_id = encoder.finish()
    return Encoded(diff_id, encoder.size, MEDIA_LAYER_GZIP if compress else MEDIA_LAYER_TAR)


def _plain(entry: tar.Entry, encoder: TarEncoder) -> None:
    assert not isinstance(entry.content, tar.Deflated)
    seen = 0
    for chunk in tar.iterate(entry.content):
        seen += len(chunk)
        encoder.plain(chunk)
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
