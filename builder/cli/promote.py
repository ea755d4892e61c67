"""`lockship promote`, `rollback` and `approve`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import typer

from builder.cli.setup import context, optional_project
from builder.cli.terminal import Terminal
from builder.errors import UsageError
from builder.pipeline.identity import actor, wall_clock
from builder.pipeline.promoting import Moved, Proposal, Wish, carry_out, propose, refuse
from builder.pipeline.targets import opened_target
from builder.pipeline.trusting import trust_of

__all__ = ["approve", "move"]


def move(
    terminal: Terminal,
    path: Path,
    repository: str | None,
    key: Path | None,
    *,
    yes: bool,
    action: Literal["promote", "rollback"],
    stage: str,
    version: str | None,
    accept: bool,
    take_over: bool,
    reason: str,
) -> None:
    """Show what will change, ask, do it; the digest that the stage has then on stdout."""
    machine = context(terminal)
    project = None if repository is not None and path == Path() else optional_project(path)
    wish = Wish(action, stage, version, ("schema", "data") if accept else (), take_over, reason)
    with opened_target(repository, project, machine, push=True) as target:
        proposal = propose(target, machine, wish, trust_of(project, machine, key), project)
        for line in _lines(proposal):
            terminal.note(line)
        refuse(proposal)
        if not proposal.there:
            _confirm(terminal, proposal, yes=yes)
        moved = carry_out(target, machine, proposal)
    terminal.note(_summary(moved))
    terminal.result(action, _document(moved, target.name), moved.proposal.record.index)


def approve(terminal: Terminal, path: Path, repository: str | None, version: str, stage: str, key: Path | None) -> None:
    """Write a signed approval; its digest on stdout."""
    from builder.cli.signing import private_key
    from builder.pipeline.approving import approve as write

    machine = context(terminal)
    private = private_key(terminal, key)
    if private is None:
        raise UsageError("an approval is signed", hint="give --key FILE, your private key, or LOCKSHIP_SIGNING_KEY")
    project = None if repository is not None and path == Path() else optional_project(path)
    whoever = actor(machine.environ)
    with opened_target(repository, project, machine, push=True) as target:
        stages = project.stages if project is not None else ()
        entry = write(target, version, stage, whoever, wall_clock, private.sign, stages=stages)
    terminal.note(f"{whoever.by} approves {version} for {stage}, signed with {private.public.fingerprint[:23]}…")
    document = {"version": version, "stage": stage, "entry": entry.digest, "by": whoever.by}
    terminal.result("approve", document, entry.digest)


def _confirm(terminal: Terminal, proposal: Proposal, *, yes: bool) -> None:
    if yes:
        return
    wish = proposal.wish
    if terminal.json or not sys.stdin.isatty():
        raise UsageError(
            f"nobody is here to say that {wish.stage} may change", hint="look at the lines above, and add --yes"
        )
    question = f"{wish.action} {wish.stage} to {proposal.record.version}?"
    if not typer.confirm(question, default=False, err=True):
        raise typer.Exit(7)


def _lines(proposal: Proposal) -> Iterator[str]:
    wish, record, before = proposal.wish, proposal.record, proposal.before_record
    has = proposal.before.short if proposal.before else "nothing"
    if before is not None:
        has = f"{before.version} ({has})"
    yield f"{wish.stage}: {has} → {record.version} ({record.digest.short}), released {record.at} by {record.by}"
    if proposal.there:
        return
    yield from (f"  {line}" for line in proposal.changes)
    for one in proposal.checks.findings:
        if one.level == "refuse":
            continue  # the error says it
        yield f"  {'' if one.level == 'note' else one.level + ': '}{one.about}: {one.text}"
    deploy = proposal.config.deploy
    yield f"  deploy: {'nothing but the pointer' if deploy.target == 'none' else deploy.target}"


def _summary(moved: Moved) -> str:
    proposal = moved.proposal
    stage, version = proposal.wish.stage, proposal.record.version
    if moved.entry is None:
        return f"{stage} has {version} already"
    timed = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in moved.steps.items())
    state = ", and it is healthy" if moved.healthy else ""
    return f"{stage} has {version} now{state}{f' ({timed})' if timed else ''}"


def _document(moved: Moved, store: str) -> dict[str, object]:
    proposal = moved.proposal
    before = proposal.before_record
    return {
        "store": store,
        "stage": proposal.wish.stage,
        "version": proposal.record.version,
        "digest": proposal.record.index,
        "previous": {"digest": proposal.before, "version": before.version if before else None},
        "changed": moved.entry is not None,
        "entry": moved.entry.digest if moved.entry else None,
        "healthy": moved.healthy,
        "why": moved.why,
        "changes": list(proposal.changes),
        "findings": [{"level": one.level, "about": one.about, "text": one.text} for one in proposal.checks.findings],
        "steps": dict(moved.steps),
    }
