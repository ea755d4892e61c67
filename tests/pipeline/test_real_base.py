"""A base image with a real Debian in it: what is locked of it, byte code by its python, and a container that runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.content import Platform
from builder.image.layer import files_of
from builder.lock.file import Lock, LockedPlatform, read_lock
from builder.pipeline import build, load, lock, verify
from builder.pipeline.context import Context, host_platform
from builder.pipeline.stores import open_registry, open_store
from builder.project import Project, load_project
from builder.registry.reference import Repository
from tests.support.bases import files, layer, put_base, put_index, python
from tests.support.debian_base import make_base, push
from tests.support.registry import RegistryServer, serve_registry

pytestmark = [pytest.mark.apt, pytest.mark.index, pytest.mark.slow]


@dataclass(frozen=True)
class Bases:
    """A registry with the base, as ``base:docker`` and ``base:oci``, and a cache that the tests share."""

    server: RegistryServer
    cache: Cache

    def name(self, tag: str) -> str:
        return f"{self.server.host}/lab/base:{tag}"


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bases]:
    folder = tmp_path_factory.mktemp("bases")
    layout = make_base(folder)
    with serve_registry(folder / "registry") as server:
        made = Bases(server, Cache(folder / "cache"))
        push(layout, made.name("docker"), media="v2s2")
        push(layout, made.name("oci"), media="oci")
        yield made


@pytest.fixture
def context(bases: Bases) -> Context:
    return Context(bases.cache, dict(os.environ))


def project(folder: Path, base: str, platform: Platform | None = None) -> Project:
    """A project with a wheel of pure Python, one with compiled code, and a program that imports both."""
    (folder / "requirements.in").write_text("h11==0.16.0\nmarkupsafe==3.0.2\n")
    (folder / "main.py").write_text(
        "import getpass, h11, json, markupsafe._speedups, os, sys\n"
        "print(json.dumps([sys.prefix, sys.base_prefix, sys.version.split()[0], h11.__version__,"
        " markupsafe._speedups.__file__, h11.__cached__, os.path.exists(h11.__cached__), os.getuid(), sys.path[1:]]))\n"
    )
    (folder / "lockship.toml").write_text(
        'name = "based"\nversion = "1.0"\n[python]\nrequirements = ["requirements.in"]\n[image]\n'
        f'base = "{base}"\nplatforms = ["{platform or host_platform()}"]\n'
        'files = ["main.py"]\ncommand = ["python", "/app/main.py"]\n'
    )
    return load_project(folder / "lockship.toml")


def locked(folder: Path) -> tuple[Lock, LockedPlatform]:
    found = read_lock(folder / "lockship.lock")
    assert found is not None
    return found, found.platforms[0]


def test_docker_and_oci_media_types_give_the_same_layers(bases: Bases, context: Context, tmp_path: Path) -> None:
    found = {}
    for tag in ("docker", "oci"):
        (tmp_path / tag).mkdir()
        lock(project(tmp_path / tag, bases.name(tag)), context)
        found[tag] = locked(tmp_path / tag)[1]
    docker, oci = found["docker"], found["oci"]
    assert docker.layers == oci.layers
    assert docker.base is not None
    assert oci.base is not None
    assert docker.base.digest != oci.base.digest
    assert docker.base.layers == oci.base.layers
    assert docker.python.startswith("3.11.")
    assert docker.glibc == "2.36"
    assert re.fullmatch(r"3\.11\.\d+-\d+\+deb12u\d+", docker.bytecode)  # the Debian package's, not this machine's
    assert docker.base.interpreter == "/usr/bin/python3.11"
    assert docker.base.owns_venv
    assert docker.base.links["bin"] == "usr/bin"
    assert "app" in {one.path for one in docker.base.folders}


def test_the_image_is_built_again_from_nothing(bases: Bases, context: Context, tmp_path: Path) -> None:
    one = project(tmp_path, bases.name("docker"))
    lock(one, context)
    built = build(one, context)
    again = verify(one, context)
    assert again.stored
    assert again.plan.descriptor == built.plan.descriptor
    (wheel,) = [layer for layer in built.plan.images[0].layers if layer.holds == (("h11", "0.16.0"),)]
    names = files_of(open_store(one).read_blob(wheel.digest))
    assert "opt/venv/lib/python3.11/site-packages/h11/__pycache__/__init__.cpython-311.pyc" in names


def test_a_platform_that_this_machine_is_not_gets_byte_code_by_the_one_that_it_is(
    bases: Bases, context: Context, tmp_path: Path
) -> None:
    host = host_platform()
    assert host is not None
    other = Platform("linux", "arm64" if host.architecture == "amd64" else "amd64")
    (tmp_path / "host").mkdir()
    (tmp_path / "other").mkdir()
    lock(project(tmp_path / "host", bases.name("docker")), context)
    mine = locked(tmp_path / "host")[1]
    status = f"Package: python3.11-minimal\nStatus: install ok installed\nVersion: {mine.bytecode}+b7\n"
    content = python(mine.python, "usr", other.architecture) | {"var/lib/dpkg/status": status.encode()}
    with open_registry(Repository(bases.server.host, "lab/base"), context, push=True) as store:
        real = store.manifest("docker")
        assert real is not None
        real = replace(real, descriptor=replace(real.descriptor, platform=host))
        put_index(store, real, put_base(store, [layer(files(content))], platform=other), tag="both")
    one = project(tmp_path / "other", bases.name("both"), other)
    lock(one, context)
    whole, theirs = locked(tmp_path / "other")
    assert whole.interpreter_images == {host: real.descriptor.digest}
    assert theirs.bytecode == mine.bytecode
    pure = [one for one in theirs.layers if one.holds == ("h11",)]
    assert pure == [one for one in mine.layers if one.holds == ("h11",)]
    fresh = Context(Cache(tmp_path / "cache"), context.environ)
    assert build(one, fresh).plan.images[0].platform == other


@pytest.mark.engine
def test_a_container_runs_the_wheels_with_the_bases_python(
    bases: Bases, context: Context, tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    one = project(tmp_path, bases.name("docker"))
    lock(one, context)
    loaded = load(one, Context(context.cache, {**context.environ, "DOCKER_HOST": engine}))
    docker = ["docker", "-H", engine]
    request.addfinalizer(lambda: subprocess.run([*docker, "rmi", "-f", loaded.name], check=True, capture_output=True))
    out = subprocess.run([*docker, "run", "--rm", loaded.image_id], check=True, capture_output=True, text=True).stdout
    prefix, base_prefix, version, h11, speedups, cached, there, user, path = json.loads(out)
    assert (prefix, base_prefix, version, h11) == ("/opt/venv", "/usr", locked(tmp_path)[1].python, "0.16.0")
    assert speedups.startswith("/opt/venv/lib/python3.11/site-packages/markupsafe/")
    assert cached.startswith("/opt/venv/")
    assert there
    assert user == 33  # the base's www-data
    assert path == [
        "/usr/lib/python311.zip",
        "/usr/lib/python3.11",
        "/usr/lib/python3.11/lib-dynload",
        "/opt/venv/lib/python3.11/site-packages",
    ]
    script = "import importlib.util as i, os; print(i.find_spec('leftover'), sorted(os.listdir('/app')))"
    command = [*docker, "run", "--rm", loaded.image_id, "python", "-c", script]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # the base's own environment is out of sight, its other files are not
    assert out == "None ['README', 'main.py']\n"
