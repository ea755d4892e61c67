"""A model that is ONNX already: checked, its maps taken off, its tensors named as everywhere, written anew."""

from __future__ import annotations

from typing import Any

from builder.models.inside.finishing import Graph, prune
from builder.models.inside.fitted import Made
from builder.models.inside.hostile import checked
from builder.models.inside.layout import Column, described, tensor_names
from builder.models.inside.problem import Problem
from builder.models.inside.shapes import seen

__all__ = ["adopt", "adopted", "explain_onnx", "strip_zipmap"]

_NAMES = {1: "float32", 7: "int64", 8: "string", 9: "bool", 11: "float64"}


def explain_onnx(data: bytes) -> dict[str, Any]:
    """What an ONNX file is, as explain has it."""
    model = checked(data, "")
    strip_zipmap(Graph(model))
    meanings = _meanings(model)
    kinds = {"label": "classifier", "value": "regressor"}
    operators = sorted({node.op_type for node in model.graph.node})
    return {
        "kind": next((kinds[one] for one in meanings.values() if one in kinds), "transformer"),
        "input": "array",
        "features": [],
        "n_features": sum(_widths(model, None)),
        "classes": None,
        "steps": [
            {
                "path": "onnx",
                "class": "onnx.ModelProto",
                "status": "ok",
                "code": "ok",
                "message": f"operators: {', '.join(operators)}",
                "remedy": None,
            }
        ],
    }


def adopt(data: bytes, spec: dict[str, Any], job: dict[str, Any]) -> Made:
    """The model in `data`, an ONNX file. Raises Problem for one that is broken, hostile, or for newer runtimes."""
    model = checked(data, spec["name"])
    _external_version(model, job)
    return adopted(model, spec, job.get("columns"))


def adopted(model: Any, spec: dict[str, Any], known: list[dict[str, Any]] | None) -> Made:
    """A ModelProto under our names. `known` are the sample's columns, in the order of its inputs."""
    graph = Graph(model)
    applied = strip_zipmap(graph)
    meanings = _meanings(graph.model)
    inputs, sources = _inputs(graph, known, spec, tuple(meanings.values()))
    shapes = seen(graph.model)
    places = {one.name: number for number, one in enumerate(model.graph.output)}
    described_outputs, made = [], []
    for position, (old, meaning) in enumerate(meanings.items()):
        element, shape = shapes[old]
        if element not in _NAMES or len(shape) not in (1, 2) or shape[0] is not None:
            raise Problem(f"the output {old!r} is no tensor of rows", hint="a model gives a number or a row of them")
        width = shape[1] if len(shape) == 2 else None
        current = old
        if (width == 1 and meaning in ("label", "value")) or len(shape) == 1:
            current, width = _flat(graph, old), None
        name = f"{meaning}__made"
        graph.node("Identity", [current], into=name)
        made.append((name, element, width))
        described_outputs.append(
            {
                "name": meaning,
                "type": _NAMES[element],
                "meaning": meaning,
                "width": width,
                "classes": _classes(graph, meaning),
                "source": places.get(old, position),
            }
        )
    for name, _, _ in made:
        graph.rename(name, name.removesuffix("__made"))
    graph.set_outputs([(name.removesuffix("__made"), element, width) for name, element, width in made])
    prune(graph)
    for one, source in zip(inputs, sources, strict=True):
        one["source"] = source
    return Made(graph.model, inputs, described_outputs, applied, [], [])


def _flat(graph: Graph, name: str) -> str:
    import numpy as np

    return graph.node("Reshape", [name, graph.constant(np.array([-1], dtype=np.int64))])


def strip_zipmap(graph: Graph) -> list[dict[str, str]]:
    """Give the tensor of probabilities where a ZipMap makes maps of it."""
    from onnx import helper

    stripped = False
    outputs = {one.name: number for number, one in enumerate(graph.graph.output)}
    for node in [one for one in graph.graph.node if one.op_type == "ZipMap"]:
        if node.output[0] in outputs:
            place = outputs[node.output[0]]
            info = helper.make_tensor_value_info(node.input[0], 1, ["N", None])
            graph.graph.output[place].CopyFrom(info)
        graph.graph.node.remove(node)
        stripped = True
    if not stripped:
        return []
    return [{"code": "zipmap", "message": "probabilities are a tensor, not a list of maps"}]


def _meanings(model: Any) -> dict[str, str]:
    """What each output is, by its type, shape and name."""
    found: dict[str, str] = {}
    floats: list[str] = []
    for one in model.graph.output:
        if not one.type.HasField("tensor_type"):
            raise Problem(f"the output {one.name!r} is no tensor", hint="export the model without lists and maps")
        if one.type.tensor_type.elem_type in (7, 8) and "label" not in found.values():
            found[one.name] = "label"
        elif one.type.tensor_type.elem_type in (1, 11):
            floats.append(one.name)
    for name in floats[:1]:
        if "label" not in found.values():
            found[name] = "value"
        else:
            found[name] = "probabilities" if "prob" in name.lower() else "scores"
    if not found:
        raise Problem("the model has no output of numbers or labels", hint="export it with tensors as outputs")
    return {one.name: found[one.name] for one in model.graph.output if one.name in found}


def _classes(graph: Graph, meaning: str) -> list[int | str] | None:
    """The labels that a classifier's operator names."""
    if meaning not in ("label", "probabilities", "scores"):
        return None
    for node in graph.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("classlabels_strings", "classlabels_int64s", "classlabels_ints"):
                return [one.decode() for one in attribute.strings] or list(attribute.ints) or None
    return None


def _widths(model: Any, known: int | None) -> list[int]:
    from math import prod

    initialized = {one.name for one in model.graph.initializer}
    found: list[int] = []
    for one in model.graph.input:
        if one.name in initialized:
            continue
        if not one.type.HasField("tensor_type"):
            raise Problem(f"the input {one.name!r} is no tensor", hint="export the model with tensors as inputs")
        dimensions = one.type.tensor_type.shape.dim
        if len(dimensions) not in (1, 2):
            raise Problem(f"the input {one.name!r} has {len(dimensions)} dimensions", hint="rows of features are taken")
        if dimensions[0].HasField("dim_value"):
            raise Problem(
                f"the input {one.name!r} takes exactly {dimensions[0].dim_value} rows",
                hint="export the model with a dynamic first dimension",
            )
        found.append(prod(item.dim_value for item in dimensions[1:]))
    if found.count(0) == 1 and known is not None:
        found[found.index(0)] = known - sum(found)
    return found


def _inputs(
    graph: Graph, known: list[dict[str, Any]] | None, spec: dict[str, Any], reserved: tuple[str, ...]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The inputs described and named (not as `reserved`, the outputs), and the names that they had."""
    declared = list(spec.get("inputs") or {})
    names = declared or [one["name"] for one in known or ()]
    initialized = {one.name for one in graph.graph.initializer}
    tensors = [one for one in graph.graph.input if one.name not in initialized]
    widths = _widths(graph.model, len(names) or None)
    if 0 in widths:
        raise Problem("the model doesn't say how many features it takes", hint="give it a sample")
    if names and len(names) != sum(widths):
        raise Problem(
            f"the model takes {sum(widths)} features, the sample has {len(names)} columns",
            hint="name the label's column in `drop`, or list the features in order under `inputs`",
        )
    names = names or [f"x{number}" for number in range(sum(widths))]
    wanted = tensor_names([one.name for one in tensors], reserved)
    described_inputs, sources, declared_inputs, start = [], [], [], 0
    for tensor, width, name in zip(tensors, widths, wanted, strict=True):
        element = tensor.type.tensor_type.elem_type
        if element not in _NAMES:
            raise Problem(f"the input {tensor.name!r} is of a type that no contract has", hint="use float32")
        sources.append(tensor.name)
        flat = len(tensor.type.tensor_type.shape.dim) == 1
        columns = [
            Column(one, _NAMES[element], "nan" if element in (1, 11) else "refused")
            for one in names[start : start + width or 1]
        ]
        start += width
        described_inputs.append(
            {"name": name, "type": _NAMES[element], "features": [described(one) for one in columns]}
        )
        declared_inputs.append((name, element, len(columns)))
        _renamed(graph, tensor.name, name, flat=flat)
    graph.set_inputs(declared_inputs)
    return described_inputs, sources


def _renamed(graph: Graph, old: str, new: str, *, flat: bool) -> None:
    import numpy as np

    if not flat:
        graph.rename(old, new)
        return
    inner = graph.fresh(f"{new}_flat")
    graph.rename(old, inner)
    shape = graph.constant(np.array([-1], dtype=np.int64))
    graph.node("Reshape", [new, shape], first=True, into=inner)


def _external_version(model: Any, job: dict[str, Any]) -> None:
    """Bring the model down to the operator sets that the consumers read; raises Problem when that can't be."""
    from onnx import version_converter

    sets = {one.domain or "": one.version for one in model.opset_import}
    wanted, newest_ml = int(job["opset"]), int(job.get("ml_opset") or 0)
    if sets.get("ai.onnx.ml", 0) > newest_ml:
        raise Problem(
            f"the model uses version {sets['ai.onnx.ml']} of ai.onnx.ml; its consumers read {newest_ml}",
            hint="export it for an older runtime, or name newer consumers",
        )
    if sets.get("", sets.get("ai.onnx", 1)) > wanted:
        try:
            lowered = version_converter.convert_version(model, wanted)
        except Exception as error:  # the converter is C++ and raises RuntimeError and others
            raise Problem(
                f"the model uses version {sets['']} of ai.onnx; its consumers read {wanted}, and it can't be "
                f"brought down: {' '.join(str(error).split())[:200]}",
                hint=f"export it with opset_version={wanted}, or name newer consumers",
            ) from error
        model.CopyFrom(lowered)
