from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from builder.models.inside.advice import Case, remedy
from builder.models.inside.tracing import trace
from tests.support.gate import Gate, naive

X, Y = load_breast_cancer(return_X_y=True)
X = X[:, :6]


def broken(model: Any, data: Any, op: str, attribute: str) -> onnx.ModelProto:
    """The conversion with the first number of an attribute off by a quarter."""
    converted: onnx.ModelProto = naive(model, data)
    node = next(one for one in converted.graph.node if one.op_type == op)
    values = next(one for one in node.attribute if one.name == attribute)
    values.floats[0] += 0.25
    return converted


def first(tmp_path: Path, model: Any, data: Any, op: str, attribute: str) -> dict[str, Any]:
    gate = Gate(tmp_path, model, broken(model, data, op, attribute), data)
    assert not gate.run()["passed"]
    return gate.first_difference()


def test_a_step_in_the_middle(tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), PCA(3), LogisticRegression()).fit(X, Y)
    found = first(tmp_path, model, X, "Scaler", "offset")
    assert found["step"] == "pipeline/standardscaler"
    assert found["class"] == "sklearn.preprocessing._data.StandardScaler"


def test_the_last_step(tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), PCA(3), LogisticRegression()).fit(X, Y)
    found = first(tmp_path, model, X, "LinearClassifier", "coefficients")
    assert found["step"] == "pipeline/logisticregression"
    assert "2 steps before it agree" in found["message"]
    assert [step["status"] for step in found["steps"]][:2] == ["same", "same"]


def test_a_branch_of_a_column_transformer(tmp_path: Path) -> None:
    data = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "port": np.where(X[:, 2] > 90, "Cork", "Brest")})
    data = data.astype({"port": object})
    columns = ColumnTransformer([("n", StandardScaler(), ["a", "b"]), ("c", OneHotEncoder(), ["port"])])
    model = make_pipeline(columns, LogisticRegression()).fit(data, Y)
    found = first(tmp_path, model, data, "Scaler", "scale")
    assert found["step"] == "pipeline/columntransformer/n/standardscaler"


def test_a_member_of_a_vote() -> None:
    model = VotingClassifier([("line", LogisticRegression(max_iter=5000)), ("bayes", GaussianNB())], voting="soft")
    made = trace(model.fit(X, Y), X[:5])
    assert [one.path for one in made] == [
        "votingclassifier/logisticregression-1",
        "votingclassifier/gaussiannb-2",
        "votingclassifier",
    ]
    mean = (made[0].output + made[1].output) / 2
    assert np.allclose(made[2].output, mean)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (Case(codes=("variants",)), "power of two"),
        (Case(codes=("shape",)), "convert it anew"),
        (Case(codes=("numbers",), groups=("sample",)), 'precision = "double+cast"'),
        (Case(codes=("numbers",), traits=("trees",), before=("computes",)), "CastTransformer"),
        (Case(codes=("numbers",), traits=("trees",), missing=True), "SimpleImputer"),
        (Case(codes=("numbers",), traits=("trees", "categories")), "OneHotEncoder"),
        (Case(codes=("numbers",), traits=("computes", "isotonic")), "sigmoid"),
        (Case(codes=("numbers",), traits=("text",)), "token_pattern"),
        (Case(kind="my.Own", codes=("numbers",)), "replace Own by another step"),
        (Case(kind="my.Own", traits=("computes",), codes=("numbers",)), 'precision = "double+cast"'),
    ],
)
def test_remedies(case: Case, words: str) -> None:
    assert words in remedy(case)


def test_a_sample_that_float32_cannot_hold_says_what_helps(tmp_path: Path) -> None:
    """The difference of two large numbers: seconds since 1970 with their fractions."""
    rng = np.random.default_rng(0)
    start = rng.uniform(1.7e9, 1.7001e9, 300)
    data = np.stack([start, start + rng.normal(0, 2, 300)], axis=1)
    from sklearn.tree import DecisionTreeClassifier

    steps = make_pipeline(PCA(2), DecisionTreeClassifier(max_depth=3, random_state=0))
    model = steps.fit(data, data[:, 1] > data[:, 0])
    gate = Gate(tmp_path, model, naive(model, data), data)
    assert not gate.run()["passed"]
    assert 'precision = "double+cast"' in gate.first_difference()["remedy"]
