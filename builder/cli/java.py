"""`lockship export java`."""

from __future__ import annotations

from pathlib import Path

from builder.cli.setup import context, open_project
from builder.cli.terminal import Terminal, relative
from builder.pipeline.exporting_java import Wishes, export_java
from builder.pipeline.packaging import converted_at, converted_in

__all__ = ["run"]


def run(terminal: Terminal, path: Path, name: str | None, contract: Path | None, output: Path, wishes: Wishes) -> None:
    """Export; the jar on stdout, or the folder where none was built."""
    converted = converted_at(contract) if contract is not None else converted_in(open_project(path), name)
    done = export_java(converted, context(terminal), output.absolute(), wishes)
    at = done.project.coordinates
    document = {
        "folder": str(done.folder),
        "jar": None if done.jar is None else str(done.jar),
        "group": at.group,
        "artifact": at.artifact,
        "version": at.version,
        "class": done.project.main,
        "onnxruntime": done.project.onnxruntime,
        "model": converted.contract.digest,
    }
    terminal.note(f"{at}, class {done.project.main}, upon onnxruntime {done.project.onnxruntime}")
    terminal.result("export-java", document, relative(done.jar or done.folder))
