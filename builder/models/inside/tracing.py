"""What every step of the original makes of some rows."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from builder.models.inside.walk import children, class_name, is_a, walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Made", "trace"]


class Made(NamedTuple):
    """A step, and its output `[rows, columns]`; `traits` are what is known to matter about it.

    `lane` names the branches that it is in, outermost first: what comes later in it or an outer one is made of it.
    """

    path: str
    kind: str
    traits: list[str]
    output: NDArray[Any]
    lane: tuple[int, ...] = ()


def trace(model: Any, rows: Any) -> list[Made]:
    """The steps in the order in which data flows, inner ones before what is around them.

    Steps that can't be asked alone are left out.
    """
    paths = {id(step.estimator): step.path for step in walk(model)}
    made: list[Made] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _follow(model, rows, paths, made)
    return made


def _follow(estimator: Any, rows: Any, paths: dict[int, str], made: list[Made]) -> Any:
    """Its output for `rows`, or None; notes what it and all in it made."""
    if is_a(estimator, "Pipeline"):
        return _through(estimator, rows, paths, made)
    if is_a(estimator, "ColumnTransformer"):
        _columns(estimator, rows, paths, made)
    elif is_a(estimator, "FeatureUnion", "VotingClassifier", "VotingRegressor", "CalibratedClassifierCV") or is_a(
        estimator, "StackingClassifier", "StackingRegressor", "BaseSearchCV", "FrozenEstimator"
    ):
        for number, (_, child, _) in enumerate(children(estimator)):
            if child is not getattr(estimator, "final_estimator_", None):
                _apart(child, rows, paths, made, number)
    return _noted(estimator, rows, paths, made)


def _through(pipeline: Any, rows: Any, paths: dict[int, str], made: list[Made]) -> Any:
    for _, step in pipeline.steps:
        if rows is not None and step is not None and not isinstance(step, str):
            rows = _follow(step, rows, paths, made)
    return rows


def _columns(transformer: Any, rows: Any, paths: dict[int, str], made: list[Made]) -> None:
    for number, (_, step, columns) in enumerate(transformer.transformers_):
        if step is None or isinstance(step, str):
            continue
        try:
            some = _taken(rows, columns)
        except Exception:  # noqa: S112 - columns in a form of their own: the whole is still seen
            continue
        _apart(step, some, paths, made, number)


def _apart(step: Any, rows: Any, paths: dict[int, str], made: list[Made], number: int) -> None:
    """Follow one of several branches."""
    inner: list[Made] = []
    _follow(step, rows, paths, inner)
    made += [one._replace(lane=(number, *one.lane)) for one in inner]


def _taken(rows: Any, columns: Any) -> Any:
    from sklearn.utils import _safe_indexing

    return _safe_indexing(rows, columns, axis=1)


def _noted(estimator: Any, rows: Any, paths: dict[int, str], made: list[Made]) -> Any:
    import numpy as np

    for method in ("predict_proba", "decision_function", "predict", "transform"):
        if not hasattr(estimator, method) or (method != "transform" and _only_transforms(estimator)):
            continue
        try:
            output = getattr(estimator, method)(rows)
        except Exception:
            return None
        flat = output.toarray() if hasattr(output, "toarray") else np.asarray(output)
        if flat.dtype != object and flat.dtype.kind in "fiub":
            flat = flat.astype(np.float64)
            path = paths.get(id(estimator), type(estimator).__name__.lower())
            made.append(Made(path, class_name(estimator), _traits(estimator), flat.reshape(len(flat), -1)))
        return output
    return None


def _only_transforms(estimator: Any) -> bool:
    return hasattr(estimator, "transform") and not is_a(estimator, "ClassifierMixin", "RegressorMixin", "ClusterMixin")


def _traits(estimator: Any) -> list[str]:
    traits = []
    if is_a(estimator, "CalibratedClassifierCV") and getattr(estimator, "method", "") == "isotonic":
        traits.append("isotonic")
    if is_a(estimator, "BaseHistGradientBoosting") and getattr(estimator, "is_categorical_", None) is not None:
        traits.append("categories")
    if is_a(estimator, "BaseForest", "BaseDecisionTree", "BaseGradientBoosting", "BaseHistGradientBoosting") or is_a(
        estimator, "XGBModel", "LGBMModel", "CatBoost", "IsolationForest"
    ):
        traits.append("trees")
    if is_a(estimator, "CountVectorizer", "TfidfVectorizer", "HashingVectorizer"):
        traits.append("text")
    if not {"trees", "text"} & set(traits) and not is_a(estimator, "Pipeline", "ColumnTransformer", "FeatureUnion"):
        traits.append("computes")
    return traits
