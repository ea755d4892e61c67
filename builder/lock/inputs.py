"""The files that say what a project requires, with every line's place: what decides the lock.

Requirement files follow pip's format ("Requirements File Format" in pip's documentation) as far as a lock can hold
it: names with specifiers, extras and markers, ``-r``, ``-c`` and the options that name indexes. What names no
package of an index (URLs, version control, editable or local paths) is refused: a lock holds versions that an
index serves, by hash. A wheel of one's own goes into a folder that ``--find-links`` names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from builder.complaints import line_of
from builder.content import Digest
from builder.errors import ProjectError
from builder.lock.pyproject import Place, PyprojectSource, read_pyproject
from builder.lock.requirement_lines import URL, Asked, decoded, logical_lines, options_of, refused, requirement_of
from builder.project import Project

__all__ = ["FileOptions", "Inputs", "input_files", "read_inputs"]

_PYPROJECT = re.compile(r"(?P<path>(?:.*/)?pyproject\.toml)(?:\s*\[(?P<extras>[^\]]*)\])?")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")


@dataclass(frozen=True, slots=True)
class FileOptions:
    """What requirement files say about indexes; URLs may hold credentials and are never shown."""

    index: str | None = field(default=None, repr=False)
    extra: tuple[str, ...] = field(default=(), repr=False)
    links: tuple[str, ...] = field(default=(), repr=False)
    trusted: tuple[str, ...] = ()
    no_index: bool = False
    prereleases: bool = False


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything the input files say.

    `requirements` are the top-level files for the resolver, in order; a pyproject.toml as its dependencies.
    """

    digests: Mapping[str, Digest]
    asked: tuple[Asked, ...]
    requirements: tuple[str | PyprojectSource, ...]
    constraints: tuple[str, ...]
    options: FileOptions


def input_files(project: Project) -> dict[str, Digest]:
    """Every file that decides the lock, by its path relative to the project (posix), with the digest of what counts.

    A requirement or constraint file counts by its bytes, a pyproject.toml by its name, dependencies and extras
    only. Raises ProjectError for what is missing, not UTF-8 or not understood, with the place that refers to it.
    """
    return dict(read_inputs(project, {}, expand=False).digests) | _environment_files(project)


def _environment_files(project: Project) -> dict[str, Digest]:
    """The environment files, by their bytes: what is in them is for whoever resolves."""
    reader = _Reader(project, None)
    found = {}
    for name in project.python.conda:
        found[_posix(name)] = Digest.of(reader.content(name, reader.mention(name)))
    return found


def read_inputs(project: Project, environ: Mapping[str, str], *, expand: bool = True) -> Inputs:
    """Read all input files; `environ` fills ``${NAME}`` in index URLs unless `expand` is off."""
    reader = _Reader(project, environ if expand else None)
    requirements = tuple(reader.requirement_source(source) for source in project.python.requirements)
    for source in project.python.constraints:
        reader.file(source, constraint=True, place=reader.mention(source))
    options = FileOptions(
        index=reader.index,
        extra=tuple(reader.extra),
        links=tuple(reader.links),
        trusted=tuple(reader.trusted),
        no_index=reader.no_index,
        prereleases=reader.prereleases,
    )
    digests = dict(sorted(reader.digests.items()))
    return Inputs(digests, tuple(reader.asked), requirements, project.python.constraints, options)


class _Reader:
    """Walks the files once, depth first, as pip does."""

    def __init__(self, project: Project, environ: Mapping[str, str] | None) -> None:
        self._project = project
        self._environ = environ
        self._seen: set[tuple[str, bool]] = set()
        self.digests: dict[str, Digest] = {}
        self.asked: list[Asked] = []
        self.index: str | None = None
        self.extra: list[str] = []
        self.links: list[str] = []
        self.trusted: list[str] = []
        self.no_index = False
        self.prereleases = False

    def mention(self, text: str) -> Place:
        """Where the project file names `text`."""
        file = self._project.file
        return file, line_of(file, text)

    def requirement_source(self, source: str) -> str | PyprojectSource:
        """One entry of ``[python] requirements``."""
        place = self.mention(source)
        if match := _PYPROJECT.fullmatch(source):
            extras = [extra.strip() for extra in (match["extras"] or "").split(",") if extra.strip()]
            return self._pyproject(match["path"], extras, place)
        if source.endswith((".yml", ".yaml", ".py", ".cfg", ".lock")):
            raise ProjectError(
                f"{source} is not a requirements file",
                hint="name .in or .txt files in pip's format, or pyproject.toml",
                file=place[0],
                line=place[1],
            )
        self.file(source, constraint=False, place=place)
        return source

    def file(self, name: str, *, constraint: bool, place: Place) -> None:
        """Read the requirement or constraint file `name` (relative to the project) that `place` refers to."""
        # relative even if written absolute: the lock names no folder of this machine
        relative = _posix(os.path.relpath(self._project.path(name), self._project.root))
        if (relative, constraint) in self._seen:
            return
        self._seen.add((relative, constraint))
        text = self._read(relative, place)
        for number, line in logical_lines(text):
            if line.startswith("-"):
                self._option(line, relative, number, constraint)
            else:
                self.asked.append(requirement_of(line, relative, number, constraint))

    def _read(self, relative: str, place: Place) -> str:
        raw = self.content(relative, place)
        self.digests[relative] = Digest.of(raw)
        return decoded(raw, relative)

    def content(self, relative: str, place: Place) -> bytes:
        """The bytes of a file that `place` names."""
        try:
            return self._project.path(relative).read_bytes()
        except OSError as error:
            reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
            raise ProjectError(
                f"{relative} {reason}",
                hint=f"it is named here; write it, or take it out of {Path(place[0]).name}",
                file=place[0],
                line=place[1],
            ) from error

    def _option(self, line: str, file: str, number: int, constraint: bool) -> None:
        for kind, value in options_of(line, file, number):
            match kind:
                case "requirement" | "constraint":
                    self._follow(value, file, number, constraint=constraint or kind == "constraint")
                case "editable":
                    raise refused(f"-e {value}", file, number)
                case "no-binary":
                    raise ProjectError(
                        f"--no-binary {value}: packages are installed from wheels",
                        hint='to build one from source on purpose: [python] allow-build = ["name"] in the project file',
                        file=file,
                        line=number,
                    )
                case "index":
                    self.index = self._expanded(value, file, number)
                case "extra":
                    self.extra.append(self._expanded(value, file, number))
                case "links":
                    self.links.append(self._located(self._expanded(value, file, number), file))
                case "trusted":
                    self.trusted.append(value)
                case "no-index":
                    self.no_index = True
                case "pre":
                    self.prereleases = True

    def _follow(self, value: str, file: str, number: int, *, constraint: bool) -> None:
        if URL.match(value):
            raise ProjectError(
                f"{file} refers to a file on a server, which may change behind the lock's back",
                hint="keep a copy in the repository and refer to that",
                file=file,
                line=number,
            )
        self.file(_posix(os.path.join(os.path.dirname(file), value)), constraint=constraint, place=(file, number))  # noqa: PTH118, PTH120

    def _located(self, value: str, file: str) -> str:
        """A --find-links folder: beside the requirement file if it is there, as pip has it, else as written."""
        if URL.match(value):
            return value
        beside = self._project.path(file).parent / value
        return str(beside.absolute()) if beside.exists() else value

    def _expanded(self, value: str, file: str, number: int) -> str:
        """`value` with ``${NAME}`` from the environment, as in pip: secrets stay out of files this way."""
        environ = self._environ
        if environ is None:
            return value

        def fill(match: re.Match[str]) -> str:
            if match[1] not in environ:
                raise ProjectError(
                    f"${{{match[1]}}} is not set in the environment", hint="export it", file=file, line=number
                )
            return environ[match[1]]

        return _VARIABLE.sub(fill, value)

    def _pyproject(self, name: str, extras: Sequence[str], place: Place) -> PyprojectSource:
        relative = _posix(name)
        source, self.digests[relative], asked = read_pyproject(self.content(relative, place), relative, extras, place)
        self.asked += asked
        return source


def _posix(path: str) -> str:
    return os.path.normpath(path).replace(os.sep, "/")
