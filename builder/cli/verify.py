"""`lockship verify`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from builder.cli.setup import context, open_project, platforms
from builder.cli.terminal import Terminal
from builder.pipeline.verifying import verify
from builder.words import human_size

__all__ = ["run"]


def run(terminal: Terminal, path: Path, names: Sequence[str], *, offline: bool = False) -> None:
    """Build again and compare."""
    found = verify(open_project(path), context(terminal), platforms(names), offline=offline)
    document = {
        "digest": found.plan.descriptor.digest,
        "blobs": found.blobs,
        "size": found.size,
        "compared_with_store": found.stored,
    }
    where = "the lock and the store" if found.stored else "the lock (the store has no such version)"
    text = f"{found.plan.descriptor.digest}\nbuilt again: {found.blobs} blobs, {human_size(found.size)}, as in {where}"
    terminal.result("verify", document, text)
