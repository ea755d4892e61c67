"""The journal as people read it: one line for each thing that happened, with what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from builder.content import Digest
from builder.pipeline.targets import Target
from builder.releases.chronicle import read_journal
from builder.releases.events import ACTIONS, OUTCOMES
from builder.releases.journal import Entry, Journal
from builder.releases.stages import Move, settled, stages_of

__all__ = ["Line", "Recount", "recount"]

_LOOKS: Final = 3


@dataclass(frozen=True, slots=True)
class Line:
    """One event, and for an action its outcome: ``healthy``, ``moved``, ``unhealthy``, ``abandoned``, ``unknown``."""

    entry: Entry
    outcome: str = ""
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        event = self.entry.event
        found: Mapping[str, Any] = {key: value for key, value in event.to_json().items() if key != "schema"}
        return {
            **found,
            "entry": self.entry.digest,
            "time": self.entry.time,
            "outcome": self.outcome or None,
            "why": self.why or None,
            "clock_went_back": self.entry.clock_went_back,
        }


@dataclass(frozen=True, slots=True)
class Recount:
    """Lines, oldest first; what each stage has now; and what is wrong with the journal."""

    lines: tuple[Line, ...]
    stages: Mapping[str, tuple[Digest | None, str]]
    journal: Journal
    problems: tuple[str, ...]


def recount(target: Target, stage: str | None = None) -> Recount:
    """Everything, or what is about `stage`; raises StoreError when the store can't be reached."""
    for _ in range(_LOOKS):
        found = _recount(target, stage)
        if len(found.problems) == len(found.journal.problems):
            break  # else somebody may have moved a stage between the one read and the other
    return found


def _recount(target: Target, stage: str | None) -> Recount:
    journal = read_journal(target.store, target.memory)
    known = {name: found for name, found in stages_of(journal).items() if stage is None or name == stage}
    tags = {name: target.store.resolve(name) for name in known}
    moves: dict[Digest, Move] = {}
    now: dict[str, tuple[Digest | None, str]] = {}
    problems = list(journal.problems)
    for name, found in known.items():
        pending = {move.entry.digest for move in found.pending}
        sure = settled(found, tags[name])
        moves |= {move.entry.digest: move for move in sure.moves}
        current = sure.current
        now[name] = (tags[name], current.version if current and current.digest == tags[name] else "")
        if current is not None and current.digest != tags[name]:
            problems.append(
                f"{name} names {tags[name] or 'nothing'}, the journal says {current.digest} ({current.version}): "
                "somebody moved its tag without lockship"
            )
        elif current is None and tags[name] is not None:
            problems.append(f"{name} names {tags[name]}, and the journal knows of nothing that it got")
        moves |= {move.entry.digest: move for move in found.moves if move.entry.digest in pending}
    lines = tuple(
        _line(entry, moves.get(entry.digest))
        for entry in journal.entries
        if entry.event.kind not in OUTCOMES and (stage is None or entry.event.stage == stage)
    )
    return Recount(lines, now, journal, tuple(problems))


def _line(entry: Entry, move: Move | None) -> Line:
    if move is None or entry.event.kind not in ACTIONS:
        return Line(entry)
    if move.state == "pending":
        return Line(entry, "unknown", "under way, or cut off")
    why = str(move.ended.event.notes.get("why", "")) if move.ended else ""
    return Line(entry, move.state, why)
