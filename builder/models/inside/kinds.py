"""What kind of model it is, what it takes, and what it gives."""

from __future__ import annotations

from typing import Any

from builder.models.inside.walk import is_a, walk

__all__ = ["classes_of", "describe", "features_of", "input_of", "kind_of", "width_of"]

_DENSITY = ("GaussianMixture", "BayesianGaussianMixture")
_TEXT = ("CountVectorizer", "TfidfVectorizer", "HashingVectorizer")


def describe(model: Any) -> dict[str, Any]:
    """`kind`, `input`, `features`, `n_features` and `classes` of a fitted model."""
    features = features_of(model)
    return {
        "kind": kind_of(model),
        "input": input_of(model),
        "features": features,
        "n_features": width_of(model),
        "classes": classes_of(model),
    }


def kind_of(model: Any) -> str:
    """``classifier``, ``regressor``, ``clusterer``, ``outlier``, or ``transformer`` when it predicts nothing."""
    inner = final(model)
    if is_a(inner, "Booster", "CatBoost") and not is_a(inner, "CatBoostClassifier"):
        return "regressor"
    if is_a(inner, "ClassifierMixin", "CatBoostClassifier") and hasattr(model, "predict"):
        return "classifier"
    if is_a(inner, "RegressorMixin", "XGBRanker", "LGBMRanker") and hasattr(model, "predict"):
        return "regressor"
    if is_a(inner, "OutlierMixin"):
        return "outlier"
    if is_a(inner, "ClusterMixin", *_DENSITY):
        return "clusterer"
    return "transformer"


def final(model: Any) -> Any:
    """The estimator that a pipeline ends in, or that a search found."""
    while True:
        if is_a(model, "Pipeline"):
            ends = [step for _, step in model.steps if step is not None and step != "passthrough"]
            model = ends[-1] if ends else None
        elif is_a(model, "FrozenEstimator"):
            model = model.estimator
        elif is_a(model, "BaseSearchCV") and hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        else:
            return model


def first(model: Any) -> Any:
    """The estimator that sees the input first."""
    while True:
        if is_a(model, "Pipeline"):
            model = next((step for _, step in model.steps if step is not None and step != "passthrough"), None)
        elif is_a(model, "FrozenEstimator"):
            model = model.estimator
        elif is_a(model, "BaseSearchCV") and hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        else:
            return model


def features_of(model: Any) -> list[str]:
    """The columns that it was trained on, when it was trained on named ones."""
    for step in walk(model):
        names = _names(step.estimator)
        if names:
            return names
        if not is_a(step.estimator, "Pipeline", "FrozenEstimator", "BaseSearchCV"):
            break
    return []


def _names(estimator: Any) -> list[str]:
    try:
        if is_a(estimator, "CatBoost"):
            names = [str(name) for name in estimator.feature_names_]
            return [] if names == [str(number) for number in range(len(names))] else names
        if is_a(estimator, "LGBMModel", "Booster") and hasattr(estimator, "feature_name"):
            names = list(estimator.feature_name() if callable(estimator.feature_name) else estimator.feature_name_)
            return [] if names == [f"Column_{number}" for number in range(len(names))] else names
        if is_a(estimator, "LGBMModel"):
            return _names(estimator.booster_)
        if is_a(estimator, "Booster"):
            return list(estimator.feature_names or [])
        return [str(name) for name in getattr(estimator, "feature_names_in_", ())]
    except Exception:  # properties that raise in ways of their own when there are no names
        return []


def input_of(model: Any) -> str:
    """``frame``, ``array``, or ``text``: one text a row, not in a column."""
    if is_a(first(model), *_TEXT) or _union_of_text(first(model)):
        return "text"
    return "frame" if features_of(model) else "array"


def _union_of_text(model: Any) -> bool:
    return is_a(model, "FeatureUnion") and all(input_of(one) == "text" for _, one in model.transformer_list)


def width_of(model: Any) -> int | None:
    """How many features go in, when the model knows."""
    if input_of(model) == "text":
        return 1
    for step in walk(model):
        width = _width(step.estimator)
        if width is not None:
            return width
    return None


def _width(estimator: Any) -> int | None:
    try:
        if is_a(estimator, "CatBoost"):
            return len(estimator.feature_names_)
        if is_a(estimator, "Booster"):
            counted = estimator.num_features() if hasattr(estimator, "num_features") else estimator.num_feature()
            return int(counted)
        return int(estimator.n_features_in_)
    except Exception:  # not every estimator has it, and some raise errors of their own
        return None


def classes_of(model: Any) -> list[int | str] | None:
    """A classifier's labels as they are in ONNX: whole numbers or text. None for several targets, or no classifier."""
    if kind_of(model) != "classifier":
        return None
    classes = getattr(model, "classes_", None)
    if classes is None:
        classes = getattr(final(model), "classes_", None)
    if classes is None or (isinstance(classes, list) and classes and not isinstance(classes[0], int | str | float)):
        return None
    values = classes.tolist() if hasattr(classes, "tolist") else list(classes)
    if any(isinstance(one, list) for one in values):
        return None
    return [int(one) if isinstance(one, bool | int | float) else str(one) for one in values]
