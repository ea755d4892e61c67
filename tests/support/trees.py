"""Root file systems: what the layers of an image say, and what somebody made of them on disk."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = ["Node", "tree_of_layers", "tree_on_disk"]


@dataclass(frozen=True, slots=True)
class Node:
    """A path: a ``file`` (with the digest of its bytes), ``directory`` or ``link`` (with its target).

    Links have no mode. `time` is that of a file's last change, in seconds.
    """

    kind: str
    mode: int = 0
    owner: tuple[int, int] = (0, 0)
    content: str = ""
    time: int = 0


def tree_of_layers(blobs: Iterable[Path]) -> dict[str, Node]:
    """All paths of the layers, lowest first, each laid over the ones before; read by Python's own tarfile.

    There are no whiteouts in layers of ours: a file that looks like one stays one.
    """
    found: dict[str, Node] = {}
    for blob in blobs:
        with tarfile.open(blob, errorlevel=2) as tar:
            for member in tar:
                found[member.name] = found[member.linkname] if member.islnk() else _of_member(tar, member)
    return found


def _of_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Node:
    owner = (member.uid, member.gid)
    if member.issym():
        return Node("link", owner=owner, content=member.linkname)
    if member.isdir():
        return Node("directory", stat.S_IMODE(member.mode), owner)  # docker writes the kind into the mode, too
    assert member.isreg(), member
    file = tar.extractfile(member)
    assert file is not None
    return Node("file", stat.S_IMODE(member.mode), owner, hashlib.sha256(file.read()).hexdigest(), int(member.mtime))


def tree_on_disk(root: Path, *, owners: bool = True) -> dict[str, Node]:
    """All paths below `root`. Without `owners` all belong to root, as far as this can tell."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            node = _of_path(path)
            found[str(path.relative_to(root))] = node if owners else replace(node, owner=(0, 0))
    return found


def _of_path(path: Path) -> Node:
    state = path.lstat()
    owner = (state.st_uid, state.st_gid)
    if path.is_symlink():
        return Node("link", owner=owner, content=str(path.readlink()))
    mode = stat.S_IMODE(state.st_mode)
    if path.is_dir():
        return Node("directory", mode, owner)
    return Node("file", mode, owner, hashlib.sha256(path.read_bytes()).hexdigest(), int(state.st_mtime))
