"""Loading models: what is never run, what is refused, and what comes out."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import pytest

from builder.models.inside.load import load
from builder.models.inside.problem import Problem


class Payload:
    """A pickle that writes a file as it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


def spec(file: Path | None, kind: str, **more: Any) -> dict[str, Any]:
    return {
        "name": "churn",
        "format": kind,
        "path": None if file is None else str(file),
        "sha256": None,
        "root": "/nowhere",
        **more,
    }


def refused(told: dict[str, Any]) -> Problem:
    with pytest.raises(Problem) as caught:
        load(told)
    return caught.value


@pytest.mark.parametrize("kind", ["pickle", "joblib"])
def test_a_pickle_that_runs_code_does_not_run_when_it_is_refused(tmp_path: Path, kind: str) -> None:
    ran, file = tmp_path / "ran", tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps(Payload(ran)))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert "can run any code" in refused(spec(file, kind)).message
    other = refused(spec(file, kind, sha256="0" * 64))
    assert f"its sha256 is {digest}" in other.message
    assert not ran.exists()
    load(spec(file, kind, sha256=digest))  # and it is no dud
    assert ran.exists()


def test_a_pinned_pickle_is_read(tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps(LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])))
    model = load(spec(file, "pickle", sha256=hashlib.sha256(file.read_bytes()).hexdigest()))
    assert model.predict([[2.0]])[0] == pytest.approx(4.0)


def test_a_model_of_another_scikit_learn_is_refused_with_both_versions(tmp_path: Path) -> None:
    import sklearn
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps(model).replace(sklearn.__version__.encode(), b"1.2.0"))
    problem = refused(spec(file, "pickle", sha256=hashlib.sha256(file.read_bytes()).hexdigest()))
    assert problem.message == f"the model churn was made by scikit-learn 1.2.0; the lock has {sklearn.__version__}"
    assert problem.details == {"trained": "1.2.0", "locked": sklearn.__version__}


@pytest.mark.parametrize("kind", ["skops", "pickle", "joblib", "xgboost", "lightgbm", "catboost", "onnx", "torch"])
def test_an_empty_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / "model").touch()
    assert "is an empty file" in refused(spec(tmp_path / "model", kind)).message


@pytest.mark.parametrize("kind", ["pickle", "joblib"])
@pytest.mark.parametrize("content", [b"\x80\x05\x95", b"<html>", b"\0" * 100])
def test_what_is_no_pickle(tmp_path: Path, kind: str, content: bytes) -> None:
    (tmp_path / "model").write_bytes(content)
    problem = refused(spec(tmp_path / "model", kind, sha256=hashlib.sha256(content).hexdigest()))
    assert f"the model churn can't be read as {kind}" in problem.message


def test_an_onnx_model_is_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08")
    assert load(spec(tmp_path / "model.onnx", "onnx")) == b"\x08\x08"


def entry(folder: Path, text: str, name: str, function: str = "fit") -> dict[str, Any]:
    (folder / f"{name}.py").write_text(text)
    return spec(None, "entry", entry=f"{name}:{function}", root=str(folder))


@pytest.fixture(autouse=True)
def _own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries change where modules are looked for; that ends with the test."""
    import sys

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)


def test_an_entry_is_imported_from_the_project(tmp_path: Path) -> None:
    (tmp_path / "entry_helper.py").write_text("answer = 42\n")
    told = entry(tmp_path, "from entry_helper import answer\n\ndef fit():\n    return [answer]\n", "entry_good")
    assert load(told) == [42]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "entry_bad{n} has no function fit"),
        ("fit = 1\n", "has no function fit"),
        ("def fit(): return None\n", "returned nothing"),
        ("\nimport os\ndef fit():\n    return 1 / 0\n", "ZeroDivisionError: division by zero (entry_bad{n}.py:4)"),
        ("def fit(): raise SystemExit(3)\n", "SystemExit: 3"),
        ("def fit(:\n", "SyntaxError"),
        ("import nosuchmodule\n", "needs the module nosuchmodule, which is not there"),
    ],
)
def test_entries_that_fail(tmp_path: Path, text: str, said: str, request: pytest.FixtureRequest) -> None:
    number = abs(hash(request.node.name)) % 10**8
    problem = refused(entry(tmp_path, text, f"entry_bad{number}"))
    assert said.format(n=number) in problem.message
    assert problem.hint
