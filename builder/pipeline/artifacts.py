"""Everything that a lock's images are made from: what must be at hand to build them without a network."""

from __future__ import annotations

from collections.abc import Collection

from builder.content import Digest, Platform
from builder.errors import StoreError
from builder.lock.file import Lock
from builder.lock.pins import Artifact
from builder.pipeline.context import Context
from builder.pipeline.making import interpreter_debs
from builder.project import Project

__all__ = ["fetch_all", "needed", "seed"]


def needed(lock: Lock, platforms: Collection[Platform]) -> tuple[Artifact, ...]:
    """Each artifact once: wheels, conda packages, jars, debs and a base image's layers (kind ``base``) for `platforms`.

    With the debs of an interpreter for every processor that a build may run on.
    """
    found: dict[Digest, Artifact] = {}
    for locked in lock.platforms:
        wanted = locked.platform in platforms
        if locked.base is not None and wanted:
            for layer in locked.base.layers:
                found[layer.digest] = Artifact("base", lock.base, "", "", layer.digest, layer.size)
        debs = locked.debs if wanted else interpreter_debs(locked.debs)
        for one in (*debs, *((*locked.conda, *locked.wheels, *locked.jars) if wanted else ())):
            found[one.digest] = one
    for others in lock.interpreters.values():
        found.update({one.digest: one for one in interpreter_debs(others)})
    return tuple(sorted(found.values(), key=lambda one: (one.kind, one.name, one.file, one.digest)))


def fetch_all(project: Project, lock: Lock, platforms: Collection[Platform], context: Context) -> tuple[Artifact, ...]:
    """As `needed`, with all of them in the cache."""
    wanted = needed(lock, platforms)
    lacking = {one.digest for one in wanted if context.cache.blob(one.digest) is None}
    if not lacking:
        return wanted
    from builder.pipeline import bases, fetching  # heavy

    for platform, debs in (*((one.platform, one.debs) for one in lock.platforms), *lock.interpreters.items()):
        fetching.fetch_missing_debs(project, context, platform, [one for one in debs if one.digest in lacking])
    fetching.fetch_missing_conda(project, context, [one for one in wanted if one.kind == "conda"])
    fetching.fetch_missing_jars(project, context, [one for one in wanted if one.kind == "jar"])
    fetching.fetch_missing_wheels(project, context, [one for one in wanted if one.kind == "wheel"])
    if below := {one.digest for one in wanted if one.kind == "base"} & lacking:
        bases.fetch_missing(project, lock, context, below)
    return wanted


def seed(lock: Lock, platforms: Collection[Platform], context: Context, fresh: Context) -> None:
    """Copy all that is needed into another, empty cache, each hashed on the way.

    Raises StoreError for what this machine's cache lacks.
    """
    wanted = needed(lock, platforms)
    with context.progress.task("reading the cache", sum(one.size for one in wanted)) as task:
        for one in wanted:
            path = context.cache.blob(one.digest)
            if path is None:
                raise StoreError(
                    f"the cache lacks {one.file or one.name} ({one.digest})",
                    hint="import a bundle that holds it (`lockship import bundle`), or go without --offline",
                )
            fresh.cache.adopt(path, one.digest)
            task.advance(one.size)
