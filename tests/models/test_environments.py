"""What environments contain: the project's pins, ours on top, and a consumer's runtime."""

from __future__ import annotations

import pytest

from builder.content import Platform
from builder.lock.pins import Target
from builder.models import environments
from builder.models.environments import Environment, Package
from builder.pipeline.environments import shipped_pins

SHA = "sha256:" + "1" * 64
OTHER = "sha256:" + "2" * 64


def package(name: str, version: str, *hashes: str) -> Package:
    return Package(name, version, hashes or (SHA,))


def pins(environment: Environment) -> dict[str, str]:
    return {one.name: one.version for one in environment.packages}


def test_the_project_s_environment_is_its_lock_alone() -> None:
    found = environments.project("3.11.7", [package("numpy", "1.26.4"), package("joblib", "1.3.0")], ["joblib"])
    assert pins(found) == {"joblib": "1.3.0", "numpy": "1.26.4"}
    assert found.from_source == ("joblib",)


def test_converters_are_ours_and_what_the_model_is_made_of_is_the_project_s() -> None:
    theirs = [
        package("protobuf", "7.0.0"), package("scikit-learn", "1.5.2"), package("numpy", "1.26.4"),
        package("typing-extensions", "4.0.0"), package("packaging", "99.0"), package("flask", "3.0"),
    ]  # fmt: skip
    ours = [
        package("protobuf", "6.0.0"), package("scikit-learn", "1.9.1"), package("numpy", "2.4.6"),
        package("typing-extensions", "4.16.0"), package("packaging", "26.0"), package("skl2onnx", "1.20.0"),
        package("pandas", "3.0.0"), package("onnxscript", "0.7.2"),
    ]  # fmt: skip
    assert pins(environments.converter("3.11.7", theirs, ours)) == {
        "protobuf": "6.0.0",  # ours, though older
        "scikit-learn": "1.5.2",  # theirs, though older
        "numpy": "1.26.4",
        "typing-extensions": "4.16.0",  # the newer
        "packaging": "99.0",
        "skl2onnx": "1.20.0",
        "pandas": "3.0.0",  # lent
        "flask": "3.0",
    }
    assert "onnxscript" in pins(environments.converter("3.11.7", [package("torch", "2.9.0")], ours))


def test_what_conda_brings_is_seen_below_and_hidden_by_what_is_ours() -> None:
    below = [
        package("protobuf", "7.0.0"), package("scikit-learn", "1.5.2"), package("packaging", "99.0"),
        package("typing-extensions", "4.0.0"), package("torch", "2.9.0"), package("libblas", "3.9.0"),
    ]  # fmt: skip
    ours = [
        package("protobuf", "6.0.0"), package("scikit-learn", "1.9.1"), package("packaging", "26.0"),
        package("typing-extensions", "4.16.0"), package("skl2onnx", "1.20.0"), package("onnxscript", "0.7.2"),
    ]  # fmt: skip
    own = environments.project("3.11.7", [package("skops", "0.11")], (), below)
    assert (pins(own), own.version("skops"), own.version("torch")) == ({"skops": "0.11"}, "0.11", "2.9.0")
    assert own.key != environments.project("3.11.7", [package("skops", "0.11")]).key
    found = environments.converter("3.11.7", own.packages, ours, (), own.beneath)
    assert pins(found) == {
        "onnxscript": "0.7.2", "protobuf": "6.0.0", "skl2onnx": "1.20.0", "skops": "0.11",
        "typing-extensions": "4.16.0",
    }  # fmt: skip
    assert {name: found.version(name) for name in ("scikit-learn", "packaging", "protobuf")} == {
        "scikit-learn": "1.5.2", "packaging": "99.0", "protobuf": "6.0.0",
    }  # fmt: skip


@pytest.mark.parametrize(("runtime", "numpy"), [("1.14.1", "1.26.4"), ("1.18.1", "1.26.4"), ("1.19.0", "2.4.6")])
def test_an_old_runtime_gets_an_old_numpy(runtime: str, numpy: str) -> None:
    candidates = {1: package("numpy", "1.26.4"), 2: package("numpy", "2.4.6")}
    found = environments.consumer("3.11.7", package("onnxruntime", runtime), candidates)
    assert pins(found) == {"numpy": numpy, "onnxruntime": runtime}


def test_the_key_is_of_what_is_in_and_of_the_interpreter() -> None:
    base = environments.project("3.11.7", [package("numpy", "1.26.4", SHA, OTHER)])
    assert base.key == environments.project("3.11.7", [package("numpy", "1.26.4", OTHER, SHA)]).key
    others = [
        environments.project("3.11.8", base.packages),
        environments.project("3.11.7", [package("numpy", "1.26.5", SHA, OTHER)]),
        environments.project("3.11.7", [package("numpy", "1.26.4", SHA)]),
        environments.project("3.11.7", base.packages, ["numpy"]),
    ]
    assert len({base.key, *(one.key for one in others)}) == 5


def test_requirements_pin_every_file() -> None:
    text = environments.project("3.11.7", [package("a", "1", OTHER, SHA), package("b", "2")]).requirements
    assert text == f"a==1 \\\n    --hash={SHA} \\\n    --hash={OTHER}\nb==2 \\\n    --hash={SHA}\n"


@pytest.mark.parametrize("minor", ["3.10", "3.11", "3.12", "3.13"])
def test_our_lists_hold_what_was_measured_for_every_python(minor: str) -> None:
    target = Target(Platform("linux", "amd64"), f"{minor}.1", "2.36")
    ours = shipped_pins(environments.CONVERTER_LOCK, target)
    versions = {name: one.version for name, one in ours.items()}
    assert (versions["skl2onnx"], versions["onnx"], versions["onnxmltools"]) == ("1.20.0", "1.23.2", "1.16.0")
    assert int(versions["protobuf"].split(".")[0]) < 7
    assert {"pyarrow", "pandas", "skops", "scikit-learn", "numpy", "onnxruntime"} <= versions.keys()
    assert all(one.hashes for one in ours.values())
    assert shipped_pins(environments.NUMPY_LOCK, target)["numpy"].version.startswith("1.26.")
