"""The original's scores, by what they mean: label, probabilities, scores, value, features."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from builder.models.inside.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.models.inside.table import Table

__all__ = ["expects", "meanings", "outputs_of", "prepared"]

METHODS = {"probabilities": "predict_proba", "scores": "decision_function", "features": "transform"}


def expects(model: Any) -> list[str] | None:
    """The columns that the original was fitted with, in order, when it knows them."""
    for step in _first_steps(model):
        for attribute in ("feature_names_in_", "feature_name_", "feature_names_", "feature_names"):
            names = _attribute(step, attribute)
            if names is not None and not callable(names) and len(names) and all(isinstance(n, str) for n in names):
                return [str(name) for name in names]
    return None


def _first_steps(model: Any) -> list[Any]:
    steps = [model]
    while (inner := getattr(steps[-1], "steps", None)) and isinstance(inner, list):
        steps.append(inner[0][1])
    return steps


def _attribute(step: Any, name: str) -> Any:
    try:
        return getattr(step, name, None)
    except Exception:  # properties of models that aren't fitted, or were fitted on arrays
        return None


def prepared(model: Any, table: Table, shape: str, features: list[str] | None) -> Any:
    """`table` as the original takes it: a DataFrame (`shape` is ``frame``), a matrix (``array``), a list (``text``).

    `features` are its columns in order; without them, those that the model knows, or else all.
    """
    import numpy as np

    known = features or expects(model) or []
    names = known if known and all(name in table.columns for name in known) else list(table)
    if shape == "text":
        return ["" if value is None else value for value in table[names[0]].tolist()]
    if shape == "array":
        columns = [table[name] for name in names]
        if any(column.dtype == object for column in columns):
            missing = None if _knows_none(model) else np.nan
            columns = [_objects(column, missing) for column in columns]
        return np.stack(columns, axis=1) if columns else np.empty((len(table), 0))
    import pandas as pd

    missing = None if _knows_none(model) else np.nan
    series = {}
    for name in names:
        column = table[name]
        text = column.dtype == object
        values = _objects(column, missing) if text else column
        series[name] = pd.Series(values, dtype=object if text and missing is None else None)
    return pd.DataFrame(series, columns=names)


def _objects(column: NDArray[Any], missing: Any) -> NDArray[Any]:
    import numpy as np

    values = np.empty(len(column), dtype=object)
    values[:] = [missing if value is None else value for value in column.tolist()]
    return values


def _knows_none(model: Any, depth: int = 0) -> bool:
    """Whether an encoder or imputer in `model` was fitted with None, not NaN, for what is missing."""
    if depth > 8:
        return False
    for categories in _attribute(model, "categories_") or ():
        if any(value is None for value in categories):
            return True
    if hasattr(model, "missing_values") and model.missing_values is None:
        return True
    return any(_knows_none(part, depth + 1) for part in _parts(model))


def _parts(model: Any) -> list[Any]:
    found = []
    for attribute in ("steps", "transformers_", "transformer_list", "estimators_", "calibrated_classifiers_"):
        value = _attribute(model, attribute)
        if isinstance(value, list):
            found += [part[1] if isinstance(part, tuple) else part for part in value]
    found += [_attribute(model, name) for name in ("estimator", "best_estimator_", "estimator_", "final_estimator_")]
    return [part for part in found if part is not None and not isinstance(part, str)]


def meanings(model: Any, kind: str | None, *, raw_scores: bool = False) -> list[str]:
    """What `model` gives; `kind` is explain's word for it."""
    if kind == "transformer" or not hasattr(model, "predict"):
        return ["features"]
    if kind == "regressor" or (kind is None and not hasattr(model, "classes_") and not hasattr(model, "labels_")):
        return ["value"]
    if kind == "clusterer":
        scored = next((name for name in ("probabilities", "features") if hasattr(model, METHODS[name])), None)
        return ["label", *(["scores" if scored == "features" else scored] if scored else [])]
    if kind == "outlier":
        return ["label", "scores"]
    if hasattr(model, "predict_proba") and not raw_scores:
        return ["label", "probabilities"]
    return ["label", *(["scores"] if hasattr(model, "decision_function") else [])]


def outputs_of(model: Any, rows: Any, wanted: list[str], kind: str | None = None) -> dict[str, NDArray[Any]]:
    """The outputs in `wanted` for `rows`: `[rows]` or `[rows, width]` each; warnings are kept out.

    Raises whatever the original raises.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {meaning: _plain(_output(model, rows, meaning, kind), meaning) for meaning in wanted}


def _output(model: Any, rows: Any, meaning: str, kind: str | None) -> Any:
    if meaning in ("label", "value"):
        return model.predict(rows)
    if meaning == "scores" and not hasattr(model, "decision_function"):
        for method in ("transform", "score_samples", "predict_proba"):
            if hasattr(model, method):
                return getattr(model, method)(rows)
    if not hasattr(model, METHODS[meaning]):
        raise Problem(f"the original has no {METHODS[meaning]}: there is nothing to compare {meaning} with")
    return getattr(model, METHODS[meaning])(rows)


def _plain(output: Any, meaning: str) -> NDArray[Any]:
    """As an array: numbers, or for labels numbers or objects of `str`."""
    import numpy as np

    if hasattr(output, "toarray"):
        output = output.toarray()
    if isinstance(output, list) and meaning == "probabilities":
        raise Problem("the original has several targets, each with its own probabilities", hint="convert one by one")
    array = np.asarray(output)
    if array.ndim == 2 and array.shape[1] == 1 and meaning in ("label", "value"):
        array = array[:, 0]
    if array.dtype.kind in "USO":
        text = np.empty(array.shape, dtype=object)
        text.ravel()[:] = [None if value is None else str(value) for value in array.ravel().tolist()]
        return text
    if array.dtype.kind == "b":
        return array.astype(np.int64) if meaning == "label" else array.astype(np.float64)
    if array.dtype.kind in "iu":
        return array.astype(np.int64) if meaning == "label" else array.astype(np.float64)
    return array.astype(np.float64) if array.dtype.itemsize > 8 or array.dtype.itemsize < 4 else array
