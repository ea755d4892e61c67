"""The files that say what a project requires, with every line's place: what decides the lock.

Requirement files follow pip's format ("Requirements File Format" in pip's documentation) as far as a lock can hold
it: names with specifiers, extras and markers, ``-r``, ``-c`` and the options that name indexes. What names no
package of an index (URLs, version control, editable or local paths) is refused: a lock holds versions that an
index serves, by hash. A wheel of one's own goes into a folder that ``--find-links`` names.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from builder.content import Digest, canonical_json
from builder.errors import ProjectError
from builder.project import Project

__all__ = ["Asked", "FileOptions", "Inputs", "PyprojectSource", "input_files", "read_inputs"]

_PYPROJECT = re.compile(r"(?P<path>(?:.*/)?pyproject\.toml)(?:\s*\[(?P<extras>[^\]]*)\])?")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

# option -> its one meaning; pip knows several spellings of some
_OPTIONS: Final = {
    "-r": "requirement",
    "--requirement": "requirement",
    "-c": "constraint",
    "--constraint": "constraint",
    "-e": "editable",
    "--editable": "editable",
    "-i": "index",
    "--index-url": "index",
    "--pypi-url": "index",
    "--extra-index-url": "extra",
    "-f": "links",
    "--find-links": "links",
    "--trusted-host": "trusted",
    "--no-binary": "no-binary",
    "--only-binary": "ignored-value",
    "--use-feature": "ignored-value",
    "--no-index": "no-index",
    "--pre": "pre",
    "--prefer-binary": "ignored",
    "--require-hashes": "ignored",
}
_WITHOUT_VALUE: Final = {"no-index", "pre", "ignored"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One requirement that somebody wrote, and where: `file` relative to the project, `line` 1-based."""

    requirement: Requirement
    file: str
    line: int
    constraint: bool

    @property
    def name(self) -> str:
        """The package, as PEP 503 normalises it."""
        return canonicalize_name(self.requirement.name)

    @property
    def place(self) -> str:
        """``requirements.in:3``."""
        return f"{self.file}:{self.line}"

    @property
    def sentence(self) -> str:
        """``requirements.in:3 asks for numpy>=2``."""
        return f"{self.place} {'allows' if self.constraint else 'asks for'} {self.requirement}"


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
class PyprojectSource:
    """The dependencies that a pyproject.toml declares, extras expanded: `file` relative to the project."""

    file: str
    requirements: tuple[str, ...]


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
    return dict(read_inputs(project, {}, expand=False).digests)


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


Place = tuple[Path | str, int | None]


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
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return file, None
        found = (number for number, line in enumerate(lines, 1) if f'"{text}"' in line or f"'{text}'" in line)
        return file, next(found, None)

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
        relative = _posix(os.path.normpath(name))
        if (relative, constraint) in self._seen:
            return
        self._seen.add((relative, constraint))
        text = self._read(relative, place)
        for number, line in _logical_lines(text):
            if line.startswith("-"):
                self._option(line, relative, number, constraint)
            else:
                self.asked.append(_requirement(line, relative, number, constraint))

    def _read(self, relative: str, place: Place) -> str:
        raw = self._bytes(relative, place)
        self.digests[relative] = Digest.of(raw)
        return _decode(raw, relative)

    def _bytes(self, relative: str, place: Place) -> bytes:
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
        for kind, value in _options(line, file, number):
            match kind:
                case "requirement" | "constraint":
                    self._follow(value, file, number, constraint=constraint or kind == "constraint")
                case "editable":
                    raise _refused(f"-e {value}", file, number)
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
        if _URL.match(value):
            raise ProjectError(
                f"{file} refers to a file on a server, which may change behind the lock's back",
                hint="keep a copy in the repository and refer to that",
                file=file,
                line=number,
            )
        self.file(_posix(os.path.join(os.path.dirname(file), value)), constraint=constraint, place=(file, number))  # noqa: PTH118, PTH120

    def _located(self, value: str, file: str) -> str:
        """A --find-links folder: beside the requirement file if it is there, as pip has it, else as written."""
        if _URL.match(value):
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
        relative = _posix(os.path.normpath(name))
        text = _decode(self._bytes(relative, place), relative)
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"at line (\d+)", str(error))
            raise ProjectError(
                f"not valid TOML: {error}", file=relative, line=int(line[1]) if line else None
            ) from error
        table = _project_table(document, relative, extras)
        self.digests[relative] = Digest.of(canonical_json(table))
        requirements = tuple(_expand_extras(table, extras, relative, place))
        for requirement in requirements:
            self.asked.append(_requirement(requirement, relative, _line_with(text, requirement), False))
        return PyprojectSource(relative, requirements)


def _project_table(document: Mapping[str, Any], file: str, extras: Sequence[str]) -> dict[str, Any]:
    """What of a pyproject.toml decides the lock (PyPA "pyproject.toml specification", the [project] table)."""
    project = document.get("project")
    if not isinstance(project, dict):
        raise ProjectError(
            "has no [project] table", file=file, hint="declare dependencies there, or name a requirements file instead"
        )
    dynamic = set(project.get("dynamic", ())) & (
        {"dependencies", "optional-dependencies"} if extras else {"dependencies"}
    )
    if dynamic:
        raise ProjectError(
            f"[project] {' and '.join(sorted(dynamic))} are dynamic: only the package's own build knows them",
            file=file,
            hint="declare them in [project], or name the requirements file they come from",
        )
    dependencies = project.get("dependencies", [])
    optional = project.get("optional-dependencies", {})
    lists = [dependencies, *(optional.values() if isinstance(optional, dict) else [None])]
    if not all(isinstance(part, list) and all(isinstance(item, str) for item in part) for part in lists):
        raise ProjectError("[project] dependencies are not lists of strings", file=file)
    return {"name": str(project.get("name", "")), "dependencies": dependencies, "optional-dependencies": optional}


def _expand_extras(table: Mapping[str, Any], extras: Sequence[str], file: str, place: Place) -> Iterator[str]:
    """The dependencies with those of `extras`; an extra that names the project itself (``churn[plot]``) is followed."""
    own = canonicalize_name(table["name"])
    optional = {canonicalize_name(name): items for name, items in table["optional-dependencies"].items()}
    yielded: set[str] = set()
    waiting = [canonicalize_name(extra) for extra in extras]
    followed: set[str] = set()
    lists = [table["dependencies"]]
    while lists or waiting:
        if not lists:
            extra = waiting.pop(0)
            if extra in followed:
                continue
            followed.add(extra)
            if extra not in optional:
                known = ", ".join(sorted(optional)) or "none"
                raise ProjectError(
                    f"{file} has no extra {extra!r}", hint=f"its extras: {known}", file=place[0], line=place[1]
                )
            lists.append(optional[extra])
        for item in lists.pop():
            match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*\[([^\]]*)\]", item)
            if match and own and canonicalize_name(match[1]) == own:
                waiting.extend(canonicalize_name(part.strip()) for part in match[2].split(","))
            elif item not in yielded:
                yielded.add(item)
                yield item


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments, continuations joined, with the number of their first line."""
    parts: list[str] = []
    start = 0
    for number, raw in enumerate(text.splitlines(), 1):
        comment = raw.lstrip().startswith("#")
        line = "" if comment else re.sub(r"(^|\s)#.*$", "", raw)
        if not parts:
            start = number
        if line.endswith("\\") and not comment:
            parts.append(line[:-1])
            continue
        parts.append(line)
        joined = "".join(parts).strip()
        parts = []
        if joined:
            yield start, joined
    if joined := "".join(parts).strip():
        yield start, joined


def _options(line: str, file: str, number: int) -> Iterator[tuple[str, str]]:
    """``(meaning, value)`` for each option of a line."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ProjectError(f"not understood: {error}", file=file, line=number) from error
    while words:
        word = words.pop(0)
        option, equals, value = word.partition("=")
        if not word.startswith("--") and len(word) > 2 and word[:2] in _OPTIONS:
            option, equals, value = word[:2], "=", word[2:]
        kind = _OPTIONS.get(option)
        if kind is None:
            raise ProjectError(
                f"unknown option {option!r} in a requirements file",
                hint="known here: " + ", ".join(sorted(name for name in _OPTIONS if name.startswith("--"))),
                file=file,
                line=number,
            )
        if kind in _WITHOUT_VALUE:
            yield kind, ""
            continue
        if not equals:
            if not words:
                raise ProjectError(f"{option} needs a value", file=file, line=number)
            value = words.pop(0)
        yield kind, value


def _requirement(line: str, file: str, number: int, constraint: bool) -> Asked:
    text = re.split(r"\s--(?:hash|config-settings?|global-option)\b", line, maxsplit=1)[0].strip()
    if (
        _URL.match(text)
        or re.match(r"(\.{0,2}/|~|[A-Za-z]:\\|git\+|file:)", text)
        or text.endswith((".whl", ".tar.gz"))
    ):
        raise _refused(text, file, number)
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise ProjectError(
            f"not a requirement: {_shown(text)!r} ({reason})",
            hint="write it as NAME>=VERSION (PEP 508)",
            file=file,
            line=number,
        ) from error
    if requirement.url:
        raise _refused(text, file, number)
    return Asked(requirement, file, number, constraint)


def _refused(text: str, file: str, number: int) -> ProjectError:
    return ProjectError(
        f"{_shown(text)!r} is a URL or a path, not a package of an index: nothing pins what it holds",
        hint="publish it to an index, or build its wheel, put it into a folder, "
        "write `--find-links FOLDER` and require it as NAME==VERSION",
        file=file,
        line=number,
    )


def _shown(text: str) -> str:
    """`text` without credentials, not too long."""
    return re.sub(r"://[^/\s@]*@", "://", text)[:120]


def _decode(raw: bytes, file: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ProjectError("is not UTF-8", file=file, line=line, hint="save the file as UTF-8") from error


def _line_with(text: str, requirement: str) -> int:
    for number, line in enumerate(text.splitlines(), 1):
        if f'"{requirement}"' in line or f"'{requirement}'" in line:
            return number
    return 1


def _posix(path: str) -> str:
    return os.path.normpath(path).replace(os.sep, "/")
