"""`lockship export ci`."""

from __future__ import annotations

from pathlib import Path

from builder import __version__
from builder.cli.setup import context, open_project
from builder.cli.terminal import Terminal, relative
from builder.errors import UsageError
from builder.pipeline.ci import PROVIDERS, export_ci

__all__ = ["run"]


def run(terminal: Terminal, path: Path, name: str, output: Path | None, *, force: bool) -> None:
    """Write the pipeline; its file on stdout, or with ``-`` the pipeline itself."""
    provider = next((one for one in PROVIDERS if one == name), None)
    if provider is None:
        raise UsageError(f"no such CI provider: {name}", hint=f"there are {', '.join(PROVIDERS)}")
    done = export_ci(open_project(path), context(terminal), provider, output, lockship=__version__, force=force)
    document = {
        "provider": provider,
        "file": None if done.file is None else str(done.file),
        "changed": done.changed,
        "text": done.text,
    }
    if done.file is not None and not done.changed:
        terminal.note("nothing to do: the file is there already")
    terminal.result("export-ci", document, done.text if done.file is None else relative(done.file.absolute()))
