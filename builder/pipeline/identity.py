"""Who does something, from where, and when: for records that outlive the machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from builder import git

__all__ = ["Actor", "Clock", "actor", "now", "wall_clock"]

Clock = Callable[[], float]
"""Seconds since 1970."""

_NAMES: Final = (
    "LOCKSHIP_USER",
    "GITHUB_ACTOR",
    "GITLAB_USER_LOGIN",
    "BUILD_REQUESTEDFOREMAIL",  # Azure Pipelines
    "BUILD_USER_ID",  # Jenkins, with the plugin that tells
)
_JOBS: Final = ("LOCKSHIP_JOB_URL", "CI_JOB_URL", "BUILD_URL")
_LONGEST: Final = 200  # characters


@dataclass(frozen=True, slots=True)
class Actor:
    """`by` is a person or a robot; `where` a job's address, or the name of a machine; `host` and `pid` this process."""

    by: str
    where: str
    host: str
    pid: int


def actor(environ: Mapping[str, str], folder: Path | None = None) -> Actor:
    """Whoever runs this: as CI says, else as git knows them, else as the system does."""
    host = socket.gethostname()
    by = next((environ[name] for name in _NAMES if environ.get(name)), None)
    by = by or git.who(folder or Path(), environ) or f"{_login(environ)}@{host}"
    return Actor(_plain(by), _plain(_without_login(_job(environ) or host)), host, os.getpid())


def _login(environ: Mapping[str, str]) -> str:
    found = environ.get("SUDO_USER") or environ.get("LOGNAME") or environ.get("USER")
    return found or str(os.getuid())


def _job(environ: Mapping[str, str]) -> str | None:
    server, repository, run = (environ.get(f"GITHUB_{name}") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID"))
    if server and repository and run:
        return f"{server}/{repository}/actions/runs/{run}"
    collection, project, build = (
        environ.get(name) for name in ("SYSTEM_COLLECTIONURI", "SYSTEM_TEAMPROJECT", "BUILD_BUILDID")
    )
    if collection and project and build:
        return f"{collection}{project}/_build/results?buildId={build}"
    return next((environ[name] for name in _JOBS if environ.get(name)), None)


def _without_login(address: str) -> str:
    """A job's address without what may stand before the ``@``: some servers' hold a password."""
    parts = urlsplit(address)
    if not parts.scheme or "@" not in parts.netloc:
        return address
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _plain(text: str) -> str:
    """One line of printable characters, and none too many."""
    return "".join(character if character.isprintable() else "?" for character in text)[:_LONGEST]


def wall_clock() -> float:
    """The clock of this machine."""
    return datetime.now(UTC).timestamp()


def now(clock: Clock) -> str:
    """The moment in RFC 3339, in UTC and whole seconds."""
    return datetime.fromtimestamp(clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
