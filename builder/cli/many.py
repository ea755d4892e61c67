"""`--all` and `--affected` of `lockship build`, `push` and `release`: many projects, one summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.cli.setup import context, platforms
from builder.cli.signing import private_key
from builder.cli.table import table
from builder.cli.terminal import Terminal, failure
from builder.errors import UsageError
from builder.pipeline.many.affected import Affected, affected
from builder.pipeline.many.building import build_all, push_all, release_all
from builder.pipeline.many.projects import Many, Member, survey
from builder.pipeline.many.running import Outcome, exit_code
from builder.words import plural

__all__ = ["Choice", "build", "push", "release"]


@dataclass(frozen=True, slots=True)
class Choice:
    """What the command line says of many projects; raises UsageError for what contradicts itself."""

    project: Path
    everything: bool
    affected: bool
    root: Path | None = None
    since: str | None = None
    repository: str | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if self.since is not None and not self.affected:
            raise UsageError("--since says what --affected compares with", hint="give --affected too")
        if not self.everything and not self.affected:
            raise UsageError(f"{self.root}: a folder of projects goes with --all", hint="one project is named with -C")
        if self.project != Path():
            raise UsageError(
                "-C names one project, --all and --affected take many", hint="write --all ROOT, without -C"
            )
        if self.repository is not None:
            raise UsageError(
                "--repository is one place, and each project needs its own",
                hint="write repository under [store] in each project file",
            )


def build(terminal: Terminal, choice: Choice, names: Sequence[str]) -> int:
    """`lockship build --all`; the exit code."""
    if choice.scheduler is not None:
        raise UsageError("--scheduler builds into registries", hint="give --push too, or `lockship push --all`")
    run = _Run(terminal, choice)
    return run.through("build-all", build_all(run.many, run.selected, context(terminal), platforms(names)))


def push(terminal: Terminal, choice: Choice, names: Sequence[str]) -> int:
    """`lockship push --all`; the exit code."""
    run = _Run(terminal, choice)
    outcomes = push_all(run.many, run.selected, context(terminal), platforms(names), scheduler=choice.scheduler)
    return run.through("push-all", outcomes)


def release(terminal: Terminal, choice: Choice, key: Path | None, allow: Sequence[str]) -> int:
    """`lockship release --all`; the exit code."""
    run = _Run(terminal, choice)
    signing = private_key(terminal, key)
    outcomes = release_all(
        run.many, run.selected, context(terminal), allow=allow, key=signing, scheduler=choice.scheduler
    )
    return run.through("release-all", outcomes)


class _Run:
    """One command over many projects: which, and how it is told what became of them."""

    def __init__(self, terminal: Terminal, choice: Choice) -> None:
        self._terminal = terminal
        environ = context(terminal).environ
        self.many: Many = survey(choice.root or Path(), environ)
        self._changes: Affected | None = affected(self.many, choice.since, environ) if choice.affected else None
        self.selected = frozenset(self._changes.reasons if self._changes else (one.file for one in self.many.members))
        self._introduce()

    def _introduce(self) -> None:
        """Say what is about to be done."""
        for one in self.many.outside:
            self._terminal.note(f"{one.name} is depended on and lies outside {self.many.root}: it is left alone")
            if one.error is not None:  # what becomes of those that need it, the summary says
                self._terminal.failed(one.name, one.error)
        if (changes := self._changes) is None:
            return
        for warning in changes.unknown:
            self._terminal.warn(warning)
        self._terminal.note(
            f"{len(self.selected)} of {plural(len(self.many.members), 'project')} affected, compared with "
            f"{changes.since.words}"
        )
        for member in self._members():
            self._terminal.note(f"  {member.name}: {changes.reasons[member.file]}")

    def _members(self) -> list[Member]:
        return [member for member in self.many.members if member.file in self.selected]

    def through(self, schema: str, outcomes: Iterator[Outcome]) -> int:
        """Go through all, telling failures as they come; the summary, the result, and the exit code.

        An interruption goes on upwards, behind the summary of what was done.
        """
        known: list[Outcome] = []
        try:
            for outcome in outcomes:
                known.append(outcome)
                self._tell(outcome)
        except (KeyboardInterrupt, SystemExit):
            self._summary(known)
            raise
        self._summary(known)
        code = exit_code(known)
        lines = [f"{one.member.name} {one.done.digest}" for one in known if one.done is not None]
        self._terminal.result(schema, self._document(known, code), "\n".join(lines))
        return code

    def _tell(self, outcome: Outcome) -> None:
        name = outcome.member.name
        if outcome.error is not None:
            self._terminal.failed(name, outcome.error)
        elif outcome.done is not None:
            self._terminal.note(f"{name}: {', '.join(filter(None, (outcome.done.word, outcome.done.note)))}")
        else:
            self._terminal.note(f"{name}: skipped, {outcome.why}")

    def _summary(self, known: Sequence[Outcome]) -> None:
        done = {outcome.member.file: outcome for outcome in known}
        rows = [_row(member, done.get(member.file)) for member in self._members()]
        if rows:
            self._terminal.note(table(("project", "version", "result", "digest", "seconds"), rows, right=(4,)))
        counts = {word: sum(one.result == word for one in known) for word in ("done", "failed", "skipped")}
        left = len(rows) - len(known)
        words = [f"{count} {word}" for word, count in (*counts.items(), ("not begun", left)) if count]
        self._terminal.note(f"{plural(len(rows), 'project')}: {', '.join(words)}" if rows else "nothing to do")

    def _document(self, known: Sequence[Outcome], code: int) -> dict[str, Any]:
        changes = self._changes
        return {
            "ok": code == 0,
            "exit_code": code,
            "since": None if changes is None else changes.since.commit,
            "projects": [self._entry(one) for one in known],
        }

    def _entry(self, outcome: Outcome) -> dict[str, Any]:
        member, done = outcome.member, outcome.done
        return {
            "name": member.name,
            "path": member.path,
            "version": outcome.version,
            "result": outcome.result,
            "digest": None if done is None else done.digest,
            "seconds": round(outcome.seconds, 3),
            "affected": None if self._changes is None else self._changes.reasons[member.file],
            "error": None if outcome.error is None else failure(outcome.error),
            "skipped": outcome.why or None,
            **({} if done is None else {"what": done.word, **done.details}),
        }


def _row(member: Member, outcome: Outcome | None) -> tuple[str, str, str, str, str]:
    if outcome is None:
        return member.name, "", "not begun", "", ""
    digest, word = "", outcome.result + (f" (exit {outcome.error.exit_code})" if outcome.error is not None else "")
    if outcome.done is not None:
        digest, word = f"sha256:{outcome.done.digest.short}", outcome.done.word
    return member.name, outcome.version, word, digest, f"{outcome.seconds:.2f}"
