"""What is said of models before they are converted."""

from __future__ import annotations

import pytest

from tests.models.inside.conftest import Scenario

pytestmark = [pytest.mark.index, pytest.mark.slow]


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("own tokenizer", "custom-text", "finds tokens with Python code"),
        ("characters", "custom-text", "analyzer='char_wb'"),
        ("accents", "custom-text", "strip_accents='unicode'"),
        ("pattern", "custom-text", "token_pattern='[a-z]+'"),
        ("stop words", "stop-words", "before n-grams"),
        ("python function", "python-function", "it calls _twice"),
        ("weights", "python-function", "weights="),
        ("no converter", "no-converter", "PolynomialFeatures"),
        ("clusters", "no-converter", "no converter"),
        ("several targets", "several-targets", "several targets"),
        ("not fitted", "not-fitted", "not fitted"),
        ("text categories", "histgb-categories", "categories are text"),
        ("catboost", "catboost-categories", "categorical"),
        ("xgboost", "booster-categories", "pandas categories"),
        ("lightgbm", "booster-categories", "pandas categories"),
        ("linear booster", "booster-objective", "gblinear"),
        ("zeros missing", "booster-objective", "missing=0"),
    ],
)
def test_what_would_score_differently_is_refused(scenario: Scenario, name: str, code: str, words: str) -> None:
    found = scenario("suspicious", name)
    refused = [step for step in found["told"] if step[0] == "refused"]
    assert [step[1] for step in refused] == [code]
    assert words in refused[0][3]
    message, hint = found["refused"]
    assert message.startswith(f"{refused[0][2]}: ")
    assert hint


def test_a_bare_estimator_needs_a_word_on_its_preprocessing(scenario: Scenario) -> None:
    message, hint = scenario("bare", None)
    assert "no preprocessing" in message
    assert '"included"' in hint
    assert '"elsewhere"' in hint
    assert scenario("bare", "elsewhere") == []
    assert scenario("bare", "included") == []


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("external", "in another file: 'w.bin'"),
        ("external up", "outside its folder: '../w.bin'"),
        ("external root", "outside its folder: '/etc/passwd'"),
        ("huge", "1,099,511,627,776 elements"),
        ("negative", "negative size"),
        ("short", "12 bytes that should be 16"),
        ("filled", "a tensor of the size"),
        ("unknown", "isn't in version 18 of ai.onnx: Exfiltrate"),
        ("foreign", "FusedGemm of 'com.microsoft'"),
        ("twice", "two outputs of one name: 'y'"),
        ("fixed rows", "exactly 3 rows"),
        ("three dimensions", "3 dimensions"),
        ("truncated", "not a whole one"),
        ("text", "no ONNX file"),
        ("empty graph", "it has no graph"),
        ("newer", "version 5 of ai.onnx.ml; its consumers read 3"),
    ],
)
def test_hostile_and_broken_files(scenario: Scenario, kind: str, words: str) -> None:
    message, hint = scenario("hostile", kind)
    assert words in message
    assert hint


def test_a_sound_file_is_taken(scenario: Scenario) -> None:
    assert scenario("hostile", "fine") == []
