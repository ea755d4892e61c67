"""The example projects do what their READMEs say. What is made of them is tested with the commands."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from builder.project import load_project

EXAMPLES = Path(__file__).parent.parent / "examples"
BREAST_CANCER = EXAMPLES / "breast-cancer"


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in EXAMPLES.glob("*/lockship.toml")), ids=lambda p: p.name
)
def test_project_file_names_files_that_exist(folder: Path) -> None:
    project = load_project(folder / "lockship.toml")
    named = [mapping.source for mapping in project.image.files] + [model.source for model in project.all_models]
    named += [*project.python.requirements, *project.python.constraints]
    assert named
    assert [name for name in named if not project.path(name).exists()] == []


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example's train.py as a module, with its `score` package importable."""
    pytest.importorskip("skl2onnx")
    monkeypatch.syspath_prepend(str(BREAST_CANCER))
    for name in [name for name in sys.modules if name in ("train", "score") or name.startswith("score.")]:
        monkeypatch.delitem(sys.modules, name)
    return importlib.import_module("train")


@pytest.mark.slow
def test_training_again_gives_the_same_data_and_predictions(train: ModuleType, tmp_path: Path) -> None:
    from score.model import Scorer, read_csv

    train.main(tmp_path)
    for name in ("train.csv", "holdout.csv"):
        assert (tmp_path / "data" / name).read_bytes() == (BREAST_CANCER / "data" / name).read_bytes()
    holdout = read_csv(str(BREAST_CANCER / "data" / "holdout.csv"))
    committed = Scorer(BREAST_CANCER / "model.onnx")
    again = Scorer(tmp_path / "model.onnx")
    assert again.features == committed.features
    before, after = committed.predict(holdout), again.predict(holdout)
    assert list(before["prediction"]) == list(after["prediction"])
    # the last digits are up to the processor's linear algebra
    assert (before["p_malignant"] - after["p_malignant"]).abs().max() < 1e-4


@pytest.mark.slow
def test_onnx_scores_as_scikit_learn_does(train: ModuleType) -> None:
    from score.model import Scorer

    rows, holdout = train.split()
    features = holdout.drop(columns="diagnosis")
    expected = train.fit(rows).predict_proba(features.to_numpy())[:, 0]
    scored = Scorer(BREAST_CANCER / "model.onnx").predict(holdout)
    assert abs(scored["p_malignant"].to_numpy() - expected).max() < 1e-4
    assert list(scored["prediction"]) == [train.CLASSES[int(p < 0.5)] for p in expected]


def run_score(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=BREAST_CANCER, input=stdin, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_scoring_a_file_and_stdin(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    text = (BREAST_CANCER / "data" / "holdout.csv").read_text()
    from_file = run_score("score", "data/holdout.csv")
    assert from_file.returncode == 0, from_file.stderr
    lines = from_file.stdout.splitlines()
    assert lines[0] == "row,prediction,p_malignant"
    assert len(lines) == 115
    assert run_score("score", stdin=text).stdout == from_file.stdout
    target = tmp_path / "out.csv"
    assert run_score("score", "-o", str(target), stdin=text).stdout == ""
    assert target.read_text() == from_file.stdout
    # no rows, no predictions, no error
    assert run_score("score", stdin=text.splitlines()[0] + "\n").stdout == "row,prediction,p_malignant\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        ("", "not a CSV file"),
        ("a,b\n1,2\n", "columns are missing: mean radius"),
        (None, "row 1: mean radius is missing or not a number"),
    ],
)
def test_scoring_bad_rows_is_refused(stdin: str | None, message: str) -> None:
    pytest.importorskip("onnxruntime")
    if stdin is None:
        lines = (BREAST_CANCER / "data" / "holdout.csv").read_text().splitlines()[:3]
        lines[2] = "large" + lines[2][lines[2].index(",") :]
        stdin = "\n".join(lines) + "\n"
    run = run_score("score", stdin=stdin)
    assert run.returncode == 2
    assert message in run.stderr
    assert run.stdout == ""
    assert "Traceback" not in run.stderr


@pytest.mark.slow
def test_evaluation_finds_a_drifted_feature(train: ModuleType) -> None:
    pytest.importorskip("scipy")
    report = run_score("score.evaluate")
    assert report.returncode == 0, report.stderr
    document = json.loads(report.stdout)
    assert document["rows"] == 114
    assert document["accuracy"] > 0.95
    assert document["drifted"] == []

    from score.evaluate import evaluate
    from score.model import Scorer

    rows, holdout = train.split()
    holdout["mean radius"] *= 2
    assert evaluate(Scorer(BREAST_CANCER / "model.onnx"), holdout, rows)["drifted"] == ["mean radius"]


def test_the_example_asks_for_what_it_imports_and_no_more() -> None:
    """A requirement of the example is one that its code uses."""
    asked = {
        line.strip().replace("-", "_")
        for line in (BREAST_CANCER / "requirements.in").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    }
    source = io.StringIO()
    for path in sorted((BREAST_CANCER / "score").glob("*.py")):
        source.write(path.read_text())
    names = {"scikit_learn": "sklearn"}
    unused = {name for name in asked if f"import {names.get(name, name)}" not in source.getvalue()}
    unused = {name for name in unused if f"from {names.get(name, name)}" not in source.getvalue()}
    assert unused == set()
