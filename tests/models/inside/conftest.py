"""An environment with the converters and the libraries whose models are converted, and a way to run things in it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.cache import Cache
from tests.conftest import DEVELOPER

ROOT = Path(__file__).parents[3]
REQUIREMENTS = Path(__file__).with_name("converter.txt")

Scenario = Callable[..., Any]


@pytest.fixture(scope="session")
def converter_python(shared_cache: Cache) -> Path:
    """The interpreter of that environment; made once, kept with the big downloads."""
    key = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    home = shared_cache.root / "converters" / key
    if not (home / "bin" / "python").exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        made = home.with_name(f"{key}-{os.getpid()}")
        uv = [sys.executable, "-m", "uv", "--quiet"]
        environ = {name: value for name, value in DEVELOPER.items() if name != "VIRTUAL_ENV"}
        subprocess.run([*uv, "venv", "--python", sys.executable, str(made)], check=True, env=environ)
        install = [*uv, "pip", "install", "--require-hashes", "--python", str(made / "bin" / "python")]
        subprocess.run([*install, "-r", str(REQUIREMENTS)], check=True, env=environ)
        try:
            made.rename(home)
        except OSError:  # another worker was faster
            shutil.rmtree(made)
    return home / "bin" / "python"


def _environ(home: Path, **variables: str) -> dict[str, str]:
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), **variables}
    return environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "2"}


@pytest.fixture(scope="session")
def scenes(converter_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """A process there that runs one function after the other: importing all those libraries takes long."""
    home = tmp_path_factory.mktemp("scenes")
    command = [str(converter_python), "-m", "tests.models.inside.scenarios"]
    with (home / "stderr").open("w") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env=_environ(home), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
        )
        with process:
            yield process
            process.terminate()


@pytest.fixture
def scenario(scenes: subprocess.Popen[str], converter_python: Path, tmp_path: Path) -> Scenario:
    """Run a function of `scenarios` there with these arguments; what it returned.

    With environment variables in a process of its own.
    """

    def run(name: str, *arguments: Any, **variables: str) -> Any:
        asked = json.dumps([name, *arguments]) + "\n"
        if variables:
            command = [str(converter_python), "-m", "tests.models.inside.scenarios"]
            environ = _environ(tmp_path, **variables)
            done = subprocess.run(
                command, cwd=ROOT, env=environ, input=asked, capture_output=True, text=True, check=False
            )  # fmt: skip
            line = done.stdout
        else:
            assert scenes.stdin and scenes.stdout
            scenes.stdin.write(asked)
            scenes.stdin.flush()
            line = scenes.stdout.readline()
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    return run
