"""Parts of a graph as models of their own, to see what flows inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = ["INNER", "inner_tensors", "part"]

INNER = "inner_"
"""Stands before a tensor's name when it is given out."""


def inner_tensors(model: onnx.ModelProto) -> list[str]:
    """Every tensor of the main graph that a node makes, in order."""
    return [name for node in model.graph.node for name in node.output if name]


def part(model: onnx.ModelProto, tensors: list[str]) -> bytes:
    """The model that takes the same inputs and gives `tensors`, each under its name with INNER before it.

    Inputs that none of them needs stay, so that the same rows can be passed.
    """
    import onnx

    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    nodes = _needed(list(model.graph.node), tensors)
    del cut.graph.node[:], cut.graph.output[:], cut.graph.value_info[:]
    cut.graph.node.extend(nodes)
    for number, name in enumerate(tensors):
        cut.graph.node.append(onnx.helper.make_node("Identity", [name], [INNER + name], name=f"{INNER}{number}"))
        cut.graph.output.append(onnx.ValueInfoProto(name=INNER + name))  # runtimes infer the type
    data: bytes = cut.SerializeToString()
    return data


def _needed(nodes: list[onnx.NodeProto], tensors: list[str]) -> list[onnx.NodeProto]:
    """The nodes that `tensors` come from, in the graph's order, which is topological."""
    wanted, kept = set(tensors), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
            for attribute in node.attribute:  # branches and loops read from outside, too
                for graph in (attribute.g, *attribute.graphs):
                    wanted.update(name for inner in graph.node for name in inner.input)
    return kept[::-1]
