"""Functions of NumPy that have an operator, as steps of pipelines and around targets of regressions."""

from __future__ import annotations

from typing import Any

from builder.models.inside.emitting import Emitter, float_type, wide
from builder.models.inside.problem import Problem
from builder.models.inside.walk import is_a

__all__ = ["FUNCTIONS", "convert_function", "convert_target", "function_name", "function_shapes", "target_shapes"]

# NumPy's ufuncs by name; each as operators in order, with a constant where they take one.
FUNCTIONS: dict[str, tuple[tuple[str, float | None], ...]] = {
    "absolute": (("Abs", None),),
    "cos": (("Cos", None),),
    "exp": (("Exp", None),),
    "expm1": (("Exp", None), ("Sub", 1.0)),
    "log": (("Log", None),),
    "log10": (("Log", None), ("Mul", 0.4342944819032518)),
    "log1p": (("Add", 1.0), ("Log", None)),
    "log2": (("Log", None), ("Mul", 1.4426950408889634)),
    "negative": (("Neg", None),),
    "reciprocal": (("Reciprocal", None),),
    "sin": (("Sin", None),),
    "sqrt": (("Sqrt", None),),
    "square": (("Mul", None),),
    "tanh": (("Tanh", None),),
}


def function_name(function: Any) -> str | None:
    """The name of `function` when it can be converted: ``identity`` for None, NumPy's for a ufunc."""
    if function is None:
        return "identity"
    name = getattr(function, "__name__", "")
    return name if type(function).__name__ == "ufunc" and name in FUNCTIONS else None


def apply(to: Emitter, source: str, function: Any, kind: int, into: str) -> None:
    """Write `function` over the tensor `source`. It is computed in float64, as in NumPy."""
    import numpy as np
    from onnx import TensorProto

    name = function_name(function)
    if name is None:
        raise Problem(f"a function without an operator: {function!r}", hint="see lockship convert --explain")
    current = to.cast(source, TensorProto.DOUBLE)
    for op, constant in FUNCTIONS.get(name, ()):
        if op in ("Mul", "Add", "Sub"):
            other = current if constant is None else to.constant(np.array([constant]))
            current = to.node(op, current, other)
        elif op in ("Cos", "Sin"):  # onnxruntime has no float64 kernels for these in all versions
            current = to.cast(to.node(op, to.cast(current, TensorProto.FLOAT)), TensorProto.DOUBLE)
        else:
            current = to.node(op, current)
    to.cast(current, kind, into=into)


def function_shapes(operator: Any) -> None:
    """As many columns as go in."""
    from skl2onnx.common.data_types import StringTensorType

    rows = operator.inputs[0].get_first_dimension()
    widths = [variable.type.shape[1] for variable in operator.inputs]
    width = sum(widths) if all(isinstance(one, int) for one in widths) else None
    if function_name(operator.raw_operator.func) == "identity" and isinstance(
        operator.inputs[0].type, StringTensorType
    ):
        operator.outputs[0].type = StringTensorType([rows, width])
    else:
        operator.outputs[0].type = wide(operator.inputs[0], [rows, width])


def convert_function(scope: Any, operator: Any, container: Any) -> None:
    """FunctionTransformer over None or one of `FUNCTIONS`."""
    from skl2onnx.common.data_types import StringTensorType

    to = Emitter(scope, container)
    model = operator.raw_operator
    if model.kw_args:
        raise Problem("a FunctionTransformer with kw_args has no converter", hint="write a converter for it")
    text = isinstance(operator.outputs[0].type, StringTensorType)
    kind = float_type(operator.inputs[0])
    names = [one.full_name if text else to.cast(one.full_name, kind) for one in operator.inputs]
    source = names[0] if len(names) == 1 else to.node("Concat", *names, axis=1)
    into = operator.outputs[0].full_name
    if function_name(model.func) == "identity":
        to.node("Identity", source, into=into)
    else:
        apply(to, source, model.func, kind, into)


def target_shapes(operator: Any) -> None:
    """`[N, 1]`."""
    operator.outputs[0].type = wide(operator.inputs[0], [operator.inputs[0].get_first_dimension(), 1])


def convert_target(scope: Any, operator: Any, container: Any) -> None:
    """TransformedTargetRegressor: the regressor, then the inverse of what was done to the target."""
    from skl2onnx._parse import _parse_sklearn

    to = Emitter(scope, container)
    model = operator.raw_operator
    inner = _parse_sklearn(scope, model.regressor_, operator.inputs)[0]
    kind = float_type(operator.inputs[0])
    _inverse(to, inner.full_name, model.transformer_, kind, operator.outputs[0].full_name)


def _inverse(to: Emitter, source: str, transformer: Any, kind: int, into: str) -> None:
    import numpy as np
    from onnx import TensorProto

    if is_a(transformer, "FunctionTransformer"):
        column = to.node("Reshape", source, to.constant(np.array([-1, 1], dtype=np.int64)))
        apply(to, column, transformer.inverse_func, kind, into)
        return
    factor, offset = inverse_line(transformer)
    double = to.cast(source, TensorProto.DOUBLE)
    column = to.node("Reshape", double, to.constant(np.array([-1, len(factor)], dtype=np.int64)))
    line = to.node("Add", to.node("Mul", column, to.constant(factor[None, :])), to.constant(offset[None, :]))
    to.cast(line, kind, into=into)


def inverse_line(transformer: Any) -> tuple[Any, Any]:
    """What a scaler's inverse multiplies by and then adds; raises Problem for transformers that aren't scalers."""
    import numpy as np

    if is_a(transformer, "StandardScaler", "RobustScaler"):
        offset = getattr(transformer, "mean_", None) if is_a(transformer, "StandardScaler") else transformer.center_
        factor = transformer.scale_
        width = int(transformer.n_features_in_)
        return (
            np.ones(width) if factor is None else np.asarray(factor, dtype=np.float64),
            np.zeros(width) if offset is None else np.asarray(offset, dtype=np.float64),
        )
    if is_a(transformer, "MinMaxScaler") and not transformer.clip:
        return 1 / transformer.scale_, -transformer.min_ / transformer.scale_
    if is_a(transformer, "MaxAbsScaler"):
        return np.asarray(transformer.scale_), np.zeros(len(transformer.scale_))
    raise Problem(
        f"the inverse of {type(transformer).__name__} around a target has no converter",
        hint="use func=np.log1p and inverse_func=np.expm1, or a StandardScaler",
    )
