"""The tensors that a converted model takes: which columns, of which type, under which names."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from builder.models.inside.preparing import missing_text
from builder.models.inside.problem import Problem
from builder.models.inside.walk import is_a, walk

__all__ = ["RESERVED", "Column", "columns_of", "described", "inner_types", "is_separate", "tensor_names"]

RESERVED = ("label", "probabilities", "scores", "value", "features")
_TYPES = {"number": None, "integer": "int64", "bool": "bool", "text": "string", "date": None}
_ENCODERS = ("OneHotEncoder", "OrdinalEncoder", "TargetEncoder")


@dataclass
class Column:
    """A feature: its name, the type of its tensor, and what is known of its values."""

    name: str
    type: str
    missing: str = "refused"
    categories: list[Any] | None = None
    unseen: str | None = None
    encoder: str | None = None
    said: dict[str, Any] = field(default_factory=dict)


def columns_of(
    facts: dict[str, Any], known: list[dict[str, Any]] | None, spec: dict[str, Any], floats: str
) -> list[Column]:
    """The columns of a model that `describe` gave the `facts` of, in its own order.

    `known` is what the sample has, `floats` the type of numbers. Raises Problem when the sample lacks one.
    """
    by_name = {one["name"]: one for one in known or ()}
    declared: dict[str, dict[str, Any]] = spec.get("inputs") or {}
    names = facts["features"] or list(by_name)
    if not names:
        count = facts["n_features"]
        if count is None:
            raise Problem(
                "the model doesn't say how many features it takes",
                hint="name them under `inputs` of the model, or give it a `sample`",
            )
        names = list(declared) if len(declared) == count else [f"x{number}" for number in range(count)]
        names = ["text"] if facts["input"] == "text" and not declared else names
    if facts["n_features"] is not None and len(names) != facts["n_features"]:
        raise Problem(
            f"the model takes {facts['n_features']} features, the sample has {len(names)} columns: "
            + ", ".join(names[:12]),
            hint="name the label's column in `drop`, or list the features in order under `inputs`",
        )
    lacking = [name for name in names if by_name and name not in by_name and name not in declared]
    if lacking:
        raise Problem(f"the sample has no column {lacking[0]!r}, which the model was trained on", hint="add it")
    unknown = {"kind": "text" if facts["input"] == "text" else "number"}
    return [_column(name, by_name.get(name, unknown), declared.get(name, {}), floats) for name in names]


def _column(name: str, known: dict[str, Any], declared: dict[str, Any], floats: str) -> Column:
    kind = declared.get("type") or _TYPES.get(known.get("kind", "number"))
    if kind is None and known.get("kind") == "date":
        kind = "string" if known.get("date") in ("text", "iso") else "int64"
    if kind in (None, "float32", "float64") or (kind in ("int64", "bool") and known.get("missing")):
        kind = floats
    return Column(name, kind, said=declared)


def is_separate(model: Any, columns: list[Column]) -> bool:
    """Whether each column is a tensor of its own inside: where columns are picked by name, or not all are numbers."""
    kinds = {column.type for column in columns}
    return any(is_a(step.estimator, "ColumnTransformer") for step in walk(model)) or "string" in kinds


def tensor_names(names: list[str], reserved: tuple[str, ...] = RESERVED) -> list[str]:
    """Names of tensors for columns: letters, digits and underscores of ASCII, each once, none of `reserved`."""
    taken = set(reserved)
    found = []
    for name in names:
        plain = re.sub(r"[^0-9A-Za-z_]+", "_", name).strip("_") or "column"
        if plain[0].isdigit() or plain in reserved:
            plain = f"column_{plain}"
        candidate, number = plain, 2
        while candidate in taken:
            candidate, number = f"{plain}_{number}", number + 1
        taken.add(candidate)
        found.append(candidate)
    return found


def inner_types(model: Any, columns: list[Column], floats: str) -> list[str]:
    """Each column's type for the converters: whole numbers stay whole only where an encoder compares them.

    As a side effect columns learn their categories from the encoders, and what a missing value is.
    """
    by_position = dict(enumerate(columns))
    by_name = {column.name: column for column in columns}
    types = {column.name: "string" if column.type == "string" else floats for column in columns}
    for step in walk(model):
        for encoder, chosen in _encoded(step, columns):
            for position, values in zip(chosen, encoder.categories_, strict=False):
                column = by_name.get(position) if isinstance(position, str) else by_position.get(position)
                if column is not None:
                    _learn(column, encoder, values)
                    if column.type in ("int64", "bool") and _whole(values):
                        types[column.name] = "int64"
    accepts = _accepts_missing(model)
    empty = missing_text(model)
    for column in columns:
        if column.type in ("float32", "float64"):
            column.missing = "nan" if accepts else "refused"
        elif column.type == "string":
            known = column.categories is not None and "" in column.categories
            column.missing = "empty" if empty or known or column.unseen == "ignored" else "refused"
    return [types[column.name] for column in columns]


def _encoded(step: Any, columns: list[Column]) -> list[tuple[Any, list[Any]]]:
    """Encoders that see the columns themselves, each with the columns, by name or number, that it sees."""
    estimator = step.estimator
    if is_a(estimator, "ColumnTransformer"):
        found = []
        for _, held, chosen in estimator.transformers_:
            encoder = _first_encoder(held)
            if encoder is not None:
                found.append((encoder, _chosen(chosen, columns)))
        return found
    if is_a(estimator, *_ENCODERS) and not any(is_a(one, "ColumnTransformer") for one in step.around):
        return [(estimator, list(range(len(columns))))]
    return []


def _first_encoder(held: Any) -> Any:
    if is_a(held, "Pipeline"):
        passed = ("SimpleImputer",)
        for _, inner in held.steps:
            if is_a(inner, *_ENCODERS):
                return inner
            if not is_a(inner, *passed):
                return None
    return held if is_a(held, *_ENCODERS) else None


def _chosen(chosen: Any, columns: list[Column]) -> list[Any]:
    if isinstance(chosen, slice):
        names = [column.name for column in columns]
        if isinstance(chosen.start, str) or isinstance(chosen.stop, str):
            start = names.index(chosen.start) if chosen.start is not None else 0
            stop = names.index(chosen.stop) + 1 if chosen.stop is not None else len(names)
            return names[start:stop]
        return list(range(len(columns)))[chosen]
    if isinstance(chosen, str | int):
        return [chosen]
    values = list(chosen)
    if values and type(values[0]).__name__ in ("bool", "bool_"):
        return [number for number, is_chosen in enumerate(values) if is_chosen]
    return [value if isinstance(value, str) else int(value) for value in values]


def _learn(column: Column, encoder: Any, values: Any) -> None:
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    if all(isinstance(one, str | int | float | bool) for one in listed):
        column.categories = [one for one in listed if one == one]
    column.unseen = "refused" if getattr(encoder, "handle_unknown", "ignore") == "error" else "ignored"
    column.encoder = type(encoder).__name__


def _whole(values: Any) -> bool:
    return getattr(values, "dtype", None) is not None and values.dtype.kind in "iub"


_TAKES_NAN = (
    "SimpleImputer",
    "HistGradientBoostingClassifier",
    "HistGradientBoostingRegressor",
    "XGBModel",
    "LGBMModel",
    "CatBoost",
    "Booster",
)


def _accepts_missing(model: Any) -> bool:
    """Whether numbers may be missing: some step replaces NaN, or trees send it somewhere."""
    return any(is_a(step.estimator, *_TAKES_NAN) or _saw_nan(step.estimator) for step in walk(model))


def _saw_nan(estimator: Any) -> bool:
    """Whether trees of scikit-learn were trained on rows with NaN."""
    if not is_a(estimator, "BaseForest", "BaseDecisionTree"):
        return False  # isolation forests take NaN, too, but their converter doesn't know where it goes
    members = getattr(estimator, "estimators_", None)
    for one in [estimator, *(members if isinstance(members, list) else [])]:
        sides = getattr(getattr(one, "tree_", None), "missing_go_to_left", None)
        if sides is not None and sides.any():
            return True
    return False


def described(column: Column) -> dict[str, Any]:
    """A column as the answer has it."""
    return {
        "name": column.name,
        "missing": column.said.get("missing") or column.missing,
        "categories": column.categories,
        "unseen": column.unseen,
    }
