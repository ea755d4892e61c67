"""One deployment at a time for a stage: a container that is never started, whose name only one can have."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from builder.deploy.containers import PREFIX, remove
from builder.deploy.engine import Engine, engine_errors
from builder.errors import RefusedError, StoreError

__all__ = ["Operator", "alone"]


@dataclass(frozen=True, slots=True)
class Operator:
    """The process that deploys; `space` is its namespace of process ids, `began` when it began (Linux: in ticks).

    Both are empty where there is no ``/proc``.
    """

    host: str
    space: str
    process: int
    began: str

    @classmethod
    def here(cls) -> Self:
        """This process."""
        return cls(socket.gethostname(), _space(), os.getpid(), _began(os.getpid()))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """What `str` wrote; None for anything else."""
        parts = text.split("|")
        if len(parts) != 4 or not parts[2].isdigit():
            return None
        return cls(parts[0], parts[1], int(parts[2]), parts[3])

    def __str__(self) -> str:
        return f"{self.host}|{self.space}|{self.process}|{self.began}"

    def is_gone(self) -> bool:
        """Whether it ran on this machine and doesn't any more; False where that can't be told."""
        if not self.began or (self.host, self.space) != (socket.gethostname(), _space()):
            return False
        return _began(self.process) != self.began


def _space() -> str:
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def _began(process: int) -> str:
    with suppress(OSError):
        # the second field is the program's name, with whatever is in it
        return Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    return ""


@contextmanager
def alone(engine: Engine, image: str, project: str, stage: str, *, lease: float, operator: Operator) -> Iterator[None]:
    """Be the only one who deploys to the stage in this engine, whichever machine others come from.

    The lock holds no longer than `lease` seconds by the engine's clock, and ends with a process of this machine that
    died. Raises RefusedError while somebody else has it.
    """
    name = f"lockship.{project}.{stage}.lock"
    lock = _take(engine, image, name, lease, operator)
    if lock is None:
        _clear(engine, name, stage)
        lock = _take(engine, image, name, lease, operator)
    if lock is None:
        raise _busy(stage, name, "somebody else")
    try:
        yield
    finally:
        with suppress(StoreError):  # the lease ends by itself; what happened before is what matters
            remove(engine, lock)


def _take(engine: Engine, image: str, name: str, lease: float, operator: Operator) -> str | None:
    from docker.errors import APIError

    labels = {f"{PREFIX}lock": str(operator), f"{PREFIX}lease": f"{lease:.0f}"}
    with engine_errors(engine):
        try:
            # never started: what it would run doesn't matter
            made = engine.api.create_container(image, ["lock"], name=name, labels=labels, network_disabled=True)
        except APIError as error:
            if error.status_code == 409:
                return None
            raise
    return str(made["Id"])


def _clear(engine: Engine, name: str, stage: str) -> None:
    """Remove a lock that nobody holds any more; by its id, so that it isn't the next one's."""
    from docker.errors import NotFound

    with engine_errors(engine):
        try:
            lock = engine.api.inspect_container(name)
        except NotFound:
            return
        now = _moment(engine.api.info()["SystemTime"])
    labels = lock["Config"].get("Labels") or {}
    holder = Operator.parse(labels.get(f"{PREFIX}lock", ""))
    if holder is None:
        raise RefusedError(f"the engine at {engine.host} has another container that is called {name}")
    age = (now - _moment(lock["Created"])).total_seconds()
    if not holder.is_gone() and age < float(labels.get(f"{PREFIX}lease") or 0):
        raise _busy(stage, name, f"process {holder.process} on {holder.host}, for {age:.0f} s by now")
    remove(engine, str(lock["Id"]))


def _moment(text: Any) -> datetime:
    """The engine's RFC 3339, in UTC or its own zone; to the second, which is enough here."""
    return datetime.fromisoformat(re.sub(r"\.\d+", "", str(text)))


def _busy(stage: str, name: str, who: str) -> RefusedError:
    return RefusedError(
        f"{stage} is being deployed to by {who}",
        hint=f"try again when that is done; if it was aborted on another machine: docker rm {name}",
    )
