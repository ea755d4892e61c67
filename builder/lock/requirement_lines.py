"""The grammar of a requirements file, line by line ("Requirements File Format" in pip's documentation)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from builder.errors import ProjectError

__all__ = ["URL", "Asked", "decoded", "logical_lines", "options_of", "refused", "requirement_of"]

URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

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


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
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


def options_of(line: str, file: str, number: int) -> Iterator[tuple[str, str]]:
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


def requirement_of(line: str, file: str, number: int, constraint: bool) -> Asked:
    """The requirement that `line` states; raises ProjectError for URLs, paths and what PEP 508 does not know."""
    text = re.split(r"\s--(?:hash|config-settings?|global-option)\b", line, maxsplit=1)[0].strip()
    if URL.match(text) or re.match(r"(\.{0,2}/|~|[A-Za-z]:\\|git\+|file:)", text) or text.endswith((".whl", ".tar.gz")):
        raise refused(text, file, number)
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
        raise refused(text, file, number)
    return Asked(requirement, file, number, constraint)


def refused(text: str, file: str, number: int) -> ProjectError:
    """The error for what no index serves."""
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


def decoded(raw: bytes, file: str) -> str:
    """The text of `raw`; raises ProjectError with the line when it is not UTF-8."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ProjectError("is not UTF-8", file=file, line=line, hint="save the file as UTF-8") from error
