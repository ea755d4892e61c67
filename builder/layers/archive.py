"""Zip files read with suspicion: where each entry's own DEFLATE stream lies, and whether the file lies about it.

APPNOTE.TXT 6.3.10 (PKWARE) is the format; `zipfile` reads the central directory, and every local header must agree
with it, since installers differ in which of the two they believe.
"""

from __future__ import annotations

import os
import stat
import struct
import weakref
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from builder.content import CHUNK
from builder.errors import ArtifactError
from builder.layers.gzip import inflated
from builder.layers.tar import Content, Deflated, safe_path

__all__ = ["Member", "open_archive", "read"]

_LOCAL_HEADER: Final = struct.Struct("<4s5H3I2H")
_ENCRYPTED: Final = 0x1
_DESCRIPTOR: Final = 0x8  # sizes follow the data, the local header has zeroes
_UTF8: Final = 0x800
# A zip that unpacks to this much, and to this many times its own size, is made to hurt.
_BOMB_SIZE: Final = 1 << 30
_BOMB_RATIO: Final = 200


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a zip: its clean path, its size in bytes, whether it is executable, and its bytes."""

    path: str
    size: int
    executable: bool
    content: Content


class _File:
    """A file that stays open while any of its slices is around."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.descriptor)


@dataclass(frozen=True, slots=True)
class _Slice:
    """Part of a file, read in chunks when asked for."""

    file: _File
    offset: int
    length: int

    def __call__(self) -> Iterator[bytes]:
        at, end = self.offset, self.offset + self.length
        while at < end:
            chunk = os.pread(self.file.descriptor, min(CHUNK, end - at), at)
            if not chunk:
                raise ArtifactError("ends before its stream does")
            at += len(chunk)
            yield chunk


@dataclass(frozen=True, slots=True)
class _Stored:
    """A stored entry: its bytes as they are, with the CRC checked at the end."""

    data: _Slice
    crc32: int

    def __call__(self) -> Iterator[bytes]:
        import zlib

        crc = 0
        for chunk in self.data():
            crc = zlib.crc32(chunk, crc)
            yield chunk
        if crc != self.crc32:
            raise ArtifactError(f"has the CRC {crc:08x}, claims {self.crc32:08x}")


def open_archive(path: Path, what: str) -> list[Member]:
    """The files of the zip at `path`, in no particular order; directories are left out.

    Raises ArtifactError, naming `what`, for anything an honest zip of plain files doesn't do: entries that overlap,
    are named twice, encrypted, links, compressed by something other than DEFLATE, or headers that disagree.
    """
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            infos = archive.infolist()
            total = path.stat().st_size
            claimed = sum(info.file_size for info in infos)
            if claimed > _BOMB_SIZE and claimed > _BOMB_RATIO * total:
                raise ArtifactError(f"{what}: claims {claimed:,} bytes out of {total:,}: a zip bomb")
            seen: set[str] = set()
            members = []
            slices = _File(path)
            end = 0
            for info in sorted(infos, key=lambda one: one.header_offset):
                if info.header_offset < end:
                    raise ArtifactError(f"{what}: {info.orig_filename!r} overlaps the entry before it")
                start = _data_offset(file, info, what)
                end = start + info.compress_size
                if end > total:
                    raise ArtifactError(f"{what}: {info.orig_filename!r} reaches beyond the end of the file")
                if info.orig_filename.endswith("/"):
                    continue  # a directory, by the name that counts: `is_dir` asks one that later Pythons rewrite
                clean = safe_path(info.orig_filename, what=what)
                if clean in seen:
                    raise ArtifactError(f"{what}: {clean!r} is there twice")
                seen.add(clean)
                members.append(_member(slices, info, clean, start, what))
            return members
    except (zipfile.BadZipFile, EOFError, struct.error, NotImplementedError, ValueError, OSError) as error:
        # offsets that point nowhere are a ValueError or an OSError in some versions of `zipfile`
        raise ArtifactError(f"{what}: not a readable zip file ({error})") from error


def read(member: Member, limit: int = 64 << 20) -> bytes:
    """All bytes of a small member, verified; raises ArtifactError when it is larger than `limit` bytes."""
    if member.size > limit:
        raise ArtifactError(f"{member.path}: {member.size:,} bytes, more than the {limit:,} expected at most")
    try:
        if isinstance(member.content, Deflated):
            return b"".join(inflated(member.content, member.size))
        assert callable(member.content)
        return b"".join(member.content())
    except ArtifactError as error:
        raise ArtifactError(f"{member.path}: {error.message}") from error


def _data_offset(file: object, info: zipfile.ZipInfo, what: str) -> int:
    """Where the entry's data begins; the local header must say what the central directory says."""
    name = info.orig_filename
    file.seek(info.header_offset)  # type: ignore[attr-defined]
    fields = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))  # type: ignore[attr-defined]
    signature, _, flags, method, _, _, crc, compressed, size, name_length, extra_length = fields
    raw_name = file.read(name_length)  # type: ignore[attr-defined]
    if signature != b"PK\x03\x04":
        raise ArtifactError(f"{what}: {name!r} has no local header")
    local_name = raw_name.decode("utf-8" if flags & _UTF8 else "cp437")
    agrees = local_name == name and method == info.compress_type
    if not flags & _DESCRIPTOR:
        # zip64: the 32-bit fields are all ones and the truth is in the extra field
        sizes = {size, compressed} - {0xFFFFFFFF}
        agrees = agrees and crc == info.CRC and sizes <= {info.file_size, info.compress_size}
    if not agrees:
        raise ArtifactError(f"{what}: the two headers of {name!r} disagree")
    return info.header_offset + _LOCAL_HEADER.size + int(name_length) + int(extra_length)


def _member(file: _File, info: zipfile.ZipInfo, clean: str, start: int, what: str) -> Member:
    mode = info.external_attr >> 16
    if info.flag_bits & _ENCRYPTED:
        raise ArtifactError(f"{what}: {clean!r} is encrypted")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise ArtifactError(
            f"{what}: {clean!r} is a link or a device", hint="a wheel holds plain files only (PEP 427); report it"
        )
    data = _Slice(file, start, info.compress_size)
    content: Content
    if info.compress_type == zipfile.ZIP_DEFLATED:
        content = Deflated(data, info.compress_size, info.CRC)
    elif info.compress_type == zipfile.ZIP_STORED:
        content = _Stored(data, info.CRC)
    else:
        raise ArtifactError(f"{what}: {clean!r} is compressed by method {info.compress_type}, not DEFLATE")
    return Member(clean, info.file_size, bool(mode & 0o111), content)
