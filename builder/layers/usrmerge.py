"""Paths of packages in a system with a merged /usr: ``bin``, ``lib`` and so on live below ``usr``."""

from __future__ import annotations

import posixpath
from typing import Final

__all__ = ["MERGED", "moved", "relinked", "resolved"]

MERGED: Final = frozenset({"bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32"})


def moved(path: str) -> str:
    """Where `path` (relative to the root) is in the image."""
    return "usr/" + path if path.partition("/")[0] in MERGED else path


def resolved(path: str, target: str) -> str:
    """What a symlink at `path` means, relative to the root: lexically, and never above it."""
    joined = target if target.startswith("/") else posixpath.join("/", posixpath.dirname(path), target)
    return posixpath.normpath(joined).lstrip("/")


def relinked(path: str, target: str) -> str:
    """The target for a symlink that was at `path` and is now at ``moved(path)``, so that it means the same file."""
    here = moved(path)
    if here == path or target.startswith("/"):
        return target
    wanted = moved(resolved(path, target))
    if moved(resolved(here, target)) == wanted:
        return target
    return posixpath.relpath("/" + wanted, "/" + posixpath.dirname(here))
