"""A conda package as the layer that installing it would make, from the package's bytes alone.

What conda does to a package is a function of its bytes and of where the environment is: files go below the prefix, the
prefix is put where a placeholder stands, Python packages for any platform spread, entry points appear, a record is kept
in ``conda-meta``. No script of a package is run. Formats: CEP "conda package format 2", conda's documentation
("Package specification"), and what rattler does where those are silent.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from builder.errors import ArtifactError
from builder.layers import condafile, prefix, tar
from builder.layers.condafile import Info, Listed
from builder.layers.recipe import Part
from builder.layers.spool import Spool
from builder.layers.tar import Entry, Kind
from builder.layers.wheel import VENV

__all__ = ["entries", "installed_paths", "skeleton"]

PREFIX: Final = f"/{VENV}"

# what conda writes; rattler indents by tabs
_SCRIPT: Final = """\
#!{prefix}/bin/python{python}
# -*- coding: utf-8 -*-
import re
import sys

from {module} import {name}

if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw?|\\.exe)?$', '', sys.argv[0])
    sys.exit({call}())
"""
_ENTRY_POINT: Final = re.compile(r"\s*(?P<command>[^/=\s]+)\s*=\s*(?P<module>[\w.]+)\s*:\s*(?P<call>[\w.]+)\s*")
_CACHED: Final = re.compile(r"(?P<folder>(?:.+/)?)__pycache__/(?P<name>[^/]+)\.cpython-3\d+\.pyc")
# of a package's own description, what its record repeats; where it came from and when it was installed, it doesn't
_RECORDED: Final = (
    "arch", "build", "build_number", "constrains", "depends", "features", "license", "license_family", "name",
    "noarch", "platform", "python_site_packages_path", "subdir", "timestamp", "track_features", "version",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Raw:
    """A file of the package as it came: its bytes, whether one may run it, and when it was made (seconds)."""

    content: bytes | Callable[[], Iterator[bytes]]
    size: int
    mode: int
    time: int


@dataclass(frozen=True, slots=True)
class _Content:
    """What the archive holds, by its own paths: files, links, and hard links to files."""

    files: dict[str, _Raw]
    symlinks: dict[str, str]
    hardlinks: dict[str, str]


def skeleton() -> list[Entry]:
    """What an environment has that no package brings: conda takes a folder with a history for one. Arranged."""
    return tar.arrange([tar.file(f"{VENV}/conda-meta/history", b"")])


def entries(path: Path, part: Part) -> list[Entry]:
    """What installing the package at `path` into ``/opt/venv`` gives, not arranged.

    `part.params["channel"]` is the channel's name, for the record; `part.params["python"]` the environment's ``X.Y``,
    which packages for any platform need; `part.params["prefix"]` the place that programs are told, if the environment
    is for another one. Raises ArtifactError, naming the package, for one that is malformed, another one than `part`
    says, or made to harm.
    """
    what = part.file
    info = _checked(condafile.info_of(path, what), part)
    content = _content(path, what)
    installed: dict[str, Entry] = {}
    rows = []
    for listed in info.paths:
        target = _target(listed.path, info, part)
        if target in installed:
            raise ArtifactError(f"{what}: two of its files go to /{VENV}/{target}")
        installed[target], row = _install(listed, target, content, part)
        rows.append(row)
    for command, script in _entry_points(info, part):
        if command.path in installed:
            raise ArtifactError(f"{what}: two of its files go to /{VENV}/{command.path}")
        installed[command.path] = command
        rows.append(script)
    record = _record(info, part, path, rows)
    return [replace(one, path=f"{VENV}/{one.path}") for one in (*installed.values(), record)]


def installed_paths(path: Path, part: Part) -> dict[str, tuple[str, str]]:
    """Where each file and link of the package goes, with a mark that equal contents share; from its list alone."""
    info = _checked(condafile.info_of(path, part.file), part)
    found = {
        f"{VENV}/{_target(one.path, info, part)}": (one.sha256 or f"{part.file}/{one.path}", one.placeholder)
        for one in info.paths
        if one.kind != "directory"
    }
    for entry, row in _entry_points(info, part):
        found[f"{VENV}/{entry.path}"] = (row["sha256"], "")
    return found


def _prefix(part: Part) -> str:
    return str(part.params.get("prefix", PREFIX))


def _checked(info: Info, part: Part) -> Info:
    for key, expected in (("name", part.name), ("version", part.version)):
        if info.index[key] != expected:
            raise ArtifactError(f"{part.file}: its {key} is {info.index[key]!r}, the lock says {expected!r}")
    if info.noarch == "python" and "python" not in part.params:
        raise ArtifactError(f"{part.file}: is a Python package, and the environment has no python")
    return info


def _target(path: str, info: Info, part: Part) -> str:
    """Where `path` of the package goes, below the prefix (conda documentation, "Noarch Python")."""
    clean = _safe(path, part.file)
    if info.noarch == "python":
        top, _, rest = clean.partition("/")
        if top == "site-packages" and rest:
            clean = f"lib/python{part.params['python']}/site-packages/{rest}"
        elif top == "python-scripts" and rest:
            clean = f"bin/{rest}"
    if re.fullmatch(r"conda-meta(/[^/]+\.json|/history)?", clean):
        raise ArtifactError(f"{part.file}: installs {clean!r}, where installers keep their records")
    return clean


def _safe(path: str, what: str) -> str:
    # unlike zip archives, packages may have backslashes in names
    tar.safe_path(path.replace("\\", "_"), what=what)
    return "/".join(one for one in path.split("/") if one not in ("", "."))


def _content(path: Path, what: str) -> _Content:
    found = _Content({}, {}, {})
    spool = Spool()
    for member in condafile.payload(path, what):
        if member.kind == tarfile.DIRTYPE:
            continue
        name = _safe(member.path, what)
        if member.kind == tarfile.SYMTYPE:
            found.symlinks[name] = member.link
        elif member.kind == tarfile.LNKTYPE:
            found.hardlinks[name] = _safe(member.link, what)
        elif member.read is None:
            raise ArtifactError(f"{what}: {name!r} is a device node or something like it")
        else:
            mode = 0o755 if member.mode & 0o111 else 0o644
            found.files[name] = _Raw(spool.keep(member.read, member.size), member.size, mode, member.time)
    for name, target in found.hardlinks.items():
        if (raw := found.files.get(target)) is None:
            raise ArtifactError(f"{what}: {name!r} is a hard link to {target!r}, which is no file of the package")
        found.files[name] = raw
    return found


def _install(listed: Listed, target: str, content: _Content, part: Part) -> tuple[Entry, dict[str, Any]]:
    """The entry for one path of the package, and what the record says of it."""
    what = part.file
    name = _safe(listed.path, what)
    row: dict[str, Any] = {"_path": target, "path_type": listed.kind}
    if listed.kind == "directory":
        return tar.directory(target), row
    if name in content.symlinks:
        return tar.symlink(target, _link_target(content.symlinks[name], target, listed, what)), row
    raw = content.files.get(name)
    if raw is None:
        raise ArtifactError(f"{what}: lists {listed.path!r}, which it doesn't hold")
    made = _changed(raw, listed, name, content, part)
    row |= {"sha256": listed.sha256 or _sha256(raw.content), "size_in_bytes": raw.size}
    if listed.placeholder:
        row |= {"file_mode": listed.mode, "prefix_placeholder": listed.placeholder}
    if made is None:
        return Entry(target, Kind.FILE, raw.mode, raw.size, content=raw.content), row
    row["sha256_in_prefix"] = hashlib.sha256(made).hexdigest()
    return tar.file(target, made, raw.mode), row


def _changed(raw: _Raw, listed: Listed, name: str, content: _Content, part: Part) -> bytes | None:
    """The bytes of a file that holds the prefix, or the time of its source; None for all others."""
    if listed.placeholder:
        change = prefix.in_text if listed.mode == "text" else prefix.in_binary
        try:
            return change(_bytes(raw.content), listed.placeholder.encode(), _prefix(part).encode())
        except ArtifactError as error:
            raise ArtifactError(f"{part.file}: {name!r} {error.message}") from error
    if match := _CACHED.fullmatch(name):
        source = content.files.get(f"{match['folder']}{match['name']}.py")
        return _with_time(raw, source.time) if source is not None else None
    return None


def _with_time(raw: _Raw, time: int) -> bytes | None:
    """Byte code that goes by its source's time (PEP 552), which is another one in a layer."""
    if raw.size < 16:
        return None
    data = _bytes(raw.content)
    flags, made = struct.unpack_from("<II", data, 4)
    if flags != 0 or made != time & 0xFFFFFFFF:
        return None
    return data[:8] + struct.pack("<I", tar.MTIME) + data[12:]


def _link_target(link: str, target: str, listed: Listed, what: str) -> str:
    """Where a symlink leads: as it stands, but never out of the environment."""
    if listed.placeholder:
        link = link.replace(listed.placeholder, PREFIX)
    if not link or "\0" in link:
        raise ArtifactError(f"{what}: {target!r} is a link to nothing")
    start = [] if link.startswith("/") else [VENV, *target.split("/")[:-1]]
    place: list[str] = []
    for word in "/".join([*start, link]).split("/"):
        if word == "..":
            if not place:
                break
            place.pop()
        elif word not in ("", "."):
            place.append(word)
    if "/".join(place[:2]) != VENV:
        raise ArtifactError(
            f"{what}: {target!r} is a link to {link!r}, out of the environment",
            hint="the package expects files of the machine that it is installed on; leave it out",
        )
    return link


def _entry_points(info: Info, part: Part) -> Iterator[tuple[Entry, dict[str, Any]]]:
    """Scripts for the entry points of a Python package for any platform."""
    for point in info.entry_points if info.noarch == "python" else ():
        match = _ENTRY_POINT.fullmatch(point)
        if match is None:
            raise ArtifactError(f"{part.file}: entry point {point!r} is malformed")
        target = _safe(f"bin/{match['command']}", part.file)
        text = _SCRIPT.format(
            prefix=_prefix(part),
            python=part.params["python"],
            module=match["module"],
            name=match["call"].partition(".")[0],
            call=match["call"],
        ).encode()
        row = {"_path": target, "path_type": "unix_python_entry_point", "sha256": hashlib.sha256(text).hexdigest()}
        yield tar.file(target, text, 0o755), row | {"size_in_bytes": len(text)}


def _record(info: Info, part: Part, path: Path, rows: list[dict[str, Any]]) -> Entry:
    """``conda-meta/NAME-VERSION-BUILD.json``, without what only the machine that installs knows."""
    known: Mapping[str, Any] = info.index
    record = {key: known[key] for key in _RECORDED if known.get(key) is not None}
    record |= {
        "channel": part.params["channel"],
        "files": [row["_path"] for row in rows],
        "fn": part.file,
        "paths_data": {"paths": rows, "paths_version": 1},
        "requested_specs": [],
        "sha256": part.artifact.hex if part.artifact else "",
        "size": path.stat().st_size,
    }
    name = _safe(f"{known['name']}-{known['version']}-{known['build']}.json", part.file)
    if "/" in name:
        raise ArtifactError(f"{part.file}: is called {name!r}, which is no file's name")
    return tar.file(f"conda-meta/{name}", (json.dumps(record, indent=2, sort_keys=True) + "\n").encode())


def _bytes(content: bytes | Callable[[], Iterator[bytes]]) -> bytes:
    return b"".join(tar.iterate(content))


def _sha256(content: bytes | Callable[[], Iterator[bytes]]) -> str:
    state = hashlib.sha256()
    for chunk in tar.iterate(content):
        state.update(chunk)
    return state.hexdigest()
