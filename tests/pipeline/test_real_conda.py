"""A conda environment with a real Python on a real Debian, in a container that runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.pipeline import load, lock
from builder.pipeline.context import Context, host_platform
from builder.project import load_project
from tests.support.conda import indexed, serve_channel

pytestmark = [pytest.mark.apt, pytest.mark.slow, pytest.mark.engine]

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
UNWANTED = {"site-packages", "test", "idlelib", "__pycache__", "ensurepip", "tkinter", "lib2to3", "turtledemo"}
SUBDIR = {"amd64": "linux-64", "arm64": "linux-aarch64"}


def own_python() -> Iterator[tuple[str, bytes | tuple[bytes, int] | tuple[str, str]]]:
    """The Python that runs the tests as the files of a conda package, its prefix for a placeholder."""
    prefix = Path(sys.base_prefix)
    program = prefix / f"bin/python{VERSION}"
    yield f"bin/python{VERSION}", (program.read_bytes(), 0o755)
    yield "bin/python", ("link", f"python{VERSION}")
    for path in sorted(prefix.glob("lib/libpython*.so*")):
        yield f"lib/{path.name}", path.read_bytes()
    for path in sorted((prefix / f"lib/python{VERSION}").rglob("*")):
        if path.is_file() and not UNWANTED & set(path.parts) and path.suffix in (".py", ".so"):
            yield path.relative_to(prefix).as_posix(), path.read_bytes()


def test_a_container_runs_an_environment(
    tmp_path: Path, engine: str, shared_cache: Cache, request: pytest.FixtureRequest
) -> None:
    host = host_platform()
    assert host is not None
    with serve_channel(tmp_path / "channels") as channel:
        full = ".".join(str(part) for part in sys.version_info[:3])
        subdir = SUBDIR[host.architecture]
        channel.package("python", full, dict(own_python()), subdir=subdir, placeholder=sys.base_prefix)
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
