from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from builder.models.inside import reference
from builder.models.inside.originals import meanings, outputs_of, prepared
from builder.models.inside.problem import Problem
from builder.models.inside.table import Table, read_table, write_table
from tests.support.gate import Gate, naive

X, Y = load_breast_cancer(return_X_y=True)
X = X[:, :4]
FRAME = pd.DataFrame({"age": [20.0, 30.0, 50.0, 70.0], "port": ["a", "b", None, "a"]}).astype({"port": object})


@pytest.mark.parametrize(
    ("model", "kind", "given"),
    [
        (LogisticRegression(), "classifier", ["label", "probabilities"]),
        (LinearSVC(), "classifier", ["label", "scores"]),
        (LinearRegression(), "regressor", ["value"]),
        (StandardScaler(), "transformer", ["features"]),
        (KMeans(2, n_init=1), "clusterer", ["label", "scores"]),
        (IsolationForest(n_estimators=3), "outlier", ["label", "scores"]),
    ],
)
def test_outputs_go_by_what_the_model_is(model: Any, kind: str, given: list[str]) -> None:
    scaled = StandardScaler().fit_transform(X)
    fitted = model.fit(scaled, Y)
    assert meanings(fitted, kind) == given
    outputs = outputs_of(fitted, scaled, given, kind)
    assert {len(output) for output in outputs.values()} == {len(X)}
    main = outputs[given[0]]
    expected = fitted.transform(scaled) if given == ["features"] else fitted.predict(scaled)
    assert np.array_equal(main, expected)


def scored(tmp_path: Path, gate: Gate, groups: list[dict[str, Any]]) -> tuple[dict[str, Any], Table]:
    job = {**gate.job, "rows": gate.job["table"], "groups": groups}
    answer = reference.run(job)
    return answer, read_table(Path(answer["file"]))


def test_rows_that_the_original_refuses_are_found(tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    holes = X[:50].copy()
    holes[7, 2], holes[31, 0] = np.nan, np.inf
    gate = Gate(tmp_path, model, naive(model, X), holes)
    answer, table = scored(tmp_path, gate, [{"name": "sample", "start": 0, "stop": 50}])
    assert answer["refused"] == [7, 31]
    assert sorted(row for said in answer["messages"] for row in said["rows"]) == [7, 31]
    assert any("NaN" in said["message"] for said in answer["messages"])
    kept = np.setdiff1d(np.arange(50), [7, 31])
    assert table["row"].tolist() == kept.tolist()
    assert np.array_equal(table["probabilities"], model.predict_proba(holes[kept]))
    assert answer["versions"]["scikit-learn"]


def test_a_sample_that_is_refused_altogether(tmp_path: Path) -> None:
    model = LogisticRegression(max_iter=5000).fit(X, Y)
    gate = Gate(tmp_path, model, naive(model, X), np.full((20, 4), np.nan))
    with pytest.raises(Problem, match=r"none of the sample's rows: ValueError: Input X contains NaN"):
        scored(tmp_path, gate, [{"name": "sample", "start": 0, "stop": 20}])


def encoded(missing: Any) -> Any:
    """A model that tells missing text from other text, whichever way pandas writes it."""
    data = FRAME.copy()
    data["port"] = [missing if value is None or value != value else value for value in FRAME["port"]]
    data["port"] = pd.Series(data["port"].tolist(), dtype=object)
    encoder = OneHotEncoder(handle_unknown="ignore")
    return make_pipeline(ColumnTransformer([("c", encoder, ["port"]), ("n", SimpleImputer(), ["age"])])).fit(data)


@pytest.mark.parametrize("missing", [None, np.nan])
def test_missing_text_is_written_as_the_model_knows_it(missing: Any) -> None:
    model = encoded(missing)
    text = np.array(["a", "b", None, "a"], dtype=object)
    table = Table({"port": text, "age": FRAME["age"].to_numpy(), "other": np.arange(4)})
    taken = prepared(model, table, "frame", None)
    assert list(taken.columns) == ["age", "port"]
    assert outputs_of(model, taken, ["features"])["features"][:, :3].sum(axis=0).tolist() == [2, 1, 1]


def test_columns_are_in_the_order_of_the_model() -> None:
    table = Table({"b": np.array([1.0]), "a": np.array([2.0])})
    assert prepared(LinearRegression(), table, "array", ["a", "b"]).tolist() == [[2.0, 1.0]]
    assert prepared(LinearRegression(), table, "array", None).tolist() == [[1.0, 2.0]]


def test_warnings_are_not_the_readers_business(tmp_path: Path) -> None:
    model = LogisticRegression(max_iter=5000).fit(pd.DataFrame(X, columns=list("abcd")), Y)
    outputs_of(model, X, ["label"])  # scikit-learn warns of names that are lacking, and warnings are errors here


def test_a_file_for_no_rows(tmp_path: Path) -> None:
    model = LogisticRegression(max_iter=5000).fit(X, Y)
    gate = Gate(tmp_path, model, naive(model, X), X)
    write_table(tmp_path / "sample.npz", Table({f"x{i}": np.empty(0) for i in range(4)}))
    answer, table = scored(tmp_path, gate, [{"name": "sample", "start": 0, "stop": 0}])
    assert answer["refused"] == []
    assert len(table["row"]) == 0
