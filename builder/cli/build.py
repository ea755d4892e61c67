"""`lockship build`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from builder.cli.setup import context, open_project, platforms
from builder.cli.terminal import Terminal
from builder.errors import UsageError
from builder.pipeline.building import Built, build
from builder.words import human_size, plural

__all__ = ["announce", "run"]


def run(terminal: Terminal, path: Path, names: Sequence[str], *, scheduler: str | None = None) -> None:
    """Build; the index's digest on stdout."""
    if scheduler is not None:
        raise UsageError(
            "--scheduler: a cluster's workers can't write into a layout, which is a folder of this machine",
            hint="build into a registry: `lockship build --push --scheduler …`, or `lockship push --scheduler …`",
        )
    project = open_project(path)
    built = build(project, context(terminal), platforms(names))
    announce(terminal, built)
    plan = built.plan
    document = {
        "name": plan.facts.name,
        "tag": built.tag,
        "digest": plan.descriptor.digest,
        "platforms": {str(image.platform): image.descriptor.digest for image in plan.images},
        "written": [{"digest": layer.digest, "size": layer.size, "title": layer.title} for layer in built.written],
        "previous": built.previous,
    }
    terminal.result("build", document, plan.descriptor.digest)


def announce(terminal: Terminal, built: Built) -> None:
    """What a build did, on stderr."""
    for warning in built.warnings:
        terminal.warn(warning)
    name = f"{built.plan.facts.name}:{built.tag}"
    if built.written:
        size = human_size(sum(layer.size for layer in built.written))
        terminal.note(f"{name}: {plural(len(built.written), 'layer')} written, {size}")
    else:
        terminal.note(f"{name}: every layer was there")
    if built.previous is not None:
        terminal.note(
            f"{name} was sha256:{built.previous.short} before, and is sha256:{built.plan.descriptor.digest.short} now"
        )
