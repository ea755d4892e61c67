"""XGBoost and LightGBM, read from their own JSON: wrappers for scikit-learn and boosters, alone or in pipelines.

Read here rather than by other converters: those round thresholds the wrong way under float32, take no names of columns,
and stop at operator set 15.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from builder.models.inside.emitting import Emitter, is_double
from builder.models.inside.forests import narrowed
from builder.models.inside.links import finish_classifier, finish_regressor
from builder.models.inside.problem import Problem
from builder.models.inside.trees import LEQ, LT, Tree, chained, emit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "LIGHTGBM_LINKS",
    "XGBOOST_LINKS",
    "convert_lightgbm",
    "convert_xgboost",
    "lightgbm_document",
    "xgboost_document",
]

XGBOOST_LINKS = {
    "binary:logistic": "sigmoid",
    "binary:logitraw": "identity",
    "count:poisson": "exp",
    "multi:softmax": "softmax",
    "multi:softprob": "softmax",
    "rank:map": "identity",
    "rank:ndcg": "identity",
    "rank:pairwise": "identity",
    "reg:absoluteerror": "identity",
    "reg:gamma": "exp",
    "reg:logistic": "sigmoid",
    "reg:pseudohubererror": "identity",
    "reg:quantileerror": "identity",
    "reg:squarederror": "identity",
    "reg:squaredlogerror": "identity",
    "reg:tweedie": "exp",
}
LIGHTGBM_LINKS = {
    "binary": "sigmoid",
    "cross_entropy": "sigmoid",
    "fair": "identity",
    "gamma": "exp",
    "huber": "identity",
    "lambdarank": "identity",
    "mape": "identity",
    "multiclass": "softmax",
    "poisson": "exp",
    "quantile": "identity",
    "rank_xendcg": "identity",
    "regression": "identity",
    "regression_l1": "identity",
    "tweedie": "exp",
}


def convert_xgboost(scope: Any, operator: Any, container: Any) -> None:
    """XGBClassifier, XGBRegressor, XGBRanker, their random forests, and Booster."""
    to = Emitter(scope, container)
    model = operator.raw_operator
    document = xgboost_document(model)
    learner = document["learner"]
    link = XGBOOST_LINKS[learner["objective"]["name"]]
    trees, targets = _xgboost_trees(model, learner)
    base = _base(learner, link, targets)
    sums = emit(to, narrowed(to, operator.inputs[0]), trees, targets, base=base)
    if hasattr(model, "classes_"):
        finish_classifier(to, operator, sums, link)
    elif learner["objective"]["name"] == "multi:softmax":
        best = to.node("ArgMax", sums, axis=1, keepdims=1)
        to.cast(best, _float(operator), into=operator.outputs[0].full_name)
    else:
        finish_regressor(to, operator, sums, link)


def _float(operator: Any) -> int:
    from onnx import TensorProto

    return int(TensorProto.DOUBLE if is_double(operator.inputs[0]) else TensorProto.FLOAT)


def xgboost_document(model: Any) -> dict[str, Any]:
    """XGBoost's model as its JSON format has it (https://xgboost.readthedocs.io/en/stable/dev/structxgboost_1_1Learner)."""
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    document: dict[str, Any] = json.loads(bytes(booster.save_raw("json")))
    return document


def _xgboost_trees(model: Any, learner: dict[str, Any]) -> tuple[list[Tree], int]:
    booster = learner["gradient_booster"]
    held = booster["gbtree"]["model"] if booster["name"] == "dart" else booster["model"]
    drops = booster.get("weight_drop") or [1.0] * len(held["trees"])
    parameters = learner["learner_model_param"]
    targets = max(int(parameters["num_class"]), int(parameters.get("num_target", "1")), 1)
    count = _used(model, held, targets)
    trees = [
        _xgboost_tree(tree, float(drop), int(target))
        for tree, drop, target in zip(held["trees"][:count], drops, held["tree_info"], strict=False)
    ]
    return trees, targets


def _used(model: Any, held: dict[str, Any], targets: int) -> int:
    """How many of the trees count: after early stopping, the wrappers use those up to the best iteration."""
    count = len(held["trees"])
    best = getattr(model, "best_iteration", None) if _stopped_early(model) else None
    if best is None:
        return count
    starts = held.get("iteration_indptr")
    if starts:
        return int(starts[min(int(best) + 1, len(starts) - 1)])
    return min(count, (int(best) + 1) * targets)


def _stopped_early(model: Any) -> bool:
    if not hasattr(model, "get_booster"):
        return False
    return model.get_booster().attr("best_iteration") is not None


def _xgboost_tree(tree: dict[str, Any], drop: float, target: int) -> Tree:
    import numpy as np

    left = np.array(tree["left_children"], dtype=np.int64)
    leaf = left < 0
    conditions = np.array(tree["split_conditions"], dtype=np.float32).astype(np.float64)
    return Tree(
        mode=np.where(leaf, 0, LT),
        feature=np.array(tree["split_indices"], dtype=np.int64),
        threshold=np.where(leaf, 0.0, conditions),
        yes=left,
        no=np.array(tree["right_children"], dtype=np.int64),
        missing_yes=np.array(tree["default_left"], dtype=bool) & ~leaf,
        weights=np.where(leaf, conditions * drop, 0.0)[:, None],
        first=target,
    )


def _base(learner: dict[str, Any], link: str, targets: int) -> list[float]:
    """What the sums start with: `base_score` is written as a prediction, of which this is the inverse link."""
    text = str(learner["learner_model_param"]["base_score"])
    scores = json.loads(text) if text.startswith("[") else [float(text)]
    if link == "sigmoid":
        scores = [math.log(score / (1 - score)) for score in scores]
    elif link == "exp":
        scores = [math.log(score) for score in scores]
    return [float(score) for score in (scores * targets if len(scores) == 1 else scores)]


def convert_lightgbm(scope: Any, operator: Any, container: Any) -> None:
    """LGBMClassifier, LGBMRegressor, LGBMRanker and Booster."""
    to = Emitter(scope, container)
    model = operator.raw_operator
    document = lightgbm_document(model)
    name, *options = document.get("objective", "regression").split()
    link = LIGHTGBM_LINKS[name]
    if link == "identity" and "sqrt" in options:
        link = "square"
    trees, truncated = _lightgbm_trees(document)
    slope = next((float(option[8:]) for option in options if option.startswith("sigmoid:")), 1.0)
    source = _categories_cut(to, operator.inputs[0], sorted(truncated), document["max_feature_idx"] + 1)
    sums = emit(to, source, trees, document["num_tree_per_iteration"], double=is_double(operator.inputs[0]))
    finish = finish_classifier if hasattr(model, "classes_") else finish_regressor
    finish(to, operator, sums, link, slope=slope)


def lightgbm_document(model: Any) -> dict[str, Any]:
    """LightGBM's model as `dump_model` has it."""
    booster = getattr(model, "booster_", model)
    document: dict[str, Any] = booster.dump_model()
    return document


def _lightgbm_trees(document: dict[str, Any]) -> tuple[list[Tree], set[int]]:
    """The trees, and which features are categorical in them."""
    per = document["num_tree_per_iteration"]
    rounds = len(document["tree_info"]) // per
    share = 1.0 / rounds if document.get("average_output") else 1.0
    categorical: set[int] = set()
    trees = [
        _lightgbm_tree(tree["tree_structure"], share, number % per, categorical)
        for number, tree in enumerate(document["tree_info"])
    ]
    return trees, categorical


def _lightgbm_tree(root: dict[str, Any], share: float, target: int, categorical: set[int]) -> Tree:
    import numpy as np

    columns: dict[str, list[Any]] = {
        name: [] for name in ("mode", "feature", "threshold", "yes", "no", "missing_yes", "weights")
    }
    sets: dict[int, list[float]] = {}
    waiting: list[tuple[dict[str, Any], tuple[str, int] | None]] = [(root, None)]
    while waiting:
        node, parent = waiting.pop()
        number = len(columns["mode"])
        if parent is not None:
            columns[parent[0]][parent[1]] = number
        is_leaf = "split_feature" not in node
        cells = _leaf(node, share) if is_leaf else _split(node)
        for name, cell in zip(columns, cells, strict=True):
            columns[name].append(cell)
        if not is_leaf:
            if node["decision_type"] == "==":
                categorical.add(node["split_feature"])
                sets[number] = [float(code) for code in str(node["threshold"]).split("||") if code != ""]
            waiting += [(node["right_child"], ("no", number)), (node["left_child"], ("yes", number))]
    kinds = {"threshold": np.float64, "missing_yes": np.bool_}
    weights = np.array(columns.pop("weights"), dtype=np.float64)[:, None]
    arrays: dict[str, NDArray[Any]] = {
        name: np.array(cells, dtype=kinds.get(name, np.int64)) for name, cells in columns.items()
    }
    return chained(Tree(**arrays, weights=weights, first=target), sets)


def _leaf(node: dict[str, Any], share: float) -> tuple[Any, ...]:
    if node.get("leaf_coeff"):
        raise Problem("this LightGBM model has linear leaves", hint="train it with linear_tree = False")
    return 0, 0, 0.0, 0, 0, False, float(node["leaf_value"]) * share


def _split(node: dict[str, Any]) -> tuple[Any, ...]:
    """A split's cells. LightGBM takes NaN as zero where it saw none in training (`Tree::NumericalDecision`)."""
    if node["decision_type"] == "==":
        return LEQ, node["split_feature"], 0.0, 0, 0, False, 0.0
    threshold = float(node["threshold"])
    missing = node["missing_type"]
    if missing == "Zero":
        raise Problem(
            "this LightGBM model takes zeros for missing values",
            hint="train it with zero_as_missing = False",
        )
    left = node["default_left"] if missing == "NaN" else threshold >= 0.0
    return LEQ, node["split_feature"], _past_zero(threshold), 0, 0, bool(left), 0.0


def _past_zero(threshold: float) -> float:
    """LightGBM takes numbers up to 1e-35, which is `kZeroThreshold`, for zero before it compares them."""
    import numpy as np

    tiny = float(np.float32(1e-35))
    if -tiny <= threshold < 0:
        return math.nextafter(-tiny, -math.inf)
    return tiny if 0 <= threshold < tiny else threshold


def _categories_cut(to: Emitter, variable: Any, categorical: list[int], count: int) -> str:
    """The input, with codes of categories cut to whole numbers, as LightGBM does (`Tree::CategoricalDecision`)."""
    import numpy as np
    from onnx import TensorProto

    kind = int(TensorProto.DOUBLE if is_double(variable) else TensorProto.FLOAT)
    source = to.cast(variable.full_name, kind)
    if not categorical:
        return source
    mask = np.zeros((1, count), dtype=bool)
    mask[0, categorical] = True
    whole = to.cast(to.cast(source, TensorProto.INT64), kind)
    return to.node("Where", to.constant(mask), whole, source)
