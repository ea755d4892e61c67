"""A copy of the model, made fit for the converters: wrappers taken off, missing text written as the empty string."""

from __future__ import annotations

import copy
from typing import Any

from builder.models.inside.problem import Problem
from builder.models.inside.walk import class_name, is_a, rewritten, walk

__all__ = ["missing_text", "prepared"]

Applied = list[dict[str, str]]


def prepared(model: Any) -> tuple[Any, Applied]:
    """The copy, and what was done to it."""
    applied: Applied = []

    def note(code: str, message: str) -> None:
        if {"code": code, "message": message} not in applied:
            applied.append({"code": code, "message": message})

    try:
        copied = copy.deepcopy(model)
    except Exception as error:  # whatever an estimator's own copying raises
        raise Problem(f"the model can't be copied: {error}", hint="it is changed only on a copy") from error

    def rewrite(estimator: Any) -> Any:
        if is_a(estimator, "BaseSearchCV"):
            note("unwrapped", f"{type(estimator).__name__}: the best estimator that it found")
            return estimator.best_estimator_
        if is_a(estimator, "FrozenEstimator"):
            note("unwrapped", "FrozenEstimator: what it holds")
            return estimator.estimator
        for name, change in _CHANGES.items():
            if is_a(estimator, name):
                change(estimator, note)
        return estimator

    return rewritten(copied, rewrite), applied


def _bins(estimator: Any, note: Any) -> None:
    if estimator.encode == "onehot":
        estimator.encode = "onehot-dense"
        note("dense", "KBinsDiscretizer gives a dense matrix instead of a sparse one: the same numbers")


def _embedding(estimator: Any, note: Any) -> None:
    if getattr(estimator, "sparse_output", False):
        estimator.sparse_output = False
        note("dense", "RandomTreesEmbedding gives a dense matrix instead of a sparse one: the same numbers")


def _imputer(estimator: Any, note: Any) -> None:
    statistics = getattr(estimator, "statistics_", None)
    if statistics is not None and statistics.dtype.kind in "OUS" and all(isinstance(one, str) for one in statistics):
        estimator.missing_values = ""
        note("missing-text", "SimpleImputer takes an empty string for a missing text")


def _categories(estimator: Any, note: Any) -> None:
    import numpy as np

    changed = []
    for values in getattr(estimator, "categories_", ()):
        if any(isinstance(one, str) for one in values) and any(_is_missing(one) for one in values):
            if "" in values.tolist():
                raise Problem(
                    f"{class_name(estimator)} knows both a missing text and an empty one",
                    hint="ONNX has no missing text: make them one in the data, and train again",
                )
            values = np.array(["" if _is_missing(one) else one for one in values], dtype=object)
            note("missing-text", f"{type(estimator).__name__} takes an empty string for a missing text")
        changed.append(values)
    if changed:
        estimator.categories_ = changed


def _votes(estimator: Any, note: Any) -> None:
    if estimator.flatten_transform:
        estimator.flatten_transform = False
        note("flat-votes", "VotingClassifier predicts the same with flatten_transform=False, which has a converter")


_CHANGES = {
    "VotingClassifier": _votes,
    "KBinsDiscretizer": _bins,
    "RandomTreesEmbedding": _embedding,
    "SimpleImputer": _imputer,
    "OrdinalEncoder": _categories,
    "TargetEncoder": _categories,
    "OneHotEncoder": _categories,
}


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value) or type(value).__name__ == "NAType"


def missing_text(model: Any) -> bool:
    """Whether some step of a model that was prepared knows what to do with an empty string."""
    for step in walk(model):
        if getattr(step.estimator, "missing_values", None) == "":
            return True
        if any("" in list(values) for values in getattr(step.estimator, "categories_", ()) if _is_text(values)):
            return True
    return False


def _is_text(values: Any) -> bool:
    return any(isinstance(one, str) for one in values)
