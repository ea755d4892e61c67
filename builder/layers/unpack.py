"""Packages to a folder of this machine: for running a base's own Python, without a container."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from builder.errors import ArtifactError
from builder.layers import tar, usrmerge
from builder.layers.debtree import tree_of

__all__ = ["unpack"]


def unpack(path: Path, root: Path) -> None:
    """Extract the .deb at `path` below `root`, which only the caller writes to.

    Files are 0644 or 0755, never setuid; symlinks are made relative, so that they lead to files below `root`. A path
    that runs through a symlink is refused. Raises ArtifactError naming the package, OSError as the disk does.
    """
    extract(tree_of(path, path.name), root, path.name)


def extract(entries: Iterable[tar.Entry], root: Path, what: str) -> None:
    """Write `entries` below `root`; see `unpack`."""
    for entry in tar.arrange(entries):
        target = root / entry.path
        _check(root, entry.path, what)
        if entry.kind is tar.Kind.DIRECTORY:
            target.mkdir(mode=0o755, exist_ok=True)
            continue
        with suppress(FileNotFoundError):
            target.unlink()
        if entry.kind is tar.Kind.SYMLINK:
            target.symlink_to(_inside(entry))
        elif entry.kind is tar.Kind.HARDLINK:
            _check(root, entry.link, what)
            os.link(root / entry.link, target, follow_symlinks=False)
        else:
            _write(entry, target)


def _check(root: Path, path: str, what: str) -> None:
    """No parent may be a symlink: what is below would be somewhere else."""
    parent = path.rpartition("/")[0]
    while parent:
        if (root / parent).is_symlink():
            raise ArtifactError(f"{what}: {path!r} runs through the symlink {parent!r}")
        parent = parent.rpartition("/")[0]


def _inside(entry: tar.Entry) -> str:
    meant = usrmerge.moved(usrmerge.resolved(entry.path, entry.link))
    return posixpath.relpath("/" + meant, "/" + posixpath.dirname(entry.path))


def _write(entry: tar.Entry, target: Path) -> None:
    assert not isinstance(entry.content, tar.Deflated)
    mode = 0o755 if entry.mode & 0o111 else 0o644
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for chunk in tar.iterate(entry.content):
            file.write(chunk)
        os.fchmod(descriptor, mode)
