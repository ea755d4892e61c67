"""Models become ONNX that scores the same, and the same model the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.inside.conftest import Scenario

pytestmark = [pytest.mark.index, pytest.mark.slow]

EXPORTS = Path(__file__).parent / "exports"
CLOSE = 2e-5
CLASSIFIERS = {
    *("logistic", "forest", "extra", "tree", "boosting", "histogram", "lda", "isotonic"),
    *("xgboost", "lightgbm", "catboost"),
}


@pytest.mark.parametrize("precision", ["float32", "double+cast"])
@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_pipelines_of_text_numbers_and_holes(scenario: Scenario, name: str, precision: str) -> None:
    found = scenario("pipeline", name, precision)
    numbers = "float64" if precision == "double+cast" else "float32"
    assert found["inputs"] == {"age": numbers, "in_come": numbers, "visits": "int64", "city": "string"}
    assert found["unused"] == ["label"]
    classes = [0, 1] if name == "xgboost" else ["leaves", "stays"]
    assert found["outputs"] == {
        "label": ["int64" if name == "xgboost" else "string", None, classes],
        "probabilities": [numbers, 2, classes],
    }
    assert found["off"]["label"] == 0
    assert found["off"]["probabilities"] < CLOSE


def test_a_regression_gives_a_vector(scenario: Scenario) -> None:
    found = scenario("pipeline", "ridge", "float32")
    assert found["outputs"] == {"value": ["float32", None, None]}
    assert found["off"]["value"] < CLOSE


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ["forest", "tree", "histogram", "xgboost", "lightgbm", "catboost"])
def test_trees_send_missing_values_where_they_went_in_training(scenario: Scenario, name: str, classes: int) -> None:
    found = scenario("array", name, True, classes)
    assert found["inputs"] == {"features": "float32"}
    assert found["off"]["label"] == 0
    assert found["off"]["probabilities"] < CLOSE


@pytest.mark.parametrize("name", ["categories", "isotonic", "temperature", "lda"])
def test_what_other_converters_score_differently(scenario: Scenario, name: str) -> None:
    codes = {"categories": "histgb-categories", "lda": "binary-lda"}
    found = scenario("array", name)
    assert codes.get(name, name) in found["applied"]
    assert found["off"]["label"] == 0
    assert found["off"]["probabilities"] < CLOSE


@pytest.mark.parametrize("name", ["soft votes", "threshold"])
def test_classifiers_around_classifiers(scenario: Scenario, name: str) -> None:
    found = scenario("array", name)
    assert found["off"]["label"] == 0
    assert found["off"]["probabilities"] < CLOSE


@pytest.mark.parametrize("name", ["embedding", "quantiles", "bins", "indicator"])
def test_transformers_of_numbers(scenario: Scenario, name: str) -> None:
    found = scenario("transformed", name)
    assert found["inputs"] == {"inputs": "float32"}
    assert found["off"]["features"] < CLOSE


def test_votes_that_tie_are_resolved_as_in_the_original(scenario: Scenario) -> None:
    found = scenario("votes")
    assert found["ties"] > 0
    assert found["wrong"] == {"1": 0, "2": 0, "4": 0, "single": 0}


def test_one_model_one_file_whatever_the_process(scenario: Scenario) -> None:
    each = [scenario("digests", PYTHONHASHSEED=seed) for seed in ("0", "1", "20260101")]
    assert each[0] == each[1] == each[2]
    assert len(set(each[0])) == len(each[0])


def test_wrappers_are_taken_off_a_copy(scenario: Scenario) -> None:
    found = scenario("wrappers")
    assert "unwrapped" in found["applied"]
    assert (found["kind"], found["still"]) == ("RandomizedSearchCV", "Pipeline")
    assert found["off"]["label"] == 0


def test_text_of_any_script(scenario: Scenario) -> None:
    found = scenario("text")
    assert found["inputs"] == {"text": "string"}
    assert found["off"] < CLOSE
    assert any("C.UTF-8" in limit for limit in found["limits"])


@pytest.mark.parametrize("setting", ["plain", "first dropped", "rare together", "rare together, first dropped"])
def test_one_hot_of_text_and_of_halves_and_holes(scenario: Scenario, setting: str) -> None:
    found = scenario("encoded", setting)
    assert found["inputs"] == {"city": "string", "half": "float32"}
    assert found["off"] == {"features": 0}


def test_names_that_are_no_identifiers(scenario: Scenario) -> None:
    found = scenario("names")
    assert list(found["inputs"]) == ["column_label", "a_b", "a_b_2", "gr_e_1"]
    assert found["off"]["features"] < CLOSE


def test_whole_numbers_and_flags_keep_their_types(scenario: Scenario) -> None:
    found = scenario("types")
    assert found["float32"]["inputs"] == {"n": "int64", "flag": "bool", "z": "float32"}
    assert found["double+cast"]["inputs"] == {"n": "int64", "flag": "bool", "z": "float64"}
    assert found["double+cast"]["off"]["probabilities"] < 1e-12


def test_raw_scores_have_the_shape_of_the_decision_function(scenario: Scenario) -> None:
    found = scenario("scores")
    assert {name: one["outputs"]["scores"][1] for name, one in found.items()} == {
        "linear svc 2": None,
        "linear svc 3": 3,
        "logistic 2": None,
    }
    assert all(one["off"]["label"] == 0 and one["off"]["scores"] < CLOSE for one in found.values())


def test_runtimes_old_and_new(scenario: Scenario) -> None:
    assert scenario("versions") == [[True, True, True]] * 4


def test_the_whole_operation(scenario: Scenario) -> None:
    found = scenario("job")
    assert found["explained"]["kind"] == "classifier"
    assert found["explained"]["input"] == "frame"
    assert found["explained"]["classes"] == ["leaves", "stays"]
    assert found["explained"]["features"] == ["age", "in come", "visits", "city", "label"]
    assert found["graph"] == "churn"
    assert found["metadata"] == [["a", "1"], ["b", "2"]]
    assert found["shapes"]["city"] == ["N", 1]
    assert found["shapes"]["label"] == ["N"]
    assert found["shapes"]["probabilities"] == ["N", 2]
    city = next(one for one in found["converted"]["inputs"] if one["name"] == "city")["features"][0]
    assert city == {
        "name": "city", "missing": "empty", "categories": ["Bern", "Chur", "Zürich"], "unseen": "ignored",
    }  # fmt: skip
    assert found["converted"]["inputs"][1]["features"][0]["missing"] == "nan"


def test_a_converter_of_the_project(scenario: Scenario, tmp_path: Path) -> None:
    (tmp_path / "own_steps.py").write_text(OWN)
    assert (
        "no converter"
        in scenario("own_converter", "own_steps:nothing", str(tmp_path), PYTHONHASHSEED="0")["problem"][0]
    )
    assert (
        "failed: RuntimeError"
        in scenario("own_converter", "own_steps:broken", str(tmp_path), PYTHONHASHSEED="0")["problem"][0]
    )
    assert (
        "can't be imported" in scenario("own_converter", "elsewhere:x", str(tmp_path), PYTHONHASHSEED="0")["problem"][0]
    )
    found = scenario("own_converter", "own_steps:register", str(tmp_path), PYTHONHASHSEED="0")
    assert found["off"]["label"] == 0
    assert found["off"]["probabilities"] < CLOSE


OWN = """
from sklearn.base import BaseEstimator, TransformerMixin


class Doubler(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return X * 2


def shapes(operator):
    operator.outputs[0].type = type(operator.inputs[0].type)(operator.inputs[0].type.shape)


def convert(scope, operator, container):
    source = operator.inputs[0].full_name
    container.add_node("Add", [source, source], [operator.outputs[0].full_name])


def register():
    from skl2onnx import update_registered_converter

    update_registered_converter(Doubler, "OwnDoubler", shapes, convert)


def nothing():
    pass


def broken():
    raise RuntimeError("no")
"""


def test_maps_of_probabilities_become_a_tensor(scenario: Scenario) -> None:
    found = scenario("zipmap")
    assert found == {"labels": 0, "probabilities": pytest.approx(0, abs=1e-6), "classes": ["no", "yes"]}


@pytest.mark.parametrize(
    ("file", "outputs"),
    [
        ("regression.onnx", {"value": ["float32", None, None]}),
        ("classes.onnx", {"label": ["int64", None, None], "scores": ["float32", 3, None]}),
    ],
)
def test_exports_of_torch(scenario: Scenario, file: str, outputs: dict[str, object]) -> None:
    found = scenario("adopted", str(EXPORTS / file))
    assert found["outputs"] == outputs
    assert found["inputs"] == {"x": ["float32", 4]}
    assert set(found["off"].values()) == {0}
    assert found["same"]
