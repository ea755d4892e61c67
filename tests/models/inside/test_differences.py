from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from builder.models.inside.differences import TIE, aligned, labels_differ, numbers, tie_gaps

floats = st.floats(allow_nan=True, allow_infinity=True)
matrices = array_shapes(min_dims=1, max_dims=2, max_side=6).flatmap(
    lambda shape: st.tuples(arrays(np.float64, shape, elements=floats), arrays(np.float64, shape, elements=floats))
)
tolerances = st.floats(0, 1, allow_nan=False)


@given(matrices, tolerances, tolerances)
def test_numbers_are_apart_just_when_one_of_them_is(pair: Any, absolute: float, relative: float) -> None:
    want, have = pair
    found = numbers(want, have, absolute, relative)
    rows = zip(want.reshape(len(want), -1), have.reshape(len(have), -1), strict=True)
    for row, (wanted, had) in enumerate(rows):
        wrong = [not same(w, h, absolute, relative) for w, h in zip(wanted.tolist(), had.tolist(), strict=True)]
        assert found.outside[row] == any(wrong)


def same(want: float, have: float, absolute: float, relative: float) -> bool:
    """The rule in words, for one number."""
    if math.isnan(want) or math.isnan(have):
        return math.isnan(want) and math.isnan(have)
    if math.isinf(want) or math.isinf(have):
        return want == have
    with np.errstate(over="ignore"):
        return bool(abs(np.float64(want) - have) <= absolute + relative * abs(np.float64(want)))


@given(matrices, tolerances)
def test_what_is_equal_is_never_apart(pair: Any, tolerance: float) -> None:
    found = numbers(pair[0], pair[0].copy(), 0.0, tolerance)
    assert not found.outside.any()
    assert not found.absolute.any()
    assert not found.excess.any()


def test_excess_counts_tolerances() -> None:
    found = numbers(np.array([1.0, 1.0, math.nan]), np.array([1.03, 1.0, 1.0]), 0.01, 0.0)
    assert found.excess.round(6).tolist() == [3.0, 0.0, math.inf]


def test_a_relative_difference_says_nothing_where_the_absolute_tolerance_is_larger() -> None:
    found = numbers(np.array([1e-30, 2.0]), np.array([3e-30, 2.2]), 1e-6, 0.0)
    assert found.relative.round(9).tolist() == [0.0, 0.1]


def test_other_shapes_are_no_scores_of_the_same_thing() -> None:
    with pytest.raises(ValueError, match="shapes"):
        numbers(np.zeros((2, 2)), np.zeros((2, 3)), 0, 0)


@given(arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(2, 5)), elements=st.floats(-1, 1)))
def test_a_tie_is_when_the_two_best_are_near(scores: Any) -> None:
    gaps = tie_gaps(scores)
    for row, gap in zip(scores.tolist(), gaps.tolist(), strict=True):
        best, second = sorted(row, reverse=True)[:2]
        assert gap == best - second


def test_ties_of_a_decision_function_are_at_zero() -> None:
    gaps = tie_gaps(np.array([1e-7, -0.5, 0.0]))
    assert (gaps <= TIE).tolist() == [True, False, True]


def test_scores_that_are_missing_are_no_tie() -> None:
    assert tie_gaps(np.array([[math.nan, 0.5], [0.5, 0.5]])).tolist() == [math.inf, 0.0]


def labels(*values: Any) -> Any:
    text = np.empty(len(values), dtype=object)
    text[:] = values
    return text


def test_labels() -> None:
    assert labels_differ(labels("a", "b", "ä"), labels("a", "B", "a\u0308")).tolist() == [False, True, True]
    assert labels_differ(np.array([0.0, 1.0]), np.array([0, 2])).tolist() == [False, True]
    assert labels_differ(labels("0", "1"), np.array([0, 1])).tolist() == [True, True]
    assert labels_differ(np.array([[1, 0], [1, 1]]), np.array([[1, 0], [0, 1]])).tolist() == [False, True]


def test_a_binary_decision_function_stands_for_two_columns() -> None:
    wide = aligned(np.array([1.0, -2.0]), np.zeros((2, 2)))
    assert wide is not None
    assert wide.tolist() == [[-1.0, 1.0], [2.0, -2.0]]
    assert aligned(np.zeros(3), np.zeros((3, 1))).shape == (3, 1)  # type: ignore[union-attr]
    assert aligned(np.zeros((3, 4)), np.zeros((3, 2))) is None
    assert aligned(np.zeros((3, 4)), np.zeros((4, 3))) is None
