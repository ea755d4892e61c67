"""What is known of steps: converters that are missing, scores that come out wrong, and what helps.

A table of rules. Each looks at one step of a model; the first that refuses ends the search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from builder.models.inside import suspicions as see
from builder.models.inside.registering import has_converter
from builder.models.inside.walk import Step, is_a

__all__ = ["RULES", "Rule", "findings"]

Test = Callable[[Step, Any, dict[str, Any], str], "str | bool | None"]


@dataclass(frozen=True)
class Rule:
    """`applies` to a step (with the model, its spec and the precision); a text that it gives goes into `message`."""

    code: str
    status: str
    applies: Test
    message: str
    remedy: str | None = None


RULES: tuple[Rule, ...] = (
    Rule(
        "bare-estimator", "refused", see.is_bare,
        "the model has no preprocessing in it: whoever scores with it must do what was done before training",
        'say preprocessing = "included" if its columns are the raw data, or "elsewhere" if others prepare them',
    ),
    Rule(
        "not-fitted", "refused", see.is_unfitted, "it is not fitted", "fit it, and save it again",
    ),
    Rule(
        "several-targets", "refused", see.has_several_targets,
        "it predicts several targets with classes, which come as lists", "convert one model for each target",
    ),
    Rule(
        "no-columns", "refused", see.takes_no_columns,
        "it takes {}, not rows of columns", "leave it out of the model: do this where the data come from",
    ),
    Rule(
        "python-function", "refused", see.closes_over_python,
        "it calls {}, which is Python code and has no place in an ONNX graph",
        "use a NumPy function such as np.log1p, or a class of your own with a converter: "
        'converters = ["module:function"]',
    ),
    Rule(
        "custom-text", "refused", see.has_own_tokens, "{}",
        'use analyzer="word" with the default token_pattern, and clean texts before they reach the model',
    ),
    Rule(
        "stop-words", "refused", see.stops_ngrams,
        "stop words are left out before n-grams are made, which ONNX can't do",
        "leave out stop_words, or use ngram_range=(1, 1)",
    ),
    Rule(
        "catboost-categories", "refused", see.catboost_categories,
        "CatBoost exports no models with categorical, text or embedding features",
        "one-hot or target encode them in a ColumnTransformer before it",
    ),
    Rule(
        "booster-categories", "refused", see.booster_categories,
        "it was trained on pandas categories, whose codes are not in the model",
        "encode them with an OrdinalEncoder in a ColumnTransformer before it",
    ),
    Rule(
        "booster-objective", "refused", see.booster_objective, "its objective or booster has no converter: {}",
        "use one of the usual objectives with trees",
    ),
    Rule(
        "histgb-categories", "refused", see.text_categories,
        "its categories are text, which is compared inside the trees",
        "put an OrdinalEncoder in a ColumnTransformer before it, and name the columns in categorical_features",
    ),
    Rule(
        "dtype-categories", "refused", see.unordered_missing, "{}",
        "make missing values and empty strings one in the data, and train again",
    ),
    Rule(
        "no-converter", "refused", see.lacks_converter, "it {}",
        'leave it out, or write one: converters = ["module:function"]',
    ),
    Rule(
        "unwrapped", "remedy", see.is_wrapper, "it is a wrapper: what it holds is converted",
    ),
    Rule(
        "histgb-categories", "remedy", see.number_categories,
        "its categories become comparisons in the trees; other converters compare codes as numbers",
    ),
    Rule(
        "tree-missing", "remedy", see.trees_with_nan,
        "missing values go to the side of each split that they went to in training",
    ),
    Rule(
        "forest-votes", "remedy", see.is_forest,
        "its votes are added up exactly, so that ties are ties on any number of threads",
    ),
    Rule(
        "isotonic", "remedy", see.is_isotonic,
        "its isotonic calibrators interpolate; other converters take the nearest point",
    ),
    Rule("temperature", "remedy", see.is_temperature, "temperature scaling is written as a softmax"),
    Rule(
        "binary-lda", "remedy", see.is_binary_lda,
        "its probabilities are a sigmoid of the score; other converters write a softmax",
    ),
    Rule(
        "float-thresholds", "remedy", see.compares_doubles,
        "its thresholds are rounded down to float32, which is exact for float32 numbers",
    ),
    Rule(
        "text-tokens", "remedy", see.is_text,
        "tokens are found as in Python: letters and digits of any script; lower case by the locale C.UTF-8",
    ),
    Rule(
        "scaled-trees", "remedy", see.scaled_trees,
        "its trees come after {}, which computes in float64 here as in training: thresholds see the same numbers",
    ),
    Rule(
        "text-locale", "warning", see.is_text,
        "lower case needs the locale C.UTF-8 where the model runs; other systems than Linux were not measured",
    ),
    Rule(
        "svc-probabilities", "warning", see.svc_probabilities,
        "its label comes from votes, its probabilities from Platt scaling: in scikit-learn, too, they can disagree",
        "wrap it in CalibratedClassifierCV",
    ),
    Rule(
        "unseen-categories", "warning", see.raises_for_unseen,
        "the original raises for unseen categories, the model in ONNX scores them as none of the known",
        'handle_unknown="ignore" makes it a rule',
    ),
)  # fmt: skip


def findings(step: Step, model: Any, spec: dict[str, Any], precision: str) -> Iterator[dict[str, Any]]:
    """What the rules say of `step`, or one entry with status ``ok``."""
    none = True
    for rule in RULES:
        found = rule.applies(step, model, spec, precision)
        if not found:
            continue
        none = False
        said = found if isinstance(found, str) else ""
        yield {
            "status": rule.status,
            "code": rule.code,
            "message": rule.message.format(said) if "{}" in rule.message else rule.message,
            "remedy": rule.remedy,
        }
        if rule.status == "refused":
            return
    if none:
        how = "taken apart" if is_a(step.estimator, "Pipeline", "ColumnTransformer", "FeatureUnion") else "converted"
        message = how if has_converter(step.estimator) else "no converter of its own"
        yield {"status": "ok", "code": "ok", "message": message, "remedy": None}
