"""The main job on real input: the example project, real packages, a real engine."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.content import Digest
from builder.registry.layout import Layout
from tests.support.reach import reached_from
from tests.support.readers import Tools
from tests.support.registry import RegistryServer
from tests.support.require import need

# all of them marked `engine`, so that one worker runs them and locks once
pytestmark = [pytest.mark.slow, pytest.mark.apt, pytest.mark.index, pytest.mark.engine]

ROOT = Path(__file__).parents[1]


class Example:
    """A copy of the example, locked and built once for all tests here."""

    def __init__(self, folder: Path, cache: Cache, environ: dict[str, str]) -> None:
        shutil.copytree(
            ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns(".lockship", "lockship.lock")
        )
        self.root = folder / "examples" / "breast-cancer"
        self.environ = {**environ, "LOCKSHIP_CACHE": str(cache.root), "PYTHONPATH": str(ROOT)}
        self.environ["GIT_CEILING_DIRECTORIES"] = str(folder)

    def run(self, *words: str, stdin: str = "", code: int = 0, **environ: str) -> str:
        """The command line's standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "builder", *words],
            cwd=self.root,
            env={**self.environ, **environ},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout

    def inside(self, host: str, program: str) -> str:
        """What a Python program prints in a container of the loaded image, as the image's own user."""
        done = subprocess.run(
            [
                "docker",
                "run",
                "--rm",
                "--network",
                "none",
                "--read-only",
                "breast-cancer:1.0.0",
                "python",
                "-c",
                program,
            ],
            env={**os.environ, "DOCKER_HOST": host},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def environ() -> dict[str, str]:
    """This machine's environment, with its package index: the module's tests are about real packages."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("LOCKSHIP_", "UV_"))}


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory, shared_cache: Cache, environ: dict[str, str]) -> Example:
    made = Example(tmp_path_factory.mktemp("example"), shared_cache, environ)
    made.run("lock")
    return made


def test_the_plan_comes_true(example: Example) -> None:
    planned = json.loads(example.run("plan", "--json"))
    assert example.run("build").strip() == planned["digest"]
    assert set(planned["platforms"]) == {"linux/amd64", "linux/arm64"}
    store = Layout(example.root / ".lockship/store")
    index = json.loads(store.manifest("1.0.0").data)  # type: ignore[union-attr]
    for entry in index["manifests"]:
        manifest = json.loads(store.manifest(Digest(entry["digest"])).data)  # type: ignore[union-attr]
        assert all(store.has_blob(Digest(layer["digest"])) for layer in manifest["layers"])


def test_wheels_for_any_platform_are_shared_by_both(example: Example) -> None:
    layers = json.loads(example.run("plan", "--json"))["layers"]
    shared = {
        layer["title"].split()[0] for layer in layers if len(layer["platforms"]) == 2 and layer["kind"] == "wheel"
    }
    assert {"starlette", "uvicorn", "joblib"} <= shared
    assert not {"numpy", "scipy", "pandas"} & shared


def test_docker_pulls_what_was_pushed_and_runs_it(
    example: Example, registry: RegistryServer, engine: str, tmp_path: Path
) -> None:
    """Without anything of ours in between: the engine fetches the image from the registry, by its digest."""
    repository = f"{registry.host}/main-job/breast-cancer"
    digest = example.run("push", "--repository", repository).strip()
    assert digest == json.loads(example.run("plan", "--json"))["digest"]
    holdout = (example.root / "data/holdout.csv").read_bytes()
    reference = f"{repository}@{digest}"
    with Tools(tmp_path / "tools", engine) as tools, reached_from(engine, registry.host):
        if tools.docker("images", "-q", "breast-cancer:1.0.0"):
            tools.docker("rmi", "-f", "breast-cancer:1.0.0")
        tools.docker("pull", reference)
        try:
            scored = tools.docker("run", "--rm", "-i", "--network", "none", "--read-only", reference, stdin=holdout)
        finally:
            tools.docker("rmi", reference)
    rows, truth = (list(csv.DictReader(io.StringIO(text))) for text in (scored, holdout.decode()))
    assert len(rows) == len(truth) > 50
    assert {row["prediction"] for row in rows} == {"malignant", "benign"}


def test_it_scores_real_data_in_an_engine(example: Example, engine: str) -> None:
    assert example.run("load", DOCKER_HOST=engine).strip() == "breast-cancer:1.0.0"
    holdout = (example.root / "data/holdout.csv").read_text()
    from_stdin = example.run("run", stdin=holdout, DOCKER_HOST=engine)
    from_file = example.run("run", "--", "data/holdout.csv", DOCKER_HOST=engine)
    assert from_stdin == from_file
    rows = list(csv.DictReader(io.StringIO(from_stdin)))
    truth = list(csv.DictReader(io.StringIO(holdout)))
    assert len(rows) == len(truth)
    assert {row["prediction"] for row in rows} == {"malignant", "benign"}
    # the exit status is the command's own
    example.run("run", "--", "no-such-file.csv", code=2, DOCKER_HOST=engine)


@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker client")
def test_the_image_is_what_pip_would_have_made(example: Example, engine: str) -> None:
    example.run("load", DOCKER_HOST=engine)
    program = """
import importlib.metadata as m, json, os, ssl, sys, zoneinfo
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as norm
found = {norm(d.name): d for d in m.distributions()}
unmet = [str(r) for d in found.values() for r in map(Requirement, d.requires or [])
         if (r.marker is None or r.marker.evaluate({"extra": ""}))
         and (norm(r.name) not in found or not r.specifier.contains(found[norm(r.name)].version, prereleases=True))]
missing = [str(f) for d in found.values() for f in d.files if not f.locate().exists()]
print(json.dumps({
    "versions": {name: d.version for name, d in found.items()}, "unmet": unmet, "missing": missing,
    "prefix": sys.prefix, "uid": os.getuid(), "home": os.path.expanduser("~"),
    "authorities": len(ssl.create_default_context().get_ca_certs()),
    "zone": str(zoneinfo.ZoneInfo("Europe/Berlin")), "cached": __import__("numpy").__cached__,
}))
"""
    found = json.loads(example.inside(engine, program))
    assert found["unmet"] == found["missing"] == []
    assert found["prefix"] == "/opt/venv"
    assert found["uid"] == 65532
    assert found["authorities"] > 100
    pins = dict(
        line.split(" ")[0].split("==")
        for line in (example.root / "requirements.lock").read_text().splitlines()
        if "==" in line
    )
    assert found["versions"] == pins


@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker client")
def test_byte_code_is_there_and_used(example: Example, engine: str) -> None:
    example.run("load", DOCKER_HOST=engine)
    program = """
import sys, sklearn.linear_model, pandas, onnxruntime, scipy.stats
import os
places = {m.__name__: getattr(m, "__cached__", None) for m in list(sys.modules.values())}
lacking = [name for name, place in places.items() if str(place).endswith(".pyc") and not os.path.exists(place)]
print(lacking)
"""
    # sitecustomize is a link into /etc: a file that people may edit
    assert example.inside(engine, program) in ("[]\n", "['sitecustomize']\n")


def test_verify_agrees(example: Example) -> None:
    example.run("build")
    found = json.loads(example.run("verify", "--json"))
    assert found["compared_with_store"]
    assert found["digest"] == json.loads(example.run("plan", "--json"))["digest"]


def test_the_arm64_image_runs_on_its_own_processor(example: Example, tmp_path: Path) -> None:
    """Emulated: built on any machine, without emulation, and run to see that what was put together fits."""
    qemu = shutil.which("qemu-aarch64")
    need("qemu-user", qemu, "qemu-aarch64 emulates the processor")
    assert qemu is not None
    example.run("build")
    store = Layout(example.root / ".lockship/store")
    index = json.loads(store.manifest("1.0.0").data)  # type: ignore[union-attr]
    (entry,) = [one for one in index["manifests"] if one["platform"]["architecture"] == "arm64"]
    manifest = json.loads(store.manifest(Digest(entry["digest"])).data)  # type: ignore[union-attr]
    for layer in manifest["layers"]:
        path = store.path(Digest(layer["digest"]))
        assert path is not None
        subprocess.run(["tar", "xf", str(path), "--no-same-owner", "-C", str(tmp_path)], check=True)
    program = "import platform, numpy as n, pandas, sklearn; print(platform.machine(), n.ones(3).sum(), n.__cached__)"
    site = tmp_path / "opt/venv/lib/python3.11/site-packages"
    done = subprocess.run(
        [
            *(qemu, "-cpu", "cortex-a57", "-L", str(tmp_path), "-E", f"PYTHONHOME={tmp_path}/usr"),
            *("-E", f"PYTHONPATH={site}:{tmp_path}/app", "-E", "OPENBLAS_CORETYPE=ARMV8"),
            *(str(tmp_path / "usr/bin/python3.11"), "-c"),
            program,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("aarch64 3.0 ")
    assert done.stdout.strip().endswith(".pyc")
