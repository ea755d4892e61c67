"""What a stage has, had, and can go back to: read out of the journal alone.

Every change of a stage is written down twice: the action before the stage's tag moves, its outcome after. An action
without an outcome was interrupted; then the tag itself tells whether it moved (as a write-ahead log is recovered).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from builder.content import Digest
from builder.releases.events import ACTIONS, OUTCOMES
from builder.releases.journal import Entry, Journal

__all__ = ["Move", "Stage", "State", "interrupted", "rollback_candidates", "settled", "stages_of"]

State = Literal["pending", "moved", "healthy", "unhealthy", "abandoned"]


@dataclass(frozen=True, slots=True)
class Move:
    """One action on a stage, and what became of it so far."""

    entry: Entry
    state: State = "pending"
    ended: Entry | None = None

    @property
    def digest(self) -> Digest:
        """The release that the stage was to get."""
        assert self.entry.event.digest is not None
        return self.entry.event.digest

    @property
    def version(self) -> str:
        """Its version."""
        return self.entry.event.version or ""

    @property
    def happened(self) -> bool:
        """Whether the stage's tag moved."""
        return self.state in ("moved", "healthy", "unhealthy")

    @property
    def was_good(self) -> bool:
        """Whether the release proved itself there: healthy, or in a stage where nobody looks."""
        watched = bool(self.entry.event.notes.get("watched"))
        return self.state == "healthy" or (self.state == "moved" and not watched)


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage's moves, oldest first."""

    name: str
    moves: tuple[Move, ...] = ()

    @property
    def current(self) -> Move | None:
        """The last move that happened."""
        return next((move for move in reversed(self.moves) if move.happened), None)

    @property
    def pending(self) -> tuple[Move, ...]:
        """Moves that have no outcome: under way, or interrupted."""
        return tuple(move for move in self.moves if move.state == "pending")


def stages_of(journal: Journal) -> Mapping[str, Stage]:
    """All stages that the journal knows, by name."""
    moves: dict[str, dict[Digest, Move]] = {}
    home: dict[Digest, str] = {}
    for entry in journal.entries:
        event = entry.event
        if event.kind in ACTIONS and event.stage and event.digest:
            moves.setdefault(event.stage, {})[entry.digest] = Move(entry)
            home[entry.digest] = event.stage
        elif event.kind in OUTCOMES and event.of in home:
            assert event.of is not None
            known = moves[home[event.of]]
            known[event.of] = _concluded(known[event.of], entry)
    return {name: Stage(name, tuple(found.values())) for name, found in sorted(moves.items())}


def _concluded(move: Move, entry: Entry) -> Move:
    """The later word counts; but what has moved can't be abandoned any more."""
    kind = entry.event.kind
    if kind == "abandoned" and move.happened:
        return move
    if kind == "moved" and move.state in ("healthy", "unhealthy"):
        return move
    return replace(move, state=kind, ended=entry)  # type: ignore[arg-type]


def settled(stage: Stage, tag: Digest | None) -> Stage:
    """`stage` with its interrupted moves decided by what its tag names."""
    moves = list(stage.moves)
    open_moves = [number for number, move in enumerate(moves) if move.state == "pending"]
    for number in reversed(open_moves):
        later = any(move.happened for move in moves[number + 1 :])
        moved = not later and moves[number].digest == tag
        moves[number] = replace(moves[number], state="moved" if moved else "abandoned")
    return Stage(stage.name, tuple(moves))


def interrupted(stage: Stage, tag: Digest | None) -> Move | None:
    """The way back that was cut off behind the moment in which the stage's tag, which is `tag`, moved.

    Whoever asks for a rollback then wants that one, and not the one before it: what they saw was a failure.
    """
    known = {move.entry.digest: move.state for move in stage.moves}
    move = settled(stage, tag).current
    if move is None or move.digest != tag or move.entry.event.kind == "promote":
        return None
    return move if known[move.entry.digest] == "pending" or not (move.was_good or move.state == "unhealthy") else None


def rollback_candidates(stage: Stage, current: Digest | None) -> tuple[Move, ...]:
    """Releases that the stage can go back to, the best first: the last ones that were good there.

    Not the one that it has, and none that it was rolled back from since: that it was healthy once is no reason to
    go forward to it at night.
    """
    left: set[Digest] = set()
    found: dict[Digest, Move] = {}
    following: Move | None = None
    for move in reversed([one for one in stage.moves if one.happened]):
        if following is not None and following.entry.event.kind in ("rollback", "return"):
            left.add(move.digest)
        if move.was_good and move.digest not in left and move.digest != current:
            found.setdefault(move.digest, move)
        following = move
    return tuple(found.values())


def digests_in_use(stages: Iterable[Stage]) -> frozenset[Digest]:
    """Every release that any stage has or had."""
    return frozenset(move.digest for stage in stages for move in stage.moves if move.happened)
