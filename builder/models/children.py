"""Runs one job in another environment: apart from the network where that is possible, and never longer than we live.

A model that is loaded may do anything that a program can: it gets neither the caller's environment variables nor a
terminal, its session ends with ours, and what it says is shown only when it fails.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal

from builder.errors import ModelError

__all__ = ["Answer", "Child", "ChildError", "Isolation", "copy_program", "isolation"]

Isolation = Literal["network namespace", "none"]

_INSIDE: Final = Path(__file__).parent / "inside"
_KEPT: Final = ("PATH", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
_KEPT_PREFIXES: Final = ("OPENBLAS_", "OMP_", "MKL_", "BLIS_", "NUMEXPR_")
_TAIL: Final = 16 << 10  # bytes of what a child said that are kept
_SHOWN: Final = 12  # lines of them that are shown
_MAX_ANSWER: Final = 256 << 20  # bytes
TIME_LIMIT: Final = 3600.0  # seconds for one job

# No core dumps of other people's data; and the kernel ends the child when we are killed (Linux, prctl(2)).
_PROGRAM: Final = """\
import resource, signal, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
except Exception:
    pass
sys.path.insert(0, {program!r})
from builder.models.inside.main import main
main()
"""


class ChildError(ModelError):
    """A job found something wrong; `details` are JSON values for reports."""

    def __init__(self, message: str, *, hint: str | None, details: Mapping[str, Any]) -> None:
        super().__init__(message, hint=hint)
        self.details = details


@dataclass(frozen=True, slots=True)
class Answer:
    """What a job came to, and what kept it from the network."""

    result: dict[str, Any]
    isolation: Isolation


@dataclass(frozen=True, slots=True)
class Child:
    """Runs jobs under the interpreter `python`, in the work folder `folder`; `title` is for messages."""

    python: Path
    folder: Path
    title: str
    environ: Mapping[str, str]

    def run(self, operation: str, job: Mapping[str, Any], *, time_limit: float = TIME_LIMIT) -> Answer:
        """Do one job.

        Raises ChildError for what the job says is wrong, ModelError when it breaks down, with its last words.
        """
        program = copy_program(self.folder)
        answer = self.folder / f"answer-{operation}-{os.urandom(4).hex()}.json"
        separate = isolation()
        command = [*_ISOLATED[separate], str(self.python), "-I", "-X", "utf8", "-c"]
        command += [_PROGRAM.format(program=str(program)), str(answer)]
        document = {**job, "operation": operation, "folder": str(self.folder)}
        code, said = _run(command, json.dumps(document).encode(), self.folder, self._variables(), time_limit)
        if code is None:
            raise ModelError(
                f"{operation} took longer than {time_limit:.0f} s in {self.title}",
                hint="a smaller sample makes it faster",
            )
        found = _read(answer) if code == 0 else None
        if found is None:
            raise _broken(operation, self.title, code, said)
        if (problem := found.get("problem")) is not None:
            raise ChildError(problem["message"], hint=problem.get("hint"), details=problem.get("details") or {})
        return Answer(found["result"], separate)

    def _variables(self) -> dict[str, str]:
        kept = {
            key: value for key, value in self.environ.items() if key in _KEPT or key.startswith(_KEPT_PREFIXES)
        }  # fmt: skip
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return {**kept, "HOME": str(home), "TMPDIR": str(home), "LC_ALL": "C.UTF-8", "MPLBACKEND": "agg"}


def copy_program(folder: Path) -> Path:
    """Put the operations into `folder`, once: the package ``builder.models.inside``, and nothing else of ours."""
    program = folder / "program"
    if not program.exists():
        package = program / "builder" / "models"
        shutil.copytree(_INSIDE, package / "inside", ignore=shutil.ignore_patterns("__pycache__"))
        for parent in (package, package.parent):
            (parent / "__init__.py").touch()
    return program


_ISOLATED: Final[dict[Isolation, tuple[str, ...]]] = {
    "network namespace": ("unshare", "--map-root-user", "--net", "--"),
    "none": (),
}


@functools.cache
def isolation() -> Isolation:
    """Whether this machine lets a child have a network namespace of its own (unshare(1), user namespaces)."""
    try:
        tried = subprocess.run(
            [*_ISOLATED["network namespace"], "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "none"
    return "network namespace" if tried.returncode == 0 else "none"


def _run(
    command: list[str], job: bytes, folder: Path, environ: Mapping[str, str], time_limit: float
) -> tuple[int | None, str]:
    """The exit code, None when time was up, and the last of what was said."""
    try:
        process = subprocess.Popen(
            command,
            env=dict(environ),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o022,
        )
    except OSError as error:
        raise ModelError(f"cannot start {command[0]}: {error.strerror}") from error
    assert process.stdin is not None
    assert process.stdout is not None
    tail = _Tail(process.stdout)
    try:
        with suppress(BrokenPipeError):
            process.stdin.write(job)
            process.stdin.close()
        code: int | None = process.wait(time_limit)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        # and what it left running
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        tail.join()
        with suppress(OSError):
            process.stdin.close()
    return code, tail.text


class _Tail(threading.Thread):
    """Reads a pipe to its end and keeps the last of it."""

    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self._kept = b""
        self.start()

    def run(self) -> None:
        with self._pipe:
            while chunk := os.read(self._pipe.fileno(), 1 << 16):
                self._kept = (self._kept + chunk)[-_TAIL:]

    @property
    def text(self) -> str:
        return self._kept.decode("utf-8", errors="replace")


def _read(answer: Path) -> dict[str, Any] | None:
    """The answer, which whatever ran in there may have written; None for what is none."""
    try:
        if answer.stat().st_size > _MAX_ANSWER:
            return None
        document = json.loads(answer.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    if isinstance(document.get("result"), dict):
        return document
    problem = document.get("problem")
    return document if isinstance(problem, dict) and isinstance(problem.get("message"), str) else None


def _broken(operation: str, title: str, code: int, said: str) -> ModelError:
    """For people how it ended and its last words; all of them, tracebacks too, are in a file."""
    name = signal.Signals(-code).name if -code in set(signal.Signals) else ""
    how = f"was ended by {name or -code}" if code < 0 else f"ended with {code}"
    lines = [line.rstrip() for line in _without_tracebacks(said) if line.strip()]
    last = "\n  ".join(lines[-_SHOWN:])
    hints = ["was it out of memory?"] if name == "SIGKILL" else []
    with suppress(OSError):  # a full disk must not hide the message
        with tempfile.NamedTemporaryFile("w", prefix="lockship-", suffix=".log", delete=False) as log:
            log.write(said)
        hints.append(f"the details are in {log.name}")
    return ModelError(f"{operation} {how} in {title}" + (f":\n  {last}" if last else ""), hint="; ".join(hints) or None)


def _without_tracebacks(said: str) -> Iterator[str]:
    """The lines without Python's frames: what they end with is enough."""
    inside = False
    for line in said.splitlines():
        if line.startswith("Traceback (most recent call last)"):
            inside = True
        elif not (inside and line.startswith((" ", "\t"))):
            inside = False
            yield line
