"""scikit-learn's HistGradientBoosting: thresholds are float64, categories are sets, missing values have a side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder.models.inside.emitting import Emitter, float_type, is_double
from builder.models.inside.links import finish_classifier, finish_regressor
from builder.models.inside.trees import LEQ, Tree, chained, emit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["convert_classifier", "convert_regressor", "read_predictor"]


def convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    """HistGradientBoostingClassifier."""
    to = Emitter(scope, container)
    finish_classifier(to, operator, _sums(to, operator), "softmax")


def convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    """HistGradientBoostingRegressor, with the link of its loss."""
    to = Emitter(scope, container)
    loss = type(operator.raw_operator._loss).__name__
    link = "exp" if loss in ("HalfPoissonLoss", "HalfGammaLoss", "HalfTweedieLoss") else "identity"
    finish_regressor(to, operator, _sums(to, operator), link)


def _sums(to: Emitter, operator: Any) -> str:
    import numpy as np

    model = operator.raw_operator
    values, columns = _categories(model)
    trees = [
        read_predictor(predictor, values, columns, target)
        for iteration in model._predictors
        for target, predictor in enumerate(iteration)
    ]
    base = np.asarray(model._baseline_prediction, dtype=np.float64).ravel().tolist()
    source = operator.inputs[0].full_name
    if not is_double(operator.inputs[0]):
        source = to.cast(source, float_type(operator.inputs[0]))
    return emit(to, source, trees, len(base), base=base, double=is_double(operator.inputs[0]))


def _categories(model: Any) -> tuple[dict[int, NDArray[np.float64]], NDArray[np.int64]]:
    """The values of the categorical features by their number among the trees, and the input columns of all features.

    The trees see encoded categories, all categorical features first.
    """
    import numpy as np

    count = model.n_features_in_
    preprocessor = getattr(model, "_preprocessor", None)
    if preprocessor is None:
        return {}, np.arange(count)
    categorical = np.asarray(model.is_categorical_)
    columns = np.concatenate([np.flatnonzero(categorical), np.flatnonzero(~categorical)])
    encoder = preprocessor.named_transformers_["encoder"]
    return {number: np.asarray(known) for number, known in enumerate(encoder.categories_)}, columns


def read_predictor(
    predictor: Any, categories: dict[int, NDArray[np.float64]], columns: NDArray[np.int64], target: int
) -> Tree:
    """One of `_predictors`; its leaves add to `target`."""
    import numpy as np

    nodes = predictor.nodes
    leaf = nodes["is_leaf"].astype(bool)
    feature = nodes["feature_idx"].astype(np.int64)
    tree = Tree(
        mode=np.where(leaf, 0, LEQ),
        feature=columns[np.where(leaf, 0, feature)],
        threshold=np.where(leaf, 0.0, nodes["num_threshold"]),
        yes=nodes["left"].astype(np.int64),
        no=nodes["right"].astype(np.int64),
        missing_yes=nodes["missing_go_to_left"].astype(bool) & ~leaf,
        weights=nodes["value"].astype(np.float64)[:, None],
        first=target,
    )
    sets: dict[int, list[float]] = {}
    for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~leaf).tolist():
        known = categories[int(feature[node])]
        bits = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]]
        left = [bool(bits[code // 32] >> (code % 32) & 1) for code in range(len(known))]
        # an unknown category goes where a missing one goes: that must be the branch for "none of these"
        missing_left = bool(tree.missing_yes[node])
        if missing_left:
            tree.yes[node], tree.no[node] = tree.no[node], tree.yes[node]
        tree.missing_yes[node] = False
        sets[node] = [
            float(value)
            for value, is_left in zip(known.tolist(), left, strict=True)
            if is_left != missing_left and value == value
        ]
    return chained(tree, sets)
