"""scikit-learn's decision trees and forests: exact votes, and missing values sent the way they were in training.

A forest's probability is the mean of its trees'. Added up as float32 in whatever order threads finish, equal votes stop
being equal, and labels change with the number of threads. Here each leaf's probability is split into a few
limbs, integers so small that their sums over all trees are exact in float32 whatever the order; float64 puts the
sums together again, to about 2^-44. So ties stay ties, and go to the first class as in scikit-learn.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from builder.models.inside.emitting import Emitter, float_type, wide
from builder.models.inside.trees import LEQ, Tree, emit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "classifier_shapes",
    "classify",
    "convert_classifier",
    "convert_regressor",
    "labels_of",
    "narrowed",
    "read_tree",
    "regressor_shapes",
]

_ENOUGH = 2.0**-44
_TIE = 2.0**32


def read_tree(tree: Any, weights: NDArray[np.float64]) -> Tree:
    """scikit-learn's `tree_` with `weights` `[nodes, targets]`."""
    import numpy as np

    leaf = tree.children_left < 0
    missing = getattr(tree, "missing_go_to_left", None)
    return Tree(
        mode=np.where(leaf, 0, LEQ),
        feature=np.asarray(tree.feature, dtype=np.int64),
        threshold=np.asarray(tree.threshold, dtype=np.float64),
        yes=np.asarray(tree.children_left, dtype=np.int64),
        no=np.asarray(tree.children_right, dtype=np.int64),
        missing_yes=np.zeros(len(leaf), dtype=bool) if missing is None else np.asarray(missing).astype(bool),
        weights=weights,
    )


def convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    """Decision trees and forests of them, one output."""
    import numpy as np
    from onnx import TensorProto

    to = Emitter(scope, container)
    model = operator.raw_operator
    members = list(getattr(model, "estimators_", [model]))
    shares = [_shares(member.tree_) for member in members]
    limbs, bits = _limbs(shares)
    count, classes = len(members), shares[0].shape[1]
    trees = [read_tree(member.tree_, weights) for member, weights in zip(members, limbs, strict=True)]
    width = trees[0].weights.shape[1]
    sums = emit(to, narrowed(to, operator.inputs[0]), trees, width)
    scale = np.zeros((width, classes))
    for limb in range(width // classes):
        scale[limb * classes : (limb + 1) * classes] = np.eye(classes) * 2.0 ** (-bits * (limb + 1))
    total = to.node("MatMul", to.cast(sums, TensorProto.DOUBLE), to.constant(scale))
    mean = to.node("Div", total, to.constant(np.array([float(count)])))
    to.cast(mean, float_type(operator.inputs[0]), into=operator.outputs[1].full_name)
    classify(to, model.classes_, mean, operator.outputs[0].full_name)


def _shares(tree: Any) -> NDArray[np.float64]:
    """The classes' shares in each node."""
    import numpy as np

    values = np.asarray(tree.value[:, 0, :], dtype=np.float64)
    total = values.sum(axis=1, keepdims=True)
    # before 1.3 they were counts; now they are shares, which must not change in the last bit
    counts = np.abs(total - 1) > 1e-9
    return np.where(counts, values / np.where(total == 0, 1, total), values)


def _limbs(shares: list[NDArray[np.float64]]) -> tuple[list[NDArray[np.float64]], int]:
    """Each tree's shares as integers `[nodes, limbs * classes]`, and how many bits a limb has."""
    import numpy as np

    bits = 24 - math.ceil(math.log2(len(shares))) if len(shares) > 1 else 24
    parts: list[list[NDArray[np.float64]]] = [[] for _ in shares]
    rests = [one.copy() for one in shares]
    for limb in range(1, 5):
        scale = 2.0 ** (bits * limb)
        for part, rest in zip(parts, rests, strict=True):
            part.append(np.round(rest * scale))
            rest -= part[-1] / scale
        if max(float(np.abs(rest).max()) for rest in rests) < _ENOUGH:
            break
    return [np.concatenate(part, axis=1) for part in parts], bits


def classify(to: Emitter, classes: Any, probabilities: str, into: str) -> None:
    """The label of the most probable class; of the first one when several are, up to the noise of adding up."""
    import numpy as np

    scaled = to.node("Round", to.node("Mul", probabilities, to.constant(np.array([_TIE]))))
    best = to.node("ArgMax", scaled, axis=1, keepdims=0)
    to.node("Gather", to.constant(labels_of(classes)), best, axis=0, into=into)


def labels_of(classes: Any) -> NDArray[Any]:
    """Class labels as int64 or as text."""
    import numpy as np

    array = np.asarray(classes)
    return array.astype(np.int64) if array.dtype.kind in "biuf" else array.astype(str)


def convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    """Regression trees and forests of them, of one output or several."""
    import numpy as np

    to = Emitter(scope, container)
    model = operator.raw_operator
    members = list(getattr(model, "estimators_", [model]))
    trees = [
        read_tree(one.tree_, np.asarray(one.tree_.value[:, :, 0], dtype=np.float64) / len(members)) for one in members
    ]
    sums = emit(to, narrowed(to, operator.inputs[0]), trees, trees[0].weights.shape[1])
    to.cast(sums, float_type(operator.inputs[0]), into=operator.outputs[0].full_name)


def narrowed(to: Emitter, variable: Any) -> str:
    """The variable as float32, which is what these trees compare in."""
    from onnx import TensorProto
    from skl2onnx.common.data_types import FloatTensorType

    if isinstance(variable.type, FloatTensorType):
        return str(variable.full_name)
    return to.cast(variable.full_name, TensorProto.FLOAT)


def classifier_shapes(operator: Any) -> None:
    """What a classifier with probabilities declares: `label` `[N]`, `probabilities` `[N, classes]`."""
    from skl2onnx.common.data_types import Int64TensorType, StringTensorType

    rows = operator.inputs[0].get_first_dimension()
    classes = labels_of(operator.raw_operator.classes_)
    operator.outputs[0].type = (StringTensorType if classes.dtype.kind in "OUS" else Int64TensorType)([rows])
    operator.outputs[1].type = wide(operator.inputs[0], [rows, len(classes)])


def regressor_shapes(operator: Any) -> None:
    """What a regressor declares: `[N, outputs]`."""
    rows = operator.inputs[0].get_first_dimension()
    model = operator.raw_operator
    width = getattr(model, "n_outputs_", 1)
    operator.outputs[0].type = wide(operator.inputs[0], [rows, width])
