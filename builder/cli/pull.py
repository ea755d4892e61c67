"""`lockship pull`."""

from __future__ import annotations

from pathlib import Path

from builder.cli.setup import context, optional_project
from builder.cli.terminal import Terminal, relative
from builder.content import Platform
from builder.pipeline.copying import Copied
from builder.pipeline.naming import named
from builder.pipeline.pulling import Pulled, layout_for, pull
from builder.words import human_size, plural

__all__ = ["run", "summary"]


def run(terminal: Terminal, path: Path, name: str | None, folder: Path | None, platform: str | None) -> None:
    """Pull; the digest on stdout."""
    machine = context(terminal)
    wanted = Platform.parse(platform) if platform else None
    project = optional_project(path)
    reference = named(name, project, machine)
    target = layout_for(reference, project, folder.absolute() if folder else None)
    plain_http = project.store.plain_http if project else ()
    pulled = pull(reference, target, machine, platform=wanted, plain_http=plain_http)
    copied = pulled.copied
    terminal.note(f"{reference}: {summary(copied)}, into {relative(pulled.folder)}")
    if copied.previous is not None:
        terminal.note(f"{copied.tag} was sha256:{copied.previous.short} there, and is sha256:{copied.digest.short} now")
    if copied.tag is None:
        terminal.note("it has no tag there: name it by its digest")
    terminal.result("pull", _document(pulled), copied.digest)


def summary(copied: Copied) -> str:
    """How much came, and how much was there."""
    said = f"{plural(copied.fetched, 'blob')} fetched, {human_size(copied.received)}"
    if not copied.fetched:
        return f"every blob was there, {human_size(copied.present_size)}"
    return said + (f"; {copied.present} there already, {human_size(copied.present_size)}" if copied.present else "")


def _document(pulled: Pulled) -> dict[str, object]:
    copied = pulled.copied
    return {
        "reference": str(pulled.reference),
        "repository": str(pulled.reference.repository),
        "digest": copied.digest,
        "tag": copied.tag,
        "previous": copied.previous,
        "folder": str(pulled.folder),
        "platforms": list(copied.platforms),
        "fetched": {"blobs": copied.fetched, "bytes": copied.received},
        "present": {"blobs": copied.present, "bytes": copied.present_size},
        "referrers": copied.referrers,
    }
