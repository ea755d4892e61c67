"""From a registry into an engine and a run, without a project."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.content import Digest
from builder.deploy.docker import Engine, connect
from builder.errors import ProjectError, StoreError, VerificationError
from builder.layers import tar
from builder.pipeline.context import Context
from builder.pipeline.copying import copy
from builder.pipeline.loading import load_image
from builder.pipeline.stores import open_registry
from builder.project import Project
from builder.registry.layout import Layout
from builder.registry.reference import Reference, parse_repository
from tests.pipeline.test_pulling import lockship
from tests.support import proxy
from tests.support.images import put_image
from tests.support.layers import host_programs, put_layer
from tests.support.progress import Heard
from tests.support.registry import RegistryServer

pytestmark = pytest.mark.engine


@pytest.fixture
def context(engine: str, tmp_path: Path) -> Context:
    return Context(Cache(tmp_path / "cache"), {"HOME": str(tmp_path), "DOCKER_HOST": engine}, Heard())


@pytest.fixture
def docker_engine(engine: str) -> Iterator[Engine]:
    connected = connect({"DOCKER_HOST": engine})
    yield connected
    connected.close()


@pytest.fixture
def shell(registry: RegistryServer, context: Context, docker_engine: Engine, tmp_path: Path) -> Iterator[Reference]:
    """Two versions of an image with a shell, of three layers each, in a registry: they differ in the last one."""
    reference = Reference(parse_repository(f"{registry.host}/loading/{uuid.uuid4().hex}"), "1.0")
    local = Layout(tmp_path / "local")
    unique = uuid.uuid4().hex
    common = [
        put_layer(local, "system", host_programs("sh", "cat"), ("shell", "1")),
        put_layer(local, "wheel", [tar.file("opt/unique", unique.encode())], ("unique", "1")),
    ]
    project = {"name": "shell", "image": {"command": ["sh", "-c", 'cat /version; echo "$0 $@"']}}
    with open_registry(reference.repository, context, push=True) as opened:
        for version in ("1.0", "2.0"):
            code = put_layer(local, "code", [tar.file("version", f"{version} {unique}\n".encode())], ("code", ""))
            put_image(local, Project.model_validate({**project, "version": version}), [*common, code], version)
            copy(local, opened, version, tag=version)
    yield reference
    for image in docker_engine.api.images():
        if any(unique[:8] in tag or reference.repository.name in tag for tag in image["RepoTags"] or []):
            docker_engine.api.remove_image(image["Id"], force=True)


def test_load_by_reference_names_the_image_as_docker_does(
    shell: Reference, context: Context, docker_engine: Engine
) -> None:
    loaded = load_image(str(shell), None, context)
    assert loaded.name == str(shell)
    found = docker_engine.api.inspect_image(str(shell))
    assert found["Id"] == loaded.image_id
    assert found["RepoTags"] == [str(shell)]


def test_only_layers_that_the_engine_lacks_are_fetched(
    shell: Reference, context: Context, docker_engine: Engine
) -> None:
    first = load_image(str(shell), None, context)
    with proxy.fault_proxy(shell.repository.host) as between:
        second = Reference(parse_repository(f"{between.host}/{shell.repository.name}"), "2.0")
        loaded = load_image(str(second), None, context)
        assert loaded.image_id != first.image_id
        if not docker_engine.containerd:
            assert len(between.asked("GET", "/blobs/")) == 2  # the configuration, and one layer
        between.clear()
        load_image(str(second), None, context)
        assert len(between.asked("GET", "/blobs/")) == 1  # the configuration


def test_by_digest_and_by_a_name_that_is_not_there(shell: Reference, context: Context, docker_engine: Engine) -> None:
    with open_registry(shell.repository, context) as opened:
        digest = opened.resolve("1.0")
    loaded = load_image(f"{shell.repository}@{digest}", None, context)
    try:
        assert loaded.name is None
    finally:
        docker_engine.api.remove_image(loaded.image_id, force=True)
    with pytest.raises(StoreError, match=r"no tag '3\.0'") as caught:
        load_image(f"{shell.repository}:3.0", None, context)
    assert caught.value.hint == "there: 1.0, 2.0"


def test_a_version_comes_from_the_projects_store_or_its_registry(
    shell: Reference, context: Context, tmp_path: Path, docker_engine: Engine
) -> None:
    project = Project.model_validate({"name": "shell", "version": "2.0", "root": tmp_path})
    with pytest.raises(StoreError, match=r"no tag '1\.0'"):
        load_image("1.0", project, context)
    with pytest.raises(ProjectError, match="names no registry"):
        load_image(f"@{Digest.of(b'x')}", project, context)
    named = Project.model_validate(
        {"name": "shell", "version": "2.0", "root": tmp_path, "store": {"repository": str(shell.repository)}}
    )
    assert load_image("1.0", named, context).name == str(shell)
    with open_registry(shell.repository, context) as opened:
        copy(opened, Layout(tmp_path / ".lockship/store"), "1.0", tag="1.0")
    local = load_image("1.0", project, context)
    assert local.name == "shell:1.0"
    docker_engine.api.remove_image("shell:1.0")


def test_a_damaged_layer_is_no_image(
    shell: Reference, context: Context, registry: RegistryServer, docker_engine: Engine
) -> None:
    with open_registry(shell.repository, context) as opened:
        manifest = opened.manifest("1.0")
        assert manifest is not None
        entries = json.loads(manifest.data).get("manifests")
        child = opened.manifest(Digest(entries[0]["digest"])) if entries else manifest
        assert child is not None
        layer = json.loads(child.data)["layers"][2]
    file = registry.blob_file(layer["digest"])
    data = file.read_bytes()
    file.write_bytes(data[:-1] + b"!")
    try:
        with pytest.raises(VerificationError, match="came as sha256"):
            load_image(str(shell), None, context)
    finally:
        file.write_bytes(data)
    assert docker_engine.api.images(str(shell)) == []


def test_the_commands(shell: Reference, engine: str, tmp_path: Path) -> None:
    environ = {"DOCKER_HOST": engine}
    loaded = lockship("load", str(shell), "--json", cwd=tmp_path, environ=environ)
    assert loaded.returncode == 0, loaded.stderr
    document = json.loads(loaded.stdout)
    assert (document["schema"], document["name"]) == ("dev.lockship.load/v1", str(shell))
    run = lockship("run", "--image", str(shell), "--", "a", "b c", cwd=tmp_path, environ=environ)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[0].startswith("1.0 ")
    assert run.stdout.splitlines()[1] == "a b c"
    missing = lockship("run", "--image", f"{shell.repository}:9", cwd=tmp_path, environ=environ)
    assert missing.returncode == 5
    assert "no tag '9'" in missing.stderr
