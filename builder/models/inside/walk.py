"""Models are made of models: every estimator inside one, with the path that leads to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Step", "arithmetic_before", "children", "class_name", "is_a", "needs_doubles", "rewritten", "walk"]


@dataclass(frozen=True)
class Step:
    """An estimator in a model: where it is, and what is around it, outermost first."""

    path: str
    estimator: Any
    around: tuple[Any, ...] = ()


Setter = Callable[[Any], None]

# Where meta-estimators keep the one fitted estimator that they hold.
_SINGLE = (
    ("GridSearchCV", "best_estimator_"),
    ("RandomizedSearchCV", "best_estimator_"),
    ("HalvingGridSearchCV", "best_estimator_"),
    ("HalvingRandomSearchCV", "best_estimator_"),
    ("FrozenEstimator", "estimator"),
    ("TransformedTargetRegressor", "regressor_"),
    ("TransformedTargetRegressor", "transformer_"),
    ("TunedThresholdClassifierCV", "estimator_"),
    ("FixedThresholdClassifier", "estimator_"),
    ("SelectFromModel", "estimator_"),
    ("RFE", "estimator_"),
    ("RANSACRegressor", "estimator_"),
    ("SelfTrainingClassifier", "estimator_"),
    ("StackingClassifier", "final_estimator_"),
    ("StackingRegressor", "final_estimator_"),
)

# Where meta-estimators keep a list of them. Those of tree ensembles are no steps: their owners have converters.
_LISTS = (
    "AdaBoostClassifier",
    "AdaBoostRegressor",
    "BaggingClassifier",
    "BaggingRegressor",
    "ClassifierChain",
    "MultiOutputClassifier",
    "MultiOutputRegressor",
    "OneVsOneClassifier",
    "OneVsRestClassifier",
    "OutputCodeClassifier",
    "RegressorChain",
    "StackingClassifier",
    "StackingRegressor",
    "VotingClassifier",
    "VotingRegressor",
)


def is_a(estimator: object, *names: str) -> bool:
    """Whether a class of `estimator`, or one that it is derived from, has one of `names`."""
    return any(one.__name__ in names for one in type(estimator).__mro__)


def class_name(estimator: object) -> str:
    """The full name of an estimator's class."""
    return f"{type(estimator).__module__}.{type(estimator).__qualname__}"


def walk(model: Any) -> Iterator[Step]:
    """`model` and all that is in it, outer ones first."""
    yield from _walk(model, type(model).__name__.lower(), ())


def _walk(estimator: Any, path: str, around: tuple[Any, ...]) -> Iterator[Step]:
    yield Step(path, estimator, around)
    for name, child, _ in children(estimator):
        yield from _walk(child, f"{path}/{name}", (*around, estimator))


def children(estimator: Any) -> Iterator[tuple[str, Any, Setter]]:
    """The fitted estimators directly in `estimator`: a name, the estimator, and how to put another in its place."""
    yield from _in_tuples(estimator)
    for owner, attribute in _SINGLE:
        held = getattr(estimator, attribute, None) if is_a(estimator, owner) else None
        if _is_estimator(held):
            yield type(held).__name__.lower(), held, _attribute(estimator, attribute)
    if is_a(estimator, *_LISTS):
        held = getattr(estimator, "estimators_", [])
        for position, child in enumerate(held if isinstance(held, list) else []):
            if _is_estimator(child):
                yield f"{type(child).__name__.lower()}-{position + 1}", child, _item(held, position)
    if is_a(estimator, "CalibratedClassifierCV"):
        for position, one in enumerate(getattr(estimator, "calibrated_classifiers_", [])):
            name = f"{type(one.estimator).__name__.lower()}-{position + 1}"
            yield name, one.estimator, _attribute(one, "estimator")


def _in_tuples(estimator: Any) -> Iterator[tuple[str, Any, Setter]]:
    for owner, attribute in (
        ("Pipeline", "steps"),
        ("ColumnTransformer", "transformers_"),
        ("FeatureUnion", "transformer_list"),
    ):
        held = getattr(estimator, attribute, None) if is_a(estimator, owner) else None
        for position, entry in enumerate(held or []):
            if _is_estimator(entry[1]):
                name = entry[0] if entry[0] == type(entry[1]).__name__.lower() else _joined(entry)
                yield name, entry[1], _entry(held, position)


def _joined(entry: tuple[Any, ...]) -> str:
    return f"{entry[0]}/{type(entry[1]).__name__.lower()}"


def _is_estimator(held: object) -> bool:
    return held is not None and not isinstance(held, str) and hasattr(held, "get_params")


def _attribute(owner: Any, attribute: str) -> Setter:
    return lambda new: setattr(owner, attribute, new)


def _item(held: list[Any], position: int) -> Setter:
    def put(new: Any) -> None:
        held[position] = new

    return put


def _entry(held: Any, position: int) -> Setter:
    def put(new: Any) -> None:
        held[position] = (held[position][0], new, *held[position][2:])

    return put


def rewritten(estimator: Any, rewrite: Callable[[Any], Any]) -> Any:
    """`estimator`, inner ones first, with each replaced by what `rewrite` gives for it. Changes it in place."""
    for _, child, put in list(children(estimator)):
        new = rewritten(child, rewrite)
        if new is not child:
            put(new)
    return rewrite(estimator)


_TREES = (
    "BaseForest",
    "BaseDecisionTree",
    "BaseGradientBoosting",
    "BaseHistGradientBoosting",
    "XGBModel",
    "LGBMModel",
    "CatBoost",
    "IsolationForest",
)
# What leaves values as they are, or makes them whole numbers.
_NO_ARITHMETIC = (
    "Pipeline",
    "ColumnTransformer",
    "FeatureUnion",
    "SimpleImputer",
    "OneHotEncoder",
    "OrdinalEncoder",
    "Binarizer",
    "KBinsDiscretizer",
    "CountVectorizer",
    "SelectorMixin",
)


def arithmetic_before(step: Step) -> str | None:
    """For trees: the class of a transformer around them that computes; what it rounds, thresholds may see."""
    if not is_a(step.estimator, *_TREES):
        return None
    for owner in step.around:
        for inner in walk(owner):
            estimator = inner.estimator
            if not hasattr(estimator, "transform") or is_a(estimator, *_NO_ARITHMETIC, "ClassifierMixin"):
                continue
            if is_a(estimator, "RegressorMixin", "ClusterMixin", "TransformedTargetRegressor"):
                continue
            if is_a(estimator, "FunctionTransformer") and estimator.func is None:
                continue
            return type(estimator).__name__
    return None


# Whose answer jumps where two distances or two scores are equal.
_JUMPS = (
    "KNeighborsClassifier",
    "KNeighborsRegressor",
    "KNeighborsTransformer",
    "NearestNeighbors",
    "LocalOutlierFactor",
    "KNNImputer",
    "KernelPCA",
    "OneVsOneClassifier",
    "QuantileTransformer",
    "KBinsDiscretizer",
    "KMeans",
    "MiniBatchKMeans",
)


def needs_doubles(model: Any) -> bool:
    """Whether rounding to float32 on the way shows: trees in `model` get computed numbers, or its answers jump."""
    return any(arithmetic_before(step) or is_a(step.estimator, *_JUMPS) for step in walk(model))
