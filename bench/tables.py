"""Tables, numbers and goals as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.measure import median, paired_ratio

__all__ = ["Goal", "ratio", "size", "table", "value"]


@dataclass(frozen=True, slots=True)
class Goal:
    """Something that was promised, what was measured, and whether that is enough."""

    what: str
    wanted: str
    found: str
    met: bool


def value(samples: Sequence[float], unit: str) -> str:
    """The median, in ``MB`` or ``s``."""
    middle = median(samples)
    if unit == "MB":
        return f"{middle:.1f} MB"
    return f"{middle:.2f} s" if middle < 10 else f"{middle:.1f} s"


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> str:
    """How many times longer theirs took."""
    found = paired_ratio(theirs, ours)
    return f"{found:.2f}" if found < 2 else f"{found:.1f}"


def size(samples: Sequence[float]) -> str:
    """The median of bytes."""
    middle = median(samples)
    if middle < 1e6:
        return f"{middle / 1e3:.0f} KB"
    return f"{middle / 1e6:.2f} MB" if middle < 1e7 else f"{middle / 1e6:.0f} MB"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)
