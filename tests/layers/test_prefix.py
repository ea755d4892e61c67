"""The prefix, replaced: the rules hold for any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import ArtifactError
from builder.layers.prefix import in_binary, in_text

OLD = b"/opt/placehold_placehold"
NEW = b"/opt/venv"

# files that hold the placeholder often enough
pieces = st.lists(st.sampled_from([OLD, b"\0", b"\n", b"/lib", b":", NEW, OLD[:9], b"x"]) | st.binary(max_size=5))


@given(pieces)
def test_binary_files_keep_their_length_and_every_string_its_place(parts: list[bytes]) -> None:
    data = b"".join(parts)
    made = in_binary(data, OLD, NEW)
    assert len(made) == len(data)
    *strings, tail = data.split(b"\0")
    assert made.endswith(tail)  # what no NUL ends is no string
    at = 0
    for text in strings:
        expected = text.replace(OLD, NEW)
        # what stands before the first placeholder isn't touched, and what follows is filled up at the end
        assert made[at : at + len(text)] == expected + bytes(len(text) - len(expected))
        at += len(text) + 1
        assert made[at - 1 : at] == b"\0"


@given(pieces)
def test_without_the_placeholder_nothing_changes(parts: list[bytes]) -> None:
    data = b"".join(parts).replace(OLD, b"")
    if OLD not in data:
        assert in_binary(data, OLD, NEW) == data
        assert in_text(data, OLD, NEW) == data or data.startswith(b"#!")


@given(pieces)
def test_text_is_replaced_as_it_stands(parts: list[bytes]) -> None:
    data = b"".join(parts)
    if not data.startswith(b"#!"):
        assert in_text(data, OLD, NEW) == data.replace(OLD, NEW)


def test_a_first_line_that_is_too_long_goes_through_env() -> None:
    long = b"/opt/" + b"p" * 200
    script = b"#!" + OLD + b"/bin/python -u\n# " + OLD + b"\n"
    assert in_text(script, OLD, NEW) == b"#!/opt/venv/bin/python -u\n# /opt/venv\n"
    assert in_text(script, OLD, long) == b"#!/usr/bin/env python -u\n# " + long + b"\n"


def test_a_placeholder_that_is_too_short_is_refused() -> None:
    with pytest.raises(ArtifactError, match="a prefix of 4 characters"):
        in_binary(b"/old/lib\0", b"/old", NEW)
