"""QuantileTransformer to a uniform distribution: interpolation, with jumps where several quantiles are equal."""

from __future__ import annotations

from typing import Any

from builder.models.inside.emitting import Emitter, float_type, wide
from builder.models.inside.problem import Problem

__all__ = ["convert_quantiles", "quantile_shapes"]


def quantile_shapes(operator: Any) -> None:
    """As many columns as go in."""
    rows = operator.inputs[0].get_first_dimension()
    operator.outputs[0].type = wide(operator.inputs[0], [rows, operator.raw_operator.quantiles_.shape[1]])


def convert_quantiles(scope: Any, operator: Any, container: Any) -> None:
    """QuantileTransformer; computed in float64, as in scikit-learn."""
    from onnx import TensorProto

    to = Emitter(scope, container)
    model = operator.raw_operator
    if model.output_distribution != "uniform":
        raise Problem(
            "QuantileTransformer to a normal distribution has no converter",
            hint='use output_distribution="uniform", or a PowerTransformer',
        )
    double = to.cast(operator.inputs[0].full_name, TensorProto.DOUBLE)
    columns = [
        _column(to, to.column(double, number), model.quantiles_[:, number], model.references_)
        for number in range(model.quantiles_.shape[1])
    ]
    joined = columns[0] if len(columns) == 1 else to.node("Concat", *columns, axis=1)
    to.cast(joined, float_type(operator.inputs[0]), into=operator.outputs[0].full_name)


def _column(to: Emitter, column: str, quantiles: Any, references: Any) -> str:
    """One column, `[N, 1]`: every step between quantiles adds its share of rise, every jump all or half of it.

    scikit-learn interpolates from below and from above and takes the mean: on a quantile that occurs several times that
    is the middle between the first and the last of them.
    """
    import numpy as np
    from onnx import TensorProto

    points, first = np.unique(np.asarray(quantiles, dtype=np.float64), return_index=True)
    last = np.append(first[1:], len(quantiles)) - 1
    low, high = np.asarray(references)[first], np.asarray(references)[last]
    low, high = low.copy(), high.copy()
    total = to.node("Mul", column, to.constant(np.zeros(1)))
    if len(points) > 1:
        gone = to.node("Sub", column, to.constant(points[:-1][None, :]))
        widths = np.diff(points)[None, :]
        inside = to.node("Min", to.node("Max", gone, to.constant(np.zeros((1, 1)))), to.constant(widths))
        slopes = (low[1:] - high[:-1]) / np.diff(points)
        total = to.node("MatMul", inside, to.constant(slopes[:, None]))
    jumps = np.flatnonzero(high > low)
    if len(jumps):
        at = to.constant(points[jumps][None, :])
        halves = to.constant(((high - low)[jumps] / 2)[:, None])
        for op in ("Greater", "GreaterOrEqual"):
            reached = to.cast(to.node(op, column, at), TensorProto.DOUBLE)
            total = to.node("Add", total, to.node("MatMul", reached, halves))
    return _ends(to, column, to.node("Add", total, to.constant(low[:1])), points)


def _ends(to: Emitter, column: str, value: str, points: Any) -> str:
    """The least and the greatest quantile are 0 and 1, however often they occur; NaN stays."""
    import numpy as np

    zero, one = to.constant(np.zeros((1, 1))), to.constant(np.ones((1, 1)))
    value = to.node("Where", to.node("Equal", column, to.constant(points[-1:])), one, value)
    value = to.node("Where", to.node("Equal", column, to.constant(points[:1])), zero, value)
    return to.node("Where", to.node("IsNaN", column), column, value)
