"""Pythons of this machine, to run models under."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from builder.errors import ModelError
from builder.files import temporary_folder
from builder.lock.indexes import Indexes
from builder.lock.pins import Target
from builder.lock.tools import run_tool, uv_binary, uv_environment
from builder.pipeline.context import Context, host_platform

__all__ = ["HostPython", "find_python", "others", "python_at"]

OLDEST: Final = (3, 10)  # what runs in environments is written for it
NEWEST: Final = (3, 14)
_TIMEOUT: Final = 60.0  # seconds
_ASK: Final = """\
import json, os, platform, sys
facts = [os.path.realpath(sys.executable), platform.python_version(), sys.implementation.name, platform.libc_ver()[1]]
print(json.dumps(facts))
"""


@dataclass(frozen=True, slots=True)
class HostPython:
    """An interpreter: its file, its full version, and what wheels it takes."""

    executable: Path
    target: Target

    @property
    def identity(self) -> str:
        """What environments depend on: another interpreter, another environment."""
        return f"{self.executable} {self.target.python}"


def find_python(minor: str, context: Context, indexes: Indexes) -> HostPython:
    """A CPython of version `minor` (``3.11``); raises ModelError when this machine has none, or can't run models."""
    if tuple(int(part) for part in minor.split(".")) < OLDEST:
        raise ModelError(
            f"models are converted under Python 3.{OLDEST[1]} and newer; the project has {minor}",
            hint="raise `version` under [python]",
        )
    for candidate in _candidates(minor, context, indexes):
        found = python_at(candidate, context)
        if found is not None and found.target.minor == minor:
            return found
    raise ModelError(
        f"this machine has no Python {minor}, which the project's models run on",
        hint=f"install it so that `python{minor}` is on PATH: from the system's packages, with pyenv, or "
        f"`uv python install {minor}`",
    )


def others(than: str, context: Context, indexes: Indexes) -> Iterator[HostPython]:
    """Other Pythons, the newest first: an onnxruntime need not run on the project's."""
    for number in range(NEWEST[1], OLDEST[1] - 1, -1):
        minor = f"3.{number}"
        if minor != than:
            for candidate in _candidates(minor, context, indexes):
                found = python_at(candidate, context)
                if found is not None and found.target.minor == minor:
                    yield found
                    break


def _candidates(minor: str, context: Context, indexes: Indexes) -> Iterator[Path]:
    """Our own base, pyenv's (whose shims on PATH run only what somebody has chosen), and what uv finds."""
    if minor == f"{sys.version_info[0]}.{sys.version_info[1]}":
        yield Path(getattr(sys, "_base_executable", sys.executable))
    home = context.environ.get("PYENV_ROOT") or f"{context.environ.get('HOME', '/nowhere')}/.pyenv"
    yield from sorted(Path(home).glob(f"versions/{minor}.*/bin/python{minor}"), reverse=True)
    command = [uv_binary(), "python", "find", "--no-config", "--no-project", "--system", "--no-python-downloads"]
    with temporary_folder("lockship-python-") as folder:
        try:
            answer = run_tool(
                [*command, "--quiet", minor],
                environ=uv_environment(indexes, context.environ, context.cache.root / "uv"),
                folder=folder,
                timeout=_TIMEOUT,
            )
        except (OSError, TimeoutError):
            answer = None
    if answer is not None and answer.code == 0 and answer.text.strip():
        yield Path(answer.text.strip().splitlines()[-1])


def python_at(executable: Path, context: Context) -> HostPython | None:
    """The interpreter at a path, as it describes itself; None when it can't be run, or is no CPython on Linux."""
    platform = host_platform()
    environ = {"PATH": context.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}
    try:
        answer = run_tool([str(executable), "-I", "-c", _ASK], environ=environ, folder=Path("/"), timeout=_TIMEOUT)
        real, version, implementation, glibc = json.loads(answer.text)
    except (OSError, TimeoutError, ValueError):
        return None
    if platform is None or implementation != "cpython" or not glibc:
        return None
    return HostPython(Path(real), Target(platform, version, glibc))
