"""Surgery on a converted graph: its inputs and outputs get the names, types and shapes that the contract promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder.models.inside.problem import Problem

if TYPE_CHECKING:
    from builder.models.inside.layout import Column

__all__ = ["Graph", "element_type", "join_columns", "name_inputs", "prune"]

_ELEMENTS = {"float32": "FLOAT", "float64": "DOUBLE", "int64": "INT64", "string": "STRING", "bool": "BOOL"}
ROWS = "N"


def element_type(name: str) -> int:
    """ONNX's number for one of the contract's types."""
    from onnx import TensorProto

    return int(TensorProto.DataType.Value(_ELEMENTS[name]))


class Graph:
    """A ModelProto with what surgery needs: fresh names, new nodes at either end, renaming throughout."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.graph = model.graph
        self._taken = {one.name for one in (*self.graph.input, *self.graph.output, *self.graph.initializer)}
        for node in self.graph.node:
            self._taken |= {*node.input, *node.output}

    def fresh(self, seed: str) -> str:
        """A name that nothing in the graph has."""
        name, number = seed, 1
        while name in self._taken:
            number += 1
            name = f"{seed}_{number}"
        self._taken.add(name)
        return name

    def constant(self, values: Any, seed: str = "const") -> str:
        """A new initializer from a NumPy array."""
        from onnx import numpy_helper

        name = self.fresh(seed)
        self.graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def node(
        self, op: str, inputs: list[str], *, first: bool = False, into: str | None = None, **attributes: Any
    ) -> str:
        """A new node before or after all others; the name of its output."""
        from onnx import helper

        output = into or self.fresh(op.lower())
        self._taken.add(output)
        made = helper.make_node(op, inputs, [output], name=f"lockship-{len(self.graph.node)}", **attributes)
        if first:
            self.graph.node.insert(0, made)
        else:
            self.graph.node.append(made)
        return output

    def rename(self, old: str, new: str) -> None:
        """Give a tensor another name, everywhere and in subgraphs; whatever had that name gets a fresh one."""
        if old == new:
            return
        if new in self._taken:
            self._rename_in(self.graph, new, self.fresh(f"{new}_inner"))
        self._rename_in(self.graph, old, new)
        self._taken.discard(old)
        self._taken.add(new)

    def _rename_in(self, graph: Any, old: str, new: str) -> None:
        for one in (*graph.input, *graph.output, *graph.initializer):
            if one.name == old:
                one.name = new
        for node in graph.node:
            for names in (node.input, node.output):
                for position, name in enumerate(names):
                    if name == old:
                        names[position] = new
            for attribute in node.attribute:
                for inner in (attribute.g, *attribute.graphs):
                    if inner.node:
                        self._rename_in(inner, old, new)

    def set_inputs(self, described: list[tuple[str, int, int]]) -> None:
        """Declare the inputs: name, element type, columns."""
        from onnx import helper

        del self.graph.input[:]
        for name, element, width in described:
            shape: list[str | int | None] = [ROWS, width]
            self.graph.input.append(helper.make_tensor_value_info(name, element, shape))

    def set_outputs(self, described: list[tuple[str, int, int | None]]) -> None:
        """Declare the outputs: name, element type, columns or None for a vector."""
        from onnx import helper

        del self.graph.output[:]
        for name, element, width in described:
            shape: list[str | int | None] = [ROWS] if width is None else [ROWS, width]
            self.graph.output.append(helper.make_tensor_value_info(name, element, shape))


def name_inputs(graph: Graph, columns: list[Column], names: list[str], inner: list[str]) -> list[bool]:
    """Call the inputs, one a column, `names`; cast where a tensor's type isn't the converter's (`inner`).

    The answer says which columns the model uses at all; the others are no inputs any more.
    """
    used = _consumed(graph)
    found = [one.name for one in graph.graph.input]
    if len(found) != len(columns):
        raise Problem(f"the converter made {len(found)} inputs of {len(columns)} columns")
    keeps = [name in used for name in found]
    temporary = [graph.fresh(f"input_{number}") for number in range(len(found))]
    for old, new in zip(found, temporary, strict=True):
        graph.rename(old, new)
    described = []
    for column, name, current, wanted, kept in zip(columns, names, temporary, inner, keeps, strict=True):
        if not kept:
            continue
        described.append((name, element_type(column.type), 1))
        if column.type == wanted:
            graph.rename(current, name)
        else:
            graph.node("Cast", [name], first=True, into=current, to=element_type(wanted))
    graph.set_inputs(described)
    return keeps


def join_columns(graph: Graph, columns: list[Column], names: list[str], floats: str) -> None:
    """Put one input a column in place of the only input, a matrix."""
    matrix = graph.graph.input[0].name
    if matrix in names:
        graph.rename(matrix, graph.fresh("matrix"))
        matrix = graph.graph.input[0].name
    parts, casts = [], []
    for column, name in zip(columns, names, strict=True):
        if column.type == floats:
            parts.append(name)
        else:
            parts.append(graph.fresh(f"{name}_cast"))
            casts.append((name, parts[-1]))
    graph.node("Concat", parts, first=True, into=matrix, axis=1)
    for name, into in casts:
        graph.node("Cast", [name], first=True, into=into, to=element_type(floats))
    graph.set_inputs([(name, element_type(column.type), 1) for column, name in zip(columns, names, strict=True)])


def _consumed(graph: Graph) -> set[str]:
    names: set[str] = set()

    def visit(inner: Any) -> None:
        for node in inner.node:
            names.update(node.input)
            for attribute in node.attribute:
                for held in (attribute.g, *attribute.graphs):
                    visit(held)

    visit(graph.graph)
    return names


def prune(graph: Graph) -> None:
    """Leave out nodes and initializers that no output needs."""
    wanted = {one.name for one in graph.graph.output}
    kept = []
    for node in reversed(graph.graph.node):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
            for attribute in node.attribute:
                for inner in (attribute.g, *attribute.graphs):
                    wanted |= _free(inner)
    copies = [type(node).FromString(node.SerializeToString()) for node in reversed(kept)]
    del graph.graph.node[:]
    graph.graph.node.extend(copies)
    needed = [type(one).FromString(one.SerializeToString()) for one in graph.graph.initializer if one.name in wanted]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(needed)


def _free(graph: Any) -> set[str]:
    names: set[str] = {one.name for one in graph.output}
    for node in graph.node:
        names |= set(node.input)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                names |= _free(inner)
    return names
