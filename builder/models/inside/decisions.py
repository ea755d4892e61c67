"""Classifiers of two classes that decide at another threshold than one half."""

from __future__ import annotations

from typing import Any

from builder.models.inside.emitting import Emitter, float_type
from builder.models.inside.forests import labels_of
from builder.models.inside.problem import Problem

__all__ = ["convert"]


def convert(scope: Any, operator: Any, container: Any) -> None:
    """FixedThresholdClassifier and TunedThresholdClassifierCV, by the probability of the positive class."""
    import numpy as np
    from onnx import TensorProto
    from skl2onnx._parse import _parse_sklearn

    to = Emitter(scope, container)
    model = operator.raw_operator
    inner = model.estimator_
    if not hasattr(inner, "predict_proba") or model.response_method == "decision_function":
        raise Problem("a threshold on a decision function has no converter", hint="use a classifier with predict_proba")
    to.container.add_options(id(inner), {"zipmap": False})
    scope.add_options(id(inner), {"zipmap": False})
    _, probabilities = _parse_sklearn(scope, inner, operator.inputs)
    to.cast(probabilities.full_name, float_type(operator.inputs[0]), into=operator.outputs[1].full_name)
    positive = _positive(model)
    score = to.cast(to.column(probabilities.full_name, positive), TensorProto.DOUBLE)
    reached = to.node("GreaterOrEqual", score, to.constant(np.array([_threshold(model)])))
    place = to.flat(to.cast(reached, TensorProto.INT64))
    labels = labels_of(model.classes_)
    ordered = to.constant(labels if positive == 1 else labels[::-1])
    to.node("Gather", ordered, place, axis=0, into=operator.outputs[0].full_name)


def _positive(model: Any) -> int:
    """Which class the threshold is about: the second, unless another was named."""
    scorer = getattr(model, "_curve_scorer", None)
    label = model.pos_label if scorer is None else scorer._get_pos_label()
    return 1 if label is None else int(model.classes_.tolist().index(label))


def _threshold(model: Any) -> float:
    found = getattr(model, "best_threshold_", None)
    if found is None:
        found = 0.5 if model.threshold == "auto" else model.threshold
    return float(found)
