"""scikit-learn's other trees under float64: the features are float32 from there on, as in scikit-learn itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from builder.models.inside.emitting import Emitter, is_double

__all__ = ["register_islands"]

_TREES = ("GradientBoostingClassifier", "GradientBoostingRegressor", "IsolationForest")


def register_islands() -> None:
    """Wrap skl2onnx's converters of tree models that would compare in float64."""
    from skl2onnx import update_registered_converter
    from skl2onnx._supported_operators import sklearn_operator_name_map
    from skl2onnx.common._registration import _converter_pool, _shape_calculator_pool
    from sklearn import ensemble

    for name in _TREES:
        model = getattr(ensemble, name)
        alias = sklearn_operator_name_map[model]
        if alias.startswith("Island"):
            continue
        update_registered_converter(
            model,
            f"Island{name}",
            _shape_calculator_pool[alias],
            _island(alias, _converter_pool[alias]),
            overwrite=True,
            options=_converter_pool[alias].get_allowed_options(),
        )


def _island(alias: str, original: Callable[..., None]) -> Callable[..., None]:
    def convert(scope: Any, operator: Any, container: Any) -> None:
        from onnx import TensorProto
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

        if not is_double(operator.inputs[0]):
            original(scope, operator, container)
            return
        to = Emitter(scope, container)
        source = scope.declare_local_variable("narrow", FloatTensorType(operator.inputs[0].type.shape))
        to.cast(operator.inputs[0].full_name, TensorProto.FLOAT, into=source.full_name)
        source.init_status(is_fed=True)
        inner = scope.declare_local_operator(alias, operator.raw_operator)
        inner.inputs.append(source)
        for output in operator.outputs:
            kind = output.type
            floating = isinstance(kind, DoubleTensorType | FloatTensorType)
            held = scope.declare_local_variable("held", FloatTensorType(kind.shape) if floating else kind)
            inner.outputs.append(held)
            if floating:
                into = TensorProto.DOUBLE if isinstance(kind, DoubleTensorType) else TensorProto.FLOAT
                to.cast(held.full_name, into, into=output.full_name)
            else:
                to.node("Identity", held.full_name, into=output.full_name)

    return convert
