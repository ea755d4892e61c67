"""The questions that the rules ask of a step: each gives a text or True when it applies."""

from __future__ import annotations

from typing import Any

from builder.models.inside.boosters import LIGHTGBM_LINKS, XGBOOST_LINKS, lightgbm_document, xgboost_document
from builder.models.inside.functions import function_name, inverse_line
from builder.models.inside.kinds import final, kind_of
from builder.models.inside.problem import Problem
from builder.models.inside.registering import has_converter
from builder.models.inside.walk import Step, arithmetic_before, is_a, walk

_WRAPPERS = ("BaseSearchCV", "FrozenEstimator")


def is_bare(step: Step, model: Any, spec: dict[str, Any], precision: str) -> bool:
    """No transformer anywhere around or in a model that predicts, and nobody said where it is."""
    if step.around or spec.get("preprocessing") in ("included", "elsewhere") or kind_of(model) == "transformer":
        return False
    return not any(_transforms(one.estimator) for one in walk(model))


def _transforms(estimator: Any) -> bool:
    # vectorizers of text are no TransformerMixin
    return is_a(estimator, "TransformerMixin", "_VectorizerMixin", "ColumnTransformer", "FeatureUnion") and not is_a(
        estimator, "ClassifierMixin", "RegressorMixin", "ClusterMixin"
    )


def is_unfitted(step: Step, model: Any, spec: dict[str, Any], precision: str) -> bool:
    """Whether scikit-learn says that it is not fitted."""
    if step.around or not is_a(step.estimator, "BaseEstimator"):
        return False
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(final(step.estimator))
    except NotFittedError:
        return True
    except Exception:  # not every estimator follows the rules of that check
        return False
    return False


def has_several_targets(step: Step, model: Any, spec: dict[str, Any], precision: str) -> bool:
    """Classifiers of more than one target."""
    if step.around or kind_of(model) != "classifier":
        return False
    inner = final(model)
    if is_a(inner, "MultiOutputClassifier", "ClassifierChain") or getattr(inner, "n_outputs_", 1) > 1:
        return True
    if getattr(inner, "multilabel_", False):
        return True
    classes = getattr(inner, "classes_", None)
    return isinstance(classes, list) and bool(classes) and hasattr(classes[0], "tolist") and classes[0].ndim > 0


_OTHERS = {
    "DictVectorizer": "dictionaries",
    "FeatureHasher": "dictionaries",
    "KernelCenterer": "a kernel matrix",
    "LabelBinarizer": "labels",
    "LabelEncoder": "labels",
    "MultiLabelBinarizer": "sets of labels",
    "PatchExtractor": "images",
}


def takes_no_columns(step: Step, model: Any, spec: dict[str, Any], precision: str) -> str | None:
    """What transforms something else than a table."""
    return _OTHERS.get(type(step.estimator).__name__)


def closes_over_python(step: Step, model: Any, spec: dict[str, Any], precision: str) -> str | None:
    """The name of the Python function that a step calls."""
    estimator = step.estimator
    if is_a(estimator, "FunctionTransformer"):
        if any(is_a(one, "TransformedTargetRegressor") and one.transformer_ is estimator for one in step.around[-1:]):
            return None if function_name(estimator.inverse_func) else _called(estimator.inverse_func)
        if estimator.kw_args:
            return f"{_called(estimator.func)} with arguments of its own"
        return None if function_name(estimator.func) else _called(estimator.func)
    if is_a(estimator, "TransformedTargetRegressor"):
        if is_a(estimator.transformer_, "FunctionTransformer"):
            return None
        try:
            inverse_line(estimator.transformer_)
        except Problem:
            return f"the inverse of {type(estimator.transformer_).__name__}"
    if is_a(estimator, "KNeighborsClassifier", "KNeighborsRegressor") and callable(estimator.weights):
        return f"weights={_called(estimator.weights)}"
    if is_a(estimator, "SVC", "SVR", "NuSVC", "NuSVR", "OneClassSVM") and callable(estimator.kernel):
        return f"kernel={_called(estimator.kernel)}"
    return None


def _called(function: Any) -> str:
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None) or repr(function)
    module = getattr(function, "__module__", "") or ""
    return f"{module}.{name}" if module not in ("", "builtins", "__main__") else str(name)


def is_text(step: Step, model: Any, spec: dict[str, Any], precision: str) -> bool:
    """Counting words."""
    return is_a(step.estimator, "CountVectorizer", "TfidfVectorizer")


def has_own_tokens(step: Step, model: Any, spec: dict[str, Any], precision: str) -> str | None:
    """What in a vectorizer can't be written."""
    from builder.models.inside.fitted import TEXT_TOKENS

    estimator = step.estimator
    if not is_text(step, model, spec, precision):
        return None
    if estimator.strip_accents is not None:
        return f"strip_accents={estimator.strip_accents!r} has no operator"
    if callable(estimator.tokenizer) or callable(estimator.preprocessor) or callable(estimator.analyzer):
        return "it finds tokens with Python code"
    if estimator.analyzer == "char_wb":
        return "analyzer='char_wb' pads words, which no operator does"
    if estimator.analyzer == "char":
        return "analyzer='char' cuts texts in another way than the operator does"
    if estimator.token_pattern not in TEXT_TOKENS:
        return f"token_pattern={estimator.token_pattern!r} was never measured"
    return None


def stops_ngrams(step: Step, model: Any, spec: dict[str, Any], precision: str) -> bool:
    """Stop words with n-grams."""
    if not is_text(step, model, spec, precision):
        return False
    return step.estimator.stop_words is not None and tuple(step.estimator.ngram_range) != (1, 1)


def catboost_categories(step: Step, model: Any, spec: dict[str, Any], precision: str) -> bool:
    """CatBoost's own features."""
    if not is_a(step.estimator, "CatBoost"):
        return False
    features = ("cat", "text", "embedding")
    return any(
        getattr(step.estimator, f"get_{one}_feature_indices", list)() for one in features
    )  # fmt: skip


def booster_categories(step: Step, model: Any, spec: dict[str, Any], precision: str) -> bool:
    """Categories of pandas."""
    if is_a(step.estimator, "XGBModel", "Booster") and _is_xgboost(step.estimator):
        booster = step.estimator.get_booster() if hasattr(step.estimator, "get_booster") else step.estimator
        return "c" in (booster.feature_types or [])
    if is_a(step.estimator, "LGBMModel", "Booster") and not _is_xgboost(step.estimator):
        return bool(lightgbm_document(step.estimator).get("pandas_categorical"))
    return False


def _is_xgboost(estimator: Any) -> bool:
    return type(estimator).__module__.partition(".")[0] == "xgboost" or any(
        one.__module__.partition(".")[0] == "xgboost" for one in type(estimator).__mro__
    )


def booster_objective(step: Step, model: Any, spec: dict[str, Any], precision: str) -> str | None:
    """An objective, booster or option that isn't known."""
    estimator = step.estimator
    if not is_a(estimator, "XGBModel", "LGBMModel", "Booster"):
        return None
    if not _is_xgboost(estimator):
        objective = str(lightgbm_document(estimator).get("objective", "custom")).partition(" ")[0]
        return None if objective in LIGHTGBM_LINKS else objective
    learner = xgboost_document(estimator)["learner"]
    objective = learner["objective"]["name"]
    if objective not in XGBOOST_LINKS:
        return str(objective)
    if learner["gradient_booster"]["name"] == "gblinear":
        return "gblinear"
    missing = getattr(estimator, "missing", None)
    if missing is not None and missing == missing:
        return f"missing={missing!r}"
    return None


def _encoders(step: Step) -> list[Any]:
    if not is_a(step.estimator, "BaseHistGradientBoosting") or getattr(step.estimator, "_preprocessor", None) is None:
        return []
    return list(step.estimator._preprocessor.named_transformers_["encoder"].categories_)


def text_categories(step: Step, model: Any, spec: dict[str, Any], precision: str) -> bool:
    """Histograms of text."""
    return any(values.dtype.kind in "OUS" for values in _encoders(step))


def number_categories(step: Step, model: Any, spec: dict[str, Any], precision: str) -> bool:
    """Histograms of numbers that are categories."""
    return bool(_encoders(step))


def unordered_missing(step: Step, model: Any, spec: dict[str, Any], precision: str) -> str | None:
    """A missing text beside an empty one."""
    for values in getattr(step.estimator, "categories_", ()):
        listed = list(values)
        if any(isinstance(one, str) for one in listed):
            empty = sum(one is None or one != one or one == "" for one in listed)
            if empty > 1:
                return "it knows several kinds of missing or empty text, which ONNX can't tell apart"
    return None


def lacks_converter(step: Step, model: Any, spec: dict[str, Any], precision: str) -> str | None:
    """No converter; the text adds what there is instead."""
    if is_a(step.estimator, *_WRAPPERS):
        return None
    if has_converter(step.estimator) and not is_a(step.estimator, "GaussianProcessClassifier"):  # onnxruntime can't
        return None
    if step.around and is_a(step.around[-1], "TransformedTargetRegressor"):
        return None  # its inverse is written by its owner
    instead = _INSTEAD.get(type(step.estimator).__name__)
    return f"has no converter: {instead}" if instead else "has no converter"


_INSTEAD = {
    "GaussianProcessClassifier": "LogisticRegression and SVC have one",
    "ClassifierChain": "convert one model for each target",
    "DummyClassifier": "it is a constant",
    "DummyRegressor": "it is a constant",
    "FeatureAgglomeration": "PCA has one",
    "HashingVectorizer": "TfidfVectorizer has one",
    "IsotonicRegression": "inside CalibratedClassifierCV it is converted",
    "MissingIndicator": "trees such as HistGradientBoosting take missing values as they are",
    "NMF": "TruncatedSVD has one",
    "RandomizedSearchCV": "save its best_estimator_",
    "SplineTransformer": "KBinsDiscretizer and PolynomialFeatures have one",
}


def is_wrapper(step: Step, model: Any, spec: dict[str, Any], precision: str) -> bool:
    """What only holds another estimator."""
    return is_a(step.estimator, *_WRAPPERS)


def trees_with_nan(step: Step, model: Any, spec: dict[str, Any], precision: str) -> bool:
    """scikit-learn's trees that saw NaN."""
    if not is_a(step.estimator, "BaseForest", "BaseDecisionTree"):
        return False
    for one in [step.estimator, *getattr(step.estimator, "estimators_", [])]:
        sides = getattr(getattr(one, "tree_", None), "missing_go_to_left", None)
        if sides is not None and sides.any():
            return True
    return False


def is_forest(step: Step, model: Any, spec: dict[str, Any], precision: str) -> bool:
    """Votes."""
    return is_a(step.estimator, "ForestClassifier")


def _calibrators(step: Step, name: str) -> bool:
    if not is_a(step.estimator, "CalibratedClassifierCV"):
        return False
    return any(is_a(one, name) for held in step.estimator.calibrated_classifiers_ for one in held.calibrators)


def is_isotonic(step: Step, model: Any, spec: dict[str, Any], precision: str) -> bool:
    """Isotonic calibration."""
    return _calibrators(step, "IsotonicRegression")


def is_temperature(step: Step, model: Any, spec: dict[str, Any], precision: str) -> bool:
    """Temperature scaling."""
    return _calibrators(step, "_TemperatureScaling")


def is_binary_lda(step: Step, model: Any, spec: dict[str, Any], precision: str) -> bool:
    """Discriminants of two classes."""
    return is_a(step.estimator, "LinearDiscriminantAnalysis") and len(step.estimator.classes_) == 2


def compares_doubles(step: Step, model: Any, spec: dict[str, Any], precision: str) -> bool:
    """Thresholds in float64."""
    if precision != "float32":
        return False
    return is_a(step.estimator, "BaseHistGradientBoosting", "LGBMModel") or (
        is_a(step.estimator, "Booster") and not _is_xgboost(step.estimator)
    )


def scaled_trees(step: Step, model: Any, spec: dict[str, Any], precision: str) -> str | None:
    """Trees behind arithmetic: the name of what computes."""
    return arithmetic_before(step)


def svc_probabilities(step: Step, model: Any, spec: dict[str, Any], precision: str) -> bool:
    """Platt scaling inside."""
    return is_a(step.estimator, "SVC", "NuSVC") and bool(getattr(step.estimator, "probability", False) is True)


def raises_for_unseen(step: Step, model: Any, spec: dict[str, Any], precision: str) -> bool:
    """Encoders that raise."""
    return is_a(step.estimator, "OneHotEncoder", "OrdinalEncoder") and step.estimator.handle_unknown == "error"
