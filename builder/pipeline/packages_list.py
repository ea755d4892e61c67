"""`packages.txt`, the versions that a team's projects have in common: written one way, and known again. Pure.

A constraints file as pip has it ("Constraints Files" in pip's documentation): it bounds versions of what a project
asks for, and asks for nothing itself. A checksum tells a list that somebody changed from one that `align` wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from builder.content import Digest
from builder.lock.pins import Pin
from builder.lock.requirement_lines import Asked, decoded, logical_lines, requirement_of

__all__ = ["LIST_FILE", "Entry", "PackageList", "entries_of", "origin", "read_lines"]

LIST_FILE: Final = "packages.txt"
_HEAD: Final = "# Written by `lockship packages align`: run it again, don't edit this file.\n"
_CHECKSUM: Final = re.compile(r"# checksum (sha256:[0-9a-f]{64})\n")

Origin = Literal["ours", "edited", "foreign"]


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """A line: a package (PEP 503), its version, and the marker of the images that it is for; empty for all."""

    name: str
    version: str
    marker: str = ""

    @property
    def line(self) -> str:
        """As it stands in the file."""
        return f"{self.name}=={self.version}" + (f" ; {self.marker}" if self.marker else "")


@dataclass(frozen=True, slots=True)
class PackageList:
    """The whole file: `projects` it was made from, by their folders; `left_out` says of packages why they aren't in.

    `again` is the command that makes it anew, from the folder that the file is in.
    """

    entries: tuple[Entry, ...]
    projects: tuple[str, ...]
    again: str
    left_out: tuple[tuple[str, str], ...] = ()

    def render(self) -> str:
        """The file's text."""
        lines = [f"# Made anew by `{_one_line(self.again)}`, in this folder, from the requirements of:"]
        lines += [f"#   {_one_line(path)}" for path in self.projects]
        if self.left_out:
            lines += ["# Left out, because projects contradict each other:"]
            lines += [f"#   {_one_line(f'{name}: {why}')}" for name, why in self.left_out]
        lines += [entry.line for entry in sorted(self.entries)]
        body = "".join(f"{line}\n" for line in lines)
        return f"{_HEAD}# checksum {Digest.of(body.encode())}\n{body}"


def _one_line(text: str) -> str:
    """A folder's name may hold anything, even what is no text; what follows a line's end would be a requirement."""
    return " ".join(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").splitlines())


def origin(text: str) -> Origin:
    """Whether `align` wrote a list, somebody changed it since, or it was never ours."""
    if not text.startswith(_HEAD):
        return "foreign"
    found = _CHECKSUM.match(text, len(_HEAD))
    if found is None or Digest.of(text[found.end() :].encode("utf-8", "surrogateescape")) != found[1]:
        return "edited"
    return "ours"


def entries_of(by_python: Mapping[str, Sequence[Pin]]) -> tuple[Entry, ...]:
    """The lines for pins by minor version of Python; what all of them agree on needs no marker for it."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for python, pins in by_python.items():
        for pin in pins:
            found.setdefault((pin.name, pin.version, pin.marker), []).append(python)
    return tuple(sorted(_lines(found, len(by_python))))


def _lines(found: Mapping[tuple[str, str, str], Sequence[str]], count: int) -> Iterator[Entry]:
    for (name, version, marker), pythons in found.items():
        if len(pythons) == count:
            yield Entry(name, version, marker)
        for python in pythons if len(pythons) < count else ():
            own = f"({marker})" if " or " in marker else marker
            yield Entry(name, version, f'python_version == "{python}"' + (f" and {own}" if own else ""))


def read_lines(raw: bytes, file: str) -> tuple[Asked, ...]:
    """What a list bounds, whoever wrote it; raises ProjectError with the line that isn't understood."""
    return tuple(
        requirement_of(line, file, number, True)
        for number, line in logical_lines(decoded(raw, file))
        if not line.startswith("-")
    )
