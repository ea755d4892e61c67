"""One model through explain, convert and the gate, and then once more past the gate, on rows that it never saw."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.coverage_cases import SAMPLE, Case

TOLERANCE = {"absolute": 1e-5, "relative": 1e-4}
FRESH = 1e-3  # what the independent look calls another score, past the gate's own bounds
TIE = 1e-6


@dataclass
class Result:
    """What became of a model: ``ok``, ``refused``, ``failed gate``, ``not a model`` or ``broken``, and why."""

    name: str
    outcome: str
    reason: str = ""
    applied: tuple[str, ...] = ()
    silent: str = ""
    worst: float = 0.0


def run(case: Case, folder: Path) -> Result:
    """Do all of it in `folder`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = case.make()
        except Exception as error:
            return Result(case.name, "not a model", f"it can't be fitted so: {_first(error)}")
        return _converted(case, model, folder)


def _converted(case: Case, model: Any, folder: Path) -> Result:
    from builder.models.inside.problem import Problem

    try:
        spec = _saved(case, model, folder)
        answers = _answers(case, spec, folder)
    except Problem as problem:
        return Result(case.name, "refused", problem.message)
    except Exception as error:
        return Result(case.name, "broken", f"{type(error).__name__}: {_first(error)}")
    converted, verdict = answers
    applied = tuple(dict.fromkeys(one["code"] for one in converted["applied"]))
    if not verdict["passed"]:
        why = "; ".join(reason["message"] for reason in verdict["reasons"])
        return Result(case.name, "failed gate", why, applied)
    silent, worst = _fresh(case, model, converted, folder)
    return Result(case.name, "ok", "", applied, silent, worst)


def _saved(case: Case, model: Any, folder: Path) -> dict[str, Any]:
    import cloudpickle

    data = cloudpickle.dumps(model)
    (folder / "model.pickle").write_bytes(data)
    pickle.loads(data)
    case.rows(1).head(SAMPLE).to_parquet(folder / "sample.parquet")
    return {
        "name": "model",
        "format": "pickle",
        "path": str(folder / "model.pickle"),
        "sha256": hashlib.sha256(data).hexdigest(),
        "preprocessing": "included",
        "root": str(folder),
        "raw_scores": False,
        "converters": [],
        "inputs": {},
        "entry": None,
        "trusted": [],
    }


def _answers(case: Case, spec: dict[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """convert's answer and the verdict."""
    from builder.models.inside import compare, convert, explain, reference, rows, sample, score

    here = {"folder": str(folder)}
    taken = sample.run({"sample": str(folder / "sample.parquet"), "drop": [], "inputs": {}, **here})
    explained = explain.run({"model": spec, "precision": case.precision, **here})
    job = {"name": "model", "opset": 18, "ml_opset": 3, "ir": 8, "precision": case.precision, "metadata": {}}
    converted = convert.run({"model": spec, "columns": taken["columns"], "explained": explained, **job, **here})
    common = {
        "model": spec,
        "onnx": str(folder / "model.onnx"),
        "inputs": converted["inputs"],
        "outputs": converted["outputs"],
        "columns": taken["columns"],
        "input": explained["input"],
        "kind": explained["kind"],
        "features": explained["features"] or None,
        "precision": case.precision,
        "tolerance": TOLERANCE,
        "seed": 0,
        **here,
    }
    made = rows.run({**common, "table": str(folder / "sample.npz")})
    common |= {"rows": str(folder / "rows.npz"), "groups": made["groups"]}
    original = reference.run(common)
    scored = score.run({**common, "batches": [1, "all", 0], "threads": [1, 2, 4]})
    verdict = compare.run({**common, "reference": original, "scored": [scored]})
    return converted, verdict


def _fresh(case: Case, model: Any, converted: dict[str, Any], folder: Path) -> tuple[str, float]:
    """What a user would see on new rows: nothing of the gate's code takes part."""
    import onnxruntime as ort

    rows = case.rows(77)
    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    kinds = {"float32": np.float32, "float64": np.float64, "int64": np.int64, "string": object, "bool": bool}
    feeds = {
        one["name"]: np.stack(
            [rows[feature["name"]].to_numpy().astype(kinds[one["type"]]) for feature in one["features"]], axis=1
        )
        for one in converted["inputs"]
    }
    names = [one["name"] for one in converted["outputs"]]
    given = case.taken(rows)
    try:
        _original(model, converted["outputs"][0]["meaning"], given)
    except Exception:  # rows that the original refuses say nothing
        return "", 0.0
    outputs = dict(zip(names, session.run(names, feeds), strict=True))
    worst, said = 0.0, []
    tied = np.zeros(len(rows), dtype=bool)
    if "probabilities" in outputs and outputs["probabilities"].ndim == 2:
        order = np.sort(np.asarray(model.predict_proba(given)), axis=1)
        tied = order[:, -1] - order[:, -2] < TIE if order.shape[1] > 1 else tied
    for one in converted["outputs"]:
        expected = _original(model, one["meaning"], given)
        found = outputs[one["name"]]
        if expected.shape != found.shape:
            return f"{one['meaning']} has the shape {found.shape}, not {expected.shape}", worst
        if one["meaning"] == "label":
            wrong = (expected.astype(str) != found.astype(str)) & ~tied
            if wrong.any():
                said.append(f"{wrong.mean():.2%} of the labels")
            continue
        off = np.abs(np.nan_to_num(expected - found, posinf=0, neginf=0)) / (1 + np.abs(np.nan_to_num(expected)))
        worst = max(worst, float(off.max(initial=0)))
        if case.exact and (off > FRESH).any():
            said.append(f"{one['meaning']} off by {off.max():.3g}")
    return "; ".join(said), worst


def _original(model: Any, meaning: str, given: Any) -> Any:
    method = {"label": "predict", "value": "predict", "probabilities": "predict_proba", "features": "transform"}
    if meaning == "scores":
        function = getattr(model, "decision_function", None) or getattr(model, "transform", None)
        out = function(given)
    else:
        out = getattr(model, method[meaning])(given)
    out = np.asarray(out.toarray() if hasattr(out, "toarray") else out)
    if out.dtype == bool:
        out = out.astype(np.int64)
    return out[:, 0] if meaning in ("label", "value") and out.ndim == 2 and out.shape[1] == 1 else out


def _first(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
