"""`lockship plan`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from builder.cli.setup import context, open_project, platforms
from builder.cli.table import table
from builder.cli.terminal import Terminal
from builder.image.render import render
from builder.image.reuse import LayerUse
from builder.pipeline.comparing import Outlook, outlook
from builder.pipeline.planning import prepare
from builder.words import human_size, plural

__all__ = ["run"]


def run(terminal: Terminal, path: Path, names: Sequence[str]) -> None:
    """Show the plan."""
    machine = context(terminal)
    prepared = prepare(open_project(path), machine, platforms(names))
    for warning in prepared.warnings:
        terminal.warn(warning)
    ahead = outlook(prepared, machine)
    plan = prepared.plan
    document: dict[str, Any] = {
        "name": plan.facts.name,
        "version": plan.facts.version,
        "digest": plan.descriptor.digest,
        "platforms": {
            str(image.platform): {
                "digest": image.descriptor.digest,
                "layers": len(image.layers),
                "size": sum(layer.size for layer in image.layers),
            }
            for image in plan.images
        },
        "layers": [use.to_json() for use in ahead.layers],
        "diff": None if ahead.comparison is None else ahead.comparison.to_json(),
    }
    lines = [f"{plan.facts.name} {plan.facts.version}", f"  index       {plan.descriptor.digest}"]
    for image in plan.images:
        size = human_size(sum(layer.size for layer in image.layers))
        lines.append(f"  {image.platform!s:<11} {image.descriptor.digest}  {len(image.layers)} layers, {size}")
    terminal.result("plan", document, "\n".join([*lines, "", *_layers(ahead), *_difference(ahead)]))


def _layers(ahead: Outlook) -> list[str]:
    """New layers one by one, the others in a line each."""
    lines = []
    new = [use for use in ahead.layers if use.state == "new"]
    if new:
        rows = [(use.state, use.layer.kind, _title(use), human_size(use.layer.size), use.reason) for use in new]
        lines.append(table(("layer", "kind", "holds", "size", "why"), rows, right=(3,)))
    for state, meaning in (("cached", "made before, in this machine's cache"), ("reused", "in the store already")):
        uses = [use for use in ahead.layers if use.state == state]
        if uses:
            size = human_size(sum(use.layer.size for use in uses))
            lines.append(f"{plural(len(uses), 'layer')} {meaning}, {size}")
    return lines


def _title(use: LayerUse) -> str:
    title = use.layer.title
    return title if len(title) <= 60 else title[:57] + "…"


def _difference(ahead: Outlook) -> list[str]:
    if ahead.comparison is None:
        return ["", "nothing in the store to compare with"]
    return ["", render(ahead.comparison)]
