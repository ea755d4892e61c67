"""`lockship lock`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from builder.cli.setup import context, open_project
from builder.cli.table import table
from builder.cli.terminal import Terminal
from builder.errors import UsageError
from builder.lock.file import Change, Lock
from builder.pipeline.checking import check as check_lock
from builder.pipeline.locking import lock
from builder.words import human_size, plural

__all__ = ["run"]


def run(terminal: Terminal, path: Path, *, check: bool, upgrade: bool, packages: Sequence[str]) -> None:
    """Lock, or with `check` say whether that is needed."""
    project = open_project(path)
    if check:
        if upgrade or packages:
            raise UsageError("--check changes nothing, so --upgrade makes no sense beside it", hint="give one of them")
        check_lock(project)
        terminal.result("lock-check", {"fresh": True}, "the lock fits its inputs")
        return
    report = lock(project, context(terminal), upgrade=upgrade, upgrade_packages=packages)
    document: dict[str, Any] = {
        "written": report.written,
        "changes": [asdict(change) for change in report.changes],
        "platforms": _summary(report.lock),
    }
    terminal.result("lock", document, _text(report.changes, report.lock, report.written))


def _summary(lock: Lock) -> dict[str, dict[str, int]]:
    return {
        str(locked.platform): {
            "debs": len(locked.debs),
            "wheels": len(locked.wheels),
            **({"conda": len(locked.conda)} if locked.conda else {}),
            **({"jars": len(locked.jars)} if locked.jars else {}),
            "layers": len(locked.layers),
            "size": sum(layer.size for layer in locked.layers),
        }
        for locked in lock.platforms
    }


def _text(changes: Sequence[Change], lock: Lock, written: bool) -> str:
    if not written:
        return "nothing to do: the lock fits its inputs"
    lines = []
    if changes:
        rows = [
            (change.kind, change.name, change.before or "added", change.after or "removed", _where(change, lock))
            for change in changes
        ]
        lines.append(table(("", "package", "from", "to", ""), rows))
    else:
        lines.append("no package moved")
    for platform, facts in _summary(lock).items():
        counts = [plural(facts[f"{kind}s"], kind) for kind in ("deb", "wheel", "layer")]
        if "conda" in facts:
            counts.insert(1, plural(facts["conda"], "conda package"))
        if "jars" in facts:
            counts.insert(-1, plural(facts["jars"], "jar"))
        lines.append(f"{platform}: {', '.join(counts)}, {human_size(facts['size'])}")
    return "\n".join(lines)


def _where(change: Change, lock: Lock) -> str:
    everywhere = len(change.platforms) == len(lock.platforms)
    return "" if everywhere else ", ".join(change.platforms)
