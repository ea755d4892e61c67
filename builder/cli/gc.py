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
from builder.pipeline.collecting import Collected, Collection, collect, plan_collection, policy_of, requests_of
from builder.pipeline.piling import Amount, Piles, clean_cache, piles_of
from builder.pipeline.targets import opened_target
from builder.registry.sweep import Swept
from builder.releases.holdings import Policy
from builder.releases.retention import Verdict
from builder.words import human_size, listed, plural

__all__ = ["run"]

_REASONS = 2  # why something stays, in the table; --json has all
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
        text = "\n".join(_text(plan, policy, source, piles))
        if not apply or (plan.empty and not piles.abandoned.count):
            requests = requests_of(target)
            document = _document(plan, policy, source, piles, requests)
            terminal.result("gc", {"store": target.name, **document}, text)
            asked = f" ({plural(requests, 'request')})" if requests else ""
            where = f" {target.option}" if repository is not None else ""
            more = "" if plan.empty else f": `lockship gc --apply{where}` does it"
            terminal.note(f"{'nothing to delete' if plan.empty else 'nothing was deleted'}{asked}{more}")
            return
        for line in text.splitlines():
            terminal.note(line)
        _confirm(terminal, plan, yes=yes)
        done = collect(target, machine, plan)
        cleaned = clean_cache(machine.cache, time.time())
        requests = requests_of(target)
    document = {**_document(plan, policy, source, piles, requests), **_did(done, cleaned)}
    terminal.result("gc", {"store": target.name, **document}, _summary(done, cleaned, requests))


def _confirm(terminal: Terminal, plan: Collection, *, yes: bool) -> None:
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


def _text(plan: Collection, policy: Policy, source: str, piles: Piles) -> Iterator[str]:
    yield f"kept: the newest {policy.keep}, and all for {policy.keep_days:g} days ({source})"
    yield ""
    yield from _going(plan)
    yield ""
    staying = [one for one in plan.decision.verdicts if one.reasons]
    if staying:
        yield "stays:"
        yield _indented(table(("what", "released", "why"), [_row(one) for one in staying]))
    else:
        yield "stays: nothing, it is empty"
    yield ""
    yield from _piles(plan, piles)


def _going(plan: Collection) -> Iterator[str]:
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
    yield "goes:"
    yield _indented(table(("release", "released", "with", "bytes"), rows, right=(3,)))


def _row(one: Verdict) -> tuple[str, ...]:
    name = one.name if one.kind == "release" else f"{one.kind} {one.name}"
    shown, more = one.reasons[:_REASONS], len(one.reasons) - _REASONS
    return name, one.time, "; ".join(shown) + (f"; and {plural(more, 'reason')} more" if more > 0 else "")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _piles(plan: Collection, piles: Piles) -> Iterator[str]:
    yield "what piles up:"
    if plan.loose.blobs:
        yield f"  layers without owners: {_blobs(plan.loose)}; --apply deletes them"
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


def _blobs(swept: Swept) -> str:
    return f"{plural(len(swept.blobs), 'blob')}, {human_size(sum(swept.blobs.values()))}"


def _amount(one: Amount) -> str:
    return f"{one.kind}: {plural(one.count, 'file')}, {human_size(one.size)}"


def _summary(done: Collected, cleaned: Amount, requests: int) -> str:
    said = [f"deleted {plural(len(done.versions), 'release')}, {plural(done.manifests, 'manifest')}"]
    if done.swept.blobs:
        linked = f" ({human_size(done.swept.linked)} more are the cache's, too)" if done.swept.linked else ""
        said.append(f"{human_size(done.swept.size)} freed on the disk{linked}")
    if cleaned.count:
        said.append(f"{human_size(cleaned.size)} of the cache")
    lines = [", ".join(said) + (f" ({plural(requests, 'request')})" if requests else "")]
    if done.spared:
        lines.append(f"spared, somebody came to need it: {', '.join(done.spared)}")
    if done.young.blobs:
        lines.append(
            f"{_blobs(done.young)} stay for an hour after they were last used: a build may count on them; run it later"
        )
    if requests:
        lines.append("the registry frees the bytes when it collects its own garbage")
    return "\n".join(lines)


def _document(plan: Collection, policy: Policy, source: str, piles: Piles, requests: int) -> dict[str, object]:
    decision = plan.decision
    return {
        "policy": {"keep": policy.keep, "keep-days": policy.keep_days, "from": source},
        "applied": False,
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
        "requests": requests,
        "done": None,
        "piles": {
            "loose_blobs": {"count": len(plan.loose.blobs), "bytes": sum(plan.loose.blobs.values())},
            "cache": [{"kind": one.kind, "files": one.count, "bytes": one.size} for one in piles.cache],
            "abandoned": {"files": piles.abandoned.count, "bytes": piles.abandoned.size},
            "logs": {"files": piles.logs.count, "bytes": piles.logs.size},
            "unused_data": None if piles.unused is None else list(piles.unused),
            "slower_steps": [
                {"step": one.step, "seconds_before": one.before, "seconds": one.now} for one in piles.slower
            ],
        },
    }


def _did(done: Collected, cleaned: Amount) -> dict[str, object]:
    return {
        "applied": True,
        "done": {
            "versions": list(done.versions),
            "spared": list(done.spared),
            "manifests": done.manifests,
            "blobs": len(done.swept.blobs),
            "bytes_freed": done.swept.size,
            "bytes_linked": done.swept.linked,
            "bytes_young": sum(done.young.blobs.values()),
            "cache_files": cleaned.count,
            "cache_bytes": cleaned.size,
        },
    }
