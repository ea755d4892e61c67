"""`lockship export dotnet`."""

from __future__ import annotations

from pathlib import Path

from builder.cli.setup import context, open_project
from builder.cli.terminal import Terminal, relative
from builder.pipeline.exporting_dotnet import Wishes, export_dotnet
from builder.pipeline.packaging import converted_at, converted_in

__all__ = ["run"]


def run(terminal: Terminal, path: Path, name: str | None, contract: Path | None, output: Path, wishes: Wishes) -> None:
    """Export; the package's file on stdout."""
    converted = converted_at(contract) if contract is not None else converted_in(open_project(path), name)
    done = export_dotnet(converted, context(terminal), output.absolute(), wishes)
    package = done.project.package
    document = {
        "folder": str(done.folder),
        "nupkg": str(done.nupkg),
        "package": package.id,
        "version": package.version,
        "class": done.project.client,
        "onnxruntime": package.runtime,
        "model": converted.contract.digest,
    }
    terminal.note(f"{package.id} {package.version}, class {done.project.client}, upon onnxruntime {package.runtime}")
    terminal.result("export-dotnet", document, relative(done.nupkg))
