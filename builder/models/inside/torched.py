"""PyTorch: exported programs (`torch.export.save`) and modules of an entry point, by way of `torch.onnx.export`.

https://docs.pytorch.org/docs/stable/onnx_export.html: with ``dynamo=True`` it takes an ExportedProgram or a module, and
gives an ONNXProgram.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

from builder.models.inside.existing import adopted
from builder.models.inside.fitted import Made, Target
from builder.models.inside.hostile import checked
from builder.models.inside.problem import Problem

__all__ = ["convert_torch", "explain_torch"]


def explain_torch(model: Any) -> dict[str, Any]:
    """What a program or module is, as explain has it; its outputs are known only after the export."""
    parts = _parts(model)
    return {
        "kind": "regressor",
        "input": "array",
        "features": [],
        "n_features": _declared_width(model),
        "classes": None,
        "steps": [
            {"path": path, "class": name, "status": "ok", "code": "ok", "message": "exported by torch", "remedy": None}
            for path, name in parts
        ],
    }


def _parts(model: Any) -> list[tuple[str, str]]:
    if not hasattr(model, "named_modules"):
        return [("program", f"{type(model).__module__}.{type(model).__qualname__}")]
    return [
        (
            "/".join(("module", *name.split("."))) if name else "module",
            f"{type(one).__module__}.{type(one).__qualname__}",
        )
        for name, one in model.named_modules()
    ]


def convert_torch(model: Any, spec: dict[str, Any], known: list[dict[str, Any]] | None, target: Target) -> Made:
    """Export `model` in evaluation mode. Raises Problem when torch can't, with its first line."""
    if target.precision != "float32":
        raise Problem("PyTorch models are converted in float32", hint='leave out precision = "double+cast"')
    program = _exported(model, spec, known, target)
    data = io.BytesIO()
    program.save(data, external_data=False)
    proto = checked(data.getvalue(), spec["name"])
    sets = {one.domain: one.version for one in proto.opset_import}
    if sets.get("", 0) > target.opset:
        raise Problem(
            f"torch wrote version {sets['']} of ai.onnx; the consumers read {target.opset}",
            hint="name newer consumers, or save the model as an .onnx of that version",
        )
    made = adopted(proto, spec, known)
    made.applied.append({"code": "torch", "message": "exported by torch.onnx in evaluation mode"})
    return made


def _exported(model: Any, spec: dict[str, Any], known: list[dict[str, Any]] | None, target: Target) -> Any:
    import torch

    options: dict[str, Any] = {"dynamo": True, "opset_version": target.opset, "optimize": True, "verbose": False}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            if isinstance(model, torch.export.ExportedProgram):
                return torch.onnx.export(model, **options)
            width = _width(model, spec, known)
            example = (torch.zeros((2, width), dtype=torch.float32),)
            rows = torch.export.Dim("rows")
            program = torch.export.export(model.eval(), example, dynamic_shapes=({0: rows},))
            return torch.onnx.export(program, input_names=["features"], **options)
        except Problem:
            raise
        except Exception as error:  # the exporter's errors, of many modules
            raise Problem(
                f"torch doesn't export this model: {' '.join(str(error).split())[:300]}",
                hint="see https://docs.pytorch.org/docs/stable/onnx_export.html; the first dimension must be dynamic",
            ) from error


def _width(model: Any, spec: dict[str, Any], known: list[dict[str, Any]] | None) -> int:
    width = len(spec.get("inputs") or ()) or len(known or ()) or _declared_width(model)
    if not width:
        raise Problem("nothing says how many features the module takes", hint="give the model a sample")
    return width


def _declared_width(model: Any) -> int | None:
    """The inputs of the first linear layer."""
    if not hasattr(model, "modules"):
        return None
    return next((int(one.in_features) for one in model.modules() if hasattr(one, "in_features")), None)
