"""What is concluded from cells doesn't depend on where blocks end, and is what a simple reader finds."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.pipeline import delimited_text
from builder.pipeline.delimited_text import decide, read_text

CELL = st.one_of(
    st.sampled_from(["", "NA", "1", "-2", "1.5", ".5", "1e9", "inf", "true", "False", "2024-01-31", "2024-13-01"]),
    st.sampled_from(["2024-01-31T10:00", "2024-01-31 10:00:00Z", "007", "+7", "9" * 19, "1" * 19]),
    st.sampled_from(["x", "a\nb", 'q"q', ","]),
    st.text(max_size=8).filter(lambda cell: "\0" not in cell and "\r" not in cell),
)  # fmt: skip
ROWS = st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), max_size=30))


def simple(rows: list[list[str]]) -> list[str]:
    """Cell by cell, with Python's own regular expressions."""
    found = []
    for column in zip(*rows, strict=True):
        kinds = set()
        for cell in column:
            if cell in delimited_text._MISSING:
                continue
            kind = next((k for k, p in delimited_text._KINDS.items() if re.fullmatch(p, cell, re.ASCII)), "string")
            if re.fullmatch(r"[+-]?\d{19,}", cell, re.ASCII) and not -(2**63) <= int(cell) < 2**63:
                kind = "string"
            kinds.add(kind)
        found.append(decide(kinds))
    return found


@settings(max_examples=150)
@given(ROWS, st.sampled_from([64, 200, 2 << 20]))
def test_blocks_make_no_difference(rows: list[list[str]], block: int) -> None:
    width = len(rows[0]) if rows else 2
    rows = [row for row in rows if row != [""]]  # a blank line, which is no row
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow([f"name{number}" for number in range(width)])
    writer.writerows(rows)
    with pytest.MonkeyPatch.context() as patch:
        longest = max((len(str(row).encode()) for row in rows), default=0)
        patch.setattr(delimited_text, "_BLOCK", max(block, 8 * longest + 100))
        table = read_text(io.BytesIO(out.getvalue().encode()), "x.csv", ",")
    assert table.rows == len(rows)
    expected = simple(rows) if rows else ["null"] * width
    assert [dtype for _, dtype in table.columns] == expected


@given(st.lists(st.sampled_from([*delimited_text._KINDS, "string"]), max_size=4))
def test_a_decision_is_about_a_set(kinds: list[str]) -> None:
    assert decide(kinds) == decide(reversed(kinds)) == decide(set(kinds))
