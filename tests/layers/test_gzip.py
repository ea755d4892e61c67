"""The gzip encoder: frozen bytes, other programs that read them, and streams that lie."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import shutil
import subprocess
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builder.errors import ArtifactError
from builder.layers import gzip as encoder_module
from builder.layers.gzip import MEMBER, GzipEncoder, PlainEncoder
from builder.layers.tar import Deflated
from tests.layers.golden import deflated

HEADER = bytes.fromhex("1f8b08000000000000ff")

# a piece of a blob: bytes as they are, or bytes that come as a stream
Piece = tuple[bool, bytes]


def encoded(pieces: list[Piece]) -> tuple[bytes, str]:
    """The blob of `pieces`, and its diff id."""
    sink = io.BytesIO()
    encoder = GzipEncoder(sink)
    for wrapped, data in pieces:
        if wrapped:
            encoder.wrap(deflated(data), len(data))
        else:
            encoder.plain(data)
    diff_id = encoder.finish()
    assert encoder.size == len(sink.getvalue())
    return sink.getvalue(), diff_id


def member_sizes(blob: bytes) -> list[int]:
    """How many bytes each member of a gzip file holds."""
    sizes = []
    while blob:
        assert blob.startswith(HEADER)
        inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        sizes.append(len(inflate.decompress(blob)))
        assert inflate.eof
        blob = inflate.unused_data
    return sizes


_PIECES = st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=3000)), max_size=8)


@given(_PIECES)
@example([(False, b"x" * MEMBER), (True, b"y" * (MEMBER + 1)), (False, b"z")])
def test_gzip_and_zlib_read_back_what_was_written(pieces: list[Piece]) -> None:
    data = b"".join(piece for _, piece in pieces)
    blob, diff_id = encoded(pieces)
    assert gzip.decompress(blob) == data
    assert sum(member_sizes(blob)) == len(data)
    assert diff_id == "sha256:" + hashlib.sha256(data).hexdigest()


@settings(max_examples=15)
@given(_PIECES.filter(bool))
def test_the_gzip_and_pigz_commands_read_back_what_was_written(pieces: list[Piece]) -> None:
    blob, _ = encoded(pieces)
    data = b"".join(piece for _, piece in pieces)
    for program in filter(shutil.which, ("gzip", "pigz")):
        run = subprocess.run([program, "-dc"], input=blob, capture_output=True, check=False)
        assert (run.returncode, run.stderr) == (0, b"")
        assert run.stdout == data


@given(_PIECES, st.lists(st.integers(0, 20_000), max_size=5))
def test_how_plain_bytes_are_cut_makes_no_difference(pieces: list[Piece], cuts: list[int]) -> None:
    data = b"".join(piece for _, piece in pieces)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut <= len(data))})
    parts = [(False, data[start:end]) for start, end in itertools.pairwise(edges)]
    assert encoded(parts) == encoded([(False, data)] if data else [])


@pytest.mark.parametrize(
    ("size", "members"),
    [
        (0, []),
        (1, [1]),
        (MEMBER - 1, [MEMBER - 1]),
        (MEMBER, [MEMBER]),
        (MEMBER + 1, [MEMBER, 1]),
        (3 * MEMBER + 7, [MEMBER, MEMBER, MEMBER, 7]),
    ],
)
def test_a_member_holds_at_most_so_much_plain_data(size: int, members: list[int]) -> None:
    for step in (size or 1, 65_537):
        data = bytes(size)
        blob, _ = encoded([(False, data[start : start + step]) for start in range(0, size, step)])
        assert member_sizes(blob) == members


def test_a_wrapped_stream_has_a_member_of_its_own() -> None:
    blob, _ = encoded([(False, b"head"), (True, b"x" * (3 * MEMBER)), (True, b"y"), (False, b"t"), (False, b"ail")])
    assert member_sizes(blob) == [4, 3 * MEMBER, 1, 4]


def test_the_streams_own_bytes_are_in_the_blob_untouched() -> None:
    data = b"abc" * 1000
    for level in (1, 9):
        squeezer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        raw = squeezer.compress(data) + squeezer.flush()
        sink = io.BytesIO()
        GzipEncoder(sink).wrap(deflated(data, raw=raw), len(data))
        footer = zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")
        assert sink.getvalue() == HEADER + raw + footer


def test_the_plain_encoder_inflates() -> None:
    sink = io.BytesIO()
    encoder = PlainEncoder(sink)
    encoder.plain(b"head")
    encoder.wrap(deflated(b"body" * 100), 400)
    assert encoder.finish() == "sha256:" + hashlib.sha256(sink.getvalue()).hexdigest()
    assert sink.getvalue() == b"head" + b"body" * 100
    assert encoder.size == 404


# streams that lie

DATA = b"It is a truth universally acknowledged. " * 20
RAW = b"".join(deflated(DATA).open())
FOOTER = zlib.crc32(DATA).to_bytes(4, "little") + len(DATA).to_bytes(4, "little")


@pytest.fixture(params=["at once", "in pieces"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small streams are inflated in one call, big ones piece by piece: both have to find every lie."""
    if request.param == "in pieces":
        monkeypatch.setattr(encoder_module, "_AT_ONCE", -1)


LIES = {
    "too short": (RAW[:-1], len(DATA), None, "ends before its stream does"),
    "half": (RAW[: len(RAW) // 2], len(DATA), None, "ends before its stream does"),
    "nothing": (b"", len(DATA), None, "ends before its stream does"),
    "a byte after the end": (RAW + b"\0", len(DATA), None, "bytes follow the end of the stream"),
    "its own footer after the end": (RAW + FOOTER, len(DATA), None, "bytes follow the end"),
    "footer and more": (RAW + FOOTER + b"x", len(DATA), None, "bytes follow the end"),
    "footer and a member": (RAW + FOOTER + gzip.compress(DATA)[:-8], len(DATA), None, "bytes follow the end"),
    "a second stream": (RAW + RAW, len(DATA), None, "bytes follow the end"),
    "another CRC": (RAW, len(DATA), 0xDEADBEEF, "has the CRC [0-9a-f]{8}, claims deadbeef"),
    "more than claimed": (RAW, len(DATA) - 1, None, "holds more than the 799 bytes it claims"),
    "less than claimed": (RAW, len(DATA) + 1, None, "holds 800 bytes, claims 801"),
    "no deflate at all": (b"\xff" * 50, len(DATA), None, "is not a DEFLATE stream"),
    "damaged": (RAW[:20] + bytes([RAW[20] ^ 0xFF]) + RAW[21:], len(DATA), None, "DEFLATE|CRC|ends|holds"),
}


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("chunk", [1, 7, 1 << 16])
def test_a_stream_that_is_not_what_it_claims_is_refused(lie: str, chunk: int) -> None:
    raw, size, crc32, message = LIES[lie]
    stream = deflated(DATA, raw=raw, crc32=crc32, chunk=chunk)
    for encoder in (GzipEncoder(io.BytesIO()), PlainEncoder(io.BytesIO())):
        with pytest.raises(ArtifactError, match=message) as caught:
            encoder.wrap(stream, size)
        assert caught.value.exit_code == 3


@pytest.mark.usefixtures("both_ways")
@given(data=st.binary(max_size=400), noise=st.binary(max_size=30), cut=st.integers(0, 60))
def test_no_damage_goes_unseen(data: bytes, noise: bytes, cut: int) -> None:
    """Whatever replaces a stream's end: what is accepted is a gzip file with exactly the bytes that were claimed."""
    raw = b"".join(deflated(data).open())
    damaged = raw[: max(0, len(raw) - cut)] + noise
    sink = io.BytesIO()
    encoder = GzipEncoder(sink)
    try:
        encoder.wrap(deflated(data, raw=damaged), len(data))
    except ArtifactError:
        return
    assert gzip.decompress(sink.getvalue()) == data
    assert encoder.finish() == "sha256:" + hashlib.sha256(data).hexdigest()


def zeros(size: int) -> tuple[Deflated, int]:
    """`size` zero bytes as a stream that is made while it is read: its size compressed, and its claims, are true."""

    def pieces() -> Iterator[bytes]:
        squeezer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
        left = size
        while left:
            step = min(left, 1 << 20)
            yield squeezer.compress(bytes(step))
            left -= step
        yield squeezer.flush()

    crc = 0
    for start in range(0, size, 1 << 20):
        crc = zlib.crc32(bytes(min(1 << 20, size - start)), crc)
    return Deflated(pieces, sum(map(len, pieces())), crc), size


class Count:
    """A sink that keeps nothing."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: bytes, /) -> None:
        self.size += len(data)


def peak(stream: Deflated, size: int, encoder: GzipEncoder | PlainEncoder) -> int:
    """Bytes of Python's memory at most while wrapping; libdeflate's and zlib's own are some hundred kilobytes."""
    tracemalloc.start()
    try:
        encoder.wrap(stream, size)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_stream() -> None:
    stream, size = zeros(200 << 20)
    for encoder in (GzipEncoder(Count()), PlainEncoder(Count())):
        assert peak(stream, size, encoder) < 16 << 20


def test_a_bomb_ends_at_the_size_it_was_declared_with() -> None:
    stream, _ = zeros(500 << 20)
    for encoder in (GzipEncoder(Count()), PlainEncoder(Count())):
        tracemalloc.start()
        try:
            with pytest.raises(ArtifactError, match="holds more than the 1,000 bytes it claims"):
                encoder.wrap(stream, 1000)
            assert tracemalloc.get_traced_memory()[1] < 16 << 20
        finally:
            tracemalloc.stop()


def test_what_one_call_reads_is_what_many_calls_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast way is a matter of speed only."""
    blobs = []
    for limit in (encoder_module._AT_ONCE, -1):
        monkeypatch.setattr(encoder_module, "_AT_ONCE", limit)
        blobs.append(encoded([(False, b"a"), (True, DATA), (True, bytes(100_000)), (False, b"b")]))
    assert blobs[0] == blobs[1]
