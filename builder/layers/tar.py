"""Tar headers of our own: USTAR (POSIX.1-1988), with PAX records (POSIX.1-2001) only where USTAR can't say it.

`tarfile` writes other bytes in other versions of Python; a layer's digest must not depend on that.
The rules, fixed by golden tests:

- owner and group are numbers, names are empty, device numbers are zero, the time is `MTIME`;
- a path that is ASCII and fits `name`, or `prefix` and `name`, is plain USTAR;
- everything else (long or non-ASCII names, sizes of 8 GiB and more, owners past 2,097,151, extended attributes)
  gets one PAX header before the entry, its records sorted by key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from builder.errors import ArtifactError

__all__ = [
    "BLOCK",
    "END",
    "MTIME",
    "Content",
    "Deflated",
    "Entry",
    "Kind",
    "arrange",
    "directory",
    "file",
    "header",
    "iterate",
    "padding",
    "safe_path",
    "symlink",
]

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)

# 2 January 1980, UTC: constant, and late enough that zip tools inside a container, in any time zone, take it
# (zip can't say anything before 1980).
MTIME: Final = 315619200

_MAX_USTAR_SIZE: Final = 0o77777777777
_MAX_USTAR_ID: Final = 0o7777777


class Kind(Enum):
    """What a tar entry is; the value is its type flag."""

    FILE = b"0"
    HARDLINK = b"1"
    SYMLINK = b"2"
    DIRECTORY = b"5"


@dataclass(frozen=True, slots=True)
class Deflated:
    """A raw DEFLATE stream (RFC 1951) that exists already, as in a zip file.

    `open` gives the stream's bytes in chunks; `size` and `crc32` are those of the inflated bytes, as claimed.
    """

    open: Callable[[], Iterable[bytes]]
    compressed_size: int
    crc32: int


# Bytes, or a function that gives them in chunks, or a stream to wrap.
Content = bytes | Callable[[], Iterable[bytes]] | Deflated


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a layer. `path` has no leading or trailing slash; `size` is in bytes, inflated."""

    path: str
    kind: Kind
    mode: int
    size: int = 0
    link: str = ""
    content: Content = b""
    uid: int = 0
    gid: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()


def directory(path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> Entry:
    """A directory."""
    return Entry(path, Kind.DIRECTORY, mode, uid=uid, gid=gid)


def file(path: str, data: bytes, mode: int = 0o644) -> Entry:
    """A regular file with these bytes."""
    return Entry(path, Kind.FILE, mode, size=len(data), content=data)


def symlink(path: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(path, Kind.SYMLINK, 0o777, link=target)


def safe_path(path: str, *, what: str) -> str:
    """`path` without ``./`` and doubled slashes.

    Raises ArtifactError when it is absolute, climbs out, or holds what no path in an image may hold; `what` names
    the artifact for the message.
    """
    if not path or path.startswith("/") or "\0" in path or "\\" in path or (path[1:2] == ":" and path[0].isalpha()):
        raise ArtifactError(f"{what}: unsafe path {path!r}", hint="absolute paths and drive letters are refused")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        raise ArtifactError(f"{what}: unsafe path {path!r}", hint="a path may not leave its package")
    if any(part.startswith(".wh.") for part in parts):
        raise ArtifactError(f"{what}: {path!r} looks like a whiteout", hint="an image would take it for a deletion")
    return "/".join(parts)


def arrange(entries: Iterable[Entry], *, parents: Callable[[str], Entry] = directory) -> list[Entry]:
    """Sorted bytewise, with every parent directory once and before what it holds.

    A directory may be given several times with one mode; any other path once. Missing parents are made by `parents`.
    Raises ArtifactError for a path that is given twice or that runs through something that is not a directory.
    """
    tree: dict[str, Entry] = {}
    for entry in entries:
        known = tree.get(entry.path)
        if known is None:
            tree[entry.path] = entry
        elif known.kind is not Kind.DIRECTORY or known != entry:
            raise ArtifactError(f"{entry.path!r} is there twice")
    for path in list(tree):
        parent = path.rpartition("/")[0]
        while parent and parent not in tree:
            tree[parent] = parents(parent)
            parent = parent.rpartition("/")[0]
        if parent and tree[parent].kind is not Kind.DIRECTORY:
            raise ArtifactError(f"{path!r} lies below {parent!r}, which is not a directory")
    return [tree[path] for path in sorted(tree, key=_sort_key)]


def _sort_key(path: str) -> bytes:
    # NUL sorts before every byte a path may hold, so a directory's content follows it at once
    return path.encode("utf-8", "surrogateescape").replace(b"/", b"\0")


def padding(size: int) -> bytes:
    """What fills the last block of `size` bytes."""
    return bytes(-size % BLOCK)


def header(entry: Entry) -> bytes:
    """The header blocks of one entry, PAX blocks included; a multiple of 512 bytes."""
    name = entry.path + "/" if entry.kind is Kind.DIRECTORY else entry.path
    raw = name.encode("utf-8", "surrogateescape")
    link = entry.link.encode("utf-8", "surrogateescape")
    records: dict[str, bytes] = {f"SCHILY.xattr.{key}": value for key, value in entry.xattrs}
    split = _split(raw)
    if split is None:
        records["path"] = raw
        split = (b"", _ascii(raw)[:100])
    if len(link) > 100 or not link.isascii():
        records["linkpath"] = link
        link = _ascii(link)[:100]
    numbers = {
        "size": (entry.size, _MAX_USTAR_SIZE),
        "uid": (entry.uid, _MAX_USTAR_ID),
        "gid": (entry.gid, _MAX_USTAR_ID),
    }
    fields = {}
    for key, (value, limit) in numbers.items():
        fields[key] = value if value <= limit else 0
        if value > limit:
            records[key] = b"%d" % value
    block = _ustar(split, entry.kind.value, entry.mode, fields["uid"], fields["gid"], fields["size"], link)
    if not records:
        return block
    body = b"".join(_pax_record(key, records[key]) for key in sorted(records))
    pax = _ustar((b"", b"PaxHeaders/entry"), b"x", 0o644, 0, 0, len(body), b"")
    return pax + body + padding(len(body)) + block


def _split(raw: bytes) -> tuple[bytes, bytes] | None:
    """`raw` as USTAR's prefix (155 bytes) and name (100 bytes), or None when it doesn't fit."""
    if not raw.isascii():
        return None
    if len(raw) <= 100:
        return b"", raw
    # the slash between the two is not stored; take the leftmost that leaves a name that fits
    cut = raw.find(b"/", len(raw) - 101)
    if cut <= 0 or cut > 155 or cut == len(raw) - 1:
        return None
    return raw[:cut], raw[cut + 1 :]


def _ascii(raw: bytes) -> bytes:
    return bytes(byte if 0x20 <= byte < 0x7F else 0x5F for byte in raw)


def _ustar(name: tuple[bytes, bytes], flag: bytes, mode: int, uid: int, gid: int, size: int, link: bytes) -> bytes:
    prefix, base = name
    block = bytearray(BLOCK)
    block[0 : len(base)] = base
    block[100:136] = b"%07o\0%07o\0%07o\0%011o\0" % (mode, uid, gid, size)
    block[136:148] = b"%011o\0" % MTIME
    block[148:156] = b"        "
    block[156:157] = flag
    block[157 : 157 + len(link)] = link
    block[257:265] = b"ustar\00000"
    block[329:345] = b"0000000\0" * 2
    block[345 : 345 + len(prefix)] = prefix
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _pax_record(key: str, value: bytes) -> bytes:
    """``LENGTH KEY=VALUE\\n`` where LENGTH counts its own digits (POSIX.1-2001, pax, "pax Header Block")."""
    rest = b" " + key.encode() + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return b"%d" % length + rest


def iterate(content: bytes | Callable[[], Iterable[bytes]]) -> Iterator[bytes]:
    """The chunks of plain content."""
    if isinstance(content, bytes):
        yield content
    else:
        yield from content()
