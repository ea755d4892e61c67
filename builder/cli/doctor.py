"""`lockship doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from builder.cli.setup import context
from builder.cli.table import table
from builder.cli.terminal import Terminal
from builder.pipeline.doctor import Check, Report, doctor
from builder.words import plural

__all__ = ["run"]


def run(terminal: Terminal, path: Path, registry: str | None, *, deep: bool) -> int:
    """Look at everything; the exit code that the report has."""
    report = doctor(path, context(terminal), named=path != Path(), registry=registry, deep=deep)
    document = {
        "ok": report.exit_code == 0,
        "exit_code": report.exit_code,
        "checks": [
            {
                "group": check.group,
                "name": check.name,
                "state": check.state,
                "found": check.found,
                "hint": check.hint,
                "details": list(check.details),
            }
            for check in report.checks
        ],
    }
    terminal.result("doctor", document, _text(report))
    return report.exit_code


def _text(report: Report) -> str:
    rows = [row for check in report.checks for row in _rows(check)]
    return f"{table(('', '', '', ''), _once(rows))}\n{_summary(report)}"


def _rows(check: Check) -> Iterator[tuple[str, ...]]:
    """The check, and its hint below it."""
    yield check.group, check.name, check.state, check.found
    for line in (check.hint or "").splitlines():
        yield check.group, "", "", f"  {line}"


def _once(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Each group's name where it begins."""
    before = ("", *(row[0] for row in rows))
    return [(group if group != last else "", *rest) for last, (group, *rest) in zip(before, rows, strict=False)]


def _summary(report: Report) -> str:
    wrong, odd = report.count("failed"), report.count("warning")
    parts = [f"{wrong} failed"] if wrong else ["nothing failed"]
    if odd:
        parts.append(plural(odd, "warning"))
    return ", ".join(parts)
