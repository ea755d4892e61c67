"""Is the cache well? What is in it, what killed runs left behind, and, when asked to, whether the bytes are right."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from builder.cache import Cache
from builder.content import CHUNK
from builder.errors import LockshipError
from builder.parallel import Stop, each
from builder.pipeline.doctor.checks import Check, Group, failed, of_error, ok, warning
from builder.progress import Progress, Task
from builder.words import human_size, listed, plural

__all__ = ["ABANDONED", "Survey", "check_cache", "check_damage", "check_entries", "check_left", "damaged", "survey"]

_SHOWN: Final = 3  # paths in a command
ABANDONED: Final = 3600.0  # seconds without a change, after which nobody writes a temporary file any more
_HEX: Final = re.compile(r"[0-9a-f]{64}")
# what Cache, Cache.passing, Cache.folder and write_file call things until they are whole
_TEMPORARY: Final = (".passing.*.tmp", "blobs/sha256/.blob.*.tmp", "keys/.*.tmp", "*/.????????????.*")
_TREE: Final = re.compile(r"\.[0-9a-f]{12}\..*|\..*\.tmp")


@dataclass(frozen=True, slots=True)
class Survey:
    """What lies in the cache at `root`: `size` is bytes of everything.

    `left` are temporary files and folders that nobody writes any more, `left_size` their bytes. `unreadable` are
    entries that nobody can use: what they are, with why.
    """

    root: Path
    blobs: tuple[Path, ...] = ()
    size: int = 0
    left: tuple[Path, ...] = ()
    left_size: int = 0
    unreadable: tuple[str, ...] = ()


def survey(cache: Cache, now: float) -> Survey:
    """Look at every file of `cache`, without opening blobs; `now` is the time, in seconds since 1970."""
    unreadable: list[str] = []
    size, _ = _measure(cache.root, unreadable.append)
    found = {path for pattern in _TEMPORARY for path in cache.root.glob(pattern) if _TREE.fullmatch(path.name)}
    measured = {path: _measure(path) for path in sorted(found)}
    left = {path: size for path, (size, newest) in measured.items() if now - newest > ABANDONED}
    blobs = _blobs(cache.root / "blobs" / "sha256", unreadable)
    unreadable += _records(cache)
    return Survey(cache.root, tuple(blobs), size, tuple(left), sum(left.values()), tuple(sorted(unreadable)))


def _measure(path: Path, complain: Callable[[str], None] = lambda complaint: None) -> tuple[int, float]:
    """Bytes of a file, or of everything in a folder, and when the last of it was changed."""
    size, newest = 0, 0.0
    waiting = [path]
    while waiting:
        one = waiting.pop()
        try:
            status = one.lstat()
            newest = max(newest, status.st_mtime)
            if one.is_dir() and not one.is_symlink():
                waiting += one.iterdir()
            else:
                size += status.st_size
        except FileNotFoundError:
            continue  # other processes come and go
        except OSError as error:
            complain(f"{one}: {error.strerror}")
    return size, newest


def _blobs(folder: Path, unreadable: list[str]) -> list[Path]:
    """The blobs that can be opened."""
    found = []
    for path in _listed(folder):
        if not os.access(path, os.R_OK):
            unreadable.append(f"{path}: may not be read")
        elif not _HEX.fullmatch(path.name) or not path.is_file():
            unreadable.append(f"{path}: not a blob")
        else:
            found.append(path)
    return found


def _records(cache: Cache) -> list[str]:
    """What is recorded of layers and can't be understood."""
    wrong = (path for path in _listed(cache.root / "keys") if cache.record(path.name) is None)
    return [f"{path}: not a record" for path in wrong]


def _listed(folder: Path) -> list[Path]:
    """What is in `folder` and whole, in order; nothing where it can't be read, which `_measure` notes."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def damaged(blobs: Sequence[Path], progress: Progress) -> tuple[Path, ...]:
    """Those of `blobs` whose bytes are not what their name, a sha256 in hex, says; all are read."""
    stop = Stop()
    known: dict[Path, int] = {}
    for path in blobs:
        try:
            known[path] = path.stat().st_size
        except OSError:  # dropped by somebody else meanwhile
            continue
    with progress.task("hashing", sum(known.values())) as task:
        right = each(list(known), lambda path: _is_right(path, stop, task), stop, threads=2)
    return tuple(path for path, good in zip(known, right, strict=True) if not good)


def _is_right(path: Path, stop: Stop, task: Task) -> bool:
    state = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                stop.check()
                state.update(chunk)
                task.advance(len(chunk))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return state.hexdigest() == path.name


# what that means


def check_cache(cache: Cache, found: Survey) -> Check:
    """Whether the cache can be written to, and what is in it."""
    try:
        cache.require_writable()
    except LockshipError as error:
        return of_error("host", "cache", error)
    return ok("host", "cache", f"{found.root}: {plural(len(found.blobs), 'blob')}, {human_size(found.size)} in all")


def check_left(found: Survey) -> Check | None:
    """What killed runs left behind; None when there is nothing."""
    if not found.left:
        return None
    what = "it is of no use" if len(found.left) == 1 else "they are of no use"
    return warning(
        "host",
        "leftovers",
        f"{plural(len(found.left), 'temporary file')} of killed runs in {found.root}: {human_size(found.left_size)}",
        f"{what}: rm -rf {_arguments(found.left)}",
        details=map(str, found.left),
    )


def check_entries(found: Survey) -> Check | None:
    """Entries that nobody can use; None when there are none."""
    if not found.unreadable:
        return None
    return warning(
        "host",
        "cache entries",
        f"{plural(len(found.unreadable), 'entry', 'entries')} of the cache can't be used: {listed(found.unreadable)}",
        "delete them, or make them readable: whatever is missing is fetched and made anew",
        details=found.unreadable,
    )


def check_damage(group: Group, name: str, blobs: Sequence[Path], progress: Progress, remedy: str) -> Check:
    """What hashing `blobs` finds; `remedy` says what to do with those that are damaged."""
    wrong = damaged(blobs, progress)
    if not wrong:
        return ok(group, name, f"{plural(len(blobs), 'blob')} hashed: all are what their names say")
    return failed(
        group,
        name,
        f"{len(wrong):,} of {plural(len(blobs), 'blob')} damaged: {listed([path.name[:12] for path in wrong])}",
        f"{remedy}: rm -f {_arguments(wrong)}",
        details=map(str, wrong),
    )


def _arguments(paths: Sequence[Path]) -> str:
    """Paths for a shell; where there are many, a line of its own says where the others are."""
    shown = " ".join(shlex.quote(str(path)) for path in paths[:_SHOWN])
    return shown if len(paths) <= _SHOWN else f"{shown}\nand so on: --json lists all {len(paths):,}"
