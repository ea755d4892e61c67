"""`lockship convert`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from builder.cli.setup import context, open_project
from builder.cli.table import table
from builder.cli.terminal import Terminal, relative
from builder.errors import UsageError
from builder.pipeline.converting import Conversion, Explanation, chosen, convert, explain
from builder.pipeline.reporting import check as check_models
from builder.words import human_size, plural

__all__ = ["run"]


def run(
    terminal: Terminal, path: Path, names: Sequence[str], *, explaining: bool, check: bool, anew: bool
) -> int:  # fmt: skip
    """Convert; a line for each model, its digest and its path, on stdout. The exit code."""
    if explaining + check + anew > 1:
        raise UsageError("--explain, --check and --anew exclude each other", hint="give one of them")
    project = open_project(path)
    if check:
        fresh = check_models(project, tuple(name for name, _ in chosen(project, names)))
        terminal.result("convert-check", {"fresh": True, "models": fresh}, "the converted models fit their inputs")
        return 0
    machine = context(terminal)
    if explaining:
        return _explain(terminal, explain(project, machine, names))
    done = convert(project, machine, names, anew=anew)
    for one in done:
        _announce(terminal, one)
    lines = [f"{one.contract.digest}  {relative(one.file)}" for one in done]
    terminal.result("convert", {"models": [_document(one) for one in done]}, "\n".join(lines))
    return 0


def _explain(terminal: Terminal, found: Sequence[Explanation]) -> int:
    lines = []
    for one in found:
        rows = [(step["path"], step["class"], step["status"], _said(step)) for step in one.steps]
        lines += [f"{one.name}: {one.kind}", table(("step", "class", "status", ""), rows)]
    refused = sum(len(one.refused) for one in found)
    if refused:
        terminal.note(f"{plural(refused, 'step')} can't be converted so that the scores stay the same")
    models = [{"name": one.name, "kind": one.kind, "steps": [dict(step) for step in one.steps]} for one in found]
    terminal.result("convert-explain", {"convertible": not refused, "models": models}, "\n".join(lines))
    return 4 if refused else 0


def _said(step: Mapping[str, Any]) -> str:
    message, remedy = step.get("message") or "", step.get("remedy")
    return f"{message}; {remedy}" if remedy and step["status"] != "ok" else message


def _announce(terminal: Terminal, one: Conversion) -> None:
    """What the gate found, on stderr."""
    for notice in one.notices:
        terminal.warn(notice)
    if one.verdict is None:
        terminal.note(f"{one.name}: up to date")
        return
    groups = one.verdict["groups"]
    compared = sum(group["compared"] for group in groups)
    worst = max((group["max_abs"] for group in groups if group["strict"]), default=0.0)
    runtimes = ", ".join(dict.fromkeys(one.verdict["runtimes"]))
    labels = "labels the same, " if one.contract.output("label") is not None else ""
    terminal.note(
        f"{one.name}: {human_size(one.contract.size)}; {compared:,} rows compared under onnxruntime {runtimes}, "
        f"{labels}numbers off by {worst:.2g} at most"
    )
    for limit in one.verdict.get("limits", ()):
        terminal.note(f"  known limit: {limit['message']}")


def _document(one: Conversion) -> dict[str, Any]:
    return {
        "name": one.name,
        "digest": one.contract.digest,
        "size": one.contract.size,
        "file": str(one.file),
        "written": one.verdict is not None,
        "notices": list(one.notices),
    }
