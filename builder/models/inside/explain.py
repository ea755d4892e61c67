"""Reads a model step by step before anything is converted: the operation ``explain``."""

from __future__ import annotations

from typing import Any

from builder.models.inside.kinds import describe
from builder.models.inside.known import findings
from builder.models.inside.walk import class_name, walk

__all__ = ["refusals", "run", "steps_of"]

_LIBRARIES = (
    "scikit-learn", "numpy", "pandas", "xgboost", "xgboost-cpu", "lightgbm", "catboost", "torch",
    "skl2onnx", "onnx", "onnxmltools", "onnxruntime", "protobuf",
)  # fmt: skip


def run(job: dict[str, Any]) -> dict[str, Any]:
    """What ``job["model"]`` is and what is known of each of its steps; ``precision`` may say how numbers are passed.

    A step's ``status`` is ``ok``, ``remedy`` (it would score differently, but is converted in another way), ``warning``
    (it may, the gate will tell) or ``refused``.
    """
    from builder.models.inside.load import load

    spec = job["model"]
    model = load(spec)
    if spec["format"] == "onnx":
        from builder.models.inside.existing import explain_onnx

        return {**explain_onnx(model), "library": libraries()}
    if spec["format"] == "torch" or _is_torch(model):
        from builder.models.inside.torched import explain_torch

        return {**explain_torch(model), "library": libraries()}
    steps = steps_of(model, spec, precision=job.get("precision") or "float32")
    return {**describe(model), "library": libraries(), "steps": steps}


def _is_torch(model: Any) -> bool:
    return any(one.__module__.partition(".")[0] == "torch" for one in type(model).__mro__)


def steps_of(model: Any, spec: dict[str, Any], *, precision: str = "float32") -> list[dict[str, Any]]:
    """Every step with what is known of it, outermost first; equal steps of an ensemble count once."""
    from builder.models.inside.registering import register

    register(spec)
    found: list[dict[str, Any]] = []
    told: set[tuple[Any, ...]] = set()
    for step in walk(model):
        for finding in findings(step, model, spec, precision):
            owner = id(step.around[-1]) if step.around else 0
            key = (owner, class_name(step.estimator), finding["code"], finding["message"])
            if "-" in step.path.rpartition("/")[2] and key in told:
                continue
            told.add(key)
            found.append({"path": step.path, "class": class_name(step.estimator), **finding})
    return found


def refusals(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The steps that stand in the way."""
    return [one for one in steps if one["status"] == "refused"]


def libraries() -> dict[str, str]:
    """The versions of what takes part."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
