"""What the projects of a folder ask for, and for which images: read from their own files, but for the shared list."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from packaging.version import Version

from builder.content import Platform
from builder.errors import LockError, ResolutionError, StaleLockError
from builder.lock.file import LOCK_FILE, Lock, read_lock
from builder.lock.inputs import FileOptions, Inputs, read_inputs
from builder.lock.pins import Target
from builder.lock.requirement_lines import Asked
from builder.pipeline.packages import member_files
from builder.pipeline.packages_conflicts import Line
from builder.pipeline.recipes import minor
from builder.project import Project, load_project

__all__ = ["Needs", "is_list", "lines_of", "names_list", "options_of", "read_needs", "targets_of", "without_list"]

# of the bases that are put together from packages: what their C library is, should nothing be locked yet
_GLIBC: Final = {"debian:bookworm": "2.36", "debian:trixie": "2.41"}


@dataclass(frozen=True, slots=True)
class Needs:
    """What one project asks for. `path` is its folder below the one of all projects; `lock` may be out of date."""

    path: str
    project: Project
    inputs: Inputs
    lock: Lock | None

    @property
    def python(self) -> str:
        """``3.11``."""
        return self.project.python.version


def is_list(project: Project, name: str, shared: Path) -> bool:
    """Whether `name`, relative to the project, leads to the list `shared`, which need not be there."""
    return project.path(name).resolve() == shared.resolve()


def names_list(project: Project, shared: Path, files: Iterable[str]) -> bool:
    """Whether the project's constraints, or the requirement `files` that it reads, name the list."""
    return any(is_list(project, name, shared) for name in (*project.python.constraints, *files))


def without_list(project: Project, shared: Path) -> Project:
    """The project as if it had never heard of the list."""
    kept = tuple(name for name in project.python.constraints if not is_list(project, name, shared))
    return project.model_copy(update={"python": project.python.model_copy(update={"constraints": kept})})


def read_needs(root: Path, shared: Path, environ: Mapping[str, str]) -> tuple[tuple[Needs, ...], tuple[str, ...]]:
    """What each project below `root` needs; and the paths of those without requirements, such as conda's.

    Raises ProjectError for any project or file that can't be read: a list that ignores one helps nobody.
    """
    found: list[Needs] = []
    others: list[str] = []
    for path, file in member_files(root, environ).items():
        project = load_project(file)
        if not project.python.requirements:
            others.append(path)
            continue
        own = read_inputs(without_list(project, shared), environ)
        asked = tuple(one for one in own.asked if not is_list(project, one.file, shared))
        found.append(Needs(path, project, replace(own, asked=asked), _lock(project)))
    return tuple(found), tuple(others)


def _lock(project: Project) -> Lock | None:
    try:
        return read_lock(project.path(LOCK_FILE))
    except StaleLockError:  # a lock that isn't to be believed is as good as none
        return None


def lines_of(needs: Sequence[Needs], among: Sequence[Needs]) -> tuple[Line, ...]:
    """All that is asked for, each line once, sorted by place; files are named below the folder of all projects.

    A line counts for its projects' platforms, where those `among` whom they are have others.
    """
    everywhere = {platform for one in among for platform in one.project.image.platforms}
    found: dict[tuple[str, int, str, bool], tuple[Asked, set[Platform]]] = {}
    for one in needs:
        for asked in one.inputs.asked:
            file = os.path.normpath(os.path.join(one.path, asked.file)).replace(os.sep, "/")  # noqa: PTH118
            here = replace(asked, file=file)
            key = (file, here.line, str(here.requirement), here.constraint)
            found.setdefault(key, (here, set()))[1].update(one.project.image.platforms)
    return tuple(
        Line(asked, () if platforms == everywhere else tuple(one.machine for one in sorted(platforms)))
        for _, (asked, platforms) in sorted(found.items(), key=lambda item: item[0])
    )


def targets_of(needs: Sequence[Needs]) -> tuple[Target, ...]:
    """One target per platform of any of them, with the oldest Python and C library there: what fits them fits all.

    Raises LockError for a project whose base nothing is known of.
    """
    oldest: dict[Platform, Target] = {}
    for one in needs:
        for platform in one.project.image.platforms:
            target = _target(one, platform, needs)
            known = oldest.get(platform, target)
            oldest[platform] = Target(
                platform,
                python=min(known.python, target.python, key=Version),
                glibc=min(known.glibc, target.glibc, key=Version),
            )
    return tuple(oldest[platform] for platform in sorted(oldest))


def _target(one: Needs, platform: Platform, needs: Sequence[Needs]) -> Target:
    """From the project's lock, or from another's of the same base."""
    base = one.project.image.base
    for other in (one, *needs):
        if other.lock is None or other.lock.base != base or other.python != one.python:
            continue
        for locked in other.lock.platforms:
            if locked.platform == platform and minor(locked.python) == one.python:
                return Target(platform, locked.python, locked.glibc)
    if (glibc := _GLIBC.get(base)) is not None:
        return Target(platform, one.python, glibc)
    raise LockError(
        f"{one.path} has no lock, and what {base} holds isn't known",
        hint="run `lockship lock` there first", file=one.project.file,
    )  # fmt: skip


def options_of(needs: Sequence[Needs]) -> FileOptions:
    """What the files of all say about indexes.

    Raises ResolutionError when some name an index of their own, or admit pre-releases, and others don't: no single
    question to a resolver is right for both.
    """
    first = needs[0]
    for one in needs:
        for key, words in (
            ("index", "take packages from different indexes (--index-url)"),
            ("no_index", "disagree on whether an index is asked (--no-index)"),
            ("prereleases", "disagree on whether pre-releases are welcome (--pre)"),
        ):
            if getattr(one.inputs.options, key) != getattr(first.inputs.options, key):
                raise ResolutionError(
                    f"{first.path} and {one.path} {words}: they can't have one list",
                    hint="align them apart, each in a folder of its own; or put the option into pip's configuration",
                    file=one.project.file,
                )
    options = [one.inputs.options for one in needs]
    return replace(
        options[0],
        extra=_union(one.extra for one in options),
        links=_union(one.links for one in options),
        trusted=_union(one.trusted for one in options),
    )


def _union(groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item for group in groups for item in group))
