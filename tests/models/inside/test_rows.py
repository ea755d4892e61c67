from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from builder.models.inside import rows
from builder.models.inside.branches import ensembles, reached
from builder.models.inside.problem import Problem
from builder.models.inside.table import Table, read_table, write_table
from tests.support.gate import Gate, naive

X, Y = load_breast_cancer(return_X_y=True)


def made(gate: Gate) -> tuple[dict[str, Any], dict[str, Table]]:
    """The answer, and the rows of each group."""
    answer = rows.run(gate.job)
    table = read_table(Path(answer["file"]))
    return answer, {group["name"]: table.take(slice(group["start"], group["stop"])) for group in answer["groups"]}


def gate_of(folder: Path, model: Any, data: Any, target: Any, **changes: Any) -> Gate:
    return Gate(folder, model.fit(data, target), naive(model, data), data, **changes)


def test_the_sample_comes_first_and_as_it_is(tmp_path: Path) -> None:
    answer, groups = made(gate_of(tmp_path, DecisionTreeClassifier(random_state=0), X, Y))
    assert answer["groups"][0]["name"] == "sample"
    assert np.array_equal(groups["sample"]["x3"], X[:, 3])
    near = X[:, 3].astype(np.float32).astype(np.float64)
    assert np.array_equal(groups["sample in float32"]["x3"], near)


def test_groups_follow_one_another(tmp_path: Path) -> None:
    answer, _ = made(gate_of(tmp_path, LogisticRegression(max_iter=5000), X[:, :3], Y))
    edges = [(group["start"], group["stop"]) for group in answer["groups"]]
    assert edges[0][0] == 0
    assert all(stop == start for (_, stop), (start, _) in pairwise(edges))
    assert edges[-1][1] == answer["rows"]


def test_every_threshold_has_rows_at_it_and_next_to_it(tmp_path: Path) -> None:
    gate = gate_of(tmp_path, DecisionTreeClassifier(random_state=0), X, Y)
    _, groups = made(gate)
    (trees,) = ensembles(onnx.load(gate.job["onnx"]))
    assert len(trees) > 5
    for feature, threshold in zip(trees.feature.tolist(), trees.value.tolist(), strict=True):
        near = groups["thresholds"][f"x{feature}"]
        at = np.float32(threshold)
        for value in (at, np.nextafter(at, np.float32(-np.inf)), np.nextafter(at, np.float32(np.inf))):
            assert (near == float(value)).any(), (feature, threshold)


def test_thresholds_are_found_through_a_scaler(tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=0, max_depth=4))
    gate = gate_of(tmp_path, model, X, Y)
    _, groups = made(gate)
    scaler, tree = model[0], model[1].tree_
    crossed = groups["thresholds"]
    for feature, threshold in zip(tree.feature, tree.threshold, strict=True):
        if feature >= 0:
            value = threshold * scaler.scale_[feature] + scaler.mean_[feature]
            distance = np.abs(crossed[f"x{feature}"] - value).min()
            assert distance <= 1e-5 * max(abs(value), scaler.scale_[feature])


def test_rows_at_a_threshold_come_by_it(tmp_path: Path) -> None:
    gate = gate_of(tmp_path, RandomForestClassifier(8, random_state=0), X, Y)
    (trees,) = ensembles(onnx.load(gate.job["onnx"]))
    seen = reached(trees, X.astype(np.float32).astype(np.float64))
    assert (seen >= 0).all()  # it was trained on these rows, so some come by everywhere
    forest = gate_forest(gate)
    for branch in range(0, len(trees), 7):
        row = X[seen[branch]].astype(np.float32)[None]
        paths = [tree.tree_.decision_path(row).indices for tree in forest.estimators_]
        thresholds = [
            (int(tree.tree_.feature[node]), float(tree.tree_.threshold[node]))
            for tree, path in zip(forest.estimators_, paths, strict=True)
            for node in path
        ]
        feature, value = int(trees.feature[branch]), float(trees.value[branch])
        assert any(feature == one and value == pytest.approx(other, rel=1e-6) for one, other in thresholds)


def gate_forest(gate: Gate) -> Any:
    import pickle

    return pickle.loads(Path(gate.job["model"]["path"]).read_bytes())


def test_jumps_are_found_where_no_trees_are(tmp_path: Path) -> None:
    data = X[:, :3].astype(np.float32).astype(np.float64)
    model = make_pipeline(Binarizer(threshold=15.0), LogisticRegression())
    _, groups = made(gate_of(tmp_path, model, data, Y))
    above = np.nextafter(np.float32(15), np.float32(np.inf))
    assert {15.0, float(above)} <= set(groups["jumps"]["x0"].tolist())


def test_made_rows_are_what_float32_holds(tmp_path: Path) -> None:
    answer, groups = made(gate_of(tmp_path, GradientBoostingClassifier(n_estimators=5, random_state=0), X, Y))
    for name, table in groups.items():
        for column in table if name != "sample" else ():
            values = table[column]
            assert np.array_equal(values, values.astype(np.float32).astype(np.float64), equal_nan=True), (name, column)
    assert {"missing elsewhere", "infinite", "extremes", "combined", "far out"} <= groups.keys()
    strict = {group["name"] for group in answer["groups"] if group["strict"]}
    assert strict & {"missing elsewhere", "far out"} == set()


def test_every_column_has_its_missing_value_and_infinities(tmp_path: Path) -> None:
    gate = gate_of(tmp_path, LogisticRegression(max_iter=5000), X[:, :3], Y, x1={"missing": "nan"})
    _, groups = made(gate)
    assert np.isnan(groups["missing"]["x1"]).all()
    assert not np.isnan(groups["missing"]["x0"]).any()
    for name in ("x0", "x2"):
        assert np.isnan(groups["missing elsewhere"][name]).any()
        assert {np.inf, -np.inf} <= set(groups["infinite"][name].tolist())


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": rng.normal(40, 10, 60),
            "children": rng.integers(0, 4, 60),
            "port": rng.choice(["Cork", "Brest"], 60),
            "note": rng.choice(["good ship", "bad weather today"], 60),
        }
    ).astype({"port": object, "note": object})


def frame_gate(tmp_path: Path, **changes: Any) -> Gate:
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder

    data = frame()
    encoder = OneHotEncoder(handle_unknown="ignore")
    model = make_pipeline(
        ColumnTransformer([("a", encoder, ["port", "note"])], remainder="passthrough"), LogisticRegression()
    )
    return gate_of(tmp_path, model, data, data["children"] > 1, **changes)


def test_columns_of_a_frame_keep_their_types(tmp_path: Path) -> None:
    gate = frame_gate(tmp_path, port={"categories": ["Cork", "Brest"], "unseen": "ignored", "missing": "empty"})
    _, groups = made(gate)
    for table in groups.values():
        assert table["children"].dtype == np.int64
        assert table["age"].dtype == np.float64
        assert table["port"].dtype == object
    assert None in groups["missing"]["port"].tolist()


def test_categories_and_texts_are_varied(tmp_path: Path) -> None:
    gate = frame_gate(tmp_path, port={"categories": ["Cork", "Brest"], "unseen": "ignored"})
    _, groups = made(gate)
    ports, notes = set(groups["unseen"]["port"].tolist()), set(groups["text"]["note"].tolist())
    assert {"CORK", "cork", " Cork", "Cork ", "", "x"} <= ports
    assert not {"Cork", "Brest"} & {value for value in ports if groups["unseen"]["note"] is None}
    assert {"GOOD SHIP", "  good ship\t\n", "good a ship", ""} <= notes
    assert any(not value.isascii() for value in ports)
    assert any(not value.isascii() for value in notes)
    assert max(map(len, ports)) >= 300


def test_an_empty_text_that_means_missing_is_none_of_the_unseen(tmp_path: Path) -> None:
    gate = frame_gate(tmp_path, port={"categories": ["Cork", "Brest"], "unseen": "ignored", "missing": "empty"})
    _, groups = made(gate)
    at = groups["unseen"]["port"].tolist()
    assert "" not in at


def test_the_same_rows_each_time(tmp_path: Path) -> None:
    model = RandomForestClassifier(4, random_state=0)
    first, _ = made(gate_of(tmp_path / "a", model, X, Y))
    second, _ = made(gate_of(tmp_path / "b", model, X, Y))
    assert first["digest"] == second["digest"]
    assert (tmp_path / "a" / "rows.npz").read_bytes() == (tmp_path / "b" / "rows.npz").read_bytes()
    gate = gate_of(tmp_path / "c", model, X, Y)
    gate.job["seed"] = 8
    other, _ = made(gate)
    assert other["digest"] != first["digest"]
    json.dumps(first, allow_nan=False)


def test_made_rows_are_not_many(tmp_path: Path) -> None:
    wide = np.random.default_rng(0).normal(size=(200, 400))
    answer, _ = made(gate_of(tmp_path, GradientBoostingClassifier(n_estimators=60), wide, wide[:, 0] > 0))
    assert all(group["stop"] - group["start"] <= rows.MOST_IN_GROUP for group in answer["groups"])


@pytest.mark.parametrize("data", [X[:0], X[:, :5]])
def test_a_sample_that_does_not_do(tmp_path: Path, data: Any) -> None:
    gate = gate_of(tmp_path, DecisionTreeClassifier(random_state=0), X, Y)
    write_table(tmp_path / "sample.npz", Table({f"x{i}": data[:, i] for i in range(data.shape[1])}))
    with pytest.raises(Problem, match="no rows" if not len(data) else "no column 'x5'"):
        rows.run(gate.job)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=6, max_size=30, unique=True), st.integers(0, 3))
@settings(max_examples=15)
def test_any_threshold_is_straddled(tmp_path_factory: Any, values: list[float], seed: int) -> None:
    data = np.array(values, dtype=np.float64)[:, None]
    target = np.arange(len(values)) % 2
    model = DecisionTreeClassifier(random_state=seed, max_depth=4)
    gate = gate_of(tmp_path_factory.mktemp("gate"), model, np.hstack([data, data[::-1]]), target)
    _, groups = made(gate)
    (trees,) = ensembles(onnx.load(gate.job["onnx"]))
    for feature, threshold in zip(trees.feature.tolist(), trees.value.tolist(), strict=True):
        near = groups["thresholds"][f"x{feature}"]
        at = np.float32(threshold)
        assert float(at) in near.tolist()
        assert near[near > float(at)].min() == float(np.nextafter(at, np.float32(np.inf)))
        assert near[near < float(at)].max() == float(np.nextafter(at, np.float32(-np.inf)))
