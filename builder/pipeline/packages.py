"""The projects of a folder that share packages: which there are, and what each has locked. Offline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.errors import LockshipError
from builder.lock.file import Lock
from builder.pipeline.checking import load_lock
from builder.pipeline.discovering import discover_some, settled
from builder.project import Project, load_project

__all__ = ["LeftOut", "Member", "gather", "member_files"]


@dataclass(frozen=True, slots=True)
class Member:
    """A project and its lock; `path` is its folder below the one looked at (posix, ``.`` for that one itself)."""

    path: str
    project: Project
    lock: Lock


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A project that nothing can be said of, the reason, and what to do."""

    path: str
    why: str
    hint: str


def member_files(root: Path, environ: Mapping[str, str]) -> dict[str, Path]:
    """The project files below `root`, by the path of their folder, sorted.

    Raises ProjectError when there is no such folder, or no project in it.
    """
    top = settled(root)
    return {file.parent.relative_to(top).as_posix(): file for file in discover_some(root, environ)}


def gather(root: Path, environ: Mapping[str, str]) -> tuple[tuple[Member, ...], tuple[LeftOut, ...]]:
    """The projects below `root` whose lock fits, and those that are left out. Raises as `member_files` does."""
    members: list[Member] = []
    others: list[LeftOut] = []
    for path, file in member_files(root, environ).items():
        try:
            project = load_project(file)
            members.append(Member(path, project, load_lock(project)))
        except LockshipError as error:
            others.append(LeftOut(path, error.message, error.hint or ""))
    return tuple(members), tuple(others)
