"""Locked layers that this machine doesn't have: artifacts are fetched, layers made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from builder.content import Digest
from builder.errors import VerificationError
from builder.layers.recipe import Layer, Recipe
from builder.lock.file import Lock
from builder.lock.pins import Artifact
from builder.pipeline.context import Context
from builder.pipeline.making import interpreter_for
from builder.project import Project
from builder.registry.reference import Repository
from builder.work import make_all, workers

__all__ = ["Makings", "fetch_artifacts", "make_missing"]


class Makings(Protocol):
    """What of a `Prepared` it takes to make its locked layers."""

    @property
    def project(self) -> Project:
        """The project: where its packages come from."""

    @property
    def lock(self) -> Lock:
        """The lock."""

    @property
    def recipes(self) -> Mapping[Digest, Recipe]:
        """How each layer is made."""

    @property
    def sources(self) -> Mapping[Digest, Repository]:
        """Where a base image's own layers are."""


def make_missing(
    prepared: Makings, context: Context, missing: Sequence[Layer], locations: Mapping[Digest, str] | None = None
) -> None:
    """Put the blobs of locked layers into the cache: sound ones stay, the rest is fetched and made.

    A base image's own layers come from its repository. `locations` say where some debs were just seen.
    """
    if below := [layer for layer in missing if layer.digest in prepared.sources]:
        from builder.pipeline import bases  # heavy

        bases.fetch_missing(prepared.project, prepared.lock, context, {layer.digest for layer in below})
    locked = [layer for layer in missing if layer.digest in prepared.recipes]
    with ThreadPoolExecutor(workers()) as pool:
        sound = list(pool.map(lambda layer: _is_sound(layer, context), locked))
    wanted = [prepared.recipes[layer.digest] for layer, fine in zip(locked, sound, strict=True) if not fine]
    if not wanted:
        return
    fetch_artifacts(prepared, context, wanted, locations)
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


def fetch_artifacts(
    prepared: Makings, context: Context, recipes: Sequence[Recipe], locations: Mapping[Digest, str] | None = None
) -> None:
    """Every artifact of `recipes` into the cache; `locations` say where some debs were just seen."""
    needed = {part.artifact for recipe in recipes for part in recipe.parts}
    lacking = {digest for digest in needed if digest is not None and context.cache.blob(digest) is None}
    if not lacking:
        return
    from builder.pipeline import fetching  # heavy

    wheels: dict[Digest, Artifact] = {}
    conda: dict[Digest, Artifact] = {}
    jars: dict[Digest, Artifact] = {}
    for pinned in prepared.lock.platforms:
        if debs := [one for one in pinned.debs if one.digest in lacking]:
            fetching.fetch_missing_debs(prepared.project, context, pinned.platform, debs, locations)
        wheels.update({one.digest: one for one in pinned.wheels if one.digest in lacking})
        conda.update({one.digest: one for one in pinned.conda if one.digest in lacking})
        jars.update({one.digest: one for one in pinned.jars if one.digest in lacking})
    fetching.fetch_missing_conda(prepared.project, context, conda.values())
    fetching.fetch_missing_jars(prepared.project, context, jars.values())
    fetching.fetch_missing_wheels(prepared.project, context, wheels.values())
