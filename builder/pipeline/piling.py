"""What piles up around releases: this machine's cache, logs, data sets that no release names, steps that got slower."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from builder.cache import Cache
from builder.errors import LockshipError
from builder.pipeline.targets import Target
from builder.project import Project
from builder.releases.journal import Journal
from builder.releases.record import read_record
from builder.releases.retention import Decision

__all__ = ["Amount", "Piles", "Slower", "clean_cache", "piles_of", "slower_steps", "unused_data"]

_DAY: Final = 86_400.0  # seconds
_SOME: Final = 5  # runs of a step that are compared with as many before
_HALF: Final = 1.5
_SECOND: Final = 1.0
_LOGS: Final = "lockship-*.log"
# what `Cache` and `builder.files` call a file or folder while it is made
_TEMPORARY: Final = ".tmp"


@dataclass(frozen=True, slots=True)
class Amount:
    """So many files of a kind, and their bytes."""

    kind: str
    count: int
    size: int


@dataclass(frozen=True, slots=True)
class Slower:
    """A step of releases that grew: medians in seconds, of the last runs and of those before."""

    step: str
    before: float
    now: float


@dataclass(frozen=True, slots=True)
class Piles:
    """All of it. `abandoned` are temporary files of killed processes; `unused` data sets, None where nobody can say."""

    cache: tuple[Amount, ...]
    abandoned: Amount
    logs: Amount
    unused: tuple[str, ...] | None
    slower: tuple[Slower, ...]


def piles_of(
    target: Target, cache: Cache, journal: Journal, decision: Decision, project: Project | None, now: float
) -> Piles:
    """Look; nothing is changed. `now` is by the clock of the file system, in seconds since 1970."""
    unused = None
    if project is not None and project.data:
        unused = unused_data(project, _named_data(target, decision))
    return Piles(
        cache_amounts(cache),
        _amount("left by killed processes", _abandoned(cache, now)),
        _amount("logs", Path(tempfile.gettempdir()).glob(_LOGS)),
        unused,
        slower_steps(journal),
    )


def cache_amounts(cache: Cache) -> tuple[Amount, ...]:
    """The cache's files by kind, the largest first."""
    found = []
    with suppress(FileNotFoundError):
        for entry in os.scandir(cache.root):
            kind = entry.name if not entry.name.startswith(".") else "being made"
            found.append(_amount(kind, [Path(entry.path)]))
    return tuple(sorted(found, key=lambda one: (-one.size, one.kind)))


def clean_cache(cache: Cache, now: float) -> Amount:
    """Delete what killed processes left in the cache more than a day ago."""
    import shutil

    gone = _amount("left by killed processes", found := list(_abandoned(cache, now)))
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
    return gone


def unused_data(project: Project, named: Iterable[str]) -> tuple[str, ...]:
    """Data sets of the project file that are not `named` by any release that stays."""
    known = set(named)
    return tuple(name for name in sorted(project.data) if name not in known)


def slower_steps(journal: Journal) -> tuple[Slower, ...]:
    """Steps whose median grew by half, and by more than a second: the last five releases against the five before."""
    runs: dict[str, list[float]] = {}
    for entry in journal.entries:
        if entry.event.kind == "release":
            for step, seconds in _steps(entry.event.notes.get("steps")):
                runs.setdefault(step, []).append(seconds)
    found = []
    for step, times in sorted(runs.items()):
        if len(times) >= 2 * _SOME:
            last, before = median(times[-_SOME:]), median(times[-2 * _SOME : -_SOME])
            if last > before * _HALF and last - before > _SECOND:
                found.append(Slower(step, before, last))
    return tuple(found)


def _steps(notes: Any) -> Iterator[tuple[str, float]]:
    for step, seconds in notes.items() if isinstance(notes, dict) else ():
        if isinstance(seconds, int | float) and not isinstance(seconds, bool):
            yield str(step), float(seconds)


def _named_data(target: Target, decision: Decision) -> set[str]:
    """Names of the data sets in the records of releases that stay."""
    found: set[str] = set()
    for one in decision.verdicts:
        if one.kind == "release" and one.reasons:
            with suppress(LockshipError):  # a record that can't be read names nothing; `lockship verify` tells
                read = read_record(target.store, one.name)
                found |= {str(data.get("name")) for data in read[0].data} if read else set()
    return found


def _abandoned(cache: Cache, now: float) -> Iterator[Path]:
    """Temporary files and folders in the cache that nobody has touched for a day."""
    for folder in (cache.root, *_folders(cache.root)):
        for path in _entries(folder):
            if path.name.startswith(".") and path.name.endswith(_TEMPORARY) and _is_old(path, now):
                yield path


def _folders(root: Path) -> Iterator[Path]:
    """Where the cache makes things: a folder for each kind, and that of blobs."""
    for path in _entries(root):
        if path.is_dir() and not path.name.startswith("."):
            yield path
            yield from (one for one in _entries(path) if one.name == "sha256")


def _entries(folder: Path) -> Sequence[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return ()


def _is_old(path: Path, now: float) -> bool:
    """Whether nothing in it changed for a day: a folder that is being filled is as young as its youngest file."""
    try:
        return all(now - one.lstat().st_mtime > _DAY for one in (path, *path.rglob("*")))
    except OSError:
        return False


def _amount(kind: str, paths: Iterable[Path]) -> Amount:
    count = size = 0
    for path in paths:
        for one in _files(path):
            with suppress(OSError):
                size += one.lstat().st_size
                count += 1
    return Amount(kind, count, size)


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir() and not path.is_symlink():
        for folder, _, names in os.walk(path):
            yield from (Path(folder, name) for name in names)
    else:
        yield path
