"""Files of libraries that aren't ours, read where those libraries are: boosters, skops, Parquet, Feather."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from builder.cache import Cache
from builder.models.children import Child, ChildError, copy_program
from tests.conftest import DEVELOPER
from tests.support.packages import interpreter_with

pytestmark = [pytest.mark.slow, pytest.mark.index]

PACKAGES = ("catboost", "lightgbm", "pandas", "pyarrow", "scikit-learn", "skops", "xgboost-cpu")

BOOSTERS = """\
import sys, numpy as np
sys.path.insert(0, sys.argv[1])
from builder.models.inside.load import load
import catboost, lightgbm, xgboost

rng = np.random.default_rng(0)
X = rng.random((200, 3)); two = (X[:, 0] > 0.5).astype(int); three = (X[:, 1] * 3).astype(int); value = X.sum(axis=1)

def told(kind, path):
    return {"name": "m", "format": kind, "path": path, "sha256": None, "root": "/nowhere"}

def same(model, kind, path, method):
    found = load(told(kind, path))
    np.testing.assert_array_equal(getattr(found, method)(X), getattr(model, method)(X), err_msg=path)
    if method == "predict_proba":
        np.testing.assert_array_equal(np.ravel(found.predict(X)), np.ravel(model.predict(X)), err_msg=path)
        assert list(found.classes_) == list(model.classes_), path

for ending in ("json", "ubj"):
    for label, y in (("two", two), ("three", three)):
        model = xgboost.XGBClassifier(n_estimators=8, max_depth=3, random_state=0).fit(X, y)
        model.save_model(f"{label}.{ending}")
        same(model, "xgboost", f"{label}.{ending}", "predict_proba")
    model = xgboost.XGBRegressor(n_estimators=8, max_depth=3).fit(X, value)
    model.get_booster().save_model(f"value.{ending}")
    same(model, "xgboost", f"value.{ending}", "predict")
ranker = xgboost.XGBRanker(n_estimators=4).fit(X, two, group=[100, 100])
ranker.save_model("rank.json")
same(ranker, "xgboost", "rank.json", "predict")

for label, y in (("two", two), ("three", three)):
    model = lightgbm.LGBMClassifier(n_estimators=8, verbose=-1).fit(X, y)
    model.booster_.save_model(f"{label}.txt")
    same(model, "lightgbm", f"{label}.txt", "predict_proba")
    model = catboost.CatBoostClassifier(iterations=8, verbose=False).fit(X, y)
    model.save_model(f"{label}.cbm")
    same(model, "catboost", f"{label}.cbm", "predict_proba")
model = lightgbm.LGBMRegressor(n_estimators=8, verbose=-1).fit(X, value)
model.booster_.save_model("value.txt")
same(model, "lightgbm", "value.txt", "predict")
model = catboost.CatBoostRegressor(iterations=8, verbose=False).fit(X, value)
model.save_model("value.cbm")
same(model, "catboost", "value.cbm", "predict")
"""

TABLES = """\
import datetime, decimal, pandas as pd, pyarrow as pa, pyarrow.feather, pyarrow.parquet, sys
day = datetime.date(2024, 2, 29)
table = pa.table({
    "whole": pa.array([1, 2], pa.int16()), "gaps": pa.array([1, None], pa.int64()),
    "big": pa.array([2**62, 3], pa.uint64()),
    "real": pa.array([0.5, None], pa.float32()), "exact": pa.array([decimal.Decimal("1.25"), None]),
    "flag": [True, False], "maybe": [True, None], "text": ["é", None], "kind": pa.array(["a", "b"]).dictionary_encode(),
    "day": pa.array([day, None]), "moment": pa.array([datetime.datetime(2024, 2, 29, 12), None], pa.timestamp("ns")),
    "seconds": pa.array([datetime.datetime(1970, 1, 2), datetime.datetime(1970, 1, 1)], pa.timestamp("us", "UTC")),
    "none": pa.nulls(2),
})
pyarrow.parquet.write_table(table, "t.parquet")
pyarrow.feather.write_feather(table, "t.feather")
pyarrow.parquet.write_table(pa.table({"a": [[1], [2]]}), "lists.parquet")
pyarrow.parquet.write_table(pa.table({"a": pa.array([], pa.int64())}), "none.parquet")
pyarrow.parquet.write_table(pa.table({"a": pa.array([2**63], pa.uint64())}), "huge.parquet")
pd.DataFrame({"a": [1.5, 2.5]}, index=[7, 3]).to_parquet("indexed.parquet")
"""


@pytest.fixture(scope="module")
def python(shared_cache: Cache) -> Path:
    return interpreter_with(PACKAGES, shared_cache, DEVELOPER)


@pytest.fixture
def child(python: Path, tmp_path: Path) -> Child:
    return Child(python, tmp_path, "the test's environment", {})


def script(python: Path, folder: Path, text: str) -> None:
    command = [str(python), "-I", "-c", text, str(copy_program(folder))]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_boosters_score_as_before_they_were_saved(python: Path, tmp_path: Path) -> None:
    script(python, tmp_path, BOOSTERS)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("xgboost", b'{"learner": {}}'), ("xgboost", b"{"), ("xgboost", b"\x7b\x4c\x00\x00"),
        ("lightgbm", b"tree\nversion=v4\n"), ("lightgbm", b"\xff\xfe"), ("catboost", b"CBM1\x00\x00"),
        ("catboost", b"not one"), ("skops", b"PK\x05\x06" + bytes(18)), ("torch", b"x"),
    ],
)  # fmt: skip
def test_truncated_and_other_files(child: Child, tmp_path: Path, kind: str, content: bytes) -> None:
    (tmp_path / "model").write_bytes(content)
    model = {"name": "m", "format": kind, "path": str(tmp_path / "model"), "sha256": None, "root": str(tmp_path)}
    with pytest.raises(ChildError, match="the model m") as caught:
        child.run("load", {"model": model})
    assert caught.value.hint


def sample(child: Child, name: str, inputs: dict[str, Any] | None = None) -> dict[str, Any]:
    job = {"sample": str(child.folder / name), "shown": name, "drop": [], "inputs": inputs or {}}
    return child.run("sample", job).result


@pytest.mark.parametrize("name", ["t.parquet", "t.feather"])
def test_declared_types_count(python: Path, child: Child, tmp_path: Path, name: str) -> None:
    script(python, tmp_path, TABLES)
    answer = sample(child, name, {"seconds": {"type": "int64"}})
    assert answer["rows"] == 2
    kinds = {column["name"]: (column["kind"], column["missing"]) for column in answer["columns"]}
    assert kinds == {
        "whole": ("integer", 0), "gaps": ("number", 1), "big": ("integer", 0), "real": ("number", 1),
        "exact": ("number", 1), "flag": ("bool", 0), "maybe": ("number", 1), "text": ("text", 1), "kind": ("text", 0),
        "day": ("text", 1), "moment": ("text", 1), "seconds": ("integer", 0), "none": ("number", 2),
    }  # fmt: skip
    by_name = {column["name"]: column for column in answer["columns"]}
    assert by_name["day"]["categories"] == ["2024-02-29"]
    assert by_name["moment"]["categories"] == ["2024-02-29T12:00:00"]
    assert (by_name["seconds"]["minimum"], by_name["seconds"]["maximum"]) == (0, 86400)
    assert (by_name["day"]["date"], by_name["seconds"]["date"]) == ("ISO 8601 text", "seconds since 1970, UTC")
    assert by_name["big"]["maximum"] == 2**62
    assert json.dumps(answer, allow_nan=False)


def test_tables_that_don_t_fit(python: Path, child: Child, tmp_path: Path) -> None:
    script(python, tmp_path, TABLES)
    assert [column["name"] for column in sample(child, "indexed.parquet")["columns"]] == ["a"]
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:200])
    (tmp_path / "cut.feather").write_bytes((tmp_path / "t.feather").read_bytes()[:200])
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("lists.parquet", {}, "column 'a' is of type list"),
        ("none.parquet", {}, "has no rows"),
        ("huge.parquet", {}, "integers beyond 64 bits"),
        ("cut.parquet", {}, "can't be read as parquet"),
        ("cut.feather", {}, "can't be read as feather"),
        ("t.parquet", {"text": {"type": "float32"}}, "column 'text' holds text, and is declared as float32"),
        ("t.parquet", {"gaps": {"type": "int64"}}, "column 'gaps' holds numbers, or has gaps"),
        ("t.parquet", {"whole": {"type": "string"}}, "column 'whole' holds integers, and is declared as string"),
    ]
    for name, inputs, said in cases:
        with pytest.raises(ChildError) as caught:
            sample(child, name, inputs)
        assert said in caught.value.message
        assert name in caught.value.message
