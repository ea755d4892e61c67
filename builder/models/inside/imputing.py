"""SimpleImputer in any float type, with its indicator columns; text goes to skl2onnx's converter."""

from __future__ import annotations

from typing import Any

from builder.models.inside.emitting import Emitter, float_type, wide
from builder.models.inside.problem import Problem

__all__ = ["convert_imputer", "imputer_shapes"]


def imputer_shapes(operator: Any) -> None:
    """The columns that are not empty, and those of the indicator."""
    from skl2onnx.common.data_types import Int64TensorType, StringTensorType

    rows = operator.inputs[0].get_first_dimension()
    model = operator.raw_operator
    kind = operator.inputs[0].type
    if isinstance(kind, StringTensorType | Int64TensorType):
        operator.outputs[0].type = type(kind)([rows, len(model.statistics_)])
        return
    width = len(_kept(model)) + (len(model.indicator_.features_) if model.add_indicator else 0)
    operator.outputs[0].type = wide(operator.inputs[0], [rows, width])


def _kept(model: Any) -> list[int]:
    """The columns that had values in training; the others are left out unless they are kept on purpose."""
    import numpy as np

    statistics = model.statistics_
    if statistics.dtype.kind in "OUS":
        return list(range(len(statistics)))
    empty = np.isnan(statistics.astype(np.float64))
    if getattr(model, "keep_empty_features", False) or model.strategy == "constant":
        return list(range(len(statistics)))
    return np.flatnonzero(~empty).tolist()


def convert_imputer(scope: Any, operator: Any, container: Any) -> None:
    """SimpleImputer."""
    import numpy as np
    from onnx import TensorProto
    from skl2onnx.common.data_types import Int64TensorType, StringTensorType
    from skl2onnx.operator_converters.imputer_op import convert_sklearn_imputer

    model = operator.raw_operator
    if isinstance(operator.inputs[0].type, StringTensorType):
        if model.add_indicator:
            raise Problem("an imputer of text with add_indicator has no converter", hint="leave add_indicator out")
        convert_sklearn_imputer(scope, operator, container)
        return
    to = Emitter(scope, container)
    names = [one.full_name for one in operator.inputs]
    into = operator.outputs[0].full_name
    if isinstance(operator.inputs[0].type, Int64TensorType):
        if model.missing_values == model.missing_values:
            raise Problem("an imputer of whole numbers has no converter", hint="give it floating numbers, with NaN")
        _joined(to, names, into)
        return
    kind = float_type(operator.inputs[0])
    dtype = np.float64 if kind == TensorProto.DOUBLE else np.float32
    source = _joined(to, [to.cast(name, kind) for name in names])
    if model.missing_values is None or model.missing_values != model.missing_values:
        gone = to.node("IsNaN", source)
    else:
        gone = to.node("Equal", source, to.constant(np.array([float(model.missing_values)], dtype=dtype)))
    statistics = np.nan_to_num(np.asarray(model.statistics_, dtype=np.float64), nan=0.0).astype(dtype)
    filled = to.node("Where", gone, to.constant(statistics[None, :]), source)
    parts = [_picked(to, filled, _kept(model), len(statistics))]
    if model.add_indicator and len(model.indicator_.features_):
        flags = _picked(to, gone, [int(one) for one in model.indicator_.features_], len(statistics))
        parts.append(to.cast(flags, kind))
    _joined(to, parts, into)


def _joined(to: Emitter, names: list[str], into: str | None = None) -> str:
    if len(names) == 1:
        return to.node("Identity", names[0], into=into)
    return to.node("Concat", *names, axis=1, into=into)


def _picked(to: Emitter, name: str, columns: list[int], width: int) -> str:
    import numpy as np

    if columns == list(range(width)):
        return name
    return to.node("Gather", name, to.constant(np.array(columns, dtype=np.int64)), axis=1)
