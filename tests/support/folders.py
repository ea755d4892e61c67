"""Folders that don't take what is written to them: read-only ones, and disks that are full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.require import need

__all__ = ["full_disk", "read_only"]


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """`folder` takes no files until the context ends, not even root's."""
    if os.getuid() != 0:
        mode = folder.stat().st_mode
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(mode)
        return
    with _mounted(["--bind", str(folder)], folder):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True, capture_output=True)
        yield


@contextmanager
def full_disk(folder: Path, size: int) -> Iterator[None]:
    """`folder` is a file system of its own with room for `size` bytes, rounded up to pages."""
    need("a small file system", os.getuid() == 0, "only root can mount one")
    with _mounted(["-t", "tmpfs", "-o", f"size={size}", "tmpfs"], folder):
        yield


@contextmanager
def _mounted(arguments: list[str], folder: Path) -> Iterator[None]:
    run = subprocess.run(["mount", *arguments, str(folder)], check=False, capture_output=True, text=True)
    need("mount", run.returncode == 0, run.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)
