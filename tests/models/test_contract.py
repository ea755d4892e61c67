"""Contracts: what they refuse, that they come back as they were written, and the schema that others check them by."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import ModelError
from builder.models.contract import Contract, from_scalar, json_schema, read_contract, to_scalar

PUBLISHED = Path(__file__).parents[2] / "docs/schemas/contract-v1.json"


def document(**changes: Any) -> dict[str, Any]:
    """A contract of a classifier of one number and one text."""
    return {
        "schema": "dev.lockship.contract/v1",
        "name": "churn",
        "version": "1.4.0",
        "digest": "sha256:" + "0" * 64,
        "size": 1234,
        "precision": "float32",
        "runtime": {"opset": 18, "ml_opset": 3, "ir": 8, "minimum": "1.14", "consumers": ["java-1.17"]},
        "inputs": [
            {"name": "age", "type": "float32", "features": [{"name": "age", "missing": "nan", "unit": "years"}]},
            {
                "name": "city",
                "type": "string",
                "features": [{"name": "city", "missing": "empty", "categories": ["Köln", "Rio"], "unseen": "ignored"}],
            },
        ],
        "outputs": [
            {"name": "label", "type": "string", "meaning": "label", "classes": ["no", "yes"]},
            {
                "name": "probabilities",
                "type": "float32",
                "meaning": "probabilities",
                "width": 2,
                "classes": ["no", "yes"],
            },
        ],
        "tolerance": {"absolute": 1e-5, "relative": 1e-4},
        "sources": {"model": "sha256:" + "1" * 64},
        "golden": {
            "inputs": {"age": [[31.5], ["NaN"]], "city": [["Köln"], [""]]},
            "outputs": {"label": [["no"], ["yes"]], "probabilities": [[0.75, 0.25], [0.1, 0.9]]},
        },
        **changes,
    }


def written(folder: Path, **changes: Any) -> Path:
    file = folder / "churn.contract.json"
    file.write_text(json.dumps(document(**changes)), encoding="utf-8")
    return file


def test_a_contract_comes_back_as_it_was_written(tmp_path: Path) -> None:
    contract = read_contract(written(tmp_path))
    again = tmp_path / "again.json"
    again.write_bytes(contract.to_json())
    assert read_contract(again) == contract
    assert read_contract(again).to_json() == contract.to_json()
    assert contract.rows == 2
    assert [(tensor.name, column, feature.name) for tensor, column, feature in contract.features] == [
        ("age", 0, "age"),
        ("city", 0, "city"),
    ]
    label = contract.output("label")
    assert label is not None
    assert label.classes == ("no", "yes")
    assert contract.output("value") is None


def test_what_is_written_fits_the_published_schema(tmp_path: Path) -> None:
    schema = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    assert schema == json_schema(), "write it anew: python -m builder.models.contract > docs/schemas/contract-v1.json"
    jsonschema.Draft202012Validator.check_schema(schema)
    checker = jsonschema.Draft202012Validator(schema)
    checker.validate(json.loads(read_contract(written(tmp_path)).to_json()))
    assert not checker.is_valid(document(inputs=[]))


BAD = {
    "not a digest": {"digest": "sha256:abc"},
    "no input": {"inputs": []},
    "an unknown key": {"colour": "blue"},
    "another schema": {"schema": "dev.lockship.contract/v2"},
    "a golden row too short": {
        "golden": {
            "inputs": {"age": [[1.0]], "city": [["Rio"]]},
            "outputs": {"label": [["no"]], "probabilities": [[1.0]]},
        }
    },
    "golden rows of another tensor": {
        "golden": {"inputs": {"age": [[1.0]]}, "outputs": {"label": [["no"]], "probabilities": [[1.0, 0.0]]}}
    },
    "fewer golden rows in one tensor": {
        "golden": {
            "inputs": {"age": [[1.0], [2.0]], "city": [["Rio"]]},
            "outputs": {"label": [["no"]], "probabilities": [[1.0, 0.0]]},
        }
    },
    "two outputs of one name": {
        "outputs": [{"name": "label", "type": "int64", "meaning": "label"}] * 2,
        "golden": {"inputs": {"age": [], "city": []}, "outputs": {"label": []}},
    },
    "a tolerance below zero": {"tolerance": {"absolute": -1.0, "relative": 0.0}},
}


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD)
def test_what_is_wrong_is_refused_and_named(tmp_path: Path, changes: dict[str, Any]) -> None:
    file = written(tmp_path, **changes)
    with pytest.raises(ModelError) as caught:
        read_contract(file)
    assert caught.value.exit_code == 4
    assert caught.value.file == str(file)
    assert "lockship convert" in (caught.value.hint or "")


def test_a_file_that_is_no_contract_says_so(tmp_path: Path) -> None:
    for content in (b"", b"{", b"[]", b"\xff\xfe", b'{"schema": NaN}'):
        file = tmp_path / "x.contract.json"
        file.write_bytes(content)
        with pytest.raises(ModelError):
            read_contract(file)
    with pytest.raises(ModelError, match="cannot read"):
        read_contract(tmp_path / "missing.json")


@given(st.one_of(st.floats(), st.integers(-(2**63), 2**63 - 1), st.text(), st.booleans()))
def test_cells_survive_json(value: float | int | str | bool) -> None:
    kind: Any = {float: "float64", int: "int64", str: "string", bool: "bool"}[type(value)]
    cell = json.loads(json.dumps(to_scalar(value), allow_nan=False))
    back = from_scalar(cell, kind)
    if isinstance(value, float):
        assert isinstance(back, float)
        assert (
            math.isnan(back)
            if math.isnan(value)
            else (back == value and math.copysign(1, back) == math.copysign(1, value))
        )
    else:
        assert back == value
        assert type(back) is type(value)


def test_a_value_of_text_is_never_taken_for_a_number() -> None:
    assert from_scalar("NaN", "string") == "NaN"
    assert Contract.model_validate_json(json.dumps(document())).golden.inputs["age"][1] == ("NaN",)


@pytest.mark.parametrize("drop", ["name", "digest", "inputs", "golden"])
def test_nothing_needed_may_be_left_out(tmp_path: Path, drop: str) -> None:
    content = document()
    del content[drop]
    file = tmp_path / "x.contract.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError, match=drop):
        read_contract(file)
