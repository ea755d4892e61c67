"""Which packages an image needs that only runs ONNX models."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import ProjectError
from builder.lock.pins import Pin
from builder.lock.runtime import needed_at_runtime
from builder.project import Image, Project, Python


def project(runtime: str) -> Project:
    return Project(
        name="demo",
        version="1",
        python=Python(requirements=("requirements.in",)),
        image=Image.model_validate({"runtime": runtime}),
        file=Path("lockship.toml"),
    )


def pin(name: str, *via: str) -> Pin:
    return Pin(name, "1.0", (), via=via)


PINS = (
    pin("flatbuffers", "onnxruntime"),
    pin("joblib", "scikit-learn"),
    pin("numpy", "-r requirements.in", "onnxruntime", "scikit-learn"),
    pin("onnxruntime", "-r requirements.in"),
    pin("protobuf", "Onnxruntime[extra]"),
    pin("scikit-learn", "-r requirements.in"),
    pin("six", "protobuf"),
    pin("threadpoolctl", "scikit-learn"),
)


def test_onnxruntime_numpy_and_what_they_need_in_turn() -> None:
    names = [one.name for one in needed_at_runtime(PINS, project("onnx"))]
    assert names == ["flatbuffers", "numpy", "onnxruntime", "protobuf", "six"]


def test_everything_otherwise() -> None:
    assert needed_at_runtime(PINS, project("python")) == PINS


def test_what_is_needed_for_two_reasons_stays_only_for_the_right_one() -> None:
    """That a package is wanted by what stays out doesn't bring it in."""
    pins = (*PINS, pin("pandas", "-r requirements.in"), pin("pytz", "pandas", "scikit-learn"))
    assert needed_at_runtime(pins, project("onnx")) == needed_at_runtime(PINS, project("onnx"))


@pytest.mark.parametrize("missing", ["numpy", "onnxruntime"])
def test_what_runs_the_models_must_be_asked_for(missing: str) -> None:
    with pytest.raises(ProjectError, match=missing) as caught:
        needed_at_runtime([one for one in PINS if one.name != missing], project("onnx"))
    assert caught.value.hint == f"add {missing} to requirements.in"
