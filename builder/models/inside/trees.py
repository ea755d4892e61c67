"""Trees of any library in one form, and the ONNX operator that evaluates them.

A comparison of a float32 value with a float64 threshold comes out the same when the threshold is rounded *down* to
float32 for `x <= t`, and *up* for `x < t`. That is how thresholds are written under float32; under float64 they are
kept, which needs version 3 of ``ai.onnx.ml``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.models.inside.emitting import ML, Emitter
from builder.models.inside.problem import Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["EQ", "LEQ", "LT", "Tree", "chained", "emit", "snapped"]

LEAF, LEQ, LT, EQ = 0, 1, 2, 3
_MODES = (b"LEAF", b"BRANCH_LEQ", b"BRANCH_LT", b"BRANCH_EQ")


@dataclass
class Tree:
    """A decision tree, node by node; node 0 is the root. Leaves have mode LEAF.

    `weights` is `[nodes, targets]` float64, of which leaves' rows count; `first` is the number of the first target.
    """

    mode: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    yes: NDArray[np.int64]
    no: NDArray[np.int64]
    missing_yes: NDArray[np.bool_]
    weights: NDArray[np.float64]
    first: int = 0


def snapped(thresholds: NDArray[np.float64], mode: NDArray[np.int64]) -> NDArray[np.float32]:
    """Thresholds as float32 so that comparisons with float32 values come out as with float64."""
    import numpy as np

    with np.errstate(over="ignore"):
        near = thresholds.astype(np.float32)
    up = near.astype(np.float64) > thresholds
    down = near.astype(np.float64) < thresholds
    low = np.nextafter(near, np.float32(-np.inf))
    high = np.nextafter(near, np.float32(np.inf))
    return np.where((mode == LEQ) & up, low, np.where((mode == LT) & down, high, near)).astype(np.float32)


def chained(tree: Tree, sets: dict[int, list[float]]) -> Tree:
    """`tree` where each node of `sets` asks for one value after the other: all of them lead to its `yes` branch.

    An empty set always leads to `no`. Missing values follow `missing_yes`.
    """
    import numpy as np

    if not sets:
        return tree
    columns: dict[str, list[Any]] = {
        name: getattr(tree, name).tolist() for name in ("mode", "feature", "threshold", "yes", "no", "missing_yes")
    }
    count = len(tree.mode)
    for node, values in sets.items():
        first, *others = values or [float("nan")]  # nothing equals NaN
        none_of_them = columns["no"][node]
        columns["mode"][node], columns["threshold"][node] = EQ, first
        last = node
        for value in others:
            added = {
                "mode": EQ,
                "feature": columns["feature"][node],
                "threshold": value,
                "yes": columns["yes"][node],
                "no": none_of_them,
                "missing_yes": columns["missing_yes"][node],
            }
            for name, cell in added.items():
                columns[name].append(cell)
            columns["no"][last] = count
            last, count = count, count + 1
    weights = np.zeros((count, tree.weights.shape[1]))
    weights[: len(tree.weights)] = tree.weights
    kinds = {"threshold": np.float64, "missing_yes": np.bool_}
    return Tree(
        **{name: np.array(cells, dtype=kinds.get(name, np.int64)) for name, cells in columns.items()},
        weights=weights,
        first=tree.first,
    )


def emit(
    to: Emitter,
    source: str,
    trees: list[Tree],
    targets: int,
    *,
    base: list[float] | None = None,
    double: bool = False,
    into: str | None = None,
) -> str:
    """The sums of the trees' weights, `[rows, targets]` float32; the name of that tensor.

    `source` is `[rows, features]`, of float64 when `double` says so, else of float32.
    """
    import numpy as np

    if not trees:
        raise Problem("a model of trees without a single tree", hint="train it again")
    attributes = _nodes(trees) | _leaves(trees)
    modes = np.concatenate([tree.mode for tree in trees])
    thresholds = np.concatenate([tree.threshold for tree in trees])
    floats = {"nodes_values": thresholds, "target_weights": attributes.pop("target_weights")}
    if base is not None and any(base):
        floats["base_values"] = np.array(base, dtype=np.float64)
    version = 1
    if double:
        version = 3
        attributes |= _as_tensors(to, floats)
    else:
        floats["nodes_values"] = snapped(thresholds, modes)
        attributes |= {name: _finite(values) for name, values in floats.items()}
    return to.node(
        "TreeEnsembleRegressor",
        source,
        domain=ML,
        into=into,
        op_version=version,
        n_targets=targets,
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_modes=[_MODES[mode] for mode in modes.tolist()],
        **attributes,
    )


def _finite(values: NDArray[Any]) -> list[float]:
    import numpy as np

    with np.errstate(over="ignore"):
        narrow: list[float] = np.asarray(values).astype(np.float32).tolist()
    return narrow


def _as_tensors(to: Emitter, floats: dict[str, NDArray[np.float64]]) -> dict[str, Any]:
    from onnx import TensorProto, helper

    if to.container.target_opset_any_domain(ML) < 3:
        raise Problem(
            "this model compares in float64, which needs version 3 of ai.onnx.ml",
            hint='write precision = "float32", or name consumers from onnxruntime 1.12 on',
        )
    return {
        f"{name}_as_tensor": helper.make_tensor(name, TensorProto.DOUBLE, [len(values)], values.tolist())
        for name, values in floats.items()
    }


def _nodes(trees: list[Tree]) -> dict[str, Any]:
    import numpy as np

    return {
        "nodes_treeids": np.repeat(np.arange(len(trees)), [len(tree.mode) for tree in trees]).tolist(),
        "nodes_nodeids": np.concatenate([np.arange(len(tree.mode)) for tree in trees]).tolist(),
        "nodes_featureids": np.concatenate([np.where(tree.mode == LEAF, 0, tree.feature) for tree in trees]).tolist(),
        "nodes_truenodeids": np.concatenate([np.where(tree.mode == LEAF, 0, tree.yes) for tree in trees]).tolist(),
        "nodes_falsenodeids": np.concatenate([np.where(tree.mode == LEAF, 0, tree.no) for tree in trees]).tolist(),
        "nodes_missing_value_tracks_true": np.concatenate([tree.missing_yes for tree in trees])
        .astype(np.int64)
        .tolist(),
    }


def _leaves(trees: list[Tree]) -> dict[str, Any]:
    import numpy as np

    tree_ids, node_ids, target_ids, weights = [], [], [], []
    for number, tree in enumerate(trees):
        leaves = np.flatnonzero(tree.mode == LEAF)
        width = tree.weights.shape[1]
        tree_ids.append(np.full(len(leaves) * width, number))
        node_ids.append(np.repeat(leaves, width))
        target_ids.append(np.tile(np.arange(tree.first, tree.first + width), len(leaves)))
        weights.append(tree.weights[leaves].ravel())
    return {
        "target_treeids": np.concatenate(tree_ids).tolist(),
        "target_nodeids": np.concatenate(node_ids).tolist(),
        "target_ids": np.concatenate(target_ids).tolist(),
        "target_weights": np.concatenate(weights),
    }
