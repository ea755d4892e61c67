"""One thing done to many projects, in their order: what fails is told, and the rest goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from builder.content import Digest
from builder.errors import LockshipError
from builder.pipeline.context import Context
from builder.pipeline.many.projects import Many, Member
from builder.progress import Progress, Task

__all__ = ["Done", "Outcome", "exit_code", "named", "run_each"]


@dataclass(frozen=True, slots=True)
class Done:
    """What went well: a word for it, the project's version, its index, and more for people and for machines."""

    word: str
    version: str
    digest: Digest
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one project in how many seconds: `done`, `failed`, or `skipped` with the reason `why`."""

    member: Member
    result: Literal["done", "failed", "skipped"]
    seconds: float = 0.0
    done: Done | None = None
    error: LockshipError | None = None
    why: str = ""

    @property
    def version(self) -> str:
        """The version, as far as it is known."""
        if self.done is not None:
            return self.done.version
        written = self.member.project.version if self.member.project is not None else ""
        return written if isinstance(written, str) else "of git"


def run_each(
    many: Many,
    selected: Set[Path],
    act: Callable[[Member], Done],
    context: Context,
    label: str,
    *,
    before: Mapping[Path, float] = MappingProxyType({}),
) -> Iterator[Outcome]:
    """What becomes of each of `selected`, as soon as it is known; each after those that it depends on.

    One whose dependency failed is skipped. A failure ends nothing, not even one that is a bug of ours; Ctrl-C does.
    `before` are seconds that were spent on projects already.
    """
    bad: dict[Path, Member] = {}
    with context.progress.task(label, len(selected), unit="projects") as task:
        for member in many.everybody:
            needed = next((bad[file] for file in many.needs.get(member.file, ()) if file in bad), None)
            if member.file not in selected:
                if needed is not None or member.error is not None:
                    bad[member.file] = needed or member
                continue
            outcome = (
                _skipped(member, needed) if needed is not None else _tried(member, act, before.get(member.file, 0))
            )
            if outcome.done is None:
                bad[member.file] = member
            task.advance(1)
            yield outcome


def _skipped(member: Member, needed: Member) -> Outcome:
    return Outcome(member, "skipped", why=f"it depends on {needed.name}, which failed")


def _tried(member: Member, act: Callable[[Member], Done], before: float) -> Outcome:
    begun = time.monotonic() - before
    try:
        if member.error is not None:
            raise member.error
        done = act(member)
    except LockshipError as error:
        return Outcome(member, "failed", time.monotonic() - begun, error=error)
    except Exception as bug:
        told = LockshipError(
            f"{type(bug).__name__}: {bug}",
            hint="a bug in lockship; the same command with -C "
            f"{os.path.relpath(member.file.parent)} and without --all writes down the details",
        )
        return Outcome(member, "failed", time.monotonic() - begun, error=told)
    return Outcome(member, "done", time.monotonic() - begun, done)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 when all went well, the failures' own code when they have the same, else 1; skipped ones have none."""
    codes = {outcome.error.exit_code for outcome in outcomes if outcome.error is not None}
    return codes.pop() if len(codes) == 1 else int(bool(codes) or any(one.done is None for one in outcomes))


def named(context: Context, name: str) -> Context:
    """The same machine; what is told says which project it is about."""
    return Context(context.cache, context.environ, _Named(context.progress, name))


@dataclass(frozen=True, slots=True)
class _Named:
    """Progress of one project among others."""

    progress: Progress
    name: str

    def task(self, label: str, total: int | None = None, *, unit: str = "bytes") -> AbstractContextManager[Task]:
        return self.progress.task(f"{self.name}: {label}", total, unit=unit)

    def note(self, message: str) -> None:
        self.progress.note(f"{self.name}: {message}")

    def warn(self, message: str) -> None:
        self.progress.warn(f"{self.name}: {message}")
