"""The example for the JVM with Maven Central's jars and Debian's Java, in a container that scores."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.pipeline import load, lock
from builder.pipeline.context import Context
from builder.project import load_project
from tests.conftest import DEVELOPER
from tests.support.maven import keep_plugins
from tests.support.progress import Heard
from tests.support.require import need

pytestmark = [pytest.mark.apt, pytest.mark.slow, pytest.mark.engine]

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_model_is_that_of_the_other_example() -> None:
    assert (EXAMPLES / "jvm/model.onnx").read_bytes() == (EXAMPLES / "breast-cancer/model.onnx").read_bytes()
    rows = (EXAMPLES / "jvm/rows.csv").read_text().splitlines()
    assert rows == (EXAMPLES / "breast-cancer/data/holdout.csv").read_text().splitlines()[: len(rows)]


def test_java_scores_in_a_container_as_python_does(
    tmp_path: Path, engine: str, shared_cache: Cache, request: pytest.FixtureRequest
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    need("Maven", shutil.which("mvn"), "there is no mvn on PATH")
    problem = keep_plugins(shared_cache, DEVELOPER)
    need("Maven Central", not problem, problem)
    root = tmp_path / "jvm"
    shutil.copytree(EXAMPLES / "jvm", root, ignore=shutil.ignore_patterns(".lockship", "lockship.lock"))
    project = load_project(root / "lockship.toml")
    heard = Heard()
    context = Context(shared_cache, {**os.environ, "DOCKER_HOST": engine}, heard)
    found = lock(project, context).lock.platforms[0].jars
    assert {one.name.partition(":")[2] for one in found} == {
        "jackson-annotations", "jackson-core", "jackson-databind", "onnxruntime",
    }  # fmt: skip
    assert not [one for one in heard.warnings if "Java" in one or "libc-bin" in one]
    loaded = load(project, replace(context, progress=Heard()))
    docker = ["docker", "-H", engine]
    request.addfinalizer(lambda: subprocess.run([*docker, "rmi", "-f", loaded.name], check=True, capture_output=True))
    # as `lockship promote` starts it: nothing can be written but /tmp
    words = [*docker, "run", "--rm", "--read-only", "--tmpfs", "/tmp:exec", loaded.image_id]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    head, *scored = done.stdout.splitlines()
    assert head == "row,prediction,p_malignant"
    session = onnxruntime.InferenceSession(str(root / "model.onnx"))
    with (root / "rows.csv").open(newline="") as file:
        rows = [[float(cell) for cell in row[:-1]] for row in list(csv.reader(file))[1:]]
    labels, probabilities = session.run(["label", "probabilities"], {"features": rows})
    assert [line.split(",")[1] for line in scored] == [["malignant", "benign"][label] for label in labels]
    for line, (malignant, _) in zip(scored, probabilities, strict=True):
        # the last digits are up to the runtimes' versions
        assert float(line.split(",")[2]) == pytest.approx(malignant, abs=2e-6)
