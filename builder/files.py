"""Reading files in pieces, and writing them so that a crash or a full disk leaves the old file or the new one."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from builder.errors import RefusedError, StoreError, UsageError

__all__ = [
    "atomic_write",
    "named_output",
    "new_file",
    "read_chunks",
    "replaced_folder",
    "temporary_folder",
    "unused",
    "write_file",
]

_CHUNK: Final = 1 << 20  # bytes


def unused(folder: Path, prefix: str, suffix: str = ".tmp") -> Path:
    """The path of a temporary file or folder that isn't there yet.

    Whoever makes it cleans up from before it is there: `tempfile` tells the name only afterwards, and a Ctrl-C in
    between would leave it behind.
    """
    return folder / f"{prefix}{secrets.token_hex(6)}{suffix}"


def new_file(path: Path) -> BinaryIO:
    """A file that wasn't there before, for its owner alone; raises OSError."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


@contextmanager
def temporary_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A folder in `parent`, or where temporary files go, that is gone when the context ends; raises OSError."""
    import shutil

    path = unused(parent or Path(tempfile.gettempdir()), prefix)
    try:
        path.mkdir(mode=0o700)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def named_output(path: Path, option: str) -> Path:
    """Where `path`, given with `option`, leads: a link stays, and what it leads to is replaced.

    Raises UsageError for a folder, and for devices and pipes: nothing can take their place.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint=f"name a file with {option}")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no file, and can't be replaced by one", hint=f"name a file with {option}")
    return path.resolve() if path.is_symlink() else path


@contextmanager
def atomic_write(path: Path, *, mode: int = 0o644, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; it becomes `path` when the context ends without an error.

    Raises OSError as the operating system does; the temporary file is gone then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = unused(path.parent, f".{path.name[:40]}.")
    try:
        with new_file(temporary) as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            if sync:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if sync:
        _sync_directory(path.parent)


def write_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `data`, all or nothing."""
    with atomic_write(path, mode=mode) as file:
        file.write(data)


@contextmanager
def replaced_folder(folder: Path, is_ours: Callable[[Path], bool]) -> Iterator[Path]:
    """A new folder that takes the place of `folder` when the context ends well; until then nothing changes.

    Raises RefusedError when there is something that isn't `is_ours`, OSError as the operating system does.
    """
    if folder.exists() and not is_ours(folder):
        raise RefusedError(
            f"{folder} holds something else", hint="name a folder that doesn't exist, is empty or was exported before"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(f".{folder.name}.", folder.parent) as temporary:
        fresh = temporary / "new"
        fresh.mkdir()
        fresh.chmod(0o755)
        yield fresh
        if folder.exists():
            folder.rename(temporary / "old")
        fresh.rename(folder)


def _sync_directory(path: Path) -> None:
    """Make the rename itself durable (fsync(2): the directory needs its own)."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_chunks(path: Path) -> Iterator[bytes]:
    """The file's bytes, a chunk at a time; raises StoreError when it can't be read."""
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
