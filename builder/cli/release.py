"""`lockship release`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.setup import context, open_project
from builder.cli.terminal import Terminal
from builder.pipeline.releasing import Released, release
from builder.words import human_size

if TYPE_CHECKING:
    from builder.releases.keys import PrivateKey

__all__ = ["private_key", "run"]


def run(terminal: Terminal, path: Path, repository: str | None, key: Path | None, allow: Sequence[str]) -> None:
    """Release; the index's digest on stdout."""
    project = open_project(path)
    found = release(project, context(terminal), repository=repository, allow=allow, key=private_key(terminal, key))
    for warning in found.warnings:
        terminal.warn(warning)
    terminal.note(_summary(found))
    document = {"store": found.store, "there": found.there, "bytes_sent": found.sent, "release": found.record.to_json()}
    terminal.result("release", document, found.record.index)


def private_key(terminal: Terminal, file: Path | None) -> PrivateKey | None:
    """The key to sign with, its password asked for on a terminal."""
    if file is None and not os.environ.get("LOCKSHIP_SIGNING_KEY"):
        return None
    from builder.releases.keys import signing_key

    return signing_key(os.environ, file, ask=_ask, warn=terminal.warn)


def _ask() -> str | None:
    if not sys.stdin.isatty():
        return None
    import getpass

    return getpass.getpass("password of the private key: ")


def _summary(found: Released) -> str:
    record = found.record
    name = f"{record.name} {record.version}"
    if found.there:
        return f"{name}: is a release already, made {record.at} by {record.by}"
    signed = f"signed with {record.signing['fingerprint'][:23]}…" if record.signing else "not signed"
    sent = f", {human_size(found.sent)} sent" if found.sent else ""
    return f"{name}: released to {found.store}{sent}; {signed}"
