"""Everything that reaches a person or a script: results on stdout, the rest on stderr."""

from __future__ import annotations

import json as json_module
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from builder.errors import LockshipError, StoreError, UsageError
from builder.words import human_size

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from builder.progress import Task

__all__ = ["Terminal", "failure", "relative"]


# Somebody else's words are in messages, such as a registry's: they write, and do nothing else to a terminal.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class OutputError(StoreError):
    """Standard output takes nothing more."""


@dataclass
class Terminal:
    """One command's output. Implements `builder.progress.Progress`.

    `json` prints results and failures as one document; `quiet` drops progress and notes; `live` draws progress bars.
    """

    json: bool = False
    quiet: bool = False
    live: bool = False
    warnings: list[str] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _bars: RichProgress | None = field(default=None, repr=False)
    _open: int = 0

    @classmethod
    def from_environment(cls, *, json: bool, quiet: bool) -> Self:
        """Bars only where somebody looks: stderr is a terminal that can draw."""
        live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not quiet
        return cls(json=json, quiet=quiet, live=live)

    # results

    def result(self, schema: str, document: Mapping[str, Any], text: str) -> None:
        """The command's answer: `document` and the warnings so far with ``--json``, else `text`, on stdout."""
        if self.json:
            head = {"schema": f"dev.lockship.{schema}/v1", "ok": True}
            self._print(json_module.dumps({**head, **document, "warnings": self.warnings}, indent=2))
        elif text:
            self._print(text)

    def _print(self, text: str) -> None:
        try:
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(
                f"cannot write to standard output: {error.strerror}", hint="free some space, or send it elsewhere"
            ) from error

    # failures

    def fail(self, error: LockshipError) -> int:
        """Report `error`; its exit code."""
        self._failure(error.exit_code, failure(error), f"error: {_located(error)}", error.hint)
        return error.exit_code

    def failed(self, name: str, error: LockshipError) -> None:
        """Report that one of several things failed; the command goes on, and says so in its result."""
        self._say(f"error: {name}: {_located(error)}" + (f"\n  {error.hint}" if error.hint else ""), style="red")

    def usage(self, message: str) -> int:
        """Report a wrong command line."""
        return self.fail(UsageError(message, hint="see `lockship --help`"))

    def interrupted(self) -> int:
        """Report Ctrl-C; 130, as shells have it."""
        self._failure(130, {"kind": "Interrupted", "message": "interrupted"}, "interrupted", None)
        return 130

    def crash(self, error: Exception) -> int:
        """Report a bug of ours: the traceback goes into a file, not into anybody's face."""
        import tempfile
        import traceback

        message = f"{type(error).__name__}: {error}"
        hint = "a bug in lockship"
        with suppress(OSError):  # a full disk must not hide the message
            with tempfile.NamedTemporaryFile("w", prefix="lockship-", suffix=".log", delete=False) as log:
                traceback.print_exception(error, file=log)
            hint += f"; the details are in {log.name}"
        self._failure(1, {"kind": "Bug", "message": message, "hint": hint}, f"error: {message}", hint)
        return 1

    def _failure(self, code: int, error: Mapping[str, Any], text: str, hint: str | None) -> None:
        if self.json:
            document = {"schema": "dev.lockship.error/v1", "ok": False, "exit_code": code, "error": dict(error)}
            self._print(json_module.dumps(document, indent=2))
        self._say(text + (f"\n  {hint}" if hint else ""), style="red")

    # progress

    def note(self, message: str) -> None:
        """A line on stderr."""
        if not self.quiet:
            self._say(message)

    def warn(self, message: str) -> None:
        """A warning on stderr, whatever else is quiet."""
        self.warnings.append(message)
        self._say(f"warning: {message}", style="yellow")

    def task(self, label: str, total: int | None = None, *, unit: str = "bytes") -> AbstractContextManager[Task]:
        """A progress bar, or nothing where nobody looks."""
        return self._bar(label, total, unit) if self.live else _no_bar()

    def _say(self, text: str, style: str | None = None) -> None:
        text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
        with self._lock:
            colour = {"red": "31", "yellow": "33", None: ""}[style]
            if colour and sys.stderr.isatty() and "NO_COLOR" not in os.environ:
                head, mark, rest = text.partition(":")
                text = f"\x1b[1;{colour}m{head}{mark}\x1b[0m{rest}"
            if self._bars is not None:
                self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                sys.stderr.write(text + "\n")
                sys.stderr.flush()

    @contextmanager
    def _bar(self, label: str, total: int | None, unit: str) -> Iterator[Task]:
        with self._lock:
            if self._bars is None:
                self._bars = _progress_bars()
                self._bars.start()
            self._open += 1
            bars = self._bars
            handle = bars.add_task(label, total=total, unit=unit)
        try:
            yield _Bar(bars, handle)
        finally:
            with self._lock:
                bars.remove_task(handle)
                self._open -= 1
                if not self._open:
                    bars.stop()
                    self._bars = None


def failure(error: LockshipError) -> dict[str, Any]:
    """What ``--json`` says of an error."""
    return {
        "kind": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "file": error.file,
        "line": error.line,
    }


def _progress_bars() -> RichProgress:
    """Bars on stderr that vanish when all is done; what they count is up to each task."""
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, TextColumn
    from rich.progress import Progress as RichProgress
    from rich.progress import Task as RichTask
    from rich.text import Text

    class Amount(ProgressColumn):
        """``12.3 MB of 104.2 MB, 31.0 MB/s``, or ``3 of 22 layers``."""

        def render(self, task: RichTask) -> Text:
            unit = task.fields["unit"]
            if task.total is None and not task.completed:
                return Text("")
            if unit != "bytes":
                of = "" if task.total is None else f" of {task.total:.0f}"
                return Text(f"{task.completed:.0f}{of} {unit}")
            of = "" if task.total is None else f" of {human_size(task.total)}"
            speed = f", {human_size(task.speed)}/s" if task.speed else ""
            return Text(f"{human_size(task.completed)}{of}{speed}")

    columns = (TextColumn("{task.description}"), BarColumn(), Amount())
    return RichProgress(*columns, console=Console(stderr=True), transient=True)


class _Bar:
    def __init__(self, bars: RichProgress, handle: Any) -> None:
        self._bars = bars
        self._handle = handle

    def advance(self, amount: int) -> None:
        self._bars.advance(self._handle, amount)

    def grow(self, amount: int) -> None:
        total = self._bars.tasks[self._bars.task_ids.index(self._handle)].total
        self._bars.update(self._handle, total=(total or 0) + amount)


@contextmanager
def _no_bar() -> Iterator[Task]:
    from builder.progress import SILENT

    with SILENT.task("") as task:
        yield task


def _located(error: LockshipError) -> str:
    """The message behind its file and line, the file as short as it gets."""
    if error.file is None:
        return error.message
    place = relative(Path(error.file)) + ("" if error.line is None else f":{error.line}")
    return f"{place}: {error.message}"


def relative(path: Path) -> str:
    """`path` as short as it gets from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
