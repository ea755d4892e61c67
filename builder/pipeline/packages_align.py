"""Many projects to one list: all that they ask for is resolved together, so that one version satisfies all.

Per version of Python: images of different ones have no layer of a compiled package in common anyway.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import indent
from typing import Final

from packaging.requirements import Requirement
from packaging.version import Version

from builder.errors import ProjectError, RefusedError, ResolutionError, StoreError
from builder.files import named_output, temporary_folder, write_file
from builder.lock import indexes
from builder.lock.inputs import Inputs
from builder.lock.pins import Pin, Resolution, Target
from builder.lock.pyproject import PyprojectSource
from builder.lock.python import resolve
from builder.lock.requirement_lines import Asked
from builder.pipeline.context import Context
from builder.pipeline.discovering import settled
from builder.pipeline.packages_conflicts import Conflict, Line, align, culprits
from builder.pipeline.packages_list import LIST_FILE, PackageList, entries_of, origin
from builder.pipeline.packages_needs import Needs, lines_of, names_list, options_of, read_needs, targets_of
from builder.progress import SILENT
from builder.project import Image, Project
from builder.words import plural

__all__ = ["AlignReport", "Proposal", "align_packages", "list_path"]

_NOT_OURS: Final = {
    "edited": "was changed by hand since `lockship packages align` wrote it",
    "foreign": "was not written by `lockship packages align`",
}

Solve = Callable[[Sequence[Line]], Resolution]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A project that doesn't name the list yet: its folder, and the line to write under `table` of `file`."""

    path: str
    file: Path
    table: str
    line: str


@dataclass(frozen=True, slots=True)
class AlignReport:
    """What aligning came to: the list and its file, whether that changed, what was left out (``--partial``).

    `following` are the projects that name the list, `proposals` those that don't; `skipped` have no requirements.
    """

    file: Path
    made: PackageList
    written: bool
    following: tuple[str, ...]
    proposals: tuple[Proposal, ...]
    skipped: tuple[str, ...]


def list_path(root: Path, output: Path | None) -> Path:
    """Where the list is: `output`, or packages.txt in the projects' folder. Raises UsageError for what is no file."""
    return named_output(settled(output) if output is not None else settled(root) / LIST_FILE, "--output")


def align_packages(
    root: Path, output: Path | None, context: Context, *, partial: bool = False, force: bool = False
) -> AlignReport:
    """Resolve what the projects below `root` ask for together, and write the list.

    Raises ResolutionError, naming every contradiction, when they can't have one list: then nothing is written, unless
    `partial`, which leaves out what contradicts. Raises RefusedError when that would replace a file that `align`
    didn't write, or that somebody changed since, unless `force`.
    """
    shared = list_path(root, output)
    before = _before(shared, force=force)
    needs, skipped = read_needs(root, shared, context.environ)
    if not needs:
        raise ProjectError(f"no project in {root} has requirements", hint="there is nothing to align")
    pins, left_out = _align_all(settled(root), needs, context, partial=partial)
    made = PackageList(
        entries=entries_of(pins), projects=tuple(one.path for one in needs), again=_again(root, shared, partial),
        left_out=left_out,
    )  # fmt: skip
    text = made.render()
    if before != text:
        _write(shared, text)
    following = [one for one in needs if names_list(one.project, shared, one.inputs.digests)]
    return AlignReport(
        shared, made, before != text, tuple(one.path for one in following),
        tuple(_proposal(one, shared) for one in needs if one not in following), skipped,
    )  # fmt: skip


def _before(shared: Path, *, force: bool) -> str | None:
    """The list that is there, which may be replaced."""
    try:
        text = shared.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProjectError(f"cannot be read: {error.strerror}", file=shared) from error
    if (said := _NOT_OURS.get(origin(text))) and not force:
        raise RefusedError(
            f"{said}: what it says would be lost",
            hint="keep bounds of your own in another constraints file, which projects name beside it; "
            "then --force replaces this one, or name another with --output",
            file=shared,
        )
    return text


def _write(shared: Path, text: str) -> None:
    if not shared.parent.is_dir():
        raise ProjectError(f"no such folder: {shared.parent}", hint="make it first, or name another with --output")
    try:
        write_file(shared, text.encode())
    except OSError as error:
        raise StoreError(
            f"cannot write: {error.strerror}", hint="name another file with --output", file=shared
        ) from error


def _again(root: Path, shared: Path, partial: bool) -> str:
    """The command that makes the list anew, from its own folder; of folders beside that it says nothing."""
    words = ["lockship", "packages", "align"]
    where = os.path.relpath(settled(root).resolve(), shared.parent.resolve()).replace(os.sep, "/")
    where = "FOLDER" if where.startswith("..") else where
    words += [where] if where != "." else []
    words += ["-o", shared.name] if (where, shared.name) != (".", LIST_FILE) else []
    words += ["--partial"] if partial else []
    return shlex.join(words)


def _align_all(
    root: Path, needs: Sequence[Needs], context: Context, *, partial: bool
) -> tuple[dict[str, tuple[Pin, ...]], tuple[tuple[str, str], ...]]:
    """Pins by version of Python, and the packages that are left out with the reason."""
    pins: dict[str, tuple[Pin, ...]] = {}
    left_out: dict[str, str] = {}
    conflicts: list[Conflict] = []
    for python in sorted({one.python for one in needs}, key=Version):
        group = [one for one in needs if one.python == python]
        with temporary_folder("lockship-align-") as folder:
            solve = _solver(root, group, folder, context)
            with context.progress.task(f"resolving {plural(len(group), 'project')} together"):
                found = align(lines_of(group, group), solve)
            conflicts += found.conflicts
            names = {name: one.sentences for one in found.conflicts for name in one.names}
            kept = tuple(pin for pin in found.resolution.pins if pin.name not in names)
            if found.conflicts and partial:
                kept, more = _bearable(group, kept, solve)
                names |= more
        pins[python] = kept
        left_out |= names
    if conflicts and not partial:
        raise _refusal(root, conflicts)
    return pins, tuple(sorted(left_out.items()))


def _refusal(root: Path, conflicts: Sequence[Conflict]) -> ResolutionError:
    told = "\n".join(one.told for one in conflicts)
    first = conflicts[0].lines[0].asked
    return ResolutionError(
        "the projects can't have one list:\n" + indent(told, "  "),
        hint="change one line of each, or write the list without these packages: --partial",
        file=root / first.file, line=first.line,
    )  # fmt: skip


def _solver(root: Path, needs: Sequence[Needs], folder: Path, context: Context) -> Solve:
    """Asks the projects' own resolver for the newest versions that satisfy given lines; may be asked repeatedly."""
    targets = targets_of(needs)
    options = options_of(needs)
    project = _together(root, needs, targets)
    where = indexes.from_environment(context.environ)
    constraints = folder / "constraints.txt"
    told = iter([context.progress])  # what the resolver warns of, it would warn of each time

    @cache  # the search for culprits comes back to what it asked before
    def answer(lines: tuple[Line, ...]) -> Resolution | ResolutionError:
        asked = tuple(line.marked for line in lines)
        constraints.write_text("".join(f"{one.requirement}\n" for one in asked if one.constraint), encoding="utf-8")
        inputs = Inputs({}, asked, _sources(asked), (str(constraints),), options)
        try:
            return resolve(
                project, targets, existing=None, upgrade=True, indexes=where, environ=context.environ,
                progress=next(told, SILENT), inputs=inputs,
            )  # fmt: skip
        except ResolutionError as error:
            return error

    def solve(lines: Sequence[Line]) -> Resolution:
        found = answer(tuple(lines))
        if isinstance(found, ResolutionError):
            raise found
        return found

    return solve


def _sources(asked: Sequence[Asked]) -> tuple[PyprojectSource, ...]:
    """What is asked for, file by file, as the resolver's input."""
    files: dict[str, list[str]] = {}
    for one in asked:
        if not one.constraint:
            files.setdefault(one.file, []).append(str(one.requirement))
    return tuple(PyprojectSource(file, tuple(requirements)) for file, requirements in files.items())


def _together(root: Path, needs: Sequence[Needs], targets: Sequence[Target]) -> Project:
    """A project that stands for all: pip-tools resolves only if all want it, for both come to the same pins."""
    pip_tools = all(one.project.python.resolver == "pip-tools" for one in needs)
    allowed = sorted({name for one in needs for name in one.project.python.allow_build})
    python = needs[0].project.python.model_copy(
        update={"resolver": "pip-tools" if pip_tools else "uv", "allow_build": tuple(allowed), "constraints": ()}
    )
    image = Image(platforms=tuple(target.platform for target in targets))
    return Project(name="packages", version="0", root=root, file=needs[0].project.file, python=python, image=image)


def _bearable(needs: Sequence[Needs], pins: Sequence[Pin], solve: Solve) -> tuple[tuple[Pin, ...], dict[str, str]]:
    """Of `pins` those that every project can live with.

    What was left out may need other versions of what is still in: each project is resolved with the list, and what
    stands in its way goes too.
    """
    left_out: dict[str, str] = {}
    lines = {pin.name: [_bound(one, number) for number, one in enumerate(pins) if one.name == pin.name] for pin in pins}
    for one in needs:
        own = lines_of([one], needs)

        def fits(names: Sequence[str], own: Sequence[Line] = own) -> bool:
            try:
                solve([*own, *(line for name in names for line in lines[name])])
            except ResolutionError:
                return False
            return True

        while not fits(kept := [name for name in lines if name not in left_out]):
            if not fits([]):
                raise ResolutionError(
                    f"{one.path} can't be resolved by itself", hint="run `lockship lock` there: it says why",
                    file=one.project.file,
                )  # fmt: skip
            for name in culprits(kept, fits):
                version = next(pin.version for pin in pins if pin.name == name)
                left_out[name] = f"{one.path} can't have {name}=={version}"
    return tuple(pin for pin in pins if pin.name not in left_out), left_out


def _bound(pin: Pin, number: int) -> Line:
    marker = f" ; {pin.marker}" if pin.marker else ""
    return Line(Asked(Requirement(f"{pin.name}=={pin.version}{marker}"), LIST_FILE, number + 1, True))


def _proposal(one: Needs, shared: Path) -> Proposal:
    """The line by which the project names the list, after what it names already."""
    name = os.path.relpath(shared.resolve(), one.project.root.resolve()).replace(os.sep, "/")
    constraints = ", ".join(f'"{item}"' for item in (*one.project.python.constraints, name))
    table = "[tool.lockship.python]" if one.project.file.name == "pyproject.toml" else "[python]"
    return Proposal(one.path, one.project.file, table, f"constraints = [{constraints}]")
