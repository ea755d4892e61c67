"""From the store to a running container."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from builder.deploy import docker
from builder.deploy.engine import Engine, connect
from builder.deploy.run import Streams
from builder.deploy.run import run as run_container
from builder.pipeline.building import Built, build_prepared
from builder.pipeline.context import Context
from builder.pipeline.planning import prepare
from builder.pipeline.stores import open_store
from builder.project import Project

__all__ = ["Loaded", "load", "run"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """An image in an engine: its name there, its id, and the build that it came from."""

    built: Built
    name: str
    image_id: str


def load(project: Project, context: Context) -> Loaded:
    """Bring the project's image, built if need be, into the Docker engine that the environment leads to.

    Raises StoreError when no engine answers.
    """
    engine = connect(context.environ)
    try:
        return _load(project, context, engine)
    finally:
        engine.close()


def _load(project: Project, context: Context, engine: Engine) -> Loaded:
    prepared = prepare(project, context)
    store = open_store(project)
    built = build_prepared(prepared, context, store)
    name = f"{project.name}:{built.tag}"
    image = docker.image_in(store, built.plan.descriptor.digest, engine.platform)
    image_id = docker.load(engine, store, image, [name], context.progress)
    return Loaded(built, name, image_id)


def run(
    project: Project,
    context: Context,
    arguments: Sequence[str],
    *,
    streams: Streams,
    env: Mapping[str, str],
    volumes: Sequence[str],
    ports: Mapping[int, int],
) -> int:
    """Run the project's command, with `arguments` behind it, in the engine; its exit status.

    The image is built and loaded first if need be. Raises StoreError when no engine answers.
    """
    engine = connect(context.environ)
    try:
        loaded = _load(project, context, engine)
        command = [*project.image.command, *arguments] if arguments else None
        return run_container(engine, loaded.image_id, command, streams=streams, env=env, volumes=volumes, ports=ports)
    finally:
        engine.close()
