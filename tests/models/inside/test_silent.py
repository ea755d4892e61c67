"""Conversions that go through without a word and score wrongly: the gate fails each of them, and says why.

Each was found by measuring; `naive` converts as anyone would who follows skl2onnx's first example.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from tests.support.gate import Gate, naive

pytestmark = pytest.mark.slow

X, Y = make_classification(900, 6, n_informative=4, n_redundant=1, random_state=0)
X = X.astype(np.float32).astype(np.float64)
HOLES = X.copy()
HOLES[np.random.default_rng(0).random(X.shape) < 0.15] = np.nan
WORDS = ["good", "bad", "film", "great", "naïve", "café", "a", "i", "plot", "über", "2", "the"]
RNG = np.random.default_rng(1)
TEXTS = pd.DataFrame({"text": [" ".join(RNG.choice(WORDS, 8)) for _ in range(300)]}).astype(object)
LIKED = TEXTS["text"].str.contains("good").to_numpy().astype(int)
FIXED = {"locale": "C.UTF-8", "tokenexp": r"[\p{L}\p{N}_]{2,}"}
MIXED = pd.DataFrame({"age": X[:, 0], "fare": X[:, 1], "port": RNG.choice(["a", "b", "c"], len(X))}).astype(
    {"port": object}
)
PORTS = {"port": {"categories": ["a", "b", "c"], "unseen": "ignored"}}


def codes(gate: Gate) -> list[str]:
    return [reason["code"] for reason in gate.verdict["reasons"]]


def fails(tmp_path: Path, model: Any, data: Any, target: Any, **changes: Any) -> Gate:
    gate = Gate(tmp_path, model.fit(data, target), naive(model, data), data, **changes)
    assert not gate.run()["passed"]
    assert gate.verdict["worst"][0]["wrong"]
    return gate


@pytest.mark.parametrize(
    "trees", [DecisionTreeClassifier, lambda **told: RandomForestClassifier(16, **told), ExtraTreesClassifier]
)
def test_trees_trained_with_missing_values(tmp_path: Path, trees: Callable[..., Any]) -> None:
    gate = fails(tmp_path, trees(random_state=0, max_depth=8), HOLES, Y)
    assert "labels" in codes(gate)
    assert "SimpleImputer" in gate.first_difference()["remedy"]


def test_isotonic_calibration(tmp_path: Path) -> None:
    model = CalibratedClassifierCV(RandomForestClassifier(50, random_state=0), method="isotonic")
    gate = fails(tmp_path, model, X, Y)
    assert "numbers" in codes(gate)
    first = gate.first_difference()
    assert first["step"] == "calibratedclassifiercv"
    assert 'method="sigmoid"' in first["remedy"]


def test_a_scaler_before_trees(tmp_path: Path) -> None:
    gate = fails(tmp_path, make_pipeline(StandardScaler(), RandomForestClassifier(16, random_state=0)), X, Y)
    assert gate.group("thresholds")["outside"] > 10
    first = gate.first_difference()
    assert first["step"] == "pipeline/randomforestclassifier"
    assert 'precision = "double+cast"' in first["remedy"]


@pytest.mark.parametrize("ngrams", [(1, 1), (1, 2)])
def test_words_that_are_not_ascii(tmp_path: Path, ngrams: tuple[int, int]) -> None:
    vectorizer = TfidfVectorizer(ngram_range=ngrams)
    model = make_pipeline(ColumnTransformer([("words", vectorizer, "text")]), LogisticRegression()).fit(TEXTS, LIKED)
    fitted = model[0].named_transformers_["words"]
    converted = naive(model, TEXTS, options={id(fitted): {"locale": "C.UTF-8"}})
    gate = Gate(tmp_path, model, converted, TEXTS)
    assert not gate.run()["passed"]
    first = gate.first_difference()
    assert first["step"] == "pipeline/columntransformer/words/tfidfvectorizer"
    assert "tokenexp" in first["remedy"]


@pytest.mark.parametrize("ngrams", [(1, 1), (1, 2)])
def test_words_that_only_the_gate_brings(tmp_path: Path, ngrams: tuple[int, int]) -> None:
    plain = pd.DataFrame({"text": [text.encode("ascii", "ignore").decode() for text in TEXTS["text"]]}).astype(object)
    vectorizer = TfidfVectorizer(ngram_range=ngrams, token_pattern=r"(?u)\b\w+\b")
    model = make_pipeline(ColumnTransformer([("words", vectorizer, "text")]), LogisticRegression()).fit(plain, LIKED)
    fitted = model[0].named_transformers_["words"]
    converted = naive(model, plain, options={id(fitted): {"locale": "C.UTF-8", "tokenexp": r"[a-zA-Z0-9_]+"}})
    gate = Gate(tmp_path, model, converted, plain)
    assert not gate.run()["passed"]
    assert not gate.group("sample")["outside"]
    assert gate.group("text")["outside"]


@pytest.mark.parametrize("ngrams", [(1, 1), (1, 2)])
def test_words_with_the_remedy(tmp_path: Path, ngrams: tuple[int, int]) -> None:
    vectorizer = TfidfVectorizer(ngram_range=ngrams)
    model = make_pipeline(ColumnTransformer([("words", vectorizer, "text")]), LogisticRegression()).fit(TEXTS, LIKED)
    fitted = model[0].named_transformers_["words"]
    gate = Gate(tmp_path, model, naive(model, TEXTS, options={id(fitted): FIXED}), TEXTS)
    assert gate.run()["passed"], gate.verdict["reasons"]
    assert gate.group("text")["compared"] > 100


@pytest.mark.parametrize("trees", [RandomForestClassifier, ExtraTreesClassifier])
def test_votes_that_are_tied(tmp_path: Path, trees: Any) -> None:
    gate = fails(tmp_path, trees(50, random_state=0), X, Y)
    assert set(codes(gate)) <= {"ties", "variants"}
    assert "n_estimators=64" in gate.first_difference()["remedy"]


def test_a_binary_discriminant(tmp_path: Path) -> None:
    gate = fails(tmp_path, LinearDiscriminantAnalysis(), X, Y)
    assert "numbers" in codes(gate)


def test_thresholds_between_floats(tmp_path: Path) -> None:
    fine = np.random.default_rng(2).normal(size=(900, 4))
    model = RandomForestClassifier(16, random_state=0).fit(fine, fine[:, 0] * fine[:, 1] > 0)
    gate = Gate(tmp_path, model, naive(model, fine, double=True), fine, precision="double+cast")
    assert not gate.run()["passed"]
    assert gate.group("thresholds")["outside"] > 10


@pytest.mark.parametrize(
    ("model", "data", "target", "changes"),
    [
        (make_pipeline(StandardScaler(), LogisticRegression()), X, Y, {}),
        (RandomForestClassifier(16, random_state=0), X, Y, {}),
        (make_pipeline(SimpleImputer(), RandomForestClassifier(16, random_state=0)), HOLES, Y, {}),
        (
            make_pipeline(
                ColumnTransformer(
                    [
                        ("numbers", StandardScaler(), ["age", "fare"]),
                        ("words", OneHotEncoder(handle_unknown="ignore"), ["port"]),
                    ]
                ),
                LogisticRegression(),
            ),
            MIXED,
            Y,
            PORTS,
        ),
    ],
    ids=["linear", "forest", "imputer", "frame"],
)
def test_what_scores_the_same_passes(tmp_path: Path, model: Any, data: Any, target: Any, changes: Any) -> None:
    gate = Gate(tmp_path, model.fit(data, target), naive(model, data), data, **changes)
    assert gate.run()["passed"], gate.verdict["reasons"]
    assert len(gate.verdict["golden"]["rows"]) == 10
