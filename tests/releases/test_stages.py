"""Stages out of a journal: what one has, what was interrupted, and what it can go back to, against a plain model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.content import Digest
from builder.releases.events import ACTIONS, Event
from builder.releases.journal import Entry, Journal, entry_artifact, journal_of, parse_entry
from builder.releases.stages import Stage, interrupted, rollback_candidates, settled, stages_of

VERSIONS = ("1.0", "1.1", "1.2", "1.3")
AT = "2026-01-02T03:04:05Z"


def digest(version: str) -> Digest:
    return Digest.of(version.encode())


@dataclass
class Writer:
    """Writes a journal, and does to the stage's tag what it says; whatever is cut off leaves out its outcome."""

    journal: Journal = field(default_factory=Journal)
    tag: Digest | None = None

    def write(self, kind: Any, **facts: Any) -> Entry:
        made = entry_artifact(Event(kind, AT, "ada", stage="production", **facts), self.journal.heads)
        entry = parse_entry(made.manifest)
        self.journal = self.journal.with_entry(entry)
        return entry

    def act(self, kind: str, version: str, outcome: str | None, *, watched: bool = False, moves: bool = True) -> Entry:
        entry = self.write(kind, version=version, digest=digest(version), notes={"watched": watched})
        if moves:
            self.tag = digest(version)
        if outcome in ("healthy", "unhealthy"):
            self.write("moved", of=entry.digest)
        if outcome is not None:
            self.write(outcome, of=entry.digest)
        return entry

    @property
    def stage(self) -> Stage:
        return stages_of(self.journal).get("production") or Stage("production")


@dataclass(frozen=True)
class Step:
    """Somebody does `kind`; `outcome` is None for a run that was cut off, before its tag moved or (`moves`) after."""

    kind: str
    version: str
    watched: bool
    outcome: str | None
    moves: bool

    def play(self, writer: Writer) -> None:
        writer.act(self.kind, self.version, self.outcome, watched=self.watched, moves=self.moves)


@st.composite
def steps(draw: st.DrawFn, *, whole: bool) -> Step:
    watched = draw(st.booleans())
    outcome = draw(st.sampled_from([*(("healthy", "unhealthy") if watched else ()), "moved", "abandoned", None]))
    if whole and outcome is None:
        outcome = "abandoned"
    moves = outcome in ("moved", "healthy", "unhealthy") or (outcome is None and draw(st.booleans()))
    return Step(draw(st.sampled_from(ACTIONS)), draw(st.sampled_from(VERSIONS)), watched, outcome, moves)


@given(st.lists(steps(whole=True), max_size=14))
def test_candidates_are_those_of_a_plain_model(history: list[Step]) -> None:
    """The model goes forwards: who was good is on top; who was rolled back from is gone until good again."""
    writer, good, has = Writer(), list[str](), None
    for step in history:
        step.play(writer)
        if not step.moves:
            continue
        if step.kind != "promote" and has in good:
            good.remove(has)
        if step.outcome == "healthy" or (step.outcome == "moved" and not step.watched):
            good = [one for one in good if one != step.version] + [step.version]
        has = step.version
    found = [move.version for move in rollback_candidates(writer.stage, writer.tag)]
    assert found == [one for one in reversed(good) if one != has]


@given(st.lists(steps(whole=False), max_size=10))
def test_whatever_was_cut_off_the_journal_and_the_tag_agree(history: list[Step]) -> None:
    writer = Writer()
    for step in history:
        step.play(writer)
    sure = settled(writer.stage, writer.tag)
    assert sure.pending == ()
    current = sure.current
    assert (current.digest if current else None) == writer.tag
    back = interrupted(writer.stage, writer.tag)
    assert back is None or (back.digest == writer.tag and back.entry.event.kind in ("rollback", "return"))
    assert rollback_candidates(sure, writer.tag) == tuple(
        move for move in rollback_candidates(sure, writer.tag) if move.was_good and move.digest != writer.tag
    )


def test_a_rollback_that_was_cut_off_is_not_two() -> None:
    """Whoever runs the command again wants what the first run was about, not the release before it."""
    writer = Writer()
    for version in ("1.0", "1.1", "1.2"):
        writer.act("promote", version, "moved")
    cut = writer.act("rollback", "1.1", None)
    found = interrupted(writer.stage, writer.tag)
    assert found is not None and (found.entry.digest, found.version) == (cut.digest, "1.1")
    writer.write("moved", of=cut.digest)
    assert interrupted(writer.stage, writer.tag) is None
    assert [move.version for move in rollback_candidates(writer.stage, writer.tag)] == ["1.0"]


@pytest.mark.parametrize(
    ("kind", "outcome", "watched", "moves", "is_cut_off"),
    [
        ("rollback", None, False, True, True),
        ("rollback", None, True, True, True),
        ("rollback", "moved", True, True, True),  # it points there, and whether it runs nobody knows
        ("return", "moved", True, True, True),
        ("rollback", "moved", False, True, False),
        ("rollback", "healthy", True, True, False),
        ("rollback", "unhealthy", True, True, False),
        ("rollback", None, False, False, False),
        ("promote", None, False, True, False),
        ("promote", "moved", True, True, False),
    ],
)
def test_what_counts_as_cut_off(kind: str, outcome: str | None, watched: bool, moves: bool, is_cut_off: bool) -> None:
    writer = Writer()
    writer.act("promote", "1.0", "moved")
    writer.act("promote", "1.1", "moved")
    writer.act(kind, "1.0", outcome, watched=watched, moves=moves)
    assert (interrupted(writer.stage, writer.tag) is not None) is is_cut_off


def test_a_tag_that_somebody_moved_by_hand_is_nobodys_rollback() -> None:
    writer = Writer()
    writer.act("promote", "1.0", "moved")
    writer.act("rollback", "1.0", None)
    assert interrupted(writer.stage, digest("elsewhere")) is None
    assert interrupted(writer.stage, None) is None


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (["moved", "healthy"], "healthy"),
        (["healthy", "moved"], "healthy"),  # side by side, and sorted the wrong way round
        (["moved", "abandoned"], "moved"),
        (["abandoned", "moved"], "moved"),  # taken for dead, and alive after all
        (["healthy", "abandoned"], "healthy"),
        (["unhealthy", "moved"], "unhealthy"),
        (["healthy", "unhealthy"], "unhealthy"),
        (["abandoned"], "abandoned"),
        ([], "pending"),
    ],
)
def test_the_words_that_count(words: list[str], state: str) -> None:
    writer = Writer()
    action = writer.act("promote", "1.0", None)
    for word in words:
        writer.write(word, of=action.digest)
    (move,) = writer.stage.moves
    assert move.state == state
    assert move.happened == (state in ("moved", "healthy", "unhealthy"))


def test_what_is_about_nothing_changes_nothing() -> None:
    """An outcome of no action, of a release's own entry, an action without a stage or a release."""
    writer = Writer()
    action = writer.act("promote", "1.0", "moved")
    before = writer.stage
    writer.write("abandoned", of=digest("nowhere"))
    writer.write("abandoned")
    other = writer.write("release", version="1.0", digest=digest("1.0"))
    writer.write("unhealthy", of=other.digest)
    writer.write("promote", version="1.1")
    assert writer.stage == before
    assert action.digest in {move.entry.digest for move in before.moves}


def test_two_side_by_side_are_both_seen() -> None:
    """Two writers who saw the same entries: both actions are in the stage, in one order for everybody."""
    writer = Writer()
    writer.act("promote", "1.0", "moved")
    heads = writer.journal.heads
    made = [
        entry_artifact(Event("promote", AT, by, stage="production", version=version, digest=digest(version)), heads)
        for by, version in (("ada", "1.1"), ("grace", "1.2"))
    ]
    known = {one.digest: entry_artifact(one.event, one.saw).manifest for one in writer.journal.entries} | {
        one.descriptor.digest: one.manifest for one in made
    }
    journal = journal_of(known)
    assert not journal.problems
    assert journal.heads == tuple(sorted(one.descriptor.digest for one in made))
    assert {move.version for move in stages_of(journal)["production"].pending} == {"1.1", "1.2"}
