"""`lockship release`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from builder.cli.setup import context, open_project
from builder.cli.signing import private_key
from builder.cli.terminal import Terminal
from builder.pipeline.makers import makers_at
from builder.pipeline.releasing import Released, release, require_registry
from builder.words import human_size

__all__ = ["run"]


def run(
    terminal: Terminal,
    path: Path,
    repository: str | None,
    key: Path | None,
    allow: Sequence[str],
    *,
    scheduler: str | None = None,
) -> None:
    """Release; the index's digest on stdout."""
    project = open_project(path)
    signing, around = private_key(terminal, key), context(terminal)
    if scheduler is not None:
        require_registry(project, repository)
    with makers_at(scheduler, around) as makers:
        found = release(project, around, repository=repository, allow=allow, key=signing, makers=makers)
    for warning in found.warnings:
        terminal.warn(warning)
    terminal.note(_summary(found))
    document = {"store": found.store, "there": found.there, "bytes_sent": found.sent, "release": found.record.to_json()}
    terminal.result("release", document, found.record.index)


def _summary(found: Released) -> str:
    record = found.record
    name = f"{record.name} {record.version}"
    if found.there:
        return f"{name}: is a release already, made {record.at} by {record.by}"
    signed = f"signed with {record.signing['fingerprint'][:23]}…" if record.signing else "not signed"
    sent = f", {human_size(found.sent)} sent" if found.sent else ""
    return f"{name}: released to {found.store}{sent}; {signed}"
