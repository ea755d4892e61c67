"""From a registry, or from a store that has it, straight into an engine: no project, nothing kept on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from builder.content import Digest
from builder.deploy import docker
from builder.deploy.engine import Engine, connect
from builder.deploy.run import Streams
from builder.deploy.run import run as run_container
from builder.parallel import Stop
from builder.pipeline.ahead import Ahead
from builder.pipeline.context import Context
from builder.pipeline.copying import missing
from builder.pipeline.naming import is_short, named, parse_digest
from builder.pipeline.stores import open_registry, open_store
from builder.project import Project
from builder.registry.reference import is_tag
from builder.registry.store import Store

__all__ = ["Fetched", "load_image", "run_image"]


@dataclass(frozen=True, slots=True)
class Fetched:
    """An image in an engine: its name there (None for one that was named by its digest), its id, its manifest."""

    name: str | None
    image_id: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class _Found:
    """Where an image is: `far` behind a network; `where` is that for people."""

    store: Store
    where: str
    selector: Digest | str
    name: str | None
    far: bool


def load_image(reference: str, project: Project | None, context: Context) -> Fetched:
    """Bring the image that `reference` names into the Docker engine that the environment leads to.

    In full, from its registry, under the name that ``docker pull`` gives; or a version alone, from the store of
    `project` or else its registry. Only layers that the engine lacks are fetched. Raises StoreError when no engine or
    registry answers or the image isn't there.
    """
    engine = connect(context.environ)
    try:
        return _load(engine, reference, project, context)
    finally:
        engine.close()


def run_image(
    reference: str,
    project: Project | None,
    context: Context,
    arguments: Sequence[str],
    *,
    streams: Streams,
    env: Mapping[str, str],
    volumes: Sequence[str],
    ports: Mapping[int, int],
) -> int:
    """Run the image's own command, with `arguments` behind it, in the engine; its exit status. See `load_image`."""
    engine = connect(context.environ)
    try:
        image = _load(engine, reference, project, context).image_id
        command = docker.command_of(engine, image, arguments) if arguments else None
        return run_container(engine, image, command, streams=streams, env=env, volumes=volumes, ports=ports)
    finally:
        engine.close()


def _load(engine: Engine, reference: str, project: Project | None, context: Context) -> Fetched:
    stop = Stop()
    with _find(reference, project, context, stop) as found:
        manifest = found.store.manifest(found.selector)
        if manifest is None:
            raise missing(found.store, found.selector, found.where)
        image = docker.image_of(found.store, manifest, engine.platform, what=reference)
        tags = [found.name] if found.name else []
        if not found.far:
            image_id = docker.load(engine, found.store, image, tags, context.progress)
        else:
            with Ahead(found.store, image.layers, stop) as ahead:
                image_id = docker.load(engine, ahead, image, tags, context.progress)
    return Fetched(found.name, image_id, image.manifest.descriptor.digest)


@contextmanager
def _find(reference: str, project: Project | None, context: Context, stop: Stop) -> Iterator[_Found]:
    """The store that has it: the project's own, if that is so, else a registry."""
    if project is not None and is_short(reference):
        layout = open_store(project)
        tag = is_tag(reference)
        selector = reference if tag else parse_digest(reference)
        here = layout.manifest(selector) is not None
        if here or (tag and project.store.repository is None):
            yield _Found(
                layout, "the project's store", selector, f"{project.name}:{reference}" if tag else None, far=False
            )
            return
    full = named(reference, project, context)
    name = f"{full.repository}:{full.tag}" if full.tag else None
    plain_http = project.store.plain_http if project else ()
    with open_registry(full.repository, context, plain_http=plain_http, stop=stop) as registry:
        yield _Found(registry, str(full.repository), full.selector, name, far=True)
