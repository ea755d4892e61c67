"""Writes the model as ONNX: the operation ``convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from builder.models.inside.canonical import canonicalised, serialised
from builder.models.inside.explain import refusals, steps_of
from builder.models.inside.fitted import Made, Target, convert_fitted
from builder.models.inside.problem import Problem

__all__ = ["NEWEST_IR", "NEWEST_ML", "NEWEST_OPSET", "made_for", "run", "written"]

# Newer ones add nothing that these models need; older runtimes, and every tree operator, stop here.
NEWEST_OPSET = 18
NEWEST_ML = 3
NEWEST_IR = 8
_LARGEST = (2 << 30) - 1


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Convert ``job["model"]`` into ``model.onnx`` in the work folder, the same bytes for the same model.

    `job`: ``model``, ``columns`` (of the sample), ``explained``, ``name``, ``opset``, ``ml_opset``, ``ir``,
    ``precision``, ``metadata``, ``folder``. The answer describes inputs and outputs as the contract does, and says what
    was ``applied``; ``unused`` are columns that the model was trained on but that don't count. Raises Problem with the
    reason when it can't be converted.
    """
    from builder.models.inside.load import load

    spec = {**job["model"]}
    if job.get("raw_scores") is not None:
        spec["raw_scores"] = job["raw_scores"]
    made, versions = made_for(load(spec), spec, job)
    data, answer = written(made, job, versions)
    file = Path(job["folder"]) / "model.onnx"
    file.write_bytes(data)
    return {"file": str(file), **answer}


def made_for(model: Any, spec: dict[str, Any], job: dict[str, Any]) -> tuple[Made, Target]:
    """The converted model of a loaded one. Raises Problem for one that explain refuses."""
    target = Target(
        opset=min(int(job["opset"]), NEWEST_OPSET),
        ml=min(int(job.get("ml_opset") or NEWEST_ML), NEWEST_ML),
        precision=job.get("precision") or "float32",
    )
    if spec["format"] == "onnx":
        from builder.models.inside.existing import adopt

        return adopt(model, spec, job), target
    if spec["format"] == "torch" or _is_torch(model):
        from builder.models.inside.torched import convert_torch

        return convert_torch(model, spec, job.get("columns"), target), target
    steps = steps_of(model, spec, precision=target.precision)
    if refused := refusals(steps):
        raise Problem(
            "; ".join(f"{one['path']}: {one['message']}" for one in refused),
            hint=refused[0]["remedy"] or "lockship convert --explain names each step",
            details={"steps": refused},
        )
    made = convert_fitted(model, spec, job.get("columns"), target)
    remedies = [{"code": one["code"], "message": one["message"]} for one in steps if one["status"] == "remedy"]
    made.applied += [one for one in _once(remedies) if one not in made.applied]
    made.limits += _once(one["message"] for one in steps if one["status"] == "warning")
    return made, target


def _once(found: Any) -> list[Any]:
    kept: list[Any] = []
    for one in found:
        if one not in kept:
            kept.append(one)
    return kept


def _is_torch(model: Any) -> bool:
    return any(one.__module__.partition(".")[0] == "torch" for one in type(model).__mro__)


def written(made: Made, job: dict[str, Any], target: Target) -> tuple[bytes, dict[str, Any]]:
    """The model's bytes, and what there is to say of it."""
    ir = min(int(job["ir"]), NEWEST_IR) if job.get("ir") else None
    existing = int(made.model.ir_version)
    keeps = job["model"]["format"] in ("onnx", "torch") if isinstance(job.get("model"), dict) else False
    model = canonicalised(
        made.model, job["name"], ir=_ir(existing, job) if keeps else ir, metadata=job.get("metadata") or {}
    )
    try:
        data = serialised(model)
    except ValueError as error:
        raise _too_large() from error
    if len(data) > _LARGEST:
        raise _too_large()
    sets = {one.domain: one.version for one in model.opset_import}
    return data, {
        "inputs": made.inputs,
        "outputs": made.outputs,
        "opset": sets.get("", target.opset),
        "ml_opset": sets.get("ai.onnx.ml"),
        "ir": int(model.ir_version),
        "applied": made.applied,
        "ties": any(one["code"] == "forest-votes" for one in made.applied),
        "limits": made.limits,
        "unused": made.unused,
        "size": len(data),
    }


def _ir(existing: int, job: dict[str, Any]) -> int:
    return min(existing, int(job["ir"])) if job.get("ir") else existing


def _too_large() -> Problem:
    return Problem("the model would be larger than 2 GB", hint="train with fewer or smaller trees, or smaller weights")
