"""Trees: TreeEnsembleClassifier and TreeEnsembleRegressor of ai.onnx.ml 1 to 4, as onnxruntime computes them.

A tree becomes one CASE, not a nest of them: of a node's two sides the one that needs the deeper nest goes on in the
same list of branches, the other becomes a nested CASE. So the nest is no deeper than the logarithm of the leaves, which
parsers with a small stack need, and each row is compared as often as in the tree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from builder.models.inside.problem import Problem
from builder.models.inside.sql.cells import Cell, Choice, Mixed, compared
from builder.models.inside.sql.graph import Node
from builder.models.inside.sql.linear import first_largest, logistic, transformed
from builder.models.inside.sql.stages import Stages
from builder.models.inside.sql.tree import Case, Compare, Condition, Expression, Number, Product, Sum, negated

__all__ = ["classifier", "regressor"]

_OPERATORS = {"BRANCH_LEQ": "<=", "BRANCH_LT": "<", "BRANCH_GTE": ">=", "BRANCH_GT": ">", "BRANCH_EQ": "=="}


@dataclass
class _Branch:
    """A node of a tree: when `condition` is taken, `true`, else `false`; a leaf has neither."""

    condition: Condition | bool | None = None
    true: int = -1
    false: int = -1


@dataclass
class _Part:
    """A subtree as branches, last one first, and how deep CASE nests in it."""

    otherwise: float
    branches: list[tuple[Condition, Expression]] = field(default_factory=list)
    depth: int = 0


def _values(node: Node, name: str) -> list[float]:
    tensor = node.get(f"{name}_as_tensor")
    values = node.get(name) if tensor is None else tensor.ravel().tolist()
    return list(values or [])


def _trees(node: Node, cells: Sequence[Cell]) -> dict[int, dict[int, _Branch]]:
    """The nodes by tree and number, in the order of the file."""
    modes, thresholds = node.get("nodes_modes"), _values(node, "nodes_values")
    missing = node.get("nodes_missing_value_tracks_true") or [0] * len(modes)
    columns = zip(
        node.get("nodes_treeids"), node.get("nodes_nodeids"), modes, node.get("nodes_featureids"), thresholds, missing,
        node.get("nodes_truenodeids"), node.get("nodes_falsenodeids"), strict=False,
    )  # fmt: skip
    trees: dict[int, dict[int, _Branch]] = defaultdict(dict)
    for tree, number, mode, feature, threshold, tracks, true, false in columns:
        if mode == "LEAF":
            trees[tree][number] = _Branch()
            continue
        if mode == "BRANCH_NEQ":
            condition = negated(compared(cells[feature], "==", threshold, not tracks))
        else:
            condition = compared(cells[feature], _OPERATORS[mode], threshold, bool(tracks))
        trees[tree][number] = _Branch(condition, true, false)
    return trees


def _expression(tree: Mapping[int, _Branch], leaves: Mapping[int, float]) -> Expression:
    """One tree's value."""
    parts: dict[int, _Part] = {}
    for number in _children_first(tree):
        node = tree[number]
        if node.condition is None:
            parts[number] = _Part(leaves.get(number, 0.0))
        elif isinstance(node.condition, bool):
            parts[number] = parts[node.true if node.condition else node.false]
        else:
            parts[number] = _joined(node.condition, parts.pop(node.true), parts.pop(node.false))
    return _case(parts[next(iter(tree))])


def _children_first(tree: Mapping[int, _Branch]) -> list[int]:
    """The nodes that the root reaches, each behind its children; raises Problem for what is no tree."""
    order, stack, seen = [], [next(iter(tree))], set()
    while stack:
        number = stack.pop()
        if number in seen or number not in tree:
            raise Problem("the model has a tree that is none: a node is reached twice, or not there")
        seen.add(number)
        order.append(number)
        if tree[number].condition is not None:
            stack += [tree[number].true, tree[number].false]
    return order[::-1]


def _joined(condition: Condition, true: _Part, false: _Part) -> _Part:
    if not true.branches and not false.branches and true.otherwise == false.otherwise:
        return true
    if true.depth > false.depth:
        opposite = negated(condition)
        assert not isinstance(opposite, bool)
        condition, true, false = opposite, false, true
    nested = _case(true)
    false.branches.append((condition, nested))
    false.depth = max(false.depth, true.depth + isinstance(nested, Case))
    return false


def _case(part: _Part) -> Expression:
    if not part.branches:
        return Number(part.otherwise)
    return Case(tuple(reversed(part.branches)), Number(part.otherwise))


def _scores(
    stages: Stages, node: Node, cells: Sequence[Cell], prefix: str, base: Mapping[int, float]
) -> dict[int, Any]:
    """The sums by target or class, those that any leaf has a weight for, with `base` added."""
    if node.get("aggregate_function", "SUM") not in ("SUM", "AVERAGE"):
        raise Problem(f"trees that are aggregated by {node.get('aggregate_function')} have no translation")
    kind = "class" if prefix == "class" else "target"
    trees = _trees(node, cells)
    weights: dict[int, dict[int, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    rows = zip(
        node.get(f"{kind}_ids"), node.get(f"{kind}_treeids"), node.get(f"{kind}_nodeids"),
        _values(node, f"{kind}_weights"),
        strict=False,
    )  # fmt: skip
    for target, tree, number, weight in rows:
        leaves = weights[target][tree]
        leaves[number] = leaves.get(number, 0.0) + weight
    share = 1.0 / len(trees) if node.get("aggregate_function") == "AVERAGE" else 1.0
    found = {}
    for target in sorted(weights):
        parts = [_expression(trees[tree], leaves) for tree, leaves in weights[target].items()]
        total: Expression = Sum(tuple(parts))
        if share != 1.0:
            total = Product(Number(share), total)
        if base.get(target):
            total = Sum((Number(base[target]), total))
        found[target] = stages.named(total, "s")
    return found


def regressor(stages: Stages, node: Node, cells: Sequence[Cell]) -> list[Cell]:
    """The targets' values."""
    count = node.get("n_targets", 1)
    base = dict(enumerate(_values(node, "base_values")))
    found = _scores(stages, node, cells, "target", base)
    sums = [found.get(target, Number(base.get(target, 0.0))) for target in range(count)]
    return transformed(stages, sums, node.get("post_transform", "NONE"))


def classifier(stages: Stages, node: Node, cells: Sequence[Cell]) -> tuple[Choice, list[Cell]]:
    """The label and each class's number."""
    labels = node.get("classlabels_strings") or node.get("classlabels_int64s") or []
    base = _values(node, "base_values")
    how = node.get("post_transform", "NONE")
    ids = set(node.get("class_ids"))
    if len(labels) == 2 and len(ids) == 1:
        return _binary(stages, node, cells, labels, base, how)
    if len(labels) == 2:
        raise Problem("trees with weights for both of two classes have no translation")
    found = _scores(stages, node, cells, "class", dict(enumerate(base)))
    if len(found) != len(labels) and not base:
        raise Problem("a class that no leaf has a weight for has no translation")
    sums = [Mixed(found.get(one, Number(base[one] if base else 0.0))) for one in range(len(labels))]
    label = first_largest(stages, sums, labels)
    return label, transformed(stages, [one.value for one in sums], how)


def _binary(
    stages: Stages, node: Node, cells: Sequence[Cell], labels: Sequence[str | int], base: list[float], how: str
) -> tuple[Choice, list[Cell]]:
    """Two classes, one score: the second one's if no weight is negative, else its log-odds, as in onnxruntime."""
    if len(base) > 1:
        raise Problem("trees with one score and two base values have no translation")
    (target,) = set(node.get("class_ids"))
    found = _scores(stages, node, cells, "class", {target: base[0]} if base else {})
    score = found[target]
    positive = all(weight >= 0 for weight in _values(node, "class_weights"))
    taken = Compare(score, ">", Number(0.5 if positive else 0.0))
    label = Choice(((taken, labels[1]),), labels[0], exact=False)
    opposite: Expression
    if positive:
        value: Expression = score
        opposite = Sum((Number(1.0), Product(Number(-1.0), score)))
    elif how == "LOGISTIC":
        value, opposite = logistic(score), logistic(Product(Number(-1.0), score))
    elif how == "NONE":
        value, opposite = score, Product(Number(-1.0), score)
    else:
        raise Problem(f"{how} of one score has no translation")
    return label, [Mixed(stages.named(opposite, "p")), Mixed(stages.named(value, "p"))]
