"""`lockship export dockerfile`."""

from __future__ import annotations

from pathlib import Path

from builder.cli.setup import context, open_project
from builder.cli.terminal import Terminal
from builder.content import Platform
from builder.pipeline.exporting import export_dockerfile

__all__ = ["run"]


def run(terminal: Terminal, path: Path, output: Path, platform: str | None) -> None:
    """Export; the folder on stdout."""
    done = export_dockerfile(
        open_project(path), context(terminal), output.absolute(), Platform.parse(platform) if platform else None
    )
    terminal.note(f"build it with: docker build -t {done.tag} {output}")
    document = {"folder": str(done.folder), "platform": str(done.platform), "tag": done.tag}
    terminal.result("export-dockerfile", document, str(output))
