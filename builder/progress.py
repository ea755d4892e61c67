"""What long work tells while it runs. The command line shows it; a library call stays silent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["SILENT", "Progress", "Task"]


class Task(Protocol):
    """One running step."""

    def advance(self, amount: int) -> None:
        """`amount` more bytes (or pieces) are done."""

    def grow(self, amount: int) -> None:
        """The total turned out to be `amount` larger."""


class Progress(Protocol):
    """Where steps, notices and warnings go. Safe to call from several threads."""

    def task(self, label: str, total: int | None = None, *, unit: str = "bytes") -> AbstractContextManager[Task]:
        """Open a step of `total` bytes (or other units); it ends with the context."""

    def note(self, message: str) -> None:
        """Something worth a line."""

    def warn(self, message: str) -> None:
        """Something that may hurt later; never secrets."""


class _SilentTask:
    def advance(self, amount: int) -> None:
        pass

    def grow(self, amount: int) -> None:
        pass


class _Silent:
    @contextmanager
    def _open(self) -> Iterator[Task]:
        yield _SilentTask()

    def task(self, label: str, total: int | None = None, *, unit: str = "bytes") -> AbstractContextManager[Task]:
        return self._open()

    def note(self, message: str) -> None:
        pass

    def warn(self, message: str) -> None:
        pass


SILENT: Progress = _Silent()
