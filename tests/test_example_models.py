"""The examples with models: converted again to the very bytes that are committed, and scored on the JVM and in .NET."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from builder.cache import Cache
from builder.models.contract import Contract, read_contract
from tests.conftest import DEVELOPER
from tests.models.consumers.test_dotnet_real import build, facts, scoring
from tests.models.consumers.test_dotnet_real import dotnet as dotnet
from tests.models.consumers.test_java_jvm import Built, score
from tests.models.consumers.test_java_jvm import workshop as workshop
from tests.support.dotnet import Dotnet
from tests.support.dotnet_programs import read_results, write_rows
from tests.support.java_workshop import Workshop
from tests.support.models import Trained, golden_rows

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
NAMES = ("penguins", "cars", "docstrings")


def example(name: str) -> Trained:
    """The committed model; its rows are the golden ones, over and over."""
    folder = ROOT / "examples" / name
    contract = read_contract(folder / f"{name}.contract.json")
    return Trained(contract, (folder / f"{name}.onnx").read_bytes(), lambda count, seed: golden_rows(contract, count))


def expected(contract: Contract, name: str, count: int) -> np.ndarray:
    """What the original model said of the golden rows, as its contract has it."""
    rows = contract.golden.outputs[name]
    return np.array([rows[number % len(rows)] for number in range(count)])


@pytest.mark.apt
@pytest.mark.index
@pytest.mark.parametrize("name", NAMES)
def test_the_committed_model_is_what_convert_makes(name: str, tmp_path: Path, shared_cache: Cache) -> None:
    environ = {**DEVELOPER, "LOCKSHIP_CACHE": str(shared_cache.root), "PYTHONPATH": str(ROOT)}
    environ["GIT_CEILING_DIRECTORIES"] = str(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns(".lockship"))
    folder = tmp_path / "examples" / name
    (folder / "lockship.lock").unlink(missing_ok=True)
    before = {file.name: file.read_bytes() for file in folder.glob(f"{name}.*")}
    for words in (("lock",), ("convert", "--anew"), ("plan",)):
        done = subprocess.run(
            [sys.executable, "-m", "builder", *words], cwd=folder, env=environ, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    after = {file.name: file.read_bytes() for file in folder.glob(f"{name}.*")}
    assert after.keys() == before.keys()
    assert after[f"{name}.onnx"] == before[f"{name}.onnx"]
    # nothing but these in the image, whatever the original was trained with
    locked = (folder / "lockship.lock").read_text()
    assert "onnxruntime" in locked
    assert "scikit" not in locked


@pytest.mark.parametrize("name", NAMES)
def test_the_java_client_scores_as_the_original_did(name: str, workshop: Workshop, tmp_path: Path) -> None:
    model = example(name)
    one = Built(model, workshop.build(model.write(tmp_path)))
    said, results = score(workshop, one, tmp_path, 1000)
    assert said == f"golden={model.contract.rows} rows=1000 different=0\n"
    at = 0
    for output in model.contract.outputs:
        width = output.width or 1
        cells = np.array([row[at : at + width] for row in results])
        at += width
        agree(model.contract, output.name, output.meaning, cells, 1000)


@pytest.mark.index
@pytest.mark.parametrize("name", NAMES)
def test_the_dotnet_client_scores_as_the_original_did(name: str, dotnet: Dotnet, tmp_path: Path) -> None:
    model = example(name)
    built = build(dotnet, model.contract, model.model, tmp_path)
    write_rows(tmp_path / "rows", model.contract, built.view, model.draw(1000, 0))
    (tmp_path / "out").mkdir()
    said = dotnet.run(scoring(dotnet, built, tmp_path), tmp_path / "rows", tmp_path / "out")
    assert f"{facts(built)} passed\n" in said
    for way in ("batch", "single", "threads"):
        got = read_results(tmp_path / "out" / way, model.contract, 1000)
        for output in model.contract.outputs:
            agree(model.contract, output.name, output.meaning, got[output.name].reshape(1000, -1), 1000)


def agree(contract: Contract, name: str, meaning: str, got: np.ndarray, count: int) -> None:
    """Within the contract's own tolerance; labels exactly."""
    wanted = expected(contract, name, count)
    if meaning == "label":
        assert got.astype(str).tolist() == wanted.astype(str).tolist()
    else:
        tolerance = contract.tolerance
        np.testing.assert_allclose(
            got.astype(np.float64), wanted.astype(np.float64), rtol=tolerance.relative, atol=tolerance.absolute
        )
