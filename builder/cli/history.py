"""`lockship history`."""

from __future__ import annotations

from pathlib import Path

from builder.cli.setup import context, optional_project
from builder.cli.table import table
from builder.cli.terminal import Terminal
from builder.errors import UsageError
from builder.pipeline.recounting import Line, Recount, recount
from builder.pipeline.targets import opened_target

__all__ = ["run"]


def run(terminal: Terminal, path: Path, repository: str | None, stage: str | None, limit: int) -> None:
    """Show the journal, oldest first, as logs are."""
    machine = context(terminal)
    project = None if repository is not None and path == Path() else optional_project(path)
    with opened_target(repository, project, machine) as target:
        found = recount(target, stage)
    if stage is not None and not found.lines:
        declared = set(project.stages) if project else set()
        if stage not in declared:
            known = sorted(set(found.stages) | declared)
            raise UsageError(f"no stage {stage!r} is known", hint=f"there are: {', '.join(known) or 'none'}")
    for problem in found.problems:
        terminal.warn(problem)
    lines = found.lines[-limit:] if limit else found.lines
    document = {
        "store": target.name,
        "stages": {
            name: {"digest": digest, "version": version or None} for name, (digest, version) in found.stages.items()
        },
        "entries": [line.to_json() for line in lines],
        "left_out": len(found.lines) - len(lines),
        "problems": list(found.problems),
    }
    terminal.result("history", document, _text(found, lines))


def _text(found: Recount, lines: tuple[Line, ...]) -> str:
    if not lines:
        return "nothing was released yet"
    rows = [_row(line) for line in lines]
    shown = [table(("when", "what", "version", "stage", "outcome", "by", "from"), rows)]
    if len(lines) < len(found.lines):
        shown.append(f"… and {len(found.lines) - len(lines):,} before: --limit 0 shows all")
    for name, (digest, version) in found.stages.items():
        shown.append(f"{name}: {version or (digest.short if digest else 'nothing')}")
    return "\n".join(shown)


def _row(line: Line) -> tuple[str, ...]:
    event = line.entry.event
    version = event.version or ""
    if event.previous_version and event.kind != "release":
        version = f"{event.previous_version} → {version}"
    when = line.entry.time + (" (clock went back)" if line.entry.clock_went_back else "")
    reason = str(event.notes.get("reason", ""))
    outcome = line.outcome + (f": {line.why}" if line.why and line.outcome != "healthy" else "")
    return (when, event.kind, version, event.stage or "", _cut(outcome), event.by, _cut(reason or event.where))


def _cut(text: str, most: int = 60) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"
