"""Models to convert: every estimator of scikit-learn, fitted on small data of the kind that it takes."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

ROWS = 400
SAMPLE = 300
WORDS = ["red", "Green", "blue", "i", "x1", "café", "naïve", "don't", "SNOW", "ice", "9", "été", "on", "off_peak"]


@dataclass(frozen=True)
class Case:
    """A model: `make` gives it fitted; `rows(seed)` gives rows as a DataFrame, `taken` turns them into its input."""

    name: str
    make: Callable[[], Any]
    rows: Callable[[int], pd.DataFrame]
    taken: Callable[[pd.DataFrame], Any]
    precision: str = "float32"
    exact: bool = True  # the rows are whole in float32


def numbers(
    seed: int, rows: int = ROWS, *, exact: bool = True, positive: bool = False, whole: bool = False
) -> pd.DataFrame:
    """Rows of six numbers."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 6)) * [1, 10, 0.1, 100, 1, 3] + [0, 5, 0, 20, 1, 0]
    if positive or whole:
        x = np.abs(x)
    if whole:
        x = np.floor(x) % 4
    if exact:
        x = x.astype(np.float32).astype(np.float64)
    return pd.DataFrame(x, columns=[f"x{number}" for number in range(6)])


def values(rows: pd.DataFrame) -> Any:
    """As a matrix."""
    return rows.to_numpy()


def texts(seed: int, rows: int = ROWS) -> pd.DataFrame:
    """Rows of one text."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"text": [" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(rows)]})


def one_text(rows: pd.DataFrame) -> Any:
    """As a list of texts."""
    return rows["text"].tolist()


def colours(seed: int, rows: int = ROWS) -> pd.DataFrame:
    """Rows of two categories in text."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"a": rng.choice(["red", "green", "blü"], rows), "b": rng.choice(["x", "y"], rows)}).astype(
        object
    )


def target(rows: pd.DataFrame, kind: str) -> Any:
    """Something to learn of rows of numbers: ``two``, ``three`` (text), ``value``, ``positive``, ``values``."""
    score = rows["x0"].to_numpy() + rows["x1"].to_numpy() / 10 + np.sin(rows["x4"].to_numpy())
    if kind == "two":
        return (score > np.median(score)).astype(int)
    if kind == "three":
        return np.array(["low", "mid", "top"])[np.digitize(score, np.quantile(score, [0.3, 0.7]))]
    if kind == "values":
        return np.stack([score, rows["x3"].to_numpy()], axis=1)
    if kind == "labels":
        return np.stack([score > 0, rows["x3"].to_numpy() > 20], axis=1).astype(int)
    return np.exp(score / 3) if kind == "positive" else score


_TEXT = ("CountVectorizer", "TfidfVectorizer", "HashingVectorizer")
_CATEGORIES = ("OneHotEncoder", "OrdinalEncoder")
_WHOLE = ("CategoricalNB", "MultinomialNB", "ComplementNB", "BernoulliNB", "TfidfTransformer", "AdditiveChi2Sampler")
_POSITIVE = ("NMF", "MiniBatchNMF", "LatentDirichletAllocation", "SelectKBest", "SelectPercentile", "SkewedChi2Sampler")
_SETTINGS: dict[str, dict[str, Any]] = {
    "GenericUnivariateSelect": {"mode": "k_best", "param": 3},
    "LocalOutlierFactor": {"novelty": True},
    "NearestNeighbors": {"radius": None},
    "RadiusNeighborsClassifier": {"radius": 1000.0},
    "RadiusNeighborsRegressor": {"radius": 1000.0},
    "SparseCoder": {"dictionary": np.eye(6)},
    "ColumnTransformer": {"transformers": [("all", "passthrough", [0, 1])]},
}
_POSITIVE_TARGET = ("GammaRegressor", "PoissonRegressor", "TweedieRegressor")
_SEVERAL = ("MultiTask", "MultiOutputRegressor", "RegressorChain", "CCA", "PLS")
_LABELS = ("MultiOutputClassifier", "ClassifierChain")


def estimators() -> Iterator[Case]:
    """A case for each estimator of scikit-learn."""
    from sklearn.utils import all_estimators

    for name, kind in all_estimators():
        yield _case(name, kind)


def _case(name: str, kind: type) -> Case:
    if name in _TEXT:
        return Case(name, lambda: _fitted(name, kind, texts(0), None), texts, one_text)
    if name in _CATEGORIES:
        return Case(name, lambda: _fitted(name, kind, colours(0), None), colours, values)

    def rows(seed: int) -> pd.DataFrame:
        return numbers(seed, positive=name in _POSITIVE, whole=name in _WHOLE)

    return Case(name, lambda: _fitted(name, kind, rows(0), rows(0)), rows, values)


def _fitted(name: str, kind: type, rows: pd.DataFrame, numeric: pd.DataFrame | None) -> Any:
    from sklearn.base import is_classifier, is_regressor

    model = _instance(name, kind)
    if numeric is None:
        return model.fit(one_text(rows) if name in _TEXT else values(rows))
    wanted = "value"
    if is_classifier(model) or name in ("LinearDiscriminantAnalysis",):
        wanted = "labels" if name in _LABELS else "two"
    elif name.startswith(_SEVERAL):
        wanted = "values"
    elif name in _POSITIVE_TARGET:
        wanted = "positive"
    elif not is_regressor(model):
        wanted = "two"
    y = target(numeric, wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "IsotonicRegression":
            return model.fit(values(rows)[:, 0], y)
        if name in ("LabelBinarizer", "LabelEncoder"):
            return model.fit(y)
        if name == "MultiLabelBinarizer":
            return model.fit([["a"], ["a", "b"]])
        if name == "DictVectorizer":
            return model.fit(rows.to_dict("records"))
        if "y" in (given := inspect.signature(model.fit).parameters) or "Y" in given:
            return model.fit(values(rows), y)
        return model.fit(values(rows))


def _instance(name: str, kind: type) -> Any:
    if name in _SETTINGS:
        return kind(**_SETTINGS[name])
    if name == "FrozenEstimator":
        from sklearn.linear_model import LogisticRegression

        rows = numbers(0)
        return kind(LogisticRegression().fit(values(rows), target(rows, "two")))
    from sklearn.utils._test_common.instance_generator import _construct_instances

    made = list(_construct_instances(kind))
    return made[0]
