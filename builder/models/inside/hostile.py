"""Is a file a whole and harmless ONNX model: before anything else reads it.

A model is data that a runtime executes. What could reach other files, or claim memory without limit, is refused, and so
is every operator that ONNX itself doesn't define.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from builder.models.inside.problem import Problem

__all__ = ["checked", "graphs", "nodes_of"]

_LARGEST = (2 << 30) - 1
_MOST_ELEMENTS = 1 << 29
_DEEPEST = 64
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_HINT = "export it again, to a single file"


def checked(data: bytes, name: str) -> Any:
    """The model in `data` as a ModelProto, with its functions written out. Raises Problem with what is wrong."""
    import onnx
    from onnx import inliner

    if len(data) > _LARGEST:
        raise Problem(f"the model {name} is larger than 2 GB", hint="smaller weights, or fewer of them")
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # DecodeError of protobuf, which brings no types
        raise Problem(f"the model {name} is no ONNX file, or not a whole one", hint=_HINT) from error
    if not model.HasField("graph") or not model.graph.node or not model.opset_import:
        raise Problem(f"the model {name} is no ONNX file, or not a whole one: it has no graph", hint=_HINT)
    _external(model, name)
    _names(model, name)
    _tensors(model, name)
    _operators(model, name)
    try:
        onnx.checker.check_model(model)
        if model.functions:
            model = inliner.inline_local_functions(model)
    except Exception as error:  # the checker's errors, and those of its C++ side
        raise Problem(f"the model {name} is not valid: {_line(error)}", hint=_HINT) from error
    return model


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def graphs(graph: Any, depth: int = 0) -> Iterator[Any]:
    """`graph` and all within it; raises Problem for one that is nested without end."""
    if depth > _DEEPEST:
        raise Problem(f"the model has graphs within graphs, more than {_DEEPEST} deep", hint=_HINT)
    yield graph
    for node in graph.node:
        yield from _inner(node, depth)


def _inner(node: Any, depth: int) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield from graphs(attribute.g, depth + 1)
        for one in attribute.graphs:
            yield from graphs(one, depth + 1)


def nodes_of(model: Any) -> Iterator[Any]:
    """Every node: of the graph, of graphs in it, of functions."""
    for graph in graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        for node in function.node:
            yield node
            for graph in _inner(node, 0):
                yield from graph.node


def _all_tensors(model: Any) -> Iterator[Any]:
    for graph in graphs(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes_of(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _external(model: Any, name: str) -> None:
    from onnx import TensorProto

    for tensor in _all_tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            where = next((one.value for one in tensor.external_data if one.key == "location"), "")
            if where.startswith(("/", "\\")) or ".." in where.replace("\\", "/").split("/") or ":" in where:
                raise Problem(
                    f"the model {name} wants to read a file outside its folder: {where!r}",
                    hint="don't use this file: ask who made it",
                )
            raise Problem(
                f"the model {name} keeps its weights in another file: {where!r}",
                hint="write it as one: onnx.save_model(onnx.load(FILE), FILE), or with save_as_external_data=False",
            )


def _names(model: Any, name: str) -> None:
    for kind, listed in (("inputs", model.graph.input), ("outputs", model.graph.output)):
        names = [one.name for one in listed]
        for one in names:
            if names.count(one) > 1:
                raise Problem(f"the model {name} has two {kind} of one name: {one!r}", hint=_HINT)
            if not one:
                raise Problem(f"the model {name} has {kind} without a name", hint=_HINT)
    produced: set[str] = set()
    for node in model.graph.node:
        for output in node.output:
            if output and output in produced:
                raise Problem(f"the model {name} computes {output!r} twice", hint=_HINT)
            produced.add(output)
    lacking = [one.name for one in model.graph.output if one.name not in produced | _given(model)]
    if lacking:
        raise Problem(f"the model {name} doesn't compute its output {lacking[0]!r}", hint=_HINT)


def _given(model: Any) -> set[str]:
    return {one.name for one in (*model.graph.input, *model.graph.initializer)}


def _tensors(model: Any, name: str) -> None:
    """Tensors are as large as they say; nothing small claims to be huge."""
    from onnx import TensorProto, helper

    total = 0
    for tensor in _all_tensors(model):
        if any(size < 0 for size in tensor.dims):
            raise Problem(f"the model {name} has a tensor of negative size: {tensor.name!r}", hint=_HINT)
        count = math.prod(tensor.dims)
        total += count
        if count > _MOST_ELEMENTS or total > _MOST_ELEMENTS:
            raise Problem(
                f"the model {name} has tensors of {total:,} elements and more: {tensor.name!r}",
                hint=f"at most {_MOST_ELEMENTS:,} are taken",
            )
        if tensor.raw_data and tensor.data_type not in (TensorProto.UNDEFINED, TensorProto.STRING):
            wanted = count * _bits(tensor.data_type, helper) / 8
            if not wanted <= len(tensor.raw_data) <= wanted + 1:
                raise Problem(
                    f"the model {name} has a tensor {tensor.name!r} of {len(tensor.raw_data):,} bytes that should be "
                    f"{math.ceil(wanted):,}",
                    hint=_HINT,
                )
    _filled(model, name)


def _bits(kind: int, helper: Any) -> int:
    return int(helper.tensor_dtype_to_np_dtype(kind).itemsize) * 8 if kind not in (21, 22, 23) else 4


def _filled(model: Any, name: str) -> None:
    """Operators that make large tensors of small ones: their sizes, where they are constants."""
    from onnx import numpy_helper

    known = {one.name: one for graph in graphs(model.graph) for one in graph.initializer}
    for node in nodes_of(model):
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t") and node.output:
            known[node.output[0]] = node.attribute[0].t
    for node in nodes_of(model):
        place = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1}.get(node.op_type)
        if place is None or len(node.input) <= place or node.input[place] not in known:
            continue
        sizes = numpy_helper.to_array(known[node.input[place]]).ravel().tolist()
        if len(sizes) < 64 and math.prod(max(int(one), 1) for one in sizes) > _MOST_ELEMENTS:
            raise Problem(f"the model {name} makes a tensor of the size {sizes}", hint="don't use this file")


def _operators(model: Any, name: str) -> None:
    from onnx import defs

    sets = {one.domain: one.version for one in model.opset_import}
    own = {(one.domain, one.name) for one in model.functions}
    for node in nodes_of(model):
        if (node.domain, node.op_type) in own:
            continue
        domain = "" if node.domain == "ai.onnx" else node.domain
        if node.domain not in _DOMAINS:
            raise Problem(
                f"the model {name} uses {node.op_type} of {node.domain!r}, which not every onnxruntime has",
                hint="export it with operators of ONNX only, and before onnxruntime optimises it",
            )
        version = sets.get(node.domain, sets.get(domain))
        if version is None:
            raise Problem(f"the model {name} uses {node.domain or 'ai.onnx'} without saying its version", hint=_HINT)
        if not defs.has(node.op_type, domain=domain, max_inclusive_version=version):
            raise Problem(
                f"the model {name} uses an operator that isn't in version {version} of "
                f"{domain or 'ai.onnx'}: {node.op_type}",
                hint=_HINT,
            )
