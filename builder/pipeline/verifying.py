"""Does it build again? From nothing but the lock and the sources, with a cold cache, blob by blob."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from builder.cache import Cache
from builder.content import Descriptor, Digest, Platform
from builder.errors import StoreError, VerificationError
from builder.files import temporary_folder
from builder.image.index import Plan
from builder.image.layer import first_difference
from builder.image.stored import read_release
from builder.layers.make import known
from builder.layers.recipe import Layer
from builder.pipeline.artifacts import seed
from builder.pipeline.building import build_prepared
from builder.pipeline.context import Context
from builder.pipeline.making import interpreter_for
from builder.pipeline.planning import Prepared, prepare
from builder.pipeline.remaking import fetch_artifacts
from builder.pipeline.stores import open_store
from builder.project import Project
from builder.registry.layout import Layout
from builder.registry.store import Store
from builder.work import make_all

__all__ = ["Verified", "verify"]


@dataclass(frozen=True, slots=True)
class Verified:
    """What was built again, and how much of it was compared: blobs and bytes."""

    plan: Plan
    blobs: int
    size: int
    stored: bool


def verify(
    project: Project, context: Context, platforms: Sequence[Platform] | None = None, *, offline: bool = False
) -> Verified:
    """Build everything again in a fresh folder and compare each blob with the lock and with the project's store.

    Packages are fetched anew or, `offline`, taken from the cache, their digests checked again; layers are made anew in
    any case. Raises VerificationError with the first difference (layer, path and field), StoreError when the cache
    lacks what is needed offline.
    """
    with temporary_folder("lockship-verify-") as folder:
        fresh = context.with_cache(Cache(folder / "cache"))
        prepared = prepare(project, fresh, platforms)
        if offline:
            seed(prepared.lock, [image.platform for image in prepared.plan.images], context, fresh)
        store = open_store(project)
        _remake(prepared, fresh, store)
        rebuilt = Layout(folder / "store", name=project.name)
        build_prepared(prepared, fresh, rebuilt)
        descriptors = _descriptors(prepared.plan)
        stored = store.tags().get(prepared.plan.facts.version)
        if stored is not None and len(prepared.plan.images) == len(project.image.platforms):
            _compare_stored(prepared.plan, store, stored, rebuilt)
        for descriptor in descriptors:
            _read_whole(rebuilt, descriptor)
            if stored is not None and store.has_blob(descriptor.digest):
                _read_whole(store, descriptor)
        return Verified(prepared.plan, len(descriptors), sum(one.size for one in descriptors), stored is not None)


def _remake(prepared: Prepared, fresh: Context, store: Layout) -> None:
    """Every locked layer made anew, and compared with what the lock says of it."""
    recipes = list(prepared.recipes.values())
    fetch_artifacts(prepared, fresh, recipes)
    interpreter = interpreter_for(prepared.project, prepared.lock, fresh, recipes)
    make_all(recipes, fresh.cache, interpreter, fresh.progress)
    layers = {layer.digest: layer for image in prepared.plan.images for layer in image.layers}
    for digest, recipe in prepared.recipes.items():
        made = known(recipe, fresh.cache)
        assert made is not None
        if made.digest != digest:
            raise VerificationError(
                f"layer {recipe.title} came out as {made.digest}, the lock says {digest}"
                + _difference(layers[digest], store, made.digest, fresh.cache),
                hint="if this lockship is another version than the one that locked, lock again; otherwise report it",
            )


def _difference(layer: Layer, store: Layout, made: Digest, cache: Cache) -> str:
    """The first path and field that differ, where the store still has the old bytes."""
    path = cache.blob(made)
    if path is None or not store.has_blob(layer.digest):
        return ""
    try:
        with path.open("rb") as new:
            found = first_difference(store.read_blob(layer.digest), iter(lambda: new.read(1 << 20), b""))
    except (StoreError, VerificationError):
        return ""
    return f": {found}" if found else ""


def _compare_stored(plan: Plan, store: Store, stored: Digest, rebuilt: Store) -> None:
    if stored == plan.descriptor.digest:
        return
    found = _first_of_images(plan, store, stored, rebuilt)
    raise VerificationError(
        f"{plan.facts.name}:{plan.facts.version} in the store is not what the sources give: {found}",
        hint="`lockship plan` shows all that differs; `lockship build` brings the store up to date",
    )


def _first_of_images(plan: Plan, store: Store, stored: Digest, rebuilt: Store) -> str:
    release = read_release(store, stored)
    assert release is not None
    for image in plan.images:
        before = release.images.get(image.platform)
        if before is None:
            return f"it has no image for {image.platform}"
        for part, layer in zip_longest(before.parts, image.layers):
            if part is None or layer is None:
                return f"{image.platform} has {len(before.parts)} layers, {len(image.layers)} come from the sources"
            what = f"layer {layer.kind} {layer.title}"
            if part.kind != layer.kind or [name for name, _ in part.holds] != [name for name, _ in layer.holds]:
                return f"{what} is another one ({part.kind}: {', '.join(name for name, _ in part.holds)})"
            if part.digest != layer.digest:
                old, new = store.read_blob(part.digest), rebuilt.read_blob(layer.digest)
                return first_difference(old, new, what=what) or f"{what} differs"
        if (found := _first_field(dict(before.config), json.loads(image.config))) is not None:
            return f"the configuration of {image.platform}: {found}"
    return f"its index is {stored}, the sources give {plan.descriptor.digest}"


def _first_field(old: Any, new: Any, path: str = "") -> str | None:
    """The first field in which two JSON values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if found := _first_field(old.get(key), new.get(key), f"{path}.{key}".lstrip(".")):
                return found
        return None
    return None if old == new else f"{path} is {json.dumps(old)[:200]}, not {json.dumps(new)[:200]}"


def _descriptors(plan: Plan) -> list[Descriptor]:
    found = {plan.descriptor.digest: plan.descriptor}
    for image in plan.images:
        found[image.descriptor.digest] = image.descriptor
        found[image.config_descriptor.digest] = image.config_descriptor
        for layer in image.layers:
            found[layer.digest] = layer.descriptor
    return list(found.values())


def _read_whole(store: Store, descriptor: Descriptor) -> None:
    """Reading verifies."""
    for _ in store.read_blob(descriptor.digest):
        pass
