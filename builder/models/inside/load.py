"""Loads the original model, each format with the care that it needs.

What is hashed is what is read. A pickle runs code as it is read: only one whose sha256 somebody wrote down is touched.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from builder.models.inside.problem import Problem

__all__ = ["load", "run"]

_OF_CLASSES = ("skops", "pickle", "joblib")
_INCONSISTENT = re.compile(r"unpickle estimator (\w+) from version (\S+) when using version (\S+?)\.? ", re.S)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Only see whether ``job["model"]`` can be loaded here; the answer says what it is."""
    model = load(job["model"])
    kind = type(model)
    return {"class": f"{kind.__module__}.{kind.__qualname__}"}


def load(spec: dict[str, Any]) -> Any:
    """The model that `spec` describes (as `builder.models.spec` has it).

    An ``.onnx`` comes as its bytes, boosters' own files as what has scikit-learn's interface. Raises Problem for what
    is no such model, isn't trusted, or was made by another version than is here.
    """
    name = spec["name"]
    if spec["format"] in _OF_CLASSES and spec["root"] not in sys.path:
        sys.path.append(spec["root"])  # classes of the project's own
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = _entry(spec) if spec["format"] == "entry" else _FORMATS[spec["format"]](spec, _bytes(spec))
    except Problem:
        raise
    except ModuleNotFoundError as error:
        raise _lacking(spec, error) from error
    except Exception as error:
        raise Problem(
            f"the model {name} can't be read as {spec['format']}: {_words(error)}",
            hint="is the file whole, and of that format? was it written by the versions that are locked?",
        ) from error
    _same_versions(name, [str(one.message) for one in caught])
    return model


def _bytes(spec: dict[str, Any]) -> bytes:
    data = Path(spec["path"]).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if spec.get("sha256") and spec["sha256"].removeprefix("sha256:") != found:
        raise Problem(
            f"the model {spec['name']} is not the file that was pinned: its sha256 is {found}",
            hint="if you know where it comes from, write that under `sha256`",
        )
    if not data:
        raise Problem(f"the model {spec['name']} is an empty file", hint="write it again")
    return data


def _skops(spec: dict[str, Any], data: bytes) -> Any:
    import skops.io

    from builder.models.inside.trusted import TRUSTED

    wanted = set(skops.io.get_untrusted_types(data=data))
    if unknown := sorted(wanted - TRUSTED - set(spec.get("trusted") or ())):
        listed = ", ".join(f'"{one}"' for one in unknown)
        raise Problem(
            f"the model {spec['name']} holds types that are not trusted: {', '.join(unknown)}",
            hint=f"if you know them and the file's origin: trusted = [{listed}] under the model",
            details={"types": unknown},
        )
    return skops.io.loads(data, trusted=sorted(wanted))


def _pinned(spec: dict[str, Any]) -> None:
    if not spec.get("sha256"):
        raise Problem(
            f"the model {spec['name']} is a pickle, which can run any code as it is read",
            hint="save it with skops.io.dump; or say allow-pickle = true and the sha256 of a file of your own",
        )


def _pickle(spec: dict[str, Any], data: bytes) -> Any:
    import pickle

    _pinned(spec)
    return pickle.loads(data)  # noqa: S301 - asked for by name and hash


def _joblib(spec: dict[str, Any], data: bytes) -> Any:
    _pinned(spec)
    import joblib

    return joblib.load(io.BytesIO(data))


def _xgboost(spec: dict[str, Any], data: bytes) -> Any:
    import xgboost

    task = str(_learner(xgboost.Booster(model_file=bytearray(data))).get("objective", {}).get("name", ""))
    kind = {"binary": xgboost.XGBClassifier, "multi": xgboost.XGBClassifier, "rank": xgboost.XGBRanker}
    model = kind.get(task.partition(":")[0], xgboost.XGBRegressor)()
    model.load_model(bytearray(data))
    return model


def _learner(booster: Any) -> dict[str, Any]:
    import json

    found = json.loads(booster.save_config()).get("learner", {})
    return found if isinstance(found, dict) else {}


def _lightgbm(spec: dict[str, Any], data: bytes) -> Any:
    import lightgbm

    text = data.decode("utf-8")
    if not text.startswith("tree\n") or "\nend of trees" not in text:
        raise Problem(
            f"the model {spec['name']} is not a whole LightGBM model", hint="write it with Booster.save_model"
        )
    return _fitted(lightgbm, lightgbm.Booster(model_str=text, params={"verbose": -1}))


def _fitted(lightgbm: Any, booster: Any) -> Any:
    """`booster` with scikit-learn's interface, as it had when it was fitted with whole numbers as classes."""
    import numpy as np

    objective = str(booster.dump_model(num_iteration=1).get("objective", "")).partition(" ")[0]
    classifies = objective in ("binary", "cross_entropy", "multiclass", "multiclassova")
    if objective in ("lambdarank", "rank_xendcg"):
        model = lightgbm.LGBMRanker(objective=objective)
    else:
        model = (lightgbm.LGBMClassifier if classifies else lightgbm.LGBMRegressor)(objective=objective or None)
    model._Booster, model.fitted_, model._objective = booster, True, objective
    model._n_features = model._n_features_in = model.n_features_in_ = booster.num_feature()
    model._best_iteration = booster.best_iteration if booster.best_iteration > 0 else None
    if classifies:
        from sklearn.preprocessing import LabelEncoder

        classes = np.arange(max(2, booster.num_model_per_iteration()))
        model._n_classes, model._classes, model._le = len(classes), classes, LabelEncoder().fit(classes)
        model._class_map = {int(one): int(one) for one in classes}
    return model


def _catboost(spec: dict[str, Any], data: bytes) -> Any:
    import catboost

    model = catboost.CatBoost()
    model.load_model(blob=data)
    loss = str(model.get_all_params().get("loss_function", ""))
    classifies = loss.split(":")[0] in ("Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll")
    model = catboost.CatBoostClassifier() if classifies else catboost.CatBoostRegressor()
    model.load_model(blob=data)
    return model


def _onnx(spec: dict[str, Any], data: bytes) -> bytes:
    return data


def _torch(spec: dict[str, Any], data: bytes) -> Any:
    import torch

    return torch.export.load(io.BytesIO(data))


def _entry(spec: dict[str, Any]) -> Any:
    """What the project's function returns; it is imported from the project's folder."""
    module, _, function = spec["entry"].partition(":")
    sys.path.insert(0, spec["root"])
    sys.dont_write_bytecode = True  # nothing of ours stays in the project
    try:
        found = getattr(importlib.import_module(module), function, None)
        if not callable(found):
            raise Problem(f"{module} has no function {function}", hint="correct `entry` under the model")
        model = found()
    except (Problem, ModuleNotFoundError):
        raise
    except BaseException as error:  # SystemExit of a script among them
        raise Problem(
            f"{spec['entry']} failed: {_words(error)}{_place(error, spec['root'])}",
            hint="it runs in the project's locked environment, without network and without your variables",
        ) from error
    if model is None:
        raise Problem(f"{spec['entry']} returned nothing", hint="it has to return the fitted model")
    return model


def _place(error: BaseException, root: str) -> str:
    """Where in the project's own code it happened."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.startswith(root.rstrip("/") + "/"):
            place = f" ({file[len(root.rstrip('/')) + 1 :]}:{trace.tb_lineno})"
        trace = trace.tb_next
    return place


_FORMATS: dict[str, Callable[[dict[str, Any], bytes], Any]] = {
    "skops": _skops,
    "pickle": _pickle,
    "joblib": _joblib,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "catboost": _catboost,
    "onnx": _onnx,
    "torch": _torch,
}


def _lacking(spec: dict[str, Any], error: ModuleNotFoundError) -> Problem:
    module = str(error.name or "").partition(".")[0]
    what = f"the model {spec['name']} needs the module {error.name}, which is not there"
    if spec["format"] == "entry" and (Path(spec["root"]) / module).exists():
        return Problem(what, hint="it is looked for in the project's folder")
    package = {"sklearn": "scikit-learn", "xgboost": "xgboost-cpu"}.get(module, module)
    return Problem(what, hint=f"add {package} to the project's requirements, and run `lockship lock`")


def _same_versions(name: str, warned: list[str]) -> None:
    """Pickles say when another scikit-learn made them; the scores may differ then, and nobody would know."""
    for message in warned:
        if found := _INCONSISTENT.search(message + " "):
            _, made, here = found.groups()
            raise Problem(
                f"the model {name} was made by scikit-learn {made}; the lock has {here}",
                hint=f"lock scikit-learn=={made}, or train the model again with what is locked",
                details={"trained": made, "locked": here},
            )


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
