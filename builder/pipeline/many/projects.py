"""The projects below a folder, read, and in an order in which each comes after those that it depends on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

from builder.complaints import line_of
from builder.errors import LockshipError, ProjectError
from builder.pipeline.discovering import discover_some, project_in, settled
from builder.project import GitVersion, Project, load_project

__all__ = ["Many", "Member", "survey"]


@dataclass(frozen=True, slots=True)
class Member:
    """A project file, what it says, or why that can't be told. `path` is its folder below the one looked at (posix)."""

    file: Path
    path: str
    project: Project | None = None
    error: LockshipError | None = None

    @property
    def name(self) -> str:
        """The project's name; the path of its folder when it can't be read."""
        return self.project.name if self.project is not None else self.path


@dataclass(frozen=True, slots=True)
class Many:
    """The projects below `root`, and those outside that they depend on: `everybody`, each after those that it needs.

    `needs` are the files of those by a project's own, `inside` the files of those below `root`.
    """

    root: Path
    everybody: tuple[Member, ...]
    needs: Mapping[Path, tuple[Path, ...]]
    inside: frozenset[Path]

    @property
    def members(self) -> tuple[Member, ...]:
        """The projects below `root`."""
        return tuple(member for member in self.everybody if member.file in self.inside)

    @property
    def outside(self) -> tuple[Member, ...]:
        """Projects that are depended on and lie elsewhere: they are read, and nothing is done to them."""
        return tuple(member for member in self.everybody if member.file not in self.inside)


def survey(root: Path, environ: Mapping[str, str]) -> Many:
    """Find and read the projects below `root`. One that can't be read is a member with the error.

    Raises ProjectError when there are none, when two of them have one name or one place in a registry, and when they
    depend on each other in a circle.
    """
    files = discover_some(root, environ)
    root = settled(root)
    reader = _Reader(root, files)
    reader.follow()
    _refuse_doubles(reader.members[file] for file in files)
    return Many(root, tuple(reader.members[file] for file in _ordered(reader)), reader.needs, frozenset(files))


class _Reader:
    """Reads project files, and those that they depend on."""

    def __init__(self, root: Path, files: Iterable[Path]) -> None:
        self._root = root
        self._folders = {os.path.realpath(file.parent): file for file in files}
        self.members = {file: self._read(file) for file in files}
        self.needs: dict[Path, tuple[Path, ...]] = {}

    def follow(self) -> None:
        """Find what each depends on, and what that does."""
        waiting = sorted(self.members)
        while waiting:
            file = waiting.pop()
            found = self._needed(file)
            new = [one for one in found if one not in self.members]
            self.members |= {one: self._read(one) for one in new}
            self.needs[file] = found
            waiting += new

    def place(self, file: Path, other: Path) -> tuple[str, int | None]:
        """Where `file` says that it depends on `other`: the word, and the line."""
        project = self.members[file].project
        words = () if project is None else project.depends_on
        word = next((one for one in words if self._folders.get(os.path.realpath(file.parent / one)) == other), "")
        return word, line_of(file, word, key="depends-on")

    def _read(self, file: Path) -> Member:
        path = os.path.relpath(file.parent, self._root).replace(os.sep, "/")
        try:
            return Member(file, path, load_project(file))
        except LockshipError as error:
            return Member(file, path, error=error)

    def _needed(self, file: Path) -> tuple[Path, ...]:
        """The files of the projects that this one depends on; one that isn't there makes a failure of the member."""
        member = self.members[file]
        found: dict[Path, None] = {}
        for word in member.project.depends_on if member.project is not None else ():
            folder = os.path.realpath(file.parent / word)
            other = self._folders.get(folder) or project_in(Path(folder))
            if other is None:
                error = ProjectError(
                    f"depends-on: {word} is no project",
                    hint="name the folder of another project, from this one: there is no lockship.toml in that one",
                    file=file, line=line_of(file, word, key="depends-on"),
                )  # fmt: skip
                self.members[file] = Member(file, member.path, member.project, error)
                continue
            self._folders.setdefault(folder, other)
            found[other] = None
        return tuple(found)


def _refuse_doubles(members: Iterable[Member]) -> None:
    """Two projects of one name can't be told apart, and two in one place of a registry would overwrite each other."""
    taken: dict[object, Member] = {}
    for member in members:
        if member.project is None:
            continue
        for what, key in _claims(member.project):
            other = taken.setdefault(key, member)
            if other is not member:
                raise ProjectError(
                    f"{what}, and so has {other.path}/{other.file.name}",
                    hint="give one of them another; or name a folder that holds only one of the two", file=member.file,
                )  # fmt: skip


def _claims(project: Project) -> Iterator[tuple[str, object]]:
    yield f"has the name {project.name!r}", project.name
    if (repository := project.store.repository) is not None:
        version = "of git" if isinstance(project.version, GitVersion) else project.version
        yield f"has the repository {repository} and the version {version}", (repository, version)


def _ordered(reader: _Reader) -> list[Path]:
    sorter: TopologicalSorter[Path] = TopologicalSorter(reader.needs)
    try:
        sorter.prepare()
    except CycleError as error:
        raise _circle(reader, error.args[1][:0:-1]) from error  # from each project to the one that it depends on
    order: list[Path] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=lambda file: file.parent)
        order += ready
        sorter.done(*ready)
    return order


def _circle(reader: _Reader, files: list[Path]) -> ProjectError:
    first = files.index(min(files))
    files = [*files[first:], *files[:first], files[first]]
    steps = []
    for file, other in pairwise(files):
        line = reader.place(file, other)[1]
        steps.append(f"{reader.members[file].path}/{file.name}" + (f":{line}" if line else ""))
    names = " → ".join(reader.members[file].name for file in files)
    return ProjectError(
        f"projects depend on each other in a circle: {names} ({', '.join(steps)})",
        hint="take one of these depends-on out: no project can come before itself",
        file=files[0], line=reader.place(files[0], files[1])[1],
    )  # fmt: skip
