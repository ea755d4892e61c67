"""CalibratedClassifierCV: isotonic calibrators interpolate, and temperature scaling is a softmax.

skl2onnx takes the nearest known point instead of interpolating, and doesn't know temperatures.
"""

from __future__ import annotations

from typing import Any

from builder.models.inside.emitting import Emitter, float_type
from builder.models.inside.forests import labels_of
from builder.models.inside.problem import Problem
from builder.models.inside.walk import is_a

__all__ = ["convert"]


def convert(scope: Any, operator: Any, container: Any) -> None:
    """CalibratedClassifierCV, the mean of its calibrated classifiers."""
    import numpy as np

    to = Emitter(scope, container)
    model = operator.raw_operator
    kind = float_type(operator.inputs[0])
    parts = [_calibrated(to, operator, one, kind) for one in model.calibrated_classifiers_]
    total = parts[0]
    for part in parts[1:]:
        total = to.node("Add", total, part)
    mean = to.node("Div", total, to.constant(np.array([float(len(parts))])))
    to.cast(mean, kind, into=operator.outputs[1].full_name)
    best = to.node("ArgMax", mean, axis=1, keepdims=0)
    to.node("Gather", to.constant(labels_of(model.classes_)), best, axis=0, into=operator.outputs[0].full_name)


def _calibrated(to: Emitter, operator: Any, one: Any, kind: int) -> str:
    """The probabilities of one calibrated classifier, `[N, classes]` float64."""
    from onnx import TensorProto

    estimator = one.estimator
    scores, is_decision = _response(to, operator, estimator, kind)
    scores = to.cast(scores, TensorProto.DOUBLE)
    binary = len(one.classes) == 2
    if len(estimator.classes_) != len(one.classes):
        raise Problem("a calibrated classifier doesn't know all the classes", hint="use stratified folds")
    if is_a(one.calibrators[0], "_TemperatureScaling"):
        return _temperature(to, scores, one.calibrators[0], binary=binary, is_decision=is_decision)
    columns = [to.column(scores, 1)] if binary else [to.column(scores, number) for number in range(len(one.classes))]
    made = [_one(to, column, calibrator) for column, calibrator in zip(columns, one.calibrators, strict=True)]
    return _binary(to, made[0]) if binary else _normalised(to, made)


def _response(to: Emitter, operator: Any, estimator: Any, kind: int) -> tuple[str, bool]:
    """What the classifier is calibrated on: its decision function if it has one, else its probabilities."""
    from onnx import TensorProto
    from skl2onnx._parse import _get_sklearn_operator_name
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType

    scope = to.scope
    inner = scope.declare_local_operator(_get_sklearn_operator_name(type(estimator)), estimator)
    is_decision = hasattr(estimator, "decision_function")
    if is_decision and to.container.has_options(estimator, "raw_scores"):
        to.container.add_options(id(estimator), {"raw_scores": True})
        scope.add_options(id(estimator), {"raw_scores": True})
    inner.inputs = operator.inputs
    label = scope.declare_local_variable("label", Int64TensorType())
    found = (DoubleTensorType if kind == TensorProto.DOUBLE else FloatTensorType)()
    scores = scope.declare_local_variable("scores", found)
    inner.outputs.extend([label, scores])
    return scores.full_name, is_decision


def _one(to: Emitter, column: str, calibrator: Any) -> str:
    if is_a(calibrator, "_SigmoidCalibration"):
        import numpy as np

        slope, offset = to.constant(np.array([-float(calibrator.a_)])), to.constant(np.array([float(calibrator.b_)]))
        return to.node("Sigmoid", to.node("Sub", to.node("Mul", column, slope), offset))
    if is_a(calibrator, "IsotonicRegression"):
        return isotonic(to, column, calibrator)
    raise Problem(f"calibration by {type(calibrator).__name__} has no converter", hint='use method="sigmoid"')


def isotonic(to: Emitter, column: str, calibrator: Any) -> str:
    """Linear interpolation between known points, flat beyond them; `column` is `[N, 1]` float64.

    Each step adds its slope times how far the value has gone into it: a clipped difference by step. Steps of no width
    don't exist in fitted calibrators.
    """
    import numpy as np

    x = np.asarray(calibrator.X_thresholds_, dtype=np.float64)
    y = np.asarray(calibrator.y_thresholds_, dtype=np.float64)
    if calibrator.out_of_bounds != "clip":
        raise Problem("an isotonic calibrator that isn't clipped", hint='use out_of_bounds="clip"')
    if len(x) == 1:
        zero = to.node("Mul", column, to.constant(np.zeros(1)))
        return to.node("Add", zero, to.constant(y))
    lengths = np.diff(x)[None, :]
    gone = to.node("Sub", column, to.constant(x[:-1][None, :]))
    inside = to.node("Min", to.node("Max", gone, to.constant(np.zeros((1, 1)))), to.constant(lengths))
    rise = to.node("MatMul", inside, to.constant((np.diff(y) / np.diff(x))[:, None]))
    return to.node("Add", rise, to.constant(y[:1]))


def _binary(to: Emitter, sure: str) -> str:
    import numpy as np

    return to.node("Concat", to.node("Sub", to.constant(np.ones((1, 1))), sure), sure, axis=1)


def _normalised(to: Emitter, columns: list[str]) -> str:
    """Probabilities divided by their sum; equal ones where the sum is zero."""
    import numpy as np

    joined = to.node("Concat", *columns, axis=1)
    total = to.node("MatMul", joined, to.constant(np.ones((len(columns), 1))))
    nothing = to.node("Equal", total, to.constant(np.zeros((1, 1))))
    even = to.constant(np.full((1, len(columns)), 1 / len(columns)))
    shares = to.node("Div", joined, to.node("Where", nothing, to.constant(np.ones((1, 1))), total))
    return to.node("Where", nothing, even, shares)


def _temperature(to: Emitter, scores: str, calibrator: Any, *, binary: bool, is_decision: bool) -> str:
    """A softmax of the logits, sharpened or flattened; two classes' logits are minus and plus the score."""
    import numpy as np

    beta = to.constant(np.array([float(calibrator.beta_)]))
    if not is_decision:
        logits = to.node("Log", to.node("Add", scores, to.constant(np.array([1e-12]))))  # scikit-learn's epsilon
    elif binary:
        sure = to.column(scores, 1)
        logits = to.node("Concat", to.node("Neg", sure), sure, axis=1)
    else:
        logits = scores
    return to.node("Softmax", to.node("Mul", logits, beta), axis=1)
