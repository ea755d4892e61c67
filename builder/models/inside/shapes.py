"""What a graph's outputs really are: onnxruntime says so, on a few rows of nothing."""

from __future__ import annotations

from typing import Any

from builder.models.inside.problem import Problem

__all__ = ["TRIED", "seen"]

TRIED = 5  # rows

_ELEMENTS = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "object": 8, "bool": 9,
    "float64": 11, "uint32": 12, "uint64": 13,
}  # fmt: skip
_KINDS = {1: "float32", 7: "int64", 8: "object", 9: "bool", 11: "float64", 6: "int32"}


def seen(model: Any) -> dict[str, tuple[int, list[int | None]]]:
    """Element type and shape of each output; a first dimension of one for each row is None.

    Where the model raises on rows of zeros, what is declared counts. Raises Problem when onnxruntime doesn't take the
    model at all.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base but this
        reason = " ".join(str(error).split())
        raise Problem(
            f"the converted model is not accepted by onnxruntime {ort.__version__}: {reason[:300]}",
            hint="lockship convert --explain names the steps; one of them has a converter that doesn't fit this model",
        ) from error
    try:
        outputs = session.run(None, _nothing(model))
    except Exception:  # zeros aren't in every model's domain
        return {one.name: _declared(one) for one in model.graph.output}
    names = [one.name for one in session.get_outputs()]
    return {name: _of(output) for name, output in zip(names, outputs, strict=True)}


def _of(output: Any) -> tuple[int, list[int | None]]:
    if not hasattr(output, "dtype"):
        return 0, []
    rows: list[int | None] = [None if size == TRIED and place == 0 else size for place, size in enumerate(output.shape)]
    return _ELEMENTS.get(str(output.dtype), 0), rows


def _declared(output: Any) -> tuple[int, list[int | None]]:
    tensor = output.type.tensor_type
    dimensions = [one.dim_value if one.HasField("dim_value") else None for one in tensor.shape.dim]
    return tensor.elem_type, [None, *dimensions[1:]]


def _nothing(model: Any) -> dict[str, Any]:
    import numpy as np

    initialized = {one.name for one in model.graph.initializer}
    rows = {}
    for one in model.graph.input:
        if one.name in initialized:
            continue
        tensor = one.type.tensor_type
        shape = [item.dim_value or 1 for item in tensor.shape.dim]
        dtype = _KINDS.get(tensor.elem_type, "float32")
        filler: Any = "" if dtype == "object" else 0
        rows[one.name] = np.full([TRIED, *shape[1:]], filler, dtype=dtype)
    return rows
