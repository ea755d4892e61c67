"""Reading a conda package: ``.conda`` (a zip of zstd tars, CEP "conda package format 2") and ``.tar.bz2``.

Nothing in here is trusted: what is unpacked is counted, and whatever doesn't parse is an ArtifactError that names the
package.
"""

from __future__ import annotations

import bz2
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from builder.content import CHUNK
from builder.errors import ArtifactError, LockError
from builder.layers import archive, tarstream
from builder.layers.tarstream import Member

__all__ = ["Info", "Listed", "info_of", "payload", "scripts_of"]

_BOMB_SIZE: Final = 1 << 30  # bytes; what unpacks to more, and to so many times its own size, is made to hurt
_BOMB_RATIO: Final = 200
_INFO_LIMIT: Final = 256 << 20  # bytes, of all that describes a package
_OLD_PREFIX: Final = "/opt/anaconda1anaconda2anaconda3"  # where no placeholder is named (conda-build before 2.0)
_FILE: Final = re.compile(r"[A-Za-z0-9_][^/\\]*(\.conda|\.tar\.bz2)")
_SCRIPT: Final = re.compile(r"bin/\.(?P<name>.+)-(?P<when>pre-link|post-link)\.sh")


@dataclass(frozen=True, slots=True)
class Listed:
    """One path that a package installs, as it lists it: `kind` is ``hardlink``, ``softlink`` or ``directory``.

    `mode` is ``text`` or ``binary`` for a file that holds `placeholder`; both are empty for all others. `sha256` is
    what the package claims, or empty.
    """

    path: str
    kind: str
    placeholder: str = ""
    mode: str = ""
    sha256: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Info:
    """What a package says of itself: `index` is its ``index.json``; `noarch` is ``python``, ``generic`` or empty."""

    index: Mapping[str, Any]
    noarch: str
    paths: tuple[Listed, ...]
    entry_points: tuple[str, ...]


def info_of(path: Path, what: str) -> Info:
    """The description in the package at `path`; `what` is its file name."""
    files: dict[str, bytes] = {}
    total = 0
    for member in _members(path, "info", what):
        name = _clean(member.path)
        if not name.startswith("info/") or member.read is None or not _describes(name):
            continue
        total += member.size
        if total > _INFO_LIMIT:
            raise ArtifactError(f"{what}: describes itself in more than {_INFO_LIMIT:,} bytes")
        files[name.removeprefix("info/")] = member.read.read(member.size)
    try:
        return _info(files)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{what}: not a conda package, its description can't be read ({error})") from error


def payload(path: Path, what: str) -> Iterator[Member]:
    """Everything the package holds, in its order, under clean paths; a member's `read` is good until the next one."""
    for member in _members(path, "pkg", what):
        yield replace(member, path=_clean(member.path))


def scripts_of(info: Info) -> tuple[str, ...]:
    """When the package wants to run something while it is installed: ``pre-link``, ``post-link``."""
    found = (_SCRIPT.fullmatch(one.path) for one in info.paths)
    name = info.index["name"]
    return tuple(sorted({match["when"] for match in found if match and match["name"] == name}))


def _describes(name: str) -> bool:
    return name in ("info/index.json", "info/paths.json", "info/link.json", "info/files", "info/has_prefix")


def _clean(path: str) -> str:
    return path[2:] if path.startswith("./") else path


def _info(files: Mapping[str, bytes]) -> Info:
    index = json.loads(files["index.json"])
    for key in ("name", "version", "build"):
        if not isinstance(index[key], str):
            raise ValueError(f"{key} is {index[key]!r}")
    link = json.loads(files.get("link.json", b"{}")).get("noarch") or {}
    noarch = {True: "generic", None: "", False: ""}.get(index.get("noarch"), index.get("noarch"))
    if not isinstance(noarch, str):
        raise ValueError(f"noarch is {noarch!r}")
    points = link.get("entry_points") or ()
    return Info(index, noarch, tuple(_listed(files)), tuple(str(one) for one in points))


def _listed(files: Mapping[str, bytes]) -> Iterable[Listed]:
    if "paths.json" not in files:
        yield from _listed_of_old(files)
        return
    for one in json.loads(files["paths.json"])["paths"]:
        placeholder = str(one.get("prefix_placeholder") or "")
        yield Listed(
            path=one["_path"].removeprefix("./"),
            kind=str(one["path_type"]),
            placeholder=placeholder,
            mode=_mode(str(one.get("file_mode") or "text")) if placeholder else "",
            sha256=str(one.get("sha256") or ""),
            size=int(one.get("size_in_bytes") or 0),
        )


def _listed_of_old(files: Mapping[str, bytes]) -> Iterable[Listed]:
    """Before ``paths.json``: a list of names, and one of those that hold a prefix (conda-build 1 and 2.0)."""
    held: dict[str, tuple[str, str]] = {}
    for line in files.get("has_prefix", b"").decode().splitlines():
        words = [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', line)]
        if len(words) == 1:
            held[words[0]] = (_OLD_PREFIX, "text")
        elif len(words) == 3:
            held[words[2]] = (words[0], _mode(words[1]))
    for name in files["files"].decode().splitlines():
        placeholder, mode = held.get(name, ("", ""))
        yield Listed(name, "hardlink", placeholder, mode)


def _mode(mode: str) -> str:
    if mode not in ("text", "binary"):
        raise ValueError(f"a file's mode is {mode!r}")
    return mode


def _members(path: Path, part: str, what: str) -> Iterator[Member]:
    """The members of the tar that holds `part` (``info`` or ``pkg``); an old package has one for both."""
    if not _FILE.fullmatch(what):
        raise ArtifactError(f"{what}: not a conda package's file name")
    with _readable(what):
        limit = max(_BOMB_SIZE, _BOMB_RATIO * path.stat().st_size)
        raw = bz2.BZ2File(path) if what.endswith(".tar.bz2") else _zstd(path, part, what)
        with raw:
            counted = io.BufferedReader(_Counted(cast(BinaryIO, raw), limit, what), CHUNK)
            with tarstream.opened(cast(BinaryIO, counted)) as opened:
                yield from tarstream.members(opened, what, lambda: _readable(what))


def _zstd(path: Path, part: str, what: str) -> BinaryIO:
    """The tar of `part` in a ``.conda``, which the zip holds as it is."""
    zstandard = _zstandard()
    members = {member.path: member for member in archive.open_archive(path, what)}
    if "metadata.json" not in members:
        raise ArtifactError(f"{what}: not a conda package, it has no metadata.json")
    version = json.loads(archive.read(members["metadata.json"])).get("conda_pkg_format_version")
    if version != 2:
        raise ArtifactError(f"{what}: conda package format {version!r}, 2 is what installers read")
    found = [one for name, one in members.items() if name.startswith(f"{part}-") and name.endswith(".tar.zst")]
    if len(found) != 1 or not callable(found[0].content):
        raise ArtifactError(f"{what}: not a conda package, it has no single {part}-….tar.zst, stored as it is")
    chunks = _Chunks(found[0].content)
    reader: BinaryIO = zstandard.ZstdDecompressor().stream_reader(chunks, read_across_frames=True)
    return reader


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise LockError("conda packages need zstandard to be read", hint="pip install 'lockship[conda]'") from error
    return zstandard


class _Chunks:
    """An iterator of chunks as a file."""

    def __init__(self, content: Callable[[], Iterable[bytes]]) -> None:
        self._chunks = iter(content())
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        if not self._rest:
            self._rest = next(self._chunks, b"")
        if size < 0 or size >= len(self._rest):
            data, self._rest = self._rest, b""
        else:
            data, self._rest = self._rest[:size], self._rest[size:]
        return data


class _Counted(io.RawIOBase):
    """What is unpacked, up to `limit` bytes."""

    def __init__(self, stream: BinaryIO, limit: int, what: str) -> None:
        self._stream = stream
        self._left = limit
        self._what = what

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        data = self._stream.read(min(len(view), CHUNK))
        self._left -= len(data)
        if self._left < 0:
            raise ArtifactError(f"{self._what}: unpacks to far more than it is: a bomb")
        view[: len(data)] = data
        return len(data)


@contextmanager
def _readable(what: str) -> Iterator[None]:
    try:
        yield
    except ArtifactError as error:  # of the zip's parts, which know nothing of their package
        if what in error.message:
            raise
        raise ArtifactError(f"{what}: {error.message}", hint=error.hint) from error
    except (tarfile.TarError, EOFError, ValueError, OverflowError, AttributeError) as error:
        raise ArtifactError(f"{what}: not a conda package, or a damaged one ({error})") from error
    except FileNotFoundError as error:
        raise ArtifactError(f"{what}: its file is gone from the cache") from error
    except OSError as error:  # what bz2 says of bytes that are none of its own
        raise ArtifactError(f"{what}: not a conda package, or a damaged one ({error})") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "zstandard":
            raise
        raise ArtifactError(f"{what}: not a conda package, or a damaged one ({error})") from error
