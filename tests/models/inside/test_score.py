from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeRegressor

from builder.models.inside import score
from builder.models.inside.feeds import evenly, feeds
from builder.models.inside.problem import Problem
from builder.models.inside.table import Table, read_table
from tests.support.gate import Gate, naive

X, Y = load_breast_cancer(return_X_y=True)
X = X[:, :4]
MODEL = LogisticRegression(max_iter=5000).fit(X, Y)


def gate_of(folder: Path, change: Any = None, data: Any = X) -> Gate:
    converted = naive(MODEL, X)
    if change is not None:
        change(converted)
    return Gate(folder, MODEL, converted, data)


def scored(gate: Gate) -> dict[str, Any]:
    return score.run({**gate.job, "rows": gate.job["table"]})


def test_every_variant_has_its_scores(tmp_path: Path) -> None:
    answer = scored(gate_of(tmp_path))
    assert [(one["threads"], one["batch"]) for one in answer["variants"]] == [
        (threads, batch) for threads in (1, 2, 4) for batch in ("all", 1, 0)
    ]
    for one in answer["variants"]:
        if one["batch"] != 0:
            table = read_table(Path(one["file"]))
            assert len(table) == one["rows"]
            want = MODEL.predict_proba(X[table["row"]])
            assert np.allclose(table["probabilities"], want, atol=1e-6)
    assert answer["problems"] == answer["refused"] == []
    assert answer["latency"].keys() == {"single", "batch"}


def set_shape(name: str, *shape: int) -> Any:
    def change(model: Any) -> None:
        output = next(one for one in model.graph.output if one.name == name)
        kind = output.type.tensor_type.elem_type
        output.CopyFrom(onnx.helper.make_tensor_value_info(name, kind, shape))

    return change


@pytest.mark.parametrize(("name", "shape"), [("label", (1,)), ("probabilities", (7, 2))])
def test_a_shape_that_is_not_true_is_told(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    gate = gate_of(tmp_path, set_shape(name, *shape))
    problems = scored(gate)["problems"]
    assert {"kind": "shape", "message": f"output {name} describes its shape as {list(shape)}"} in problems


def test_another_type_than_was_said(tmp_path: Path) -> None:
    gate = gate_of(tmp_path)
    gate.job["outputs"][1]["type"] = "float64"
    assert any("declared is float64" in one["message"] for one in scored(gate)["problems"])


def test_rows_that_the_runtime_refuses_are_found(tmp_path: Path) -> None:
    """A one-hot encoder that was told to stop at what it doesn't know."""
    text = pd.DataFrame({"features": ["a", "b", "c", "a"]})
    node = onnx.helper.make_node(
        "OneHotEncoder", ["features"], ["encoded"], domain="ai.onnx.ml", cats_strings=["a", "b"], zeros=0
    )
    squeeze = onnx.helper.make_node("Squeeze", ["encoded", "axis"], ["value"])
    graph = onnx.helper.make_graph(
        [node, squeeze],
        "encoder",
        [onnx.helper.make_tensor_value_info("features", 8, [None, 1])],
        [onnx.helper.make_tensor_value_info("value", 1, [None, 2])],
        [onnx.numpy_helper.from_array(np.array([1]), "axis")],
    )
    versions = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("ai.onnx.ml", 3)]
    model = onnx.helper.make_model(graph, opset_imports=versions, ir_version=8)
    answer = scored(Gate(tmp_path, None, model, text))
    assert answer["refused"] == [2]
    assert answer["messages"][0]["rows"] == [2]
    table = read_table(Path(answer["variants"][0]["file"]))
    assert table["row"].tolist() == [0, 1, 3]


def test_a_model_that_the_runtime_does_not_load(tmp_path: Path) -> None:
    model = DecisionTreeRegressor(max_depth=2).fit(X, Y)
    gate = Gate(tmp_path, model, naive(model, X, double=True), X)
    with pytest.raises(Problem, match=r"onnxruntime \d+\.\d+\.\d+ doesn't load the model: .*double"):
        scored(gate)


def test_other_tensors_than_were_said(tmp_path: Path) -> None:
    gate = gate_of(tmp_path)
    gate.job["outputs"][0]["name"] = "labels"
    with pytest.raises(Problem, match="was said to give labels"):
        scored(gate)
    gate.job["inputs"][0]["name"] = "rows"
    with pytest.raises(Problem, match="takes features, and was said to take rows"):
        scored(gate)


def test_rows_become_tensors() -> None:
    table = Table({"a": np.array([1.0, np.nan]), "n": np.array([1, 2]), "t": np.array(["x", None], dtype=object)})
    inputs = [
        {"name": "numbers", "type": "float32", "features": [{"name": "n"}, {"name": "a"}]},
        {"name": "text", "type": "string", "features": [{"name": "t"}]},
    ]
    tensors = feeds(table, inputs)
    assert tensors["numbers"].dtype == np.float32
    assert tensors["numbers"].tolist()[0] == [1.0, 1.0]
    assert tensors["text"].tolist() == [["x"], [""]]


@pytest.mark.parametrize(
    ("column", "kind", "words"),
    [("t", "float32", "is text"), ("a", "int64", "NaN"), ("z", "float32", "no column 'z'")],
)
def test_what_fits_no_tensor(column: str, kind: str, words: str) -> None:
    table = Table({"a": np.array([np.nan]), "t": np.array(["x"], dtype=object)})
    with pytest.raises(Problem, match=words):
        feeds(table, [{"name": "one", "type": kind, "features": [{"name": column}]}])


def test_an_even_choice_keeps_both_ends() -> None:
    assert evenly(np.arange(100), 4).tolist() == [0, 33, 66, 99]
    assert evenly(np.arange(3), 4).tolist() == [0, 1, 2]
    assert evenly(np.arange(0), 4).tolist() == []
