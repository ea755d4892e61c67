"""Originals without scikit-learn's interface, as if they had it: ONNX files and PyTorch's modules and programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["adapted"]


def adapted(model: Any, job: dict[str, Any]) -> Any:
    """`model` itself, or something that predicts with it as `job`'s ``inputs`` and ``outputs`` (convert's) say."""
    if isinstance(model, bytes):
        return _Foreign(job, _onnx(model, job))
    if any(one.__module__.partition(".")[0] == "torch" for one in type(model).__mro__):
        return _Foreign(job, _torch(model))
    return model


class _Foreign:
    """Has a method for each meaning that the outputs have."""

    def __init__(self, job: dict[str, Any], score: Any) -> None:
        places = {one["meaning"]: one.get("source", place) for place, one in enumerate(job.get("outputs") or ())}
        methods = {
            "label": "predict",
            "value": "predict",
            "probabilities": "predict_proba",
            "scores": "decision_function",
            "features": "transform",
        }
        for meaning, place in places.items():
            setattr(self, methods[meaning], self._method(score, place))

    @staticmethod
    def _method(score: Any, place: int) -> Any:
        def method(rows: Any) -> NDArray[Any]:
            import numpy as np

            return np.asarray(score(np.asarray(rows))[place])

        return method


def _onnx(data: bytes, job: dict[str, Any]) -> Any:
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    dtypes = {"float32": np.float32, "float64": np.float64, "int64": np.int64, "string": object, "bool": bool}

    def score(rows: NDArray[Any]) -> list[Any]:
        feeds, start = {}, 0
        ranks = {one.name: len(one.shape) for one in session.get_inputs()}
        for tensor in job["inputs"]:
            width = len(tensor["features"])
            part = rows[:, start : start + width].astype(dtypes[tensor["type"]])
            name = tensor.get("source", tensor["name"])
            feeds[name] = part[:, 0] if ranks[name] == 1 else part
            start += width
        return [_plain(output) for output in session.run(None, feeds)]

    return score


def _plain(output: Any) -> Any:
    """A list of maps, as a ZipMap gives it, as a matrix."""
    import numpy as np

    if isinstance(output, list) and output and isinstance(output[0], dict):
        return np.array([list(one.values()) for one in output])
    return output


def _torch(model: Any) -> Any:
    import torch

    module = model.module() if isinstance(model, torch.export.ExportedProgram) else model.eval()

    def score(rows: NDArray[Any]) -> list[Any]:
        import numpy as np

        with torch.no_grad():
            output = module(torch.from_numpy(rows.astype(np.float32)))
        many = output if isinstance(output, tuple | list) else (output,)
        return [one.numpy() for one in many]

    return score
