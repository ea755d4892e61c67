"""What turns a lock's artifacts into layers: the recipes, and the interpreter that compiles byte code."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from builder.cache import Cache
from builder.content import Platform
from builder.errors import ArtifactError, LockError
from builder.layers import conda, deb, wheel
from builder.layers.bytecode import Interpreter
from builder.layers.make import known
from builder.layers.recipe import Recipe
from builder.lock.file import Lock, LockedPlatform
from builder.lock.pins import Artifact
from builder.pipeline.context import Context, host_platform
from builder.pipeline.recipes import conda_part, minor, part_of
from builder.project import Project

__all__ = ["interpreter_debs", "interpreter_for", "refuse_clashes"]

# What python needs to start and to compile: its two minimal packages and the libraries those are linked with.
_INTERPRETER = re.compile(r"(lib)?python3\.\d+-minimal|libc6|libexpat1|zlib1g|libcrypt1|libgcc-s1")


def interpreter_for(project: Project, lock: Lock, context: Context, recipes: Iterable[Recipe]) -> Interpreter | None:
    """The base's python, unpacked for this machine, if one of `recipes` has yet to be made and wants byte code.

    Raises LockError when this machine can't run any interpreter of the lock.
    """
    if not any(_compiles(recipe) and not _made(recipe, context) for recipe in recipes):
        return None
    if lock.base_digest is not None:
        from builder.pipeline import bases  # heavy, and most bases are put together from packages

        interpreter = bases.interpreter_of(project, lock, context)
        if interpreter is None:
            raise _cannot_run()
        return interpreter
    host = host_platform()
    debs = _interpreter_of(lock, host)
    if host is None or not debs:
        raise _cannot_run()
    key = hashlib.sha256("".join(sorted(one.digest for one in debs)).encode()).hexdigest()
    with context.cache.folder("pythons", key) as (folder, there):
        if not there:
            from builder.pipeline.fetching import fetch_missing_debs  # heavy, and the debs are mostly there

            if any(context.cache.blob(one.digest) is None for one in debs):
                fetch_missing_debs(project, context, host, debs)
            for one in debs:
                path = context.cache.blob(one.digest)
                assert path is not None
                deb.unpack(path, folder)
    return Interpreter(context.cache.root / "pythons" / key, host, minor(lock.platforms[0].python))


def _cannot_run() -> LockError:
    return LockError(
        "byte code is compiled by the base's own python, which doesn't run on this machine",
        hint="set `bytecode = false` under [python], or build on Linux (amd64 or arm64)",
    )


def _compiles(recipe: Recipe) -> bool:
    return any("bytecode" in part.params for part in recipe.parts)


def _made(recipe: Recipe, context: Context) -> bool:
    layer = known(recipe, context.cache)
    return layer is not None and context.cache.blob(layer.digest) is not None


def interpreter_debs(debs: Iterable[Artifact]) -> tuple[Artifact, ...]:
    """Those of `debs` that python needs to start and to compile."""
    return tuple(one for one in debs if _INTERPRETER.fullmatch(one.name))


def _interpreter_of(lock: Lock, host: Platform | None) -> tuple[Artifact, ...]:
    for locked in lock.platforms:
        if locked.platform == host:
            return interpreter_debs(locked.debs)
    return () if host is None else interpreter_debs(lock.interpreters.get(host, ()))


def refuse_clashes(locked: LockedPlatform, cache: Cache) -> None:
    """Raises ArtifactError when two packages own one path with different bytes, or one's file is the other's folder."""
    owners: dict[str, tuple[object, Artifact]] = {}
    folders: dict[str, Artifact] = {}
    for one in (*locked.conda, *locked.wheels):
        for target, mark in _installed_paths(one, locked, cache).items():
            known_mark, owner = owners.setdefault(target, (mark, one))
            if owner is not one and known_mark != mark:
                raise _clash(owner, one, f"install /{target}, with different content")
            parent = target.rpartition("/")[0]
            while parent and parent not in folders:
                folders[parent] = one
                parent = parent.rpartition("/")[0]
    for target in sorted(owners.keys() & folders.keys()):
        raise _clash(owners[target][1], folders[target], f"install /{target}: a file there, a folder here")


def _installed_paths(one: Artifact, locked: LockedPlatform, cache: Cache) -> Mapping[str, object]:
    """Where the files of `one` go, with a mark that equal contents share; nothing for one that the cache lacks."""
    path = cache.blob(one.digest)
    if path is None:
        return {}
    if one.kind == "conda":
        return conda.installed_paths(path, conda_part(one, locked.python))
    return wheel.installed_paths(path, part_of(one, {"python": minor(locked.python)}))


def _clash(one: Artifact, other: Artifact, what: str) -> ArtifactError:
    return ArtifactError(
        f"{one.file} and {other.file} both {what}",
        hint="only one of them can win: leave one package out, or pin versions that don't clash",
    )
