"""The journal as a value: one order whatever came first, causes before effects; what was changed or is gone shows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.content import Digest, canonical_json
from builder.errors import VerificationError
from builder.registry.artifact import artifact
from builder.releases.events import Event
from builder.releases.journal import (
    ARTIFACT_TYPE,
    Journal,
    entry_artifact,
    entry_tag,
    is_journal_tag,
    journal_of,
    parse_entry,
    tagged_digest,
)

START = 1_700_000_000


def stamp(seconds: int) -> str:
    return datetime.fromtimestamp(START + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def event(number: int, seconds: int = 0) -> Event:
    return Event("release", stamp(seconds), "ada", version=f"1.{number}", digest=Digest.of(b"%d" % number))


def written(seen: Sequence[Sequence[int]], clocks: Sequence[int]) -> dict[Digest, bytes]:
    """Entries of which the nth saw those that `seen[n]` names, by writers whose clocks said `clocks[n]`."""
    found: list[tuple[Digest, bytes]] = []
    for number, causes in enumerate(seen):
        made = entry_artifact(event(number, clocks[number]), [found[one][0] for one in causes])
        found.append((made.descriptor.digest, made.manifest))
    return dict(found)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[list[int]], list[int]]:
    """What each entry saw, and what its writer's clock said: forwards, backwards, the same second."""
    count = draw(st.integers(0, 12))
    seen = [
        draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else [] for number in range(count)
    ]
    return seen, [draw(st.integers(-1000, 1000)) for _ in range(count)]


@given(histories(), st.randoms(use_true_random=False))
def test_one_order_whatever_came_first(history: tuple[list[list[int]], list[int]], random: Any) -> None:
    manifests = written(*history)
    journal = journal_of(manifests)
    shuffled = list(manifests.items())
    random.shuffle(shuffled)
    assert journal_of(dict(shuffled)) == journal
    assert not journal.problems
    assert {one.digest for one in journal.entries} == manifests.keys()
    place = {one.digest: number for number, one in enumerate(journal.entries)}
    times = {one.digest: one.time for one in journal.entries}
    for entry in journal.entries:
        assert all(place[cause] < place[entry.digest] for cause in entry.saw), "a cause behind its effect"
        assert entry.time == max([entry.event.at, *(times[cause] for cause in entry.saw)])
        assert entry.clock_went_back == (entry.time != entry.event.at)
    assert [one.time for one in journal.entries] == sorted(times.values()), "time goes on"
    named = {cause for entry in journal.entries for cause in entry.saw}
    assert set(journal.heads) == manifests.keys() - named


@given(histories())
def test_the_next_entry_names_the_heads_and_comes_last(history: tuple[list[list[int]], list[int]]) -> None:
    manifests = written(*history)
    before = journal_of(manifests)
    made = entry_artifact(event(99, -5000), before.heads)
    after = journal_of({**manifests, made.descriptor.digest: made.manifest})
    assert after == before.with_entry(parse_entry(made.manifest))
    assert after.heads == (made.descriptor.digest,)
    assert after.entries[-1].digest == made.descriptor.digest
    assert after.entries[-1].clock_went_back == bool(before.entries)


def chain() -> tuple[list[Digest], dict[Digest, bytes]]:
    manifests = written([[], [0], [1], [2]], [0, 10, 20, 30])
    return list(manifests), manifests


def test_an_entry_that_was_changed_shows() -> None:
    digests, manifests = chain()
    manifests[digests[1]] = manifests[digests[1]].replace(b"1.1", b"6.6")
    (problem,) = journal_of(manifests).problems
    assert f"the entry {digests[1]} was changed" in problem
    with pytest.raises(VerificationError, match="the journal is not whole: the entry") as caught:
        journal_of(manifests).require_whole()
    assert "lockship verify --journal" in str(caught.value.hint)


def test_an_entry_that_was_deleted_behind_a_later_one_shows() -> None:
    digests, manifests = chain()
    del manifests[digests[1]]
    journal = journal_of(manifests)
    (problem,) = journal.problems
    assert f"the entry {digests[1]} is gone: {digests[2].short} (release, {stamp(20)}) names it" in problem
    assert [one.digest for one in journal.entries] == [digests[0], digests[2], digests[3]]
    Journal(journal.entries).require_whole()


def test_an_entry_whose_tag_is_left_shows() -> None:
    digests, manifests = chain()
    known: Mapping[Digest, bytes | None] = {**manifests, digests[1]: None}
    assert journal_of(known).problems == (f"the entry {digests[1]} is gone: its tag is there",)
    with pytest.raises(VerificationError, match=r"\(and 1 more\)"):
        journal_of({**known, digests[2]: None}).require_whole()


def foreign() -> dict[str, bytes]:
    """Manifests that somebody may put under a tag of the journal."""
    good = {"dev.lockship.journal.event": json.dumps(event(1).to_json())}
    newer = {**event(1).to_json(), "schema": "dev.lockship.journal/v2", "more": {}}

    def made(notes: Mapping[str, Any], kind: str = ARTIFACT_TYPE) -> bytes:
        return artifact(kind, annotations=notes).manifest

    return {
        "an image": artifact("application/vnd.example.image").manifest,
        "no event": made({}),
        "a newer one": made({"dev.lockship.journal.event": json.dumps(newer)}),
        "another kind": made(good, "application/vnd.example.note"),
        "a cause that is no digest": made({**good, "dev.lockship.journal.saw": "sha256:nonsense"}),
        "numbers": made({**good, "dev.lockship.journal.saw": 5}),
        "an event that is a list": made({"dev.lockship.journal.event": "[]"}),
        # JSON says it with an escape, and nobody can print it
        "half a character": canonical_json(
            {"schemaVersion": 2, "artifactType": ARTIFACT_TYPE, "layers": [], "annotations": {"x": "HERE"}}
        ).replace(b'"x":"HERE"', b'"dev.lockship.journal.event":"{\\"by\\":\\"\\ud800\\"}"'),
        "no manifest": b"{}",
        "no JSON": b"\xff\xfe",
    }


@pytest.mark.parametrize("what", foreign())
def test_what_is_no_entry_is_a_problem_and_no_crash(what: str) -> None:
    _, manifests = chain()
    data = foreign()[what]
    journal = journal_of({**manifests, Digest.of(data): data})
    (problem,) = journal.problems
    assert problem.startswith(f"the entry {Digest.of(data)} can't be read: ")
    assert len(journal.entries) == 4
    if what == "a newer one":
        assert "newer lockship" in problem


def test_what_the_store_does_not_give_is_a_problem() -> None:
    digests, manifests = chain()
    (problem,) = journal_of({**manifests, digests[1]: b""}).problems
    assert problem == f"the entry {digests[1]} is damaged: the store doesn't give it any more"


def test_half_a_character_in_an_event_is_no_event() -> None:
    good = entry_artifact(event(1), []).manifest
    assert parse_entry(good).event.by == "ada"
    for escaped in (b"\\ud800", b"\\\\ud800"):
        with pytest.raises(VerificationError):
            parse_entry(good.replace(b"ada", escaped))


@given(st.binary(max_size=60))
def test_any_bytes_are_an_entry_or_refused(data: bytes) -> None:
    with pytest.raises(VerificationError):
        parse_entry(data)


def test_tags_say_their_digest_and_sort_by_time() -> None:
    one, other = event(1, 0), event(2, 60)
    tags = [entry_tag(one, Digest.of(b"1")), entry_tag(other, Digest.of(b"2"))]
    assert tags == sorted(tags)
    assert [tagged_digest(tag) for tag in tags] == [Digest.of(b"1"), Digest.of(b"2")]
    assert all(map(is_journal_tag, (*tags, "journal-pack.1")))
    for tag in (
        "1.0",
        "journal.x",
        f"{tags[0]}0",
        f"{tags[0]}\n",
        "journal-pack.1",
        "journal.२०२६0101T000000Z." + "a" * 64,
    ):
        assert tagged_digest(tag) is None
