"""`lockship export bundle` and `lockship import bundle`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from builder.cli.setup import context, open_project, optional_project, platforms
from builder.cli.terminal import Terminal, relative
from builder.pipeline.bundling import export_bundle
from builder.pipeline.unbundling import Imported, import_bundle
from builder.words import human_size, plural

__all__ = ["run_export", "run_import"]


def run_export(terminal: Terminal, path: Path, output: Path | None, names: Sequence[str], *, artifacts: bool) -> None:
    """Export; the file on stdout."""
    done = export_bundle(open_project(path), context(terminal), output, platforms(names), artifacts=artifacts)
    for warning in done.warnings:
        terminal.warn(warning)
    bundle = done.bundle
    terminal.note(
        f"{bundle.name}:{bundle.tag}: {plural(len(bundle.release), 'blob')} and "
        f"{plural(len(bundle.artifacts), 'artifact')}, {human_size(done.size)}, {done.digest}"
    )
    document = {
        "file": str(done.file.absolute()),
        "sha256": done.digest.hex,
        "size": done.size,
        "name": bundle.name,
        "tag": bundle.tag,
        "digest": bundle.root.digest,
        "platforms": list(bundle.platforms),
        "blobs": len(bundle.release),
        "artifacts": len(bundle.artifacts),
    }
    terminal.result("export-bundle", document, relative(done.file.absolute()))


def run_import(terminal: Terminal, path: Path, file: Path, folder: Path | None) -> None:
    """Import; the release's digest on stdout."""
    machine = context(terminal)
    done = import_bundle(file, machine, optional_project(path), folder.absolute() if folder else None)
    bundle = done.bundle
    terminal.note(_summary(done))
    if done.previous is not None:
        terminal.note(
            f"{bundle.tag} was sha256:{done.previous.short} there, and is sha256:{bundle.root.digest.short} now"
        )
    if done.same_lock is False:
        terminal.warn("the project's lock is not the bundle's: building may need packages that the bundle hasn't")
    document = {
        "name": bundle.name,
        "tag": bundle.tag,
        "digest": bundle.root.digest,
        "previous": done.previous,
        "platforms": list(bundle.platforms),
        "folder": str(done.folder),
        "new": {"blobs": done.blobs, "artifacts": done.artifacts, "bytes": done.size},
        "blobs": len(bundle.release),
        "artifacts": len(bundle.artifacts),
        "same_lock": done.same_lock,
    }
    terminal.result("import-bundle", document, bundle.root.digest)


def _summary(done: Imported) -> str:
    name = f"{done.bundle.name}:{done.bundle.tag}"
    if not done.blobs and not done.artifacts:
        return f"{name}: everything was there"
    what = f"{plural(done.blobs, 'blob')} into {relative(done.folder)}"
    if done.bundle.artifacts:
        what += f", {plural(done.artifacts, 'artifact')} into the cache"
    return f"{name}: {what}; {human_size(done.size)} were new"
