"""The outputs that are promised, made of what the converter gave: label, probabilities, scores, value, features."""

from __future__ import annotations

from typing import Any

from builder.models.inside.finishing import Graph, prune
from builder.models.inside.problem import Problem
from builder.models.inside.shapes import TRIED, seen

__all__ = ["promise"]

_NAMES = {1: "float32", 7: "int64", 8: "string", 9: "bool", 11: "float64"}
_FLOAT, _DOUBLE = 1, 11
_INTEGERS = (2, 3, 4, 5, 6, 12, 13)


def promise(
    graph: Graph, facts: dict[str, Any], *, raw: bool, floats: str, only_label: bool = False
) -> list[dict[str, Any]]:
    """Name, reshape and declare the outputs of `graph` by what kind of model it is; the answer describes them.

    `raw` says that a classifier's second output are scores, `only_label` that the original has neither those nor
    probabilities; numbers are given as `floats` at most. Raises Problem when an output isn't a tensor of rows.
    """
    given = [one.name for one in graph.graph.output][: 1 if only_label else None]
    found = seen(graph.model)
    meanings = _meanings(facts["kind"], len(given), raw=raw)
    made: list[tuple[str, int, int | None]] = []
    described = []
    for old, meaning in zip(given, meanings, strict=False):
        element, shape = found[old]
        if shape == [1, TRIED]:  # some converters give labels as a row
            old, shape = _flat(graph, old), [None]
        element = _checked(element, shape, meaning)
        classes = facts["classes"] if meaning in ("label", "probabilities", "scores") else None
        if element == _DOUBLE and floats == "float32" and meaning != "label":
            old, element = graph.node("Cast", [old], to=_FLOAT), _FLOAT
        name, element, width = _made(graph, old, meaning, element, shape, classes)
        made.append((name, element, width))
        described.append(
            {
                "name": meaning,
                "type": _NAMES[element],
                "meaning": meaning,
                "width": width,
                "classes": classes if meaning == "label" or width is not None else None,
            }
        )
    for name, _, _ in made:
        graph.rename(name, name.removesuffix("__made"))
    graph.set_outputs([(name.removesuffix("__made"), element, width) for name, element, width in made])
    prune(graph)
    return described


def _meanings(kind: str, count: int, *, raw: bool) -> list[str]:
    if kind == "classifier":
        return ["label", "scores" if raw else "probabilities"][:count]
    if kind == "regressor":
        return ["value"]
    if kind == "clusterer":
        return ["label", "probabilities" if raw else "scores"][: min(count, 2)]
    if kind == "outlier":
        return ["label", "scores"]
    return ["features"]


def _checked(element: int, shape: list[int | None], meaning: str) -> int:
    if element not in _NAMES and element not in _INTEGERS:
        raise Problem(
            f"the output {meaning} is no tensor of numbers or text",
            hint="models with several targets of classes give lists: convert one model for each target",
        )
    if shape[:1] != [None]:
        raise Problem(f"the output {meaning} has not one row for each row that goes in")
    if len(shape) not in (1, 2):
        raise Problem(
            f"the output {meaning} has {len(shape)} dimensions", hint="a model gives rows, or rows of numbers"
        )
    return element


def _made(
    graph: Graph, old: str, meaning: str, element: int, shape: list[int | None], classes: list[Any] | None
) -> tuple[str, int, int | None]:
    """The output under a name of its own, with its element type and width."""
    from onnx import TensorProto

    current = old
    if element in _INTEGERS or (meaning == "label" and element in (1, 9, 11)):
        element = int(TensorProto.INT64)
        current = graph.node("Cast", [current], to=element)
    elif element == TensorProto.BOOL or (meaning == "value" and element == TensorProto.INT64):
        element = int(TensorProto.FLOAT)
        current = graph.node("Cast", [current], to=element)
    width = shape[1] if len(shape) == 2 else None
    if meaning == "label" and width not in (None, 1):
        raise Problem("the model gives several labels a row", hint="convert one model for each target")
    if meaning == "scores" and width == 2 and classes is not None and len(classes) == 2:
        current, width = _second(graph, current), 1
    if width == 1 and meaning in ("label", "value", "scores"):
        current, width = _flat(graph, current), None
    elif meaning in ("label", "value") and width is None:
        current = _flat(graph, current)
    name = f"{meaning}__made"
    graph.node("Identity", [current], into=name)
    return name, element, width


def _flat(graph: Graph, name: str) -> str:
    import numpy as np

    return graph.node("Reshape", [name, graph.constant(np.array([-1], dtype=np.int64))])


def _second(graph: Graph, name: str) -> str:
    import numpy as np

    return graph.node("Gather", [name, graph.constant(np.array([1], dtype=np.int64))], axis=1)
