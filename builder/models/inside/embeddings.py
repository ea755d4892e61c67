"""RandomTreesEmbedding: which leaf of each tree a row falls into, one-hot."""

from __future__ import annotations

from typing import Any

from builder.models.inside.emitting import Emitter, float_type, wide
from builder.models.inside.forests import narrowed, read_tree
from builder.models.inside.trees import emit

__all__ = ["convert_embedding", "embedding_shapes", "parse_embedding"]


def parse_embedding(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """One output: skl2onnx's parser would take the trees apart."""
    from skl2onnx._parse import _get_sklearn_operator_name
    from skl2onnx.common.data_types import guess_tensor_type

    operator = scope.declare_local_operator(_get_sklearn_operator_name(type(model)), model)
    operator.inputs = inputs
    operator.outputs.append(scope.declare_local_variable("leaves", guess_tensor_type(inputs[0].type)))
    return operator.outputs


def embedding_shapes(operator: Any) -> None:
    """A column for each leaf."""
    rows = operator.inputs[0].get_first_dimension()
    width = sum(len(leaves) for leaves in operator.raw_operator.one_hot_encoder_.categories_)
    operator.outputs[0].type = wide(operator.inputs[0], [rows, width])


def convert_embedding(scope: Any, operator: Any, container: Any) -> None:
    """The trees give their leaves' numbers, each in a column of its own; these are compared with all there are."""
    import numpy as np
    from onnx import TensorProto

    to = Emitter(scope, container)
    model = operator.raw_operator
    trees = []
    for place, member in enumerate(model.estimators_):
        numbers = np.arange(member.tree_.node_count, dtype=np.float64)[:, None]
        trees.append(read_tree(member.tree_, numbers))
        trees[-1].first = place
    found = emit(to, narrowed(to, operator.inputs[0]), trees, len(trees))
    columns = []
    for place, leaves in enumerate(model.one_hot_encoder_.categories_):
        known = to.constant(np.asarray(leaves, dtype=np.float32)[None, :])
        columns.append(to.cast(to.node("Equal", to.column(found, place), known), TensorProto.FLOAT))
    joined = columns[0] if len(columns) == 1 else to.node("Concat", *columns, axis=1)
    to.cast(joined, float_type(operator.inputs[0]), into=operator.outputs[0].full_name)
