from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.models.inside.problem import Problem
from builder.models.inside.refusals import MOST_CALLS, alike, score_rows
from builder.models.inside.table import Table


class Scorer:
    """Gives each row its square; raises when one of `bad` is among them."""

    def __init__(self, bad: set[int]) -> None:
        self.bad = bad
        self.calls = 0

    def __call__(self, rows: Any) -> dict[str, Any]:
        self.calls += 1
        if found := sorted(self.bad.intersection(rows.tolist())):
            raise ValueError(f"row {found[0] % 2}")
        return {"value": rows**2}


@given(st.sets(st.integers(0, 59), max_size=12))
def test_just_the_bad_rows_are_refused(bad: set[int]) -> None:
    outcome = score_rows(Scorer(bad), [[np.arange(60)]])
    assert outcome.refused == sorted(bad)
    assert outcome.rows.tolist() == [row for row in range(60) if row not in bad]
    if len(outcome.rows):
        assert outcome.scores()["value"].tolist() == (outcome.rows**2).tolist()
    assert sorted(row for rows in outcome.messages.values() for row in rows) == sorted(bad)


def test_good_rows_need_one_call() -> None:
    scorer = Scorer(set())
    score_rows(scorer, [[np.arange(50), np.arange(50, 100)]])
    assert scorer.calls == 1


def test_too_many_refusals_are_not_looked_at_one_by_one() -> None:
    scorer = Scorer(set(range(5000)))
    outcome = score_rows(scorer, [[np.arange(5000)]])
    assert scorer.calls < MOST_CALLS * 3
    assert len(outcome.refused) == 5000
    assert outcome.skipped


def test_a_problem_is_no_refusal() -> None:
    def scorer(rows: Any) -> Any:
        raise Problem("no such output")

    with pytest.raises(Problem, match="no such output"):
        score_rows(scorer, [[np.arange(3)]])


def test_rows_that_lack_the_same_columns_stand_together() -> None:
    text = np.array(["a", None, "b", "c"], dtype=object)
    table = Table({"x": np.array([1.0, np.nan, np.inf, 4.0]), "t": text, "n": np.arange(4)})
    parts = alike(table, [{"start": 0, "stop": 4}])
    assert sorted(rows.tolist() for rows in parts[0]) == [[0, 3], [1], [2]]
    scorer = Scorer({1})
    outcome = score_rows(scorer, parts)
    assert outcome.refused == [1]
    assert scorer.calls == 4
