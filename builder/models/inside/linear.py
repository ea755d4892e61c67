"""Linear discriminants: scikit-learn's probabilities of two classes are a sigmoid, not a softmax, of the scores."""

from __future__ import annotations

from typing import Any

from builder.models.inside.emitting import Emitter, float_type
from builder.models.inside.links import finish_classifier

__all__ = ["convert_discriminant"]


def convert_discriminant(scope: Any, operator: Any, container: Any) -> None:
    """LinearDiscriminantAnalysis as a classifier."""
    import numpy as np
    from onnx import TensorProto

    to = Emitter(scope, container)
    model = operator.raw_operator
    kind = float_type(operator.inputs[0])
    dtype = np.float64 if kind == TensorProto.DOUBLE else np.float32
    source = to.cast(operator.inputs[0].full_name, kind)
    product = to.node("MatMul", source, to.constant(np.asarray(model.coef_, dtype=dtype).T))
    scores = to.node("Add", product, to.constant(np.asarray(model.intercept_, dtype=dtype).reshape(1, -1)))
    finish_classifier(to, operator, scores, "softmax")
