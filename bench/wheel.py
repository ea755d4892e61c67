"""A wheel of any size, written as a stream: what a package with a large model or CUDA libraries looks like."""

from __future__ import annotations

import base64
import hashlib
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["synthetic_wheel"]

_CHUNK = 1 << 20


def synthetic_wheel(folder: Path, size: int, *, name: str = "heavy", version: str = "1.0") -> Path:
    """Write ``NAME-VERSION-py3-none-any.whl`` of about `size` bytes and say where it is.

    Nine tenths are one file that doesn't compress, as weights; then come a stored one, text that compresses
    well, and zeros that compress to almost nothing. The same arguments give the same bytes.
    """
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    rows: list[str] = []
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        _add(archive, rows, f"{name}/__init__.py", iter([b"import os\n"]), level=6)
        # DEFLATE of level 0: blocks that are stored, in a stream like any other
        _add(archive, rows, f"{name}/weights.bin", _noise(size * 9 // 10), level=0)
        _add(archive, rows, f"{name}/stored.bin", _noise(size // 20), level=None)
        _add(archive, rows, f"{name}/words.txt", _words(size // 10), level=1)
        _add(archive, rows, f"{name}/sparse.bin", _zeros(size // 4), level=1)
        for member, text in metadata.items():
            _add(archive, rows, member, iter([text.encode()]), level=6)
        rows.append(f"{info}/RECORD,,")
        archive.writestr(_entry(f"{info}/RECORD"), "\n".join(rows) + "\n")
    return path


def _entry(member: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(member)
    entry.external_attr = 0o100644 << 16
    return entry


def _add(archive: zipfile.ZipFile, rows: list[str], member: str, chunks: Iterator[bytes], *, level: int | None) -> None:
    entry = _entry(member)
    entry.compress_type = zipfile.ZIP_STORED if level is None else zipfile.ZIP_DEFLATED
    # Python 3.13 gave the attribute its public name
    setattr(entry, "compress_level" if hasattr(entry, "compress_level") else "_compresslevel", level)
    state = hashlib.sha256()
    total = 0
    with archive.open(entry, "w", force_zip64=True) as file:
        for chunk in chunks:
            state.update(chunk)
            total += len(chunk)
            file.write(chunk)
    digest = base64.urlsafe_b64encode(state.digest()).rstrip(b"=").decode()
    rows.append(f"{member},sha256={digest},{total}")


def _noise(size: int) -> Iterator[bytes]:
    source = random.Random(size)
    while size > 0:
        yield source.randbytes(min(_CHUNK, size))
        size -= _CHUNK


def _words(size: int) -> Iterator[bytes]:
    source = random.Random(size)
    words = [b"lock", b"ship", b"layer", b"digest", b"manifest", b"wheel", b"store", b"release"]
    block = b" ".join(source.choice(words) for _ in range(_CHUNK // 4))[:_CHUNK].ljust(_CHUNK, b".")
    while size > 0:
        yield source.randbytes(16) + block[16 : min(_CHUNK, max(size, 17))]
        size -= _CHUNK


def _zeros(size: int) -> Iterator[bytes]:
    while size > 0:
        yield bytes(min(_CHUNK, size))
        size -= _CHUNK
