"""Events: what is written is read again; what somebody else wrote is an event or refused, and nothing else happens."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.content import Digest
from builder.errors import VerificationError
from builder.releases.events import ACTIONS, OUTCOMES, Event, parse_event, unsigned

AT = "2026-01-02T03:04:05Z"
KINDS = ("release", "approve", *ACTIONS, *OUTCOMES, "collect")
GOOD = {"schema": "dev.lockship.journal/v1", "kind": "promote", "at": AT, "by": "ada"}

digests = st.binary(max_size=4).map(Digest.of)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
events = st.builds(
    Event,
    kind=st.sampled_from(KINDS),
    at=st.datetimes().map(lambda one: one.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")),
    by=texts,
    where=texts,
    stage=st.none() | texts,
    version=st.none() | texts,
    digest=st.none() | digests,
    previous=st.none() | digests,
    previous_version=st.none() | texts,
    of=st.none() | digests,
    notes=st.dictionaries(texts, values, max_size=3),
)


@given(events)
def test_what_is_written_is_read(event: Event) -> None:
    assert parse_event(json.dumps(event.to_json())) == event
    assert parse_event(unsigned(event).decode()) == event


# everything that JSON can say, half surrogate pairs and numbers that are none among it
wild = st.recursive(
    plain | st.floats() | st.text(max_size=5) | st.sampled_from(["\ud800", "dev.lockship.journal/v2"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
near = st.dictionaries(st.sampled_from([*GOOD, "stage", "digest", "of", "notes", "where", "repository", "x"]), wild)


@given(st.text() | wild.map(json.dumps) | near.map(lambda more: json.dumps({**GOOD, **more})))
def test_whatever_somebody_wrote_is_an_event_or_refused(text: str) -> None:
    try:
        event = parse_event(text)
    except VerificationError:
        return
    assert unsigned(event)
    assert json.dumps(event.to_json(), ensure_ascii=False).encode()
    assert all(isinstance(one, str) for one in (event.by, event.where, event.stage or "", event.version or ""))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"schema": "dev.lockship.journal/v2"}, "a newer lockship"),
        ({"kind": "explode"}, "nothing that lockship knows"),
        ({"at": "2026-02-30T00:00:00Z"}, "no event"),
        ({"at": "२०२६-01-02T03:04:05Z"}, "nothing that lockship knows"),
        ({"at": "2026-01-02T03:04:05+01:00"}, "nothing that lockship knows"),
        ({"at": None}, "no event"),
        ({"by": "x" * 4001}, "nothing that lockship knows"),
        ({"by": "\ud800"}, "no event"),
        ({"notes": {"reason": "\udfff"}}, "no event"),
        ({"stage": ["production"]}, "nothing that lockship knows"),
        ({"digest": "md5:1"}, "not a sha256 digest"),
        ({"notes": []}, "its notes are none"),
        ({"of": 5}, "no event"),
        ({"unheard": "of"}, "no event"),
    ],
)
def test_what_is_no_event(changes: dict[str, Any], why: str) -> None:
    assert parse_event(json.dumps(GOOD)).by == "ada"
    with pytest.raises(VerificationError, match=why):
        parse_event(json.dumps({**GOOD, **changes}))


@pytest.mark.parametrize("text", ["", "[" * 100_000, "1" * 10_000, "null", "[]", '"schema"', "{}", "\ud800"])
def test_what_is_not_even_a_document(text: str) -> None:
    with pytest.raises(VerificationError, match="no event"):
        parse_event(text)
