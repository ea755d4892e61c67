"""A conda environment with a real Python on a real Debian, in a container that runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.pipeline import load, lock
from builder.pipeline.context import Context, host_platform
from builder.project import load_project
from tests.support.conda import indexed, serve_channel
from tests.support.conda_science import SUBDIR, own_python

pytestmark = [pytest.mark.apt, pytest.mark.slow, pytest.mark.engine]


def test_a_container_runs_an_environment(
    tmp_path: Path, engine: str, shared_cache: Cache, request: pytest.FixtureRequest
) -> None:
    host = host_platform()
    assert host is not None
    with serve_channel(tmp_path / "channels") as channel:
        full = ".".join(str(part) for part in sys.version_info[:3])
        channel.package("python", full, dict(own_python()), subdir=SUBDIR, placeholder=sys.base_prefix)
        source = "import json, os, sys\ndef main(): print(json.dumps([sys.prefix, sys.argv[0], os.getuid()]))\n"
        channel.package(
            "greeter", files={"site-packages/greeter.py": source}, noarch="python", depends=["python"],
            entry_points=["greet = greeter:main"],
        )  # fmt: skip
        indexed(channel.folder)
        root = tmp_path / "project"
        root.mkdir()
        (root / "environment.yml").write_text(
            f"channels: [{channel.url}]\ndependencies: [python, greeter]\n", encoding="utf-8"
        )
        (root / "lockship.toml").write_text(
            'name = "conda-runs"\nversion = "1.0"\n[python]\nconda = "environment.yml"\n'
            f'[image]\nplatforms = ["{host}"]\ncommand = ["greet"]\n'
        )
        project = load_project(root / "lockship.toml")
        context = Context(shared_cache, {**os.environ, "DOCKER_HOST": engine})
        lock(project, context)
        loaded = load(project, context)
    docker = ["docker", "-H", engine]
    request.addfinalizer(lambda: subprocess.run([*docker, "rmi", "-f", loaded.name], check=True, capture_output=True))
    done = subprocess.run([*docker, "run", "--rm", loaded.image_id], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == '["/opt/venv", "/opt/venv/bin/greet", 65532]', done.stderr
