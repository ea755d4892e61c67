"""The bytes that layer format 1 means, frozen.

``sample.tar`` and ``sample.tar.gz`` are what `sample()` encodes to; ``headers.txt`` shows every header's fields for
people. ``python -m tests.layers.golden`` writes them anew, which is right only together with a new
`builder.layers.encode.FORMAT`.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from pathlib import Path

from builder.layers import tar
from builder.layers.encode import encode

__all__ = ["HERE", "NET_RAW", "deflated", "describe", "sample"]

HERE = Path(__file__).parent

# what setcap cap_net_raw+ep leaves (struct vfs_cap_data, revision 2)
NET_RAW = ("security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))


def deflated(data: bytes, *, crc32: int | None = None, raw: bytes | None = None, chunk: int = 1 << 16) -> tar.Deflated:
    """`data` as a DEFLATE stream; `crc32` and `raw` tell lies about it."""
    if raw is None:
        squeezer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        raw = squeezer.compress(data) + squeezer.flush()
    pieces = [raw[start : start + chunk] for start in range(0, len(raw), chunk)]
    return tar.Deflated(lambda: pieces, len(raw), zlib.crc32(data) if crc32 is None else crc32)


def sample() -> list[tar.Entry]:
    """One entry of each sort that has a header of its own sort."""
    text = b"It is not enough to be reproducible, one must also be small.\n" * 40
    # a stored block (RFC 1951, 3.2.4): a stream that no compressor decides about
    stored = b"\x01" + len(text).to_bytes(2, "little") + (len(text) ^ 0xFFFF).to_bytes(2, "little") + text
    deep = "/".join(["a-folder-with-a-name-of-forty-characters"] * 3)
    return tar.arrange(
        [
            tar.file("app/empty", b""),
            tar.file("app/plain.txt", text),
            tar.Entry("app/wrapped.txt", tar.Kind.FILE, 0o644, len(text), content=deflated(text, raw=stored)),
            tar.file("app/run", b"#!/bin/sh\n", 0o755),
            tar.symlink("app/link", "plain.txt"),
            tar.symlink("app/long-link", "../" * 40 + "target"),
            tar.Entry("app/zz-hardlink", tar.Kind.HARDLINK, 0o644, link="app/plain.txt"),
            tar.Entry("app/setuid", tar.Kind.FILE, 0o4755, 1, content=b"x", uid=65532, gid=65532),
            tar.Entry("app/big-owner", tar.Kind.FILE, 0o600, 1, content=b"x", uid=2**31 - 1, gid=0o10000000),
            tar.Entry("app/ping", tar.Kind.FILE, 0o755, 1, content=b"x", xattrs=(("user.x", b"\n="), NET_RAW)),
            tar.file("app/naïve-Größe.csv", b"1\n"),
            tar.file(f"app/{deep}/fits-with-a-prefix", b""),
            tar.file(f"app/{'n' * 101}", b"a name without a place to split it\n"),
            tar.directory("tmp", 0o1777),
        ]
    )


def describe(archive: bytes) -> Iterator[str]:
    """Every header block of a tar in words: the fields of USTAR at their offsets, and PAX records."""
    position = 0
    while position < len(archive):
        block = archive[position : position + 512]
        if not any(block):
            yield f"{position:>8} zeros"
            position += 512
            continue
        flag = block[156:157].decode()
        size = int(block[124:135], 8)
        name = (block[345:500].rstrip(b"\0") + b"/" if block[345] else b"") + block[:100].rstrip(b"\0")
        fields = {"mode": (100, 107), "uid": (108, 115), "gid": (116, 123), "size": (124, 135), "mtime": (136, 147)}
        shown = " ".join(f"{key}={block[start:end].decode()}" for key, (start, end) in fields.items())
        magic = block[257:265] + block[265:345].replace(b"\0", b"").replace(b"0", b"")
        yield f"{position:>8} type={flag} {shown} sum={block[148:156]!r} magic={magic!r}"
        yield f"{'':>8} name={name.decode()!r}" + (f" link={_cut(block[157:257])!r}" if block[157] else "")
        body = archive[position + 512 : position + 512 + size]
        if flag == "x":
            yield from (f"{'':>8} pax {record!r}" for record in _records(body))
        position += 512 + -(-size // 512) * 512


def _cut(field: bytes) -> str:
    return field.rstrip(b"\0").decode()


def _records(body: bytes) -> Iterator[bytes]:
    while body:
        length = int(body.partition(b" ")[0])
        yield body[:length]
        body = body[length:]


def write() -> None:
    """Freeze what the encoders write now."""
    for name, compress in (("sample.tar", False), ("sample.tar.gz", True)):
        sink = io.BytesIO()
        encode(sample(), sink, compress=compress)
        (HERE / name).write_bytes(sink.getvalue())
    (HERE / "headers.txt").write_text("\n".join(describe((HERE / "sample.tar").read_bytes())) + "\n", encoding="utf-8")
