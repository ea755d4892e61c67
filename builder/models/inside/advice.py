"""What most likely helps when scores differ: rules, the first that fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Case", "case_of", "remedy"]

DOUBLE = (
    'set precision = "double+cast" and train with a CastTransformer between the steps that compute and the trees '
    "(skl2onnx.sklapi.CastTransformer), so that both see the same float32 numbers"
)


@dataclass(frozen=True)
class Case:
    """A failed verdict: the step that differs first, with its `traits`, those before it, and what failed where."""

    kind: str = ""
    traits: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    missing: bool = False
    precision: str = "float32"
    around: tuple[str, ...] = field(default=())


def _name(case: Case) -> str:
    return case.kind.rpartition(".")[2]


RULES: tuple[tuple[Callable[[Case], bool], str], ...] = (
    (
        lambda case: bool(case.codes) and set(case.codes) <= {"ties", "variants"},
        "votes are tied, and threads decide: train with a number of trees that is a power of two (n_estimators=64)",
    ),
    (
        lambda case: case.codes == ("shape",),
        "the model declares outputs that it doesn't give: convert it anew, or correct your own converter",
    ),
    (
        lambda case: case.codes == ("unscored",),
        "the runtime stops at values that the original takes: handle_unknown='ignore' in encoders, or train on them",
    ),
    (
        lambda case: "isotonic" in case.around or "isotonic" in case.traits,
        'calibrate with method="sigmoid": steps of an isotonic curve lie where float32 rounds',
    ),
    (
        lambda case: "categories" in case.traits,
        "encode categories in a ColumnTransformer before the trees (OneHotEncoder or OrdinalEncoder), "
        "without categorical_features",
    ),
    (
        lambda case: "trees" in case.traits and case.missing and "Hist" not in _name(case),
        "put a SimpleImputer before the trees, and train again: they were trained with missing values",
    ),
    (
        lambda case: "text" in case.traits,
        'use the default token_pattern, analyzer="word" and no n-grams over one-letter words; '
        "convert with lockship's own text options (tokenexp, locale C.UTF-8)",
    ),
    (
        lambda case: bool(case.groups) and set(case.groups) <= {"sample"} and case.precision == "float32",
        'the sample holds numbers that float32 rounds: set precision = "double+cast"',
    ),
    (
        lambda case: "trees" in case.traits and "computes" in case.before and case.precision == "float32",
        DOUBLE,
    ),
    (
        lambda case: "trees" in case.traits and case.precision == "float32",
        'thresholds lie between float32 numbers: set precision = "double+cast"',
    ),
    (
        lambda case: _name(case) == "LinearDiscriminantAnalysis",
        "set raw-scores = true and take the sigmoid of the score, or use LogisticRegression",
    ),
    (
        lambda case: "computes" in case.traits and case.codes != ("shape",) and case.precision == "float32",
        'the step computes in float32 what the original computes in float64: set precision = "double+cast"; '
        "if that doesn't help, scale the columns first, or replace the step",
    ),
)


def remedy(case: Case) -> str:
    """In words for the person who trains the model."""
    for applies, words in RULES:
        if applies(case):
            return words
    what = _name(case) or "the model"
    return f"replace {what} by another step, do it before the model, or register your own converter: converters = [...]"


def case_of(verdict: dict[str, Any], **facts: Any) -> Case:
    """From a verdict and the facts of a step."""
    keys = ("label_mismatches", "outside", "vote_flips", "unscored")
    failed = [group for group in verdict.get("groups", []) if group["strict"] and any(group[key] for key in keys)]
    return Case(
        codes=tuple(reason["code"] for reason in verdict.get("reasons", [])),
        groups=tuple(group["name"] for group in failed),
        **facts,
    )
