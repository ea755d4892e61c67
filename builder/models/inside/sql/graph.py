"""The .onnx as plain values: nodes with their attributes, and constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.models.inside.problem import Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Graph", "Node", "read_graph"]


@dataclass(frozen=True)
class Node:
    """One operator: names of tensors that go in (empty: left out) and come out, and its attributes, text as `str`."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)


@dataclass(frozen=True)
class Graph:
    """A model: what goes in and comes out by name, its nodes in order, its constants."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: dict[str, NDArray[Any]]


def read_graph(path: str) -> Graph:
    """Read a model; raises Problem for one that keeps its numbers elsewhere, or that is none."""
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's errors have no common base with onnx's
        raise Problem(f"cannot read the model: {' '.join(str(error).split())[:200]}") from error
    graph = model.graph
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer):
        raise Problem("the model keeps its numbers in other files", hint="a model this large is nothing for a query")
    constants = {tensor.name: _array(tensor) for tensor in graph.initializer}
    return Graph(
        tuple(one.name for one in graph.input if one.name not in constants),
        tuple(one.name for one in graph.output),
        tuple(_node(one) for one in graph.node),
        constants,
    )


def _node(node: Any) -> Node:
    import onnx

    attributes = {one.name: _value(onnx.helper.get_attribute_value(one)) for one in node.attribute}
    return Node(node.op_type, tuple(node.input), tuple(node.output), attributes)


def _value(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return [_value(one) for one in value]
    return _array(value) if type(value).__name__ == "TensorProto" else value


def _array(tensor: Any) -> NDArray[np.generic]:
    import onnx
    from onnx import numpy_helper

    array = numpy_helper.to_array(tensor)
    if tensor.data_type == onnx.TensorProto.STRING:
        import numpy as np

        texts = [one.decode() if isinstance(one, bytes) else str(one) for one in array.ravel().tolist()]
        return np.array(texts, dtype=object).reshape(array.shape)
    return array
