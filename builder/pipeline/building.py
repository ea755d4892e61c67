"""A plan to a store: whatever the store lacks is found or made, verified, and written; tags last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from builder.cache import Cache
from builder.content import Digest, Platform
from builder.errors import ArtifactError, VerificationError
from builder.image.index import Plan
from builder.layers.recipe import Layer
from builder.pipeline.context import Context
from builder.pipeline.planning import Prepared, prepare
from builder.project import Project
from builder.registry.layout import Layout
from builder.registry.store import Store

__all__ = ["Built", "blob_of", "build", "build_prepared", "open_store"]


@dataclass(frozen=True, slots=True)
class Built:
    """What a build left in the store: the plan, how many layers were written, and whether the tag moved.

    `previous` is the digest that the tag had before, when it was another one.
    """

    plan: Plan
    tag: str
    written: tuple[Layer, ...]
    previous: Digest | None
    warnings: tuple[str, ...] = ()


def open_store(project: Project) -> Layout:
    """The project's own layout, `.lockship/store`."""
    return Layout(project.root / ".lockship" / "store", name=project.name)


def build(
    project: Project, context: Context, platforms: Sequence[Platform] | None = None, *, store: Store | None = None
) -> Built:
    """Build what `plan` plans; the index has the plan's digest, or the build fails with VerificationError.

    The store ends up with every blob, manifest and index, and the version's tag; a build that is interrupted leaves
    no tag that can't be pulled, and the next one goes on.
    """
    prepared = prepare(project, context, platforms)
    return build_prepared(prepared, context, store or open_store(project))


def build_prepared(prepared: Prepared, context: Context, store: Store) -> Built:
    """As `build`, from a plan that was made already."""
    plan = prepared.plan
    tag = plan.facts.version
    previous = store.tags().get(tag)
    missing = _missing(plan, store)
    if missing:
        from builder.pipeline.remaking import make_missing  # heavy, and needed seldom

        make_missing(prepared, context, missing)
        _write(prepared, context, missing, store)
    for image in plan.images:
        store.write_blob(image.config_descriptor, [image.config])
        store.put_manifest(image.descriptor, image.manifest)
    store.put_manifest(plan.descriptor, plan.index, tag=tag, move=True)
    moved = previous if previous not in (None, plan.descriptor.digest) else None
    return Built(plan, tag, tuple(missing), moved, prepared.warnings)


def _missing(plan: Plan, store: Store) -> list[Layer]:
    """Layers that the store lacks, each once, in the plan's order."""
    layers = {layer.digest: layer for image in plan.images for layer in image.layers}
    return [layer for digest, layer in layers.items() if not store.has_blob(digest)]


def _write(prepared: Prepared, context: Context, missing: Sequence[Layer], store: Store) -> None:
    with context.progress.task("writing layers", sum(layer.size for layer in missing)) as task:
        for layer in missing:
            if layer.digest in prepared.local:
                _write_local(prepared, context, layer, store)
            else:
                path = context.cache.blob(layer.digest)
                assert path is not None
                store.add_file(layer.descriptor, path)
            task.advance(layer.size)


def _write_local(prepared: Prepared, context: Context, layer: Layer, store: Store) -> None:
    """A layer of the project's own files: through a file, because a store wants to know the digest first."""
    with blob_of(prepared, context, [layer]) as paths:
        store.add_file(layer.descriptor, paths[layer.digest])


@contextmanager
def blob_of(prepared: Prepared, context: Context, layers: Sequence[Layer]) -> Iterator[dict[Digest, Path]]:
    """The files of `layers` for as long as the context lasts: made layers from the cache, the project's own anew."""
    with context.cache.passing() as passing:  # not among the blobs that others may be using or letting go
        for layer in layers:
            if layer.digest in prepared.local:
                _make_local(prepared, passing, layer)
        paths = {layer.digest: passing.blob(layer.digest) or context.cache.blob(layer.digest) for layer in layers}
        yield {digest: path for digest, path in paths.items() if path is not None}


def _make_local(prepared: Prepared, passing: Cache, layer: Layer) -> None:
    with passing.writer() as writer:
        try:
            prepared.local[layer.digest].write(writer)
            writer.commit(layer.digest)
        except (VerificationError, ArtifactError) as error:
            raise VerificationError(
                f"the files of layer {layer.title} changed while it was built", hint="run `lockship build` again"
            ) from error
