"""A small image that runs: a shell of this machine with the libraries it needs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.deploy.docker import Engine, Image, connect, image_in, load
from builder.project import Project
from builder.registry.layout import Layout
from tests.support.images import put_image
from tests.support.layers import host_programs, put_layer


@pytest.fixture(scope="session")
def docker_engine(engine: str) -> Iterator[Engine]:
    """A connection to the engine."""
    connected = connect({"DOCKER_HOST": engine})
    yield connected
    connected.close()


@pytest.fixture(scope="session")
def shell_store(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A store with an image that holds a shell, under the tag 1.0; its id is new in every session."""
    store = Layout(tmp_path_factory.mktemp("shell") / "store")
    layer = put_layer(store, "system", host_programs("sh", "cat", "sleep", "env", "stty"), ("shell", "1"))
    labels = {"session": uuid.uuid4().hex}
    image = {"labels": labels, "env": {"FROM_IMAGE": "yes"}, "command": ["sh", "-c", "echo own command"]}
    put_image(store, Project.model_validate({"name": "shell", "version": "1.0", "image": image}), [layer], "1.0")
    return store


@pytest.fixture(scope="session")
def shell(docker_engine: Engine, shell_store: Layout) -> Iterator[str]:
    """The id of that image, loaded."""
    image: Image = image_in(shell_store, "1.0", docker_engine.platform)
    identity = load(docker_engine, shell_store, image, ["lockship-test-shell:1.0"])
    yield identity
    docker_engine.api.remove_image(identity, force=True)


@pytest.fixture
def no_config(tmp_path: Path) -> dict[str, str]:
    """The environment of a user without any configuration of docker."""
    return {"HOME": str(tmp_path)}
