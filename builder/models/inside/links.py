"""From the sum of a booster's trees to what the model predicts."""

from __future__ import annotations

from typing import Any

from builder.models.inside.emitting import Emitter, float_type
from builder.models.inside.forests import labels_of

__all__ = ["LINKS", "finish_classifier", "finish_regressor"]

LINKS = ("identity", "sigmoid", "softmax", "each", "exp", "square")
"""What can be done to raw sums. `each` is a sigmoid for every class, without making them add up to one."""


def finish_classifier(to: Emitter, operator: Any, raw: str, link: str, *, slope: float = 1.0) -> None:
    """Label and probabilities (or, where raw scores were asked for, the sums) from `raw`.

    `raw` is `[rows, 1]` for two classes, else `[rows, classes]`.
    """
    import numpy as np

    model = operator.raw_operator
    kind = float_type(operator.inputs[0])
    dtype = _dtype(kind)
    raw = to.cast(raw, kind)
    binary = len(model.classes_) == 2
    scores = to.node("Concat", to.node("Neg", raw), raw, axis=1) if binary else raw
    steeper = raw if slope == 1.0 else to.node("Mul", raw, to.constant(np.array([slope], dtype=dtype)))
    if link == "softmax" and not binary:
        probabilities = to.node("Softmax", steeper, axis=1)
    else:
        sure = to.node("Sigmoid", steeper)
        rest = to.node("Sub", to.constant(np.array([1.0], dtype=dtype)), sure) if binary else ""
        probabilities = to.node("Concat", rest, sure, axis=1) if binary else sure
    raw_scores = to.container.get_options(model, {"raw_scores": False})["raw_scores"]
    to.node("Identity", scores if raw_scores else probabilities, into=operator.outputs[1].full_name)
    best = to.node("ArgMax", probabilities, axis=1, keepdims=0)
    to.node("Gather", to.constant(labels_of(model.classes_)), best, axis=0, into=operator.outputs[0].full_name)


def finish_regressor(to: Emitter, operator: Any, raw: str, link: str, *, slope: float = 1.0) -> None:
    """The values from `raw`, `[rows, targets]`."""
    import numpy as np

    kind = float_type(operator.inputs[0])
    raw = to.cast(raw, kind)
    into = operator.outputs[0].full_name
    if slope != 1.0:
        raw = to.node("Mul", raw, to.constant(np.array([slope], dtype=_dtype(kind))))
    if link == "square":  # LightGBM's reg_sqrt: the sign stays
        to.node("Mul", to.node("Sign", raw), to.node("Mul", raw, raw), into=into)
    elif link == "softmax":
        to.node("Softmax", raw, axis=1, into=into)
    else:
        op = {"sigmoid": "Sigmoid", "each": "Sigmoid", "exp": "Exp", "identity": "Identity"}[link]
        to.node(op, raw, into=into)


def _dtype(kind: int) -> Any:
    import numpy as np
    from onnx import TensorProto

    return np.float64 if kind == TensorProto.DOUBLE else np.float32
