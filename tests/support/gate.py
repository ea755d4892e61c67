"""Runs the parity gate's operations one after the other on a model and its conversion, in this process."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from builder.models.inside import compare, reference, rows, score, steps
from builder.models.inside.table import Table, write_table

__all__ = ["Gate", "described", "naive"]

TYPES = {1: "float32", 11: "float64", 7: "int64", 8: "string", 9: "bool"}
MEANINGS = {
    "label": "label",
    "output_label": "label",
    "probabilities": "probabilities",
    "variable": "value",
    "probability_tensor": "probabilities",
}


class Gate:
    """A model with its conversion, in a folder; `data` is a pandas DataFrame or a matrix."""

    def __init__(self, folder: Path, model: Any, onnx_model: Any, data: Any, **changes: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        blob = pickle.dumps(model)
        (folder / "model.pickle").write_bytes(blob)
        (folder / "model.onnx").write_bytes(onnx_model.SerializeToString())
        frame = hasattr(data, "columns")
        names = list(data.columns) if frame else [f"x{i}" for i in range(data.shape[1])]
        columns = {name: np.asarray(data[name]) if frame else data[:, i] for i, name in enumerate(names)}
        write_table(folder / "sample.npz", Table({name: _plain(column) for name, column in columns.items()}))
        inputs, outputs = described(onnx_model, names)
        self.job: dict[str, Any] = {
            "folder": str(folder),
            "model": {
                "name": "model",
                "format": "pickle",
                "path": str(folder / "model.pickle"),
                "sha256": hashlib.sha256(blob).hexdigest(),
                "root": str(folder),
                "raw_scores": False,
            },
            "onnx": str(folder / "model.onnx"),
            "table": str(folder / "sample.npz"),
            "inputs": inputs,
            "outputs": outputs,
            "columns": [],
            "input": "frame" if frame else "array",
            "seed": 7,
            "precision": "float32",
            "tolerance": {"absolute": 1e-5, "relative": 1e-5},
            "batches": ["all", 1, 0],
            "threads": [1, 2, 4],
        }
        for tensor in inputs:
            for feature in tensor["features"]:
                feature.update(changes.pop(feature["name"], {}))
        self.job.update(changes)

    def run(self) -> dict[str, Any]:
        """The verdict; what the operations answered stays in `rows`, `reference` and `scored`."""
        self.rows = rows.run(self.job)
        job = {**self.job, "rows": self.rows["file"], "groups": self.rows["groups"]}
        self.reference = reference.run(job)
        self.scored = [score.run(job)]
        self.compared = {**job, "reference": self.reference, "scored": self.scored}
        self.verdict: dict[str, Any] = compare.run(self.compared)
        return self.verdict

    def first_difference(self) -> dict[str, Any]:
        """The step in which it starts, as `steps` finds it; after `run`."""
        job = {**self.compared, "only": [row["row"] for row in self.verdict["worst"]]}
        theirs = steps.run({**job, "side": "original"})
        return steps.run({**job, "side": "onnx", "original": theirs})

    def group(self, name: str) -> dict[str, Any]:
        """A group's line of the verdict."""
        found: dict[str, Any] = next(group for group in self.verdict["groups"] if group["name"] == name)
        return found


def _plain(column: Any) -> Any:
    if column.dtype.kind in "USO":
        text = np.empty(len(column), dtype=object)
        text[:] = [None if value is None or value != value else str(value) for value in column.tolist()]
        return text
    return column.astype(np.int64) if column.dtype.kind in "iu" else column


def described(model: Any, names: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The inputs and outputs of a conversion, as its job describes them."""
    tensors = list(model.graph.input)
    inputs = []
    for tensor in tensors:
        features = names if len(tensors) == 1 and len(names) > 1 else [tensor.name]
        told = [{"name": name, "missing": "refused", "unseen": None, "categories": None} for name in features]
        kind = TYPES[tensor.type.tensor_type.elem_type]
        inputs.append({"name": tensor.name, "type": kind, "features": told})
    outputs = []
    for one in model.graph.output:
        shape = [dimension.dim_value for dimension in one.type.tensor_type.shape.dim]
        kind = TYPES[one.type.tensor_type.elem_type]
        width = shape[1] if len(shape) == 2 else None
        meaning = MEANINGS.get(one.name, "features")
        outputs.append({"name": one.name, "type": kind, "meaning": meaning, "width": width, "classes": None})
    return inputs, outputs


def naive(model: Any, data: Any, *, double: bool = False, options: dict[Any, Any] | None = None) -> Any:
    """`model` as skl2onnx converts it when nobody looks closer."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType

    floating = DoubleTensorType if double else FloatTensorType
    if hasattr(data, "columns"):
        kinds = {"f": floating, "i": Int64TensorType, "O": StringTensorType, "U": StringTensorType}
        types = [(name, kinds.get(data[name].dtype.kind, StringTensorType)([None, 1])) for name in data.columns]
    elif data.dtype.kind == "f":
        types = [("features", floating([None, data.shape[1]]))]
    else:
        types = [("features", StringTensorType([None, data.shape[1]]))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifies = hasattr(model, "predict_proba")
        return to_onnx(
            model,
            initial_types=types,
            target_opset={"": 18, "ai.onnx.ml": 3},
            options={**({id(model): {"zipmap": False}} if classifies else {}), **(options or {})},
        )
