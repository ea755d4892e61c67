"""What a project is made from: the files and folders that, changed, may give another image or another release."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from builder.datakeys import is_url
from builder.errors import LockshipError
from builder.layers.files import excluded
from builder.lock.file import CONDA_FILE, LOCK_FILE, REQUIREMENTS_FILE
from builder.lock.inputs import read_inputs
from builder.project import Model, Project

__all__ = ["Inputs", "inputs_of"]

Matches = Callable[[str], bool]

_LINKS: Final = 40  # that lead to each other, as Linux has it (path_resolution(7))


@dataclass(frozen=True, slots=True)
class Inputs:
    """Absolute paths, as written and as they are behind links. A path counts with all that lies below it.

    `chosen` are folders of which only some files count: those for whose path the function says so. `unread` says why
    the files that name further ones can't be read; then nothing can be ruled out.
    """

    paths: frozenset[str]
    chosen: tuple[tuple[str, Matches], ...] = ()
    derived: frozenset[str] = frozenset()
    unread: LockshipError | None = None


def inputs_of(project: Project) -> Inputs:
    """Everything that `project` names, there or not. Reads the requirement files, which may name further ones."""
    unread = None
    required: list[str] = []
    links: tuple[str, ...] = ()
    try:
        found = read_inputs(project, {}, expand=False)
        required, links = list(found.digests), found.options.links
    except LockshipError as error:
        unread = error
    names = [
        project.file.name, LOCK_FILE, REQUIREMENTS_FILE, CONDA_FILE, ".dockerignore", *_ignore_files(project),
        *required, *project.python.constraints, *project.python.conda,
        *(place for link in links for place in _local(link)),
        *_requirement_files(project), *_of_image(project), *_of_models(project), *_of_releases(project),
    ]  # fmt: skip
    made = [file for name, model in project.named_models if model.is_converted for file in _results(model, name)]
    chosen = (*_folders(project), *_data(project), *_python(project))
    return Inputs(_absolute(project, [*names, *made]), chosen, _absolute(project, made), unread)


def _absolute(project: Project, names: Iterable[str]) -> frozenset[str]:
    """Both the name's own place and where links lead from there."""
    root = os.path.realpath(project.root)
    places = {os.path.normpath(os.path.join(root, name)) for name in names}  # noqa: PTH118  names may be absolute
    return frozenset(step for place in places for step in _trail(place))


def _trail(place: str) -> set[str]:
    """`place`, where it is behind links, and every step on the way: a link in the middle may be led elsewhere."""
    found = {os.path.realpath(place)}
    while place not in found and len(found) <= _LINKS:
        found.add(place)
        links = (one for one in (*map(str, reversed(Path(place).parents)), place) if os.path.islink(one))  # noqa: PTH114
        if (link := next(links, None)) is not None:
            target = os.path.join(os.path.dirname(link), os.readlink(link))  # noqa: PTH115, PTH118, PTH120
            place = os.path.normpath(f"{target}/{os.path.relpath(place, link)}")
    return found


def _requirement_files(project: Project) -> Iterator[str]:
    """``pyproject.toml[extra]`` is a file too."""
    for name in project.python.requirements:
        yield name.partition("[")[0].strip()


def _of_image(project: Project) -> Iterator[str]:
    """Files that are named themselves; of folders see `_folders`."""
    for one in project.image.files:
        if not project.path(one.source).is_dir():
            yield one.source
    for source in project.image.sources:
        yield from _local(source.uri)
        if source.keyring is not None:
            yield source.keyring
    if project.image.snapshot is not None:
        yield from _local(project.image.snapshot)


def _local(address: str) -> Iterator[str]:
    """The path that `address` is, or that ``file://`` names; none for what lies on a server."""
    if address.startswith("file:"):
        yield unquote(urlsplit(address).path)
    elif not is_url(address):
        yield address


def _of_models(project: Project) -> Iterator[str]:
    for model in project.all_models:
        yield from (file for file in (model.source, model.sample) if file is not None)


def _results(model: Model, name: str) -> tuple[str, ...]:
    files = model.files(name)
    return files.onnx, files.contract, files.parity, files.report


def _of_releases(project: Project) -> Iterator[str]:
    """The keys that signatures are checked with, and the file with the database's address."""
    if project.signing is not None:
        yield project.signing.key
    for stage in project.stages.values():
        yield from stage.approvers.values()
    if project.database is not None and project.database.url.startswith("file:"):
        yield project.database.url.removeprefix("file:")


def _ignore_files(project: Project) -> Iterator[str]:
    """The files by which git leaves files out of folders, from there up to the top of the checkout."""
    root = Path(os.path.realpath(project.root))
    for one in project.image.files:
        if project.path(one.source).is_dir():
            place = root / os.path.normpath(one.source)
            for folder in (place, *place.parents):
                yield str(folder / ".gitignore")
                if (folder / ".git").exists():
                    break


def _folders(project: Project) -> Iterator[tuple[str, Matches]]:
    """Folders of `[image] files`, without what stays out of the image; a link is taken as one, and not followed."""
    root = Path(os.path.realpath(project.root))
    out = excluded(root)
    for one in project.image.files:
        if project.path(one.source).is_dir():
            place = os.path.normpath(root / one.source)
            for step in {place} if os.path.islink(place) else _trail(place):  # noqa: PTH114
                if Path(step).is_relative_to(root):
                    # what .gitignore says counts, whatever leaves that file itself out
                    yield step, lambda path: path.endswith("/.gitignore") or not out(Path(path))


def _data(project: Project) -> Iterator[tuple[str, Matches]]:
    """Files, folders and globs of `[data]` as `builder.pipeline.data_files` finds them; addresses are not of git."""
    root = os.path.realpath(project.root)
    for location in (one for data in project.data.values() for one in data.paths if not is_url(one)):
        pattern = os.path.normpath(location)
        if glob.has_magic(pattern) and not (project.root / pattern).exists():
            parts = pattern.split("/")
            yield root, lambda path, parts=parts: _fits(os.path.relpath(path, root).split("/"), parts)  # type: ignore[misc]
            found = {Path(root, path) for path in glob.iglob(pattern, root_dir=root, recursive=True)}  # noqa: PTH207
            places = {str(path) for path in found if not path.is_dir() and path.resolve() != path}
        else:
            places = {f"{root}/{pattern}", *_links(f"{root}/{pattern}")}
        yield from ((step, lambda path: True) for place in places for step in _trail(os.path.normpath(place)))


def _links(folder: str) -> Iterator[str]:
    """The links below `folder`, which lead to files: data sets have those, while links to folders aren't followed."""
    for here, _, names in os.walk(folder):
        yield from (path for path in (f"{here}/{name}" for name in names) if os.path.islink(path))  # noqa: PTH114


def _fits(parts: list[str], pattern: list[str]) -> bool:
    """Whether a path fits a glob as Python's has it: ``**`` is any number of folders; a dot in front is asked for."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        hidden = next((number for number, part in enumerate(parts) if part.startswith(".")), len(parts))
        return any(_fits(parts[skipped:], pattern[1:]) for skipped in range(hidden + 1))
    if not parts or not fnmatchcase(parts[0], pattern[0]):
        return False
    return (not parts[0].startswith(".") or pattern[0].startswith(".")) and _fits(parts[1:], pattern[1:])


def _python(project: Project) -> Iterator[tuple[str, Matches]]:
    """A model that a function returns is made from the project's own code."""
    if any(model.entry is not None or model.converters for model in project.all_models):
        yield os.path.realpath(project.root), lambda path: path.endswith(".py")
