"""Environments made by the real uv, from a real index over HTTP with small wheels."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.content import Digest, Platform
from builder.errors import LockshipError, ModelError, ProjectError, StoreError
from builder.lock.indexes import Indexes, IndexFile
from builder.lock.pins import Target
from builder.models import environments
from builder.models.environments import Environment, Package
from builder.models.runtimes import parse_consumer
from builder.pipeline.context import Context
from builder.pipeline.environments import make_environment, project_environment
from builder.pipeline.interpreters import HostPython, find_python
from builder.pipeline.runtimes import newest_fitting, runtime_for
from builder.project import load_project
from tests.support.index import Index, serve_index
from tests.support.wheels import make_wheel

pytestmark = pytest.mark.slow

MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with serve_index(tmp_path / "index") as server:
        yield server


@pytest.fixture
def context(cache: Cache) -> Context:
    return Context(cache, dict(os.environ))


@pytest.fixture
def python(context: Context) -> HostPython:
    return find_python(MINOR, context, Indexes())


def wheel(index: Index, name: str, text: str = "x = 1\n") -> Package:
    path = make_wheel(index.folder, name, "1.0", {f"{name}/__init__.py": text.encode()})
    return Package(name, "1.0", (Digest.of(path.read_bytes()),))


def made(wanted: Environment, python: HostPython, context: Context, index: Index) -> Path:
    return make_environment(wanted, python, context, Indexes(default=index.simple))


def listed(python: Path) -> list[str]:
    code = "import importlib.metadata as m; print(*sorted(d.name for d in m.distributions()))"
    done = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_it_holds_what_it_was_made_of_and_is_made_once(index: Index, python: HostPython, context: Context) -> None:
    wanted = environments.project(python.identity, [wheel(index, "alpha"), wheel(index, "beta")])
    interpreter = made(wanted, python, context, index)
    assert listed(interpreter) == ["alpha", "beta"]
    assert interpreter.is_relative_to(context.cache.root)
    index.requests.clear()
    for name in ("alpha", "beta"):
        (index.folder / f"{name}-1.0-py3-none-any.whl").unlink()
    assert made(wanted, python, context, index) == interpreter  # offline
    assert index.requests == []


def test_another_file_than_the_lock_s_is_not_installed(index: Index, python: HostPython, context: Context) -> None:
    wheel(index, "alpha", "x = 'hostile'\n")
    wanted = environments.project(python.identity, [Package("alpha", "1.0", ("sha256:" + "0" * 64,))])
    with pytest.raises(LockshipError, match="cannot make the project's environment") as caught:
        made(wanted, python, context, index)
    assert "hash" in caught.value.message.lower()
    kept = context.cache.root / "environments"
    assert [one for one in kept.iterdir() if not one.name.startswith(".lock")] == []


def test_a_package_without_a_wheel_for_this_machine(index: Index, python: HostPython, context: Context) -> None:
    path = make_wheel(index.folder, "alpha", "1.0", {"alpha.py": b""}, tag="cp39-cp39-win_amd64")
    wanted = environments.project(python.identity, [Package("alpha", "1.0", (Digest.of(path.read_bytes()),))])
    with pytest.raises(ModelError) as caught:
        made(wanted, python, context, index)
    assert "needs a wheel" in str(caught.value.hint)


def test_an_index_that_is_gone(index: Index, python: HostPython, context: Context) -> None:
    wanted = environments.project(python.identity, [Package("alpha", "1.0", ("sha256:" + "0" * 64,))])
    index.login = "me:hunter2"
    with_login = index.simple.replace("://", "://me:hunter3@")
    with pytest.raises(StoreError) as caught:
        make_environment(wanted, python, context, Indexes(default=with_login))
    assert "hunter" not in f"{caught.value} {caught.value.hint}"


def test_the_project_s_environment_comes_from_its_lock(tmp_path: Path, python: HostPython) -> None:
    (tmp_path / "lockship.toml").write_text(
        f'name = "a"\nversion = "1"\n[python]\nversion = "{MINOR}"\n'
        'requirements = ["requirements.in"]\nallow-build = ["B_eta"]\n'
    )
    project = load_project(tmp_path / "lockship.toml")
    with pytest.raises(LockshipError, match="cannot read"):
        project_environment(project, python)
    sha = "0" * 64
    (tmp_path / "requirements.lock").write_text(
        f"alpha==1.0 \\\n    --hash=sha256:{sha}\nb-eta==2.0 ; sys_platform == 'linux' \\\n    --hash=sha256:{sha}\n"
        f"gamma==3.0 ; sys_platform == 'win32' \\\n    --hash=sha256:{sha}\n"
    )
    found = project_environment(project, python)
    assert [(one.name, one.version) for one in found.packages] == [("alpha", "1.0"), ("b-eta", "2.0")]
    assert found.from_source == ("b-eta",)


def test_a_project_without_requirements(tmp_path: Path, python: HostPython) -> None:
    (tmp_path / "lockship.toml").write_text('name = "a"\nversion = "1"\n')
    with pytest.raises(ModelError, match="neither requirements nor a conda environment"):
        project_environment(load_project(tmp_path / "lockship.toml"), python)


def test_a_python_that_is_not_there(context: Context) -> None:
    with pytest.raises(ModelError, match=r"has no Python 3\.99") as caught:
        find_python("3.99", Context(context.cache, {"PATH": "/nowhere"}), Indexes())
    assert "uv python install 3.99" in str(caught.value.hint)
    with pytest.raises(ModelError, match=r"under Python 3\.10 and newer"):
        find_python("3.8", context, Indexes())


# which onnxruntime a consumer has

LINUX = "manylinux_2_27_x86_64.manylinux_2_28_x86_64"


def host(version: str) -> HostPython:
    return HostPython(Path(f"/usr/bin/python{version}"), Target(Platform("linux", "amd64"), f"{version}.1", "2.36"))


def offers(*names: str) -> list[IndexFile]:
    return [
        IndexFile(f"onnxruntime-{one}-{LINUX}.whl", "http://x/", Digest.of(one.encode()), 1, False, "", "http://x/")
        for one in names
    ]


FILES = offers(
    "1.17.1-cp311-cp311", "1.17.3-cp311-cp311", "1.14.1-cp310-cp310", "1.17.4-cp39-cp39", "1.18.0rc1-cp311-cp311"
)


@pytest.mark.parametrize(
    ("consumer", "version", "python"),
    [
        ("ort-1.17", "1.17.3", "3.11"),
        ("java-1.17.1", "1.17.1", "3.11"),
        ("java-1.17.9", "1.17.3", "3.11"),  # Maven has other patches
        ("ort-1.14", "1.14.1", "3.10"),
        ("dotnet-1.17.4", None, None),
        ("java-1.16", None, None),
    ],
)
def test_the_newest_patch_that_a_python_here_takes(consumer: str, version: str | None, python: str | None) -> None:
    found = newest_fitting(parse_consumer(consumer), FILES, host("3.11"), lambda: [host("3.12"), host("3.10")])
    got = (None, None) if found is None else (found[0], found[2].target.minor)
    assert got == (version, python)


def test_a_release_that_never_was() -> None:
    with pytest.raises(ProjectError, match=r"ort-1\.18: no onnxruntime 1\.18 was ever released") as caught:
        newest_fitting(parse_consumer("ort-1.18"), FILES, host("3.11"), list)
    assert "1.14, 1.17" in str(caught.value.hint)


def test_what_was_found_is_remembered_for_when_no_index_is_there(
    index: Index, python: HostPython, context: Context
) -> None:
    tag = f"cp{MINOR.replace('.', '')}"
    for release, abi in (("1.17.3", tag), ("1.16.3", "cp39")):
        make_wheel(
            index.folder, "onnxruntime", release, {"onnxruntime.py": b""}, tag=f"{abi}-{abi}-manylinux_2_17_x86_64"
        )
    here, nowhere = Indexes(default=index.simple), Indexes(default="http://127.0.0.1:1/simple")
    for consumer, version in (("ort-1.17", "1.17.3"), ("ort-1.16", None)):
        wanted = parse_consumer(consumer)
        with pytest.raises(StoreError, match="cannot find onnxruntime"):
            runtime_for(wanted, python, list, context, nowhere)
        found = runtime_for(wanted, python, list, context, here)
        assert (found.version, found.notice is None) == (version, version is not None)
        assert runtime_for(wanted, python, list, context, nowhere) == found
