"""Which converter takes which class: skl2onnx's, with ours in place of those that score differently."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from builder.models.inside.embeddings import parse_embedding
from builder.models.inside.problem import Problem

__all__ = ["OWN", "has_converter", "is_registered", "register"]

_HERE = "builder.models.inside."
_CLASSIFIER = (
    "forests:classifier_shapes",
    {"zipmap": [True, False], "raw_scores": [True, False], "nocl": [True, False]},
)
_REGRESSOR = ("forests:regressor_shapes", None)

# class: (converter, (shapes, options))
OWN: dict[str, tuple[str, tuple[str, Any]]] = {
    "sklearn.tree.DecisionTreeClassifier": ("forests:convert_classifier", _CLASSIFIER),
    "sklearn.tree.ExtraTreeClassifier": ("forests:convert_classifier", _CLASSIFIER),
    "sklearn.ensemble.RandomForestClassifier": ("forests:convert_classifier", _CLASSIFIER),
    "sklearn.ensemble.ExtraTreesClassifier": ("forests:convert_classifier", _CLASSIFIER),
    "sklearn.tree.DecisionTreeRegressor": ("forests:convert_regressor", _REGRESSOR),
    "sklearn.tree.ExtraTreeRegressor": ("forests:convert_regressor", _REGRESSOR),
    "sklearn.ensemble.RandomForestRegressor": ("forests:convert_regressor", _REGRESSOR),
    "sklearn.ensemble.ExtraTreesRegressor": ("forests:convert_regressor", _REGRESSOR),
    "sklearn.ensemble.HistGradientBoostingClassifier": ("histograms:convert_classifier", _CLASSIFIER),
    "sklearn.ensemble.HistGradientBoostingRegressor": ("histograms:convert_regressor", _REGRESSOR),
    "sklearn.discriminant_analysis.LinearDiscriminantAnalysis": ("linear:convert_discriminant", _CLASSIFIER),
    "sklearn.calibration.CalibratedClassifierCV": ("calibration:convert", _CLASSIFIER),
    "sklearn.preprocessing.OneHotEncoder": ("encoders:convert_one_hot", ("encoders:one_hot_shapes", None)),
    "sklearn.preprocessing.QuantileTransformer": (
        "quantiles:convert_quantiles",
        ("quantiles:quantile_shapes", None),
    ),
    "sklearn.model_selection.FixedThresholdClassifier": ("decisions:convert", _CLASSIFIER),
    "sklearn.model_selection.TunedThresholdClassifierCV": ("decisions:convert", _CLASSIFIER),
    "sklearn.ensemble.RandomTreesEmbedding": (
        "embeddings:convert_embedding",
        ("embeddings:embedding_shapes", None),
    ),
    "sklearn.impute.SimpleImputer": ("imputing:convert_imputer", ("imputing:imputer_shapes", None)),
    "sklearn.preprocessing.FunctionTransformer": ("functions:convert_function", ("functions:function_shapes", None)),
    "sklearn.compose.TransformedTargetRegressor": ("functions:convert_target", ("functions:target_shapes", None)),
    "xgboost.XGBClassifier": ("boosters:convert_xgboost", _CLASSIFIER),
    "xgboost.XGBRFClassifier": ("boosters:convert_xgboost", _CLASSIFIER),
    "xgboost.XGBRegressor": ("boosters:convert_xgboost", _REGRESSOR),
    "xgboost.XGBRFRegressor": ("boosters:convert_xgboost", _REGRESSOR),
    "xgboost.XGBRanker": ("boosters:convert_xgboost", _REGRESSOR),
    "xgboost.Booster": ("boosters:convert_xgboost", _REGRESSOR),
    "lightgbm.LGBMClassifier": ("boosters:convert_lightgbm", _CLASSIFIER),
    "lightgbm.LGBMRegressor": ("boosters:convert_lightgbm", _REGRESSOR),
    "lightgbm.LGBMRanker": ("boosters:convert_lightgbm", _REGRESSOR),
    "lightgbm.Booster": ("boosters:convert_lightgbm", _REGRESSOR),
    "catboost.CatBoostClassifier": ("catboosts:convert", _CLASSIFIER),
    "catboost.CatBoostRegressor": ("catboosts:convert", _REGRESSOR),
    "catboost.CatBoost": ("catboosts:convert", _REGRESSOR),
}


def register(spec: dict[str, Any]) -> None:
    """Make our converters known to skl2onnx, and then those that the project names.

    Only what is imported already is registered: a model's libraries are, by having been loaded. Raises Problem for a
    converter of the project that can't be.
    """
    from skl2onnx import update_registered_converter

    for name, (converter, (shapes, options)) in OWN.items():
        model = _loaded(name)
        if model is not None:
            alias = "Lockship" + "".join(name.split(".")[::2]).title().replace(".", "") + name.rpartition(".")[2]
            update_registered_converter(
                model, alias, _ours(shapes), _ours(converter), overwrite=True, options=options,
                parser=_PARSERS.get(name),
            )  # fmt: skip
    for entry in spec.get("converters") or ():
        _register_own(entry, spec.get("root"))


def _two_outputs(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """A classifier that is none of scikit-learn's: skl2onnx would give it one output."""
    from skl2onnx._parse import _get_sklearn_operator_name
    from skl2onnx.common.data_types import Int64TensorType, guess_tensor_type

    operator = scope.declare_local_operator(_get_sklearn_operator_name(type(model)), model)
    operator.inputs = inputs
    operator.outputs.append(scope.declare_local_variable("label", Int64TensorType()))
    operator.outputs.append(scope.declare_local_variable("probabilities", guess_tensor_type(inputs[0].type)))
    return operator.outputs


_PARSERS = {
    "catboost.CatBoostClassifier": _two_outputs,
    "sklearn.ensemble.RandomTreesEmbedding": parse_embedding,
}


def _loaded(name: str) -> Any:
    library, _, member = name.rpartition(".")
    if library.partition(".")[0] not in sys.modules:
        return None
    try:
        return getattr(import_module(library), member, None)
    except ImportError:
        return None


def _ours(name: str) -> Callable[..., None]:
    module, _, member = name.partition(":")
    function: Callable[..., None] = getattr(import_module(_HERE + module), member)
    return function


def _register_own(entry: str, root: str | None) -> None:
    """Call ``module:function``, which takes nothing and registers what it has with skl2onnx."""
    module, _, member = entry.partition(":")
    if root and root not in sys.path:
        sys.path.insert(0, str(Path(root)))
    hint = 'converters = ["module:function"]: a function without parameters that calls update_registered_converter'
    try:
        function = getattr(import_module(module), member)
    except Exception as error:  # whatever the project's module raises while it is imported
        raise Problem(f"the converter {entry} can't be imported: {error}", hint=hint) from error
    try:
        function()
    except Exception as error:  # the project's own code
        raise Problem(f"the converter {entry} failed: {type(error).__name__}: {error}", hint=hint) from error


def is_registered(estimator: Any) -> bool:
    """Whether skl2onnx knows the class of `estimator`."""
    from skl2onnx import supported_converters
    from skl2onnx._supported_operators import sklearn_operator_name_map

    alias = sklearn_operator_name_map.get(type(estimator))
    return alias is not None and alias in set(supported_converters())


# What is taken apart while a model is read, and needs no converter of its own.
_TAKEN_APART = ("Pipeline", "ColumnTransformer", "FeatureUnion")


def has_converter(estimator: Any) -> bool:
    """Whether `estimator` itself (not what is in it) can be written as ONNX."""
    from builder.models.inside.walk import is_a

    return is_a(estimator, *_TAKEN_APART) or is_registered(estimator)
