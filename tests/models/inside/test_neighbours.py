from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.models.inside.neighbours import between, middle, next_to, ranks, values_at

float32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
float64 = st.floats(allow_nan=False, allow_infinity=False)
int64 = st.integers(-(2**63), 2**63 - 1)
kinds = st.sampled_from([("float32", float32), ("float64", float64)])
pairs = kinds.flatmap(lambda kind: st.tuples(st.just(kind[0]), kind[1], kind[1]))


@given(pairs)
def test_ranks_are_in_the_order_of_the_values(pair: tuple[str, float, float]) -> None:
    kind, one, other = pair
    places = ranks(np.array([one, other], dtype=kind), kind).tolist()
    assert (places[0] < places[1]) == (one < other)
    assert values_at(ranks(np.array([one], dtype=kind), kind), kind)[0] == one


@given(pairs)
def test_next_to_is_numpys_nextafter(pair: tuple[str, float, float]) -> None:
    kind, value, _ = pair
    limits = np.finfo(kind)
    for steps, end in ((1, limits.max), (-1, limits.min)):
        expected = value if value == end else np.nextafter(np.array(value, dtype=kind), end)
        assert next_to(np.array([value], dtype=kind), kind, steps)[0] == expected


@given(int64, int64)
def test_halfway_without_overflow(one: int, other: int) -> None:
    low, high = min(one, other), max(one, other)
    assert middle(np.array([low]), np.array([high]))[0] == (low + high) // 2


@given(pairs, st.data())
def test_between_ends_at_the_threshold(pair: tuple[str, float, float], data: Any) -> None:
    kind, low, high = pair
    low, high = sorted((low, high))
    if low == high:
        return
    threshold = data.draw(float32 if kind == "float32" else float64)
    if not low <= threshold < high:
        threshold = low
    below, above = between(
        np.array([low], dtype=kind), np.array([high], dtype=kind), kind, lambda values: values <= threshold
    )
    assert below[0] == threshold
    assert above[0] == np.nextafter(np.array(threshold, dtype=kind), np.array(math.inf, dtype=kind))


@pytest.mark.parametrize("kind", ["float32", "float64", "int64"])
def test_between_searches_many_at_once(kind: str) -> None:
    low = np.array([-100, -5, 0], dtype=kind)
    high = np.array([100, 5, 1], dtype=kind)
    thresholds = np.array([7, -2, 0])
    below, above = between(low, high, kind, lambda values: values > thresholds)
    assert below.tolist() == thresholds.tolist()
    assert above.tolist() == next_to(thresholds.astype(kind), kind, 1).tolist()
