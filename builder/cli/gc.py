"""`lockship gc`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import typer

from builder.cli.setup import context, optional_project
from builder.cli.table import table
from builder.cli.terminal import Terminal
from builder.errors import UsageError
from builder.pipeline.collecting import Collected, Collection, collect, plan_collection, policy_of
from builder.pipeline.piling import Amount, Piles, clean_cache, piles_of
from builder.pipeline.targets import opened_target
from builder.releases.holdings import Policy
from builder.releases.retention import Verdict
from builder.words import human_size, listed, plural

__all__ = ["run"]

_SHOWN = 5  # releases that go, by name, in the question


def run(
    terminal: Terminal,
    path: Path,
    repository: str | None,
    *,
    apply: bool,
    yes: bool,
    keep: int | None,
    keep_days: float | None,
) -> None:
    """Show what would go and why the rest stays; with `apply` ask, and delete it."""
    machine = context(terminal)
    project = None if repository is not None and path == Path() else optional_project(path)
    with opened_target(repository, project, machine, push=apply) as target:
        policy, source = policy_of(target, project, keep, keep_days)
        plan = plan_collection(target, policy, stages=frozenset(project.stages if project else ()))
        piles = piles_of(target, machine.cache, plan.facts.journal, plan.decision, project, time.time())
        done: Collected | None = None
        cleaned: Amount | None = None
        if apply and not (plan.empty and not piles.abandoned.count):
            _confirm(terminal, plan, piles, yes=yes)
            done = collect(target, machine, plan)
            cleaned = clean_cache(machine.cache, time.time())
        document = _document(plan, policy, source, piles, done, cleaned)
        terminal.result("gc", {"store": target.name, **document}, "\n".join(_text(plan, policy, source, piles, done)))
        terminal.note(_summary(target.option, plan, done, applied=apply))


def _confirm(terminal: Terminal, plan: Collection, piles: Piles, *, yes: bool) -> None:
    if yes:
        return
    what = _what(plan)
    if terminal.json or not sys.stdin.isatty():
        raise UsageError(f"nobody is here to say that {what} may go", hint="look without --apply first, then add --yes")
    if not typer.confirm(f"delete {what}?", default=False, err=True):
        raise typer.Exit(7)


def _what(plan: Collection) -> str:
    versions = [version for drop in plan.decision.drops for version in drop.versions]
    if versions:
        return f"{plural(len(versions), 'release')} ({listed(versions, _SHOWN)})"
    return "what earlier runs and builds left"


def _text(plan: Collection, policy: Policy, source: str, piles: Piles, done: Collected | None) -> Iterator[str]:
    yield f"kept: the newest {policy.keep}, and all for {policy.keep_days:g} days ({source})"
    yield ""
    yield from _going(plan, done)
    yield ""
    staying = [one for one in plan.decision.verdicts if one.reasons]
    if staying:
        yield "stays:"
        yield _indented(table(("what", "released", "why"), [_row(one) for one in staying]))
    else:
        yield "stays: nothing, it is empty"
    yield ""
    yield from _piles(plan, piles)


def _going(plan: Collection, done: Collected | None) -> Iterator[str]:
    drops = plan.decision.drops
    if not drops:
        yield "goes: no release"
        return
    times = {one.digest: one.time for one in plan.decision.verdicts}
    rows = [
        (
            ", ".join(drop.versions) or "what a run that was cut off left",
            times.get(drop.digest, "") if drop.digest else "",
            plural(len(drop.manifests), "manifest"),
            human_size(drop.size),
        )
        for drop in drops
    ]
    yield "went:" if done else "goes:"
    yield _indented(table(("release", "released", "with", "bytes"), rows, right=(3,)))
    if done and done.spared:
        yield f"spared, somebody came to need it: {', '.join(done.spared)}"


def _row(one: Verdict) -> tuple[str, ...]:
    name = one.name if one.kind == "release" else f"{one.kind} {one.name}"
    return name, one.time, "; ".join(one.reasons)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _piles(plan: Collection, piles: Piles) -> Iterator[str]:
    yield "what piles up:"
    if plan.loose.blobs:
        yield f"  layers without owners: {_blobs(plan.loose.blobs)}; --apply deletes them"
    total = sum(one.size for one in piles.cache)
    kinds = ", ".join(f"{one.kind} {human_size(one.size)}" for one in piles.cache if one.size)
    yield f"  this machine's cache: {human_size(total)}{f' ({kinds})' if kinds else ''}; all of it can be made again"
    if piles.abandoned.count:
        yield f"  {_amount(piles.abandoned)}; --apply deletes it"
    yield f"  {_amount(piles.logs)}"
    if piles.unused:
        yield f"  data sets that no release here names: {', '.join(piles.unused)}"
    for slow in piles.slower:
        yield f"  the step {slow.step} takes {slow.now:.1f} s now, {slow.before:.1f} s before"


def _blobs(blobs: object) -> str:
    assert isinstance(blobs, dict)
    return f"{plural(len(blobs), 'blob')}, {human_size(sum(blobs.values()))}"


def _amount(one: Amount) -> str:
    return f"{one.kind}: {plural(one.count, 'file')}, {human_size(one.size)}"


def _summary(option: str, plan: Collection, done: Collected | None, *, applied: bool) -> str:
    asked = f" ({plural(plan.requests + (done.requests if done else 0), 'request')})" if plan.requests else ""
    if done is None:
        if plan.empty:
            return f"nothing to delete{asked}"
        return f"nothing was deleted{asked}: `lockship gc --apply {option}` does it" if not applied else ""
    freed = f", {human_size(done.swept.size)} freed on the disk" if done.swept.blobs else ""
    linked = f" ({human_size(done.swept.linked)} more are the cache's, too)" if done.swept.linked else ""
    return (
        f"deleted {plural(len(done.versions), 'release')}, {plural(done.manifests, 'manifest')}{freed}{linked}{asked}"
    )


def _document(
    plan: Collection, policy: Policy, source: str, piles: Piles, done: Collected | None, cleaned: Amount | None
) -> dict[str, object]:
    decision = plan.decision
    return {
        "policy": {"keep": policy.keep, "keep-days": policy.keep_days, "from": source},
        "applied": done is not None,
        "goes": [
            {
                "versions": list(drop.versions),
                "digest": drop.digest,
                "manifests": list(drop.manifests),
                "tags": list(drop.tags),
                "bytes": drop.size,
            }
            for drop in decision.drops
        ],
        "stays": [
            {"kind": one.kind, "name": one.name, "digest": one.digest, "time": one.time or None, "why": one.reasons}
            for one in decision.verdicts
            if one.reasons
        ],
        "bytes": decision.size,
        "requests": plan.requests + (done.requests if done else 0),
        "done": None
        if done is None
        else {
            "versions": list(done.versions),
            "spared": list(done.spared),
            "manifests": done.manifests,
            "blobs": len(done.swept.blobs),
            "bytes_freed": done.swept.size,
            "bytes_linked": done.swept.linked,
        },
        "piles": {
            "loose_blobs": {"count": len(plan.loose.blobs), "bytes": sum(plan.loose.blobs.values())},
            "cache": [{"kind": one.kind, "files": one.count, "bytes": one.size} for one in piles.cache],
            "abandoned": {"files": piles.abandoned.count, "bytes": piles.abandoned.size},
            "cleaned": None if cleaned is None else {"files": cleaned.count, "bytes": cleaned.size},
            "logs": {"files": piles.logs.count, "bytes": piles.logs.size},
            "unused_data": None if piles.unused is None else list(piles.unused),
            "slower_steps": [
                {"step": one.step, "seconds_before": one.before, "seconds": one.now} for one in piles.slower
            ],
        },
    }
