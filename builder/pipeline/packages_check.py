"""Do the projects follow their list? Offline: each must name it as constraints, and its lock must satisfy it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

from builder.content import Platform
from builder.errors import LockError, LockshipError, ProjectError
from builder.lock.file import Lock, LockedPlatform
from builder.lock.pins import Target
from builder.lock.requirement_lines import Asked
from builder.lock.requirements import marker_environment
from builder.pipeline.checking import load_lock
from builder.pipeline.packages import member_files
from builder.pipeline.packages_align import list_path
from builder.pipeline.packages_list import read_lines
from builder.pipeline.packages_needs import names_list
from builder.project import load_project
from builder.words import listed

__all__ = ["Followers", "check_packages", "violations"]


@dataclass(frozen=True, slots=True)
class Followers:
    """The list's file, the projects that follow it, and those that have no requirements, by their folders."""

    file: Path
    projects: tuple[str, ...]
    skipped: tuple[str, ...]


def check_packages(root: Path, output: Path | None, environ: Mapping[str, str]) -> Followers:
    """Raises LockError, naming each project that doesn't follow the list and why; ProjectError when there is none."""
    shared = list_path(root, output)
    lines = _lines(shared)
    good: list[str] = []
    skipped: list[str] = []
    bad: list[str] = []
    for path, file in member_files(root, environ).items():
        try:
            project = load_project(file)
            if not project.python.requirements:
                skipped.append(path)
                continue
            lock = load_lock(project)
        except LockshipError as error:
            bad.append(f"{path}: {error.message}")
            continue
        problems = violations(lock, lines)
        if not names_list(project, shared, lock.inputs):
            problems = (f"doesn't name {shared.name} as constraints", *problems)
        if problems:
            bad.append(f"{path}: {listed(problems, 4)}")
        else:
            good.append(path)
    if bad:
        verb = "doesn't" if len(bad) == 1 else "don't"
        raise LockError(
            f"{len(bad)} of {len(bad) + len(good)} projects {verb} follow the list:\n" + indent("\n".join(bad), "  "),
            hint="name it under [python] constraints, and run `lockship lock` there; "
            "`lockship packages align` makes the list anew",
            file=shared,
        )
    return Followers(shared, tuple(good), tuple(skipped))


def _lines(shared: Path) -> tuple[Asked, ...]:
    try:
        return read_lines(shared.read_bytes(), str(shared))
    except FileNotFoundError as error:
        raise ProjectError(
            "there is no such list", hint="run `lockship packages align` to write it", file=shared
        ) from error
    except OSError as error:
        raise ProjectError(f"cannot be read: {error.strerror}", file=shared) from error


def violations(lock: Lock, lines: Sequence[Asked]) -> tuple[str, ...]:
    """What the lock has that the list doesn't allow: ``numpy 1.26.4 is not numpy==2.3.1``; each once."""
    bounds: dict[str, list[Asked]] = {}
    for line in lines:
        bounds.setdefault(line.name, []).append(line)
    return tuple(dict.fromkeys(found for locked in lock.platforms for found in _violations(locked, bounds)))


def _violations(locked: LockedPlatform, bounds: Mapping[str, Sequence[Asked]]) -> Iterator[str]:
    environment = _environment(locked.platform, locked)
    for wheel in locked.wheels:
        for line in bounds.get(wheel.name, ()):
            marker = line.requirement.marker
            if marker is not None and not marker.evaluate(environment):
                continue
            if not line.requirement.specifier.contains(wheel.version, prereleases=True):
                yield f"{wheel.name} {wheel.version} is not {line.requirement.name}{line.requirement.specifier}"


def _environment(platform: Platform, locked: LockedPlatform) -> dict[str, str]:
    return dict(marker_environment(Target(platform, locked.python, locked.glibc)))
