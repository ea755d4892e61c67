"""`lockship export package`."""

from __future__ import annotations

from pathlib import Path

from builder.cli.setup import context, optional_project
from builder.cli.terminal import Terminal, relative
from builder.errors import UsageError
from builder.pipeline.naming import version_of
from builder.pipeline.releasepack import export_package
from builder.pipeline.targets import opened_target
from builder.words import human_size, plural

__all__ = ["run"]


def run(
    terminal: Terminal, path: Path, repository: str | None, version: str | None, output: Path | None, *, data: bool
) -> None:
    """Write the package; its digest and file on stdout."""
    machine = context(terminal)
    project = None if repository is not None and path == Path() else optional_project(path)
    if version is None:
        if project is None:
            raise UsageError("name a version", hint="lockship export package 1.4.0 --repository HOST/NAME")
        version = version_of(project, machine)
    with opened_target(repository, project, machine) as target:
        packed = export_package(target, version, output, machine, project=project, data=data)
    terminal.note(f"{plural(len(packed.files), 'file')}, {human_size(packed.size)}")
    document = {
        "file": str(packed.file), "digest": packed.digest, "size": packed.size, "files": list(packed.files),
    }  # fmt: skip
    terminal.result("export-package", document, f"{packed.digest} {relative(packed.file)}")
