"""A progress that remembers what it was told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["Heard"]


@dataclass
class _Step:
    label: str
    total: int | None
    done: int = 0

    def advance(self, amount: int) -> None:
        self.done += amount

    def grow(self, amount: int) -> None:
        self.total = (self.total or 0) + amount


@dataclass
class Heard:
    """Implements `builder.progress.Progress`."""

    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    steps: list[_Step] = field(default_factory=list)

    @contextmanager
    def task(self, label: str, total: int | None = None, *, unit: str = "bytes") -> Iterator[_Step]:
        step = _Step(label, total)
        self.steps.append(step)
        yield step

    def note(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)
