"""A plan to a store: whatever the store lacks is found or made, verified, and written; tags last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from builder.content import Descriptor, Digest, Platform
from builder.errors import VerificationError
from builder.image.index import Plan
from builder.layers.recipe import Layer, Recipe
from builder.lock import debian, indexes
from builder.lock.fetch import fetch_wheels
from builder.lock.pins import Artifact
from builder.pipeline.context import Context
from builder.pipeline.making import interpreter_for
from builder.pipeline.planning import Prepared, prepare
from builder.project import Project
from builder.registry.layout import Layout
from builder.registry.store import Store
from builder.work import make_all

__all__ = ["Built", "build", "build_prepared", "open_store"]


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
        _make(prepared, context, missing)
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


def _make(prepared: Prepared, context: Context, missing: Sequence[Layer]) -> None:
    """Put the blobs of locked layers into the cache: those there already stay, the rest is fetched and made."""
    wanted = [
        prepared.recipes[layer.digest]
        for layer in missing
        if layer.digest in prepared.recipes and context.cache.blob(layer.digest) is None
    ]
    if not wanted:
        return
    fetch_artifacts(prepared, context, wanted)
    interpreter = interpreter_for(prepared.project, prepared.lock, context, wanted)
    made = make_all(wanted, context.cache, interpreter, context.progress)
    expected = {recipe.key: digest for digest, recipe in prepared.recipes.items()}
    for recipe in wanted:
        if made[recipe.key].digest != expected[recipe.key]:
            raise VerificationError(
                f"layer {recipe.title} came out as {made[recipe.key].digest}, the lock says {expected[recipe.key]}",
                hint="the lock was made by a lockship that builds layers differently; run `lockship lock`",
            )


def fetch_artifacts(prepared: Prepared, context: Context, recipes: Sequence[Recipe]) -> None:
    """Every artifact of `recipes` into the cache."""
    digests = {part.artifact for recipe in recipes for part in recipe.parts}
    wheels: dict[Digest, Artifact] = {}
    for pinned in prepared.lock.platforms:
        debs = [one for one in pinned.debs if one.digest in digests and context.cache.blob(one.digest) is None]
        if debs:
            debian.fetch_debs(
                debs,
                prepared.project.image,
                pinned.platform,
                context.cache,
                root=prepared.project.root,
                environ=context.environ,
                progress=context.progress,
            )
        wheels.update({one.digest: one for one in pinned.wheels if one.digest in digests})
    lacking = [one for one in wheels.values() if context.cache.blob(one.digest) is None]
    if lacking:
        fetch_wheels(
            lacking,
            indexes=indexes.from_environment(context.environ),
            cache=context.cache,
            progress=context.progress,
            project=prepared.project,
        )


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
    """A layer of the project's own files: through the cache, because a store wants to know the digest first."""
    with context.cache.writer() as writer:
        prepared.local[layer.digest].write(writer)
        try:
            digest = writer.commit(layer.digest)
        except VerificationError as error:
            raise VerificationError(
                f"the files of layer {layer.title} changed while it was built", hint="run `lockship build` again"
            ) from error
    path = context.cache.blob(digest)
    assert path is not None
    store.add_file(Descriptor(layer.media_type, layer.digest, layer.size), path)
    context.cache.forget(digest)
