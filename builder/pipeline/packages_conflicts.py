"""What can't be had together, and the few lines that are to blame: found by asking the resolver. Pure but for that."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from packaging.markers import Marker
from packaging.utils import canonicalize_name

from builder.errors import ResolutionError
from builder.lock.pins import Resolution
from builder.lock.requirement_lines import Asked

__all__ = ["Aligned", "Conflict", "Line", "align", "culprits"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Line:
    """A requirement of a project: `asked` as somebody wrote it, its file below the folder of all projects.

    `machines` are the processors (``x86_64``) that the project is for, where others are for more; else empty.
    """

    asked: Asked
    machines: tuple[str, ...] = ()

    @property
    def marked(self) -> Asked:
        """What the resolver is asked: the same, for `machines` alone."""
        if not self.machines:
            return self.asked
        marker = " or ".join(f'platform_machine == "{machine}"' for machine in self.machines)
        if (own := self.asked.requirement.marker) is not None:
            marker = f"({own}) and ({marker})"
        # a requirement can't be copied but by its text
        requirement = type(self.asked.requirement)(str(self.asked.requirement))
        requirement.marker = Marker(marker)
        return replace(self.asked, requirement=requirement)


@dataclass(frozen=True, slots=True)
class Conflict:
    """The `lines` that can't be satisfied together, as few as possible; `words` are the resolver's own."""

    lines: tuple[Line, ...]
    words: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The packages that the lines are about, sorted."""
        return tuple(sorted({line.asked.name for line in self.lines}))

    @property
    def sentences(self) -> str:
        """``a/requirements.in:1 asks for pandas<2; b/requirements.in:3 asks for pandas>=2``."""
        return "; ".join(line.asked.sentence for line in self.lines)

    @property
    def told(self) -> str:
        """For people, over several lines: which packages, the lines, and what the resolver says where that helps."""
        first, *rest = (self.words or self.sentences).splitlines()
        return "\n".join((f"{', '.join(self.names)}: {first}", *rest))


@dataclass(frozen=True, slots=True)
class Aligned:
    """What fits together, and what had to be taken away for it."""

    resolution: Resolution
    conflicts: tuple[Conflict, ...]


def align(lines: Sequence[Line], solve: Callable[[Sequence[Line]], Resolution]) -> Aligned:
    """Solve all `lines` together; whatever contradicts each other is named and left out, package by package.

    `solve` raises ResolutionError when there is no solution.
    """
    conflicts: list[Conflict] = []
    left = list(lines)
    while True:
        try:
            return Aligned(solve(left), tuple(conflicts))
        except ResolutionError as error:
            found = _conflict(left, solve, error)
        conflicts.append(found)
        left = [line for line in left if line.asked.name not in found.names]


def _conflict(lines: Sequence[Line], solve: Callable[[Sequence[Line]], Resolution], error: ResolutionError) -> Conflict:
    def fits(some: Sequence[Line]) -> bool:
        nonlocal error
        try:
            solve(some)
        except ResolutionError as other:
            error = other
            return False
        return True

    named = _named(lines, error)  # a resolver names few, and then few questions are left
    found = tuple(culprits(lines if fits(named) else named, fits))
    if fits(found):  # a line that only helped others, such as one that admits a pre-release, was taken away
        found = tuple(lines)
        fits(found)
    said = "" if len(found) > 1 and len({line.asked.name for line in found}) == 1 else error.message
    return Conflict(found, said)


def _named(lines: Sequence[Line], error: ResolutionError) -> list[Line]:
    """The lines about packages that the resolver talks of."""
    words = {canonicalize_name(word) for word in re.findall(r"[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]", error.message)}
    return [line for line in lines if line.asked.name in words]


def culprits(items: Sequence[T], fits: Callable[[Sequence[T]], bool]) -> list[T]:
    """The fewest of `items` that don't fit, though any part of them does, in their order; they don't fit together.

    QuickXplain (Junker, AAAI 2004): some k * log2(n) questions for k culprits among n. Right when whatever fits still
    fits with something taken away.
    """

    def search(background: list[T], some: list[T], *, added: bool) -> list[T]:
        if added and not fits(background):
            return []
        if len(some) == 1:
            return some
        half = len(some) // 2
        right = search(background + some[:half], some[half:], added=True)
        left = search(background + right, some[:half], added=bool(right))
        return left + right

    return search([], list(items), added=False) if items else []
