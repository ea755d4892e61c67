"""The trees in a graph: where they branch, and which rows come by where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

__all__ = ["Ensemble", "ensembles", "reached"]

LEAF = "LEAF"
# TreeEnsemble (ai.onnx.ml 5) numbers its modes in this order
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
DEEPEST = 200


class Ensemble:
    """The branches of one node of the graph, by branch: tensor column, threshold, and where true and false lead.

    `true` and `false` are indices of branches, or -1 for a leaf; `roots` are those of the trees. `mode` is an index
    into MODES, `nan` whether a missing value counts as true. `tensor` is what the trees read.
    """

    def __init__(self, tensor: str, branches: dict[str, NDArray[Any]], roots: NDArray[np.int64]) -> None:
        self.tensor = tensor
        self.feature = branches["feature"]
        self.value = branches["value"]
        self.mode = branches["mode"]
        self.true = branches["true"]
        self.false = branches["false"]
        self.nan = branches["nan"]
        self.roots = roots

    def __len__(self) -> int:
        return len(self.value)


def ensembles(model: onnx.ModelProto) -> list[Ensemble]:
    """All that is in the main graph."""
    found = []
    for node in model.graph.node:
        if node.domain == "ai.onnx.ml" and node.op_type.startswith("TreeEnsemble"):
            attributes = {one.name: _value(one) for one in node.attribute}
            read = _one_op(attributes) if node.op_type == "TreeEnsemble" else _two_ops(attributes)
            found.append(Ensemble(node.input[0], *read))
    return found


def _value(attribute: onnx.AttributeProto) -> Any:
    import onnx

    value = onnx.helper.get_attribute_value(attribute)
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _two_ops(given: dict[str, Any]) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """TreeEnsembleClassifier and TreeEnsembleRegressor: nodes and leaves in one list, known by tree and number."""
    import numpy as np

    tree = np.asarray(given["nodes_treeids"], dtype=np.int64)
    number = np.asarray(given["nodes_nodeids"], dtype=np.int64)
    names = [name.decode() for name in given["nodes_modes"]]
    wide = int(number.max(initial=0)) + 1
    order = np.argsort(tree * wide + number)
    keys = (tree * wide + number)[order]
    inner = np.array([name != LEAF for name in names], dtype=bool)
    place = np.where(inner, np.cumsum(inner) - 1, -1)

    def led(children: Any) -> NDArray[np.int64]:
        wanted = tree * wide + np.asarray(children, dtype=np.int64)
        at = np.clip(np.searchsorted(keys, wanted), 0, max(len(keys) - 1, 0))
        return np.asarray(np.where(keys[at] == wanted, place[order[at]], -1)[inner])

    values = given.get("nodes_values_as_tensor", given.get("nodes_values", []))
    nan = given.get("nodes_missing_value_tracks_true") or np.zeros(len(tree))
    _, first = np.unique(tree, return_index=True)
    branches = {
        "feature": np.asarray(given["nodes_featureids"], dtype=np.int64)[inner],
        "value": np.asarray(values, dtype=np.float64)[inner],
        "mode": np.array([MODES.index(name) if name in MODES else 0 for name in names], dtype=np.int64)[inner],
        "true": led(given["nodes_truenodeids"]),
        "false": led(given["nodes_falsenodeids"]),
        "nan": np.asarray(nan, dtype=bool)[inner],
    }
    roots = place[first]
    return branches, roots[roots >= 0]


def _one_op(given: dict[str, Any]) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """TreeEnsemble: branches and leaves in lists of their own."""
    import numpy as np

    def led(children: Any, leaves: Any) -> NDArray[np.int64]:
        return np.where(np.asarray(leaves, dtype=bool), -1, np.asarray(children, dtype=np.int64))

    size = len(given["nodes_featureids"])
    nan = given.get("nodes_missing_value_tracks_true") or np.zeros(size)
    branches = {
        "feature": np.asarray(given["nodes_featureids"], dtype=np.int64),
        "value": np.asarray(given["nodes_splits"], dtype=np.float64),
        "mode": np.asarray(given["nodes_modes"], dtype=np.int64),
        "true": led(given["nodes_truenodeids"], given["nodes_trueleafs"]),
        "false": led(given["nodes_falsenodeids"], given["nodes_falseleafs"]),
        "nan": np.asarray(nan, dtype=bool),
    }
    return branches, np.asarray(given["tree_roots"], dtype=np.int64)


def reached(ensemble: Ensemble, rows: NDArray[Any]) -> NDArray[np.int64]:
    """For each branch one of `rows` (what the trees read: `[rows, columns]`) that comes by there, or -1."""
    import numpy as np

    seen = np.full(len(ensemble), -1, dtype=np.int64)
    if not len(ensemble.roots) or not len(rows):
        return seen
    at = np.repeat(ensemble.roots[None, :], len(rows), axis=0).ravel()
    row = np.repeat(np.arange(len(rows)), len(ensemble.roots))
    for _ in range(DEEPEST):
        if not len(at):
            break
        seen[at] = row
        values = rows[row, ensemble.feature[at]]
        goes = np.where(np.isnan(values), ensemble.nan[at], _holds(values, ensemble.value[at], ensemble.mode[at]))
        at = np.where(goes, ensemble.true[at], ensemble.false[at])
        at, row = at[at >= 0], row[at >= 0]
    return seen


def _holds(values: NDArray[Any], thresholds: NDArray[Any], modes: NDArray[Any]) -> NDArray[np.bool_]:
    import numpy as np

    with np.errstate(invalid="ignore"):
        tests = [values <= thresholds, values < thresholds, values >= thresholds, values > thresholds]
        tests += [values == thresholds, values != thresholds]
        return np.select([modes == number for number in range(6)], tests, default=False).astype(bool)
