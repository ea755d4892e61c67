"""Consumers and what their onnxruntime reads."""

from __future__ import annotations

import itertools

import pytest

from builder.errors import ProjectError
from builder.models.runtimes import LIMITS, NEWEST, OLDEST, Limits, limits_for, minimum_runtime, parse_consumer


@pytest.mark.parametrize(
    ("text", "opset", "ir", "ml"),
    [("ort-1.14", 18, 8, 3), ("java-1.17", 20, 9, 4), ("dotnet-1.20.1", 21, 10, 5), ("python-1.9", 14, 7, 2)],
)
def test_a_consumer_reads_what_was_measured(text: str, opset: int, ir: int, ml: int) -> None:
    assert parse_consumer(text).limits == Limits(opset, ir, ml)
    assert str(parse_consumer(text)) == text


def test_models_are_written_for_the_oldest_of_each_limit() -> None:
    assert limits_for([parse_consumer("java-1.17"), parse_consumer("ort-1.12")]) == Limits(17, 8, 3)
    assert limits_for([]) == limits_for([parse_consumer("ort-1.14")])


@pytest.mark.parametrize("text", ["ort-1.7", "java-1.2.0", "ort-0.5"])
def test_a_runtime_that_is_too_old_names_the_oldest(text: str) -> None:
    with pytest.raises(ProjectError) as caught:
        parse_consumer(text)
    assert "1.8" in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["ort-1.99", "java-2.0", "ort-17.0"])
def test_a_runtime_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(ProjectError) as caught:
        parse_consumer(text)
    assert f"{NEWEST[0]}.{NEWEST[1]}" in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["", "1.14", "ruby-1.14", "ort-1", "ort-1.x", "ort 1.14", "ort-1.14-rc1"])
def test_what_is_no_consumer_says_how_one_is_written(text: str) -> None:
    with pytest.raises(ProjectError) as caught:
        parse_consumer(text)
    assert "java-1.17" in (caught.value.hint or "")


def test_every_runtime_reads_what_older_ones_read() -> None:
    rows = [LIMITS[release] for release in sorted(LIMITS)]
    for older, newer in itertools.pairwise(rows):
        assert (newer.opset, newer.ir, newer.ml) >= (older.opset, older.ir, older.ml)
        assert newer.ir >= older.ir
        assert newer.ml >= older.ml


@pytest.mark.parametrize("release", sorted(LIMITS))
def test_the_oldest_runtime_for_a_model(release: tuple[int, int]) -> None:
    limits = LIMITS[release]
    found = minimum_runtime(limits.opset, limits.ir, limits.ml)
    assert found == f"{release[0]}.{release[1]}"


def test_a_model_newer_than_all_runtimes() -> None:
    assert minimum_runtime(99, 8, None) == f"newer than {NEWEST[0]}.{NEWEST[1]}"
    assert minimum_runtime(9, 4, None) == f"{OLDEST[0]}.{OLDEST[1]}"
