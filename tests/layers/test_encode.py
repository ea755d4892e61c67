"""Entries to a blob: frozen bytes, and refusals that name the path."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
from collections.abc import Callable, Iterator

import pytest

from builder.content import MEDIA_LAYER_GZIP, MEDIA_LAYER_TAR
from builder.errors import ArtifactError
from builder.layers import tar
from builder.layers.encode import FORMAT, encode, stream
from tests.layers.golden import HERE, deflated, sample


def blob(entries: list[tar.Entry], *, compress: bool = True) -> bytes:
    sink = io.BytesIO()
    encode(entries, sink, compress=compress)
    return sink.getvalue()


@pytest.mark.parametrize(("name", "compress"), [("sample.tar", False), ("sample.tar.gz", True)])
def test_the_bytes_of_a_layer_are_frozen(name: str, compress: bool) -> None:
    """When this fails, every digest in every lock changes: raise `FORMAT`, then `python -m tests.layers.golden`."""
    assert FORMAT == 1
    assert blob(sample(), compress=compress) == (HERE / name).read_bytes()


def test_both_frozen_files_are_the_same_tar() -> None:
    assert gzip.decompress((HERE / "sample.tar.gz").read_bytes()) == (HERE / "sample.tar").read_bytes()


@pytest.mark.parametrize("compress", [True, False])
def test_what_encode_says_of_the_blob_is_true(compress: bool) -> None:
    sink = io.BytesIO()
    result = encode(sample(), sink, compress=compress)
    assert result.size == len(sink.getvalue())
    archive = gzip.decompress(sink.getvalue()) if compress else sink.getvalue()
    assert result.diff_id == "sha256:" + hashlib.sha256(archive).hexdigest()
    assert result.media_type == (MEDIA_LAYER_GZIP if compress else MEDIA_LAYER_TAR)


@pytest.mark.parametrize(("name", "compress"), [("sample.tar", False), ("sample.tar.gz", True)])
def test_a_stream_has_the_same_bytes(name: str, compress: bool) -> None:
    assert b"".join(stream(sample(), compress=compress)) == (HERE / name).read_bytes()


@pytest.mark.parametrize("compress", [True, False])
def test_a_stream_holds_little_in_memory(compress: bool) -> None:
    def content() -> Iterator[bytes]:
        for number in range(40):
            yield random.Random(number).randbytes(1 << 20)

    entry = tar.Entry("big", tar.Kind.FILE, 0o644, size=40 << 20, content=content)
    sizes = [len(chunk) for chunk in stream([entry], compress=compress)]
    assert sum(sizes) > 40 << 20
    assert max(sizes) < 4 << 20


def test_content_reads_back_equal_in_every_form() -> None:
    def chunks() -> Iterator[bytes]:
        yield from (b"one ", b"", b"two")

    entries = [
        tar.file("bytes", b"as they are"),
        tar.Entry("chunks", tar.Kind.FILE, 0o644, 7, content=chunks),
        tar.Entry("stream", tar.Kind.FILE, 0o644, 5000, content=deflated(b"x" * 5000)),
        tar.Entry("void", tar.Kind.FILE, 0o644, 0, content=deflated(b"")),
    ]
    with tarfile.open(fileobj=io.BytesIO(blob(entries)), mode="r:gz") as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    assert found == {"bytes": b"as they are", "chunks": b"one two", "stream": b"x" * 5000, "void": b""}


def test_no_entries_are_an_empty_tar() -> None:
    assert blob([], compress=False) == tar.END
    assert gzip.decompress(blob([])) == tar.END


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"longer than that", "holds 16 bytes, 7 were announced"),
        (b"short", "holds 5 bytes, 7 were announced"),
        (lambda: iter([b"1234", b"5678"]), "holds 8 bytes, 7 were announced"),
        (deflated(b"12345678"), "holds more than the 7 bytes it claims"),
        (deflated(b"1234567", crc32=1), "claims 00000001"),
    ],
)
def test_content_that_is_not_as_announced_is_refused_by_path(
    content: bytes | Callable[[], Iterator[bytes]] | tar.Deflated, message: str, compress: bool
) -> None:
    entry = tar.Entry("demo/data.bin", tar.Kind.FILE, 0o644, 7, content=content)
    with pytest.raises(ArtifactError) as caught:
        blob([entry], compress=compress)
    assert caught.value.message.startswith("demo/data.bin: ")
    assert message in caught.value.message


def test_an_empty_file_may_not_come_with_a_stream_that_lies() -> None:
    for content in (deflated(b"surprise"), deflated(b"", crc32=1), deflated(b"", raw=b""), deflated(b"", raw=b"\3\0x")):
        with pytest.raises(ArtifactError, match=r"^void: "):
            blob([tar.Entry("void", tar.Kind.FILE, 0o644, 0, content=content)])
