"""`lockship push`, and `lockship build --push`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from builder.cli.setup import context, open_project, platforms
from builder.cli.terminal import Terminal
from builder.pipeline.pushing import Pushed, push
from builder.words import human_size, plural

__all__ = ["run"]


def run(
    terminal: Terminal,
    path: Path,
    names: Sequence[str],
    repository: str | None,
    *,
    schema: str = "push",
    scheduler: str | None = None,
) -> None:
    """Push; the index's digest on stdout."""
    project = open_project(path)
    pushed = push(project, context(terminal), platforms(names), repository=repository, scheduler=scheduler)
    for warning in pushed.prepared.warnings:
        terminal.warn(warning)
    terminal.note(_summary(pushed))
    plan = pushed.prepared.plan
    document = {
        "name": plan.facts.name,
        "tag": plan.facts.version,
        "repository": str(pushed.reference.repository),
        "digest": pushed.digest,
        "platforms": {str(image.platform): image.descriptor.digest for image in plan.images},
        "sent": [{"digest": layer.digest, "size": layer.size, "title": layer.title} for layer in pushed.sent],
        "mounted": pushed.mounted,
        "bytes_sent": pushed.bytes_sent,
        "there": pushed.there,
    }
    terminal.result(schema, document, pushed.digest)


def _summary(pushed: Pushed) -> str:
    name = f"{pushed.reference.repository}:{pushed.reference.tag}"
    if pushed.there:
        return f"{name}: is there already"
    layers = {layer.digest for image in pushed.prepared.plan.images for layer in image.layers}
    there = len(layers) - len(pushed.sent) - pushed.mounted
    parts = [f"{plural(len(pushed.sent), 'layer')} sent"]
    if pushed.mounted:
        parts.append(f"{pushed.mounted} mounted")
    parts.append(f"{there} there already")
    return f"{name}: {', '.join(parts)}; {human_size(pushed.bytes_sent)} sent in all"
