"""`lockship init`."""

from __future__ import annotations

import os
from pathlib import Path

from builder.cli.terminal import Terminal, relative
from builder.init import inspect, write

__all__ = ["run"]


def run(terminal: Terminal, folder: Path) -> None:
    """Write the project file, and say what to look at."""
    findings = inspect(folder, dict(os.environ))
    written = write(folder, findings)
    for note in findings.notes:
        terminal.note(note)
    document = {"files": [str(path) for path in written], "notes": list(findings.notes)}
    names = " and ".join(relative(path.absolute()) for path in written)
    terminal.result("init", document, f"wrote {names}\nnext: look it over, then run `lockship lock`")
