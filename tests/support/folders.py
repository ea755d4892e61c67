"""Folders that don't take what is written to them: read-only ones, and disks that are full."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.require import need

__all__ = ["Writes", "full_disk", "read_only"]


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


class Writes:
    """Counts what is created and renamed below `folder`; from the one whose number is `fails` on, the disk is full."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.count, self.fails = str(folder), 0, 1 << 30
        opened, replaced = os.open, os.replace

        def open_(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            if flags & os.O_CREAT and flags & os.O_EXCL:
                self.reached(path)
            return opened(path, flags, *rest, **more)

        def replace_(source: Any, target: Any, **more: Any) -> None:
            self.reached(target)
            replaced(source, target, **more)

        patch.setattr(os, "open", open_)
        patch.setattr(os, "replace", replace_)

    def reached(self, path: Any) -> None:
        if not str(path).startswith(self.folder):
            return
        self.count += 1
        if self.count > self.fails:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
