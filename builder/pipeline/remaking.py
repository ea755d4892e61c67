"""Locked layers that this machine doesn't have: artifacts are fetched, layers made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from builder.content import Digest
from builder.errors import VerificationError
from builder.layers.recipe import Layer, Recipe
from builder.lock import debian, indexes
from builder.lock.fetch import fetch_wheels
from builder.lock.pins import Artifact
from builder.pipeline.context import Context
from builder.pipeline.making import interpreter_for
from builder.pipeline.planning import Prepared
from builder.project import Project
from builder.work import make_all, workers

__all__ = ["fetch_artifacts", "fetch_missing_wheels", "make_missing"]


def make_missing(prepared: Prepared, context: Context, missing: Sequence[Layer]) -> None:
    """Put the blobs of locked layers into the cache: sound ones stay, the rest is fetched and made."""
    locked = [layer for layer in missing if layer.digest in prepared.recipes]
    with ThreadPoolExecutor(workers()) as pool:
        sound = list(pool.map(lambda layer: _is_sound(layer, context), locked))
    wanted = [prepared.recipes[layer.digest] for layer, fine in zip(locked, sound, strict=True) if not fine]
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


def _is_sound(layer: Layer, context: Context) -> bool:
    """Whether the cache has the layer, and its bytes are what they were."""
    try:
        return context.cache.checked(layer.digest) is not None
    except VerificationError as error:
        context.progress.warn(f"{error.message}; {layer.title} is made again")
        return False


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
    fetch_missing_wheels(prepared.project, context, wheels.values())


def fetch_missing_wheels(project: Project, context: Context, wheels: Iterable[Artifact]) -> None:
    """Those of `wheels` that the cache lacks, from the indexes that this machine knows."""
    lacking = [one for one in wheels if context.cache.blob(one.digest) is None]
    if lacking:
        fetch_wheels(
            lacking,
            indexes=indexes.from_environment(context.environ),
            cache=context.cache,
            progress=context.progress,
            project=project,
            environ=context.environ,
        )
