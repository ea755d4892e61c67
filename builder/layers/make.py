"""Recipes to layers: looked up by key, or made and put into the cache. Runs in worker processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from builder.cache import Cache
from builder.content import Digest
from builder.errors import ArtifactError
from builder.layers import conda, deb, jar, system, tar, venv, wheel
from builder.layers.bytecode import Interpreter
from builder.layers.encode import encode
from builder.layers.gzip import content_of
from builder.layers.recipe import Layer, Part, Recipe

__all__ = ["entries_of", "known", "make"]


def known(recipe: Recipe, cache: Cache) -> Layer | None:
    """The layer that `recipe` was found to give before, or None; its blob need not be there any more."""
    record = cache.record(recipe.key)
    if record is None:
        return None
    try:
        return _layer(recipe, record)
    except (KeyError, TypeError, ValueError):
        return None


def make(recipe: Recipe, root: Path, interpreter: Interpreter | None) -> Layer:
    """Make the layer of `recipe` into the cache at `root`, from artifacts that are there.

    Raises ArtifactError when an artifact is missing, malformed or hostile, VerificationError when it is not the locked
    one any more.
    """
    cache = Cache(root)
    entries = tar.arrange(_merged([entries_of(part, cache, interpreter) for part in recipe.parts], recipe))
    with cache.writer() as writer:
        try:
            encoded = encode(entries, writer, compress=recipe.parts[0].kind != "jar")
        except ArtifactError as error:
            raise ArtifactError(f"{_names(recipe)}: {error.message}", hint=error.hint) from error
        digest = writer.commit()
    record = {"digest": digest, "size": encoded.size, "diff_id": encoded.diff_id, "media_type": encoded.media_type}
    cache.put_record(recipe.key, record)
    return _layer(recipe, record)


def entries_of(part: Part, cache: Cache, interpreter: Interpreter | None) -> list[tar.Entry]:
    """The entries of one part, not arranged. Raises VerificationError for an artifact that the cache let go bad."""
    if part.kind == "system":
        return system.entries(part)
    if part.kind == "venv":
        return venv.entries(part)
    assert part.artifact is not None
    path = cache.checked(part.artifact)
    if path is None:
        raise ArtifactError(
            f"{part.file}: not in the cache", hint="run `lockship build`, which fetches what is missing"
        )
    compiled = interpreter.compile if interpreter is not None and part.params.get("bytecode") else None
    if part.kind == "deb":
        return deb.entries(path, part, compiled)
    if part.kind == "conda":
        return conda.entries(path, part)
    if part.kind == "jar":
        return jar.entries(path, part)
    return wheel.entries(path, part, compiled)


def _merged(groups: list[list[tar.Entry]], recipe: Recipe) -> list[tar.Entry]:
    """All entries of a bundle; a file that several packages own alike is there once."""
    found: dict[str, tar.Entry] = {}
    for group in groups:
        for entry in group:
            other = found.setdefault(entry.path, entry)
            if other is entry:
                continue
            if other.kind is entry.kind is tar.Kind.FILE and other.mode != entry.mode:
                # what one can run, both can: wheels of one file differ in nothing else
                other = found[entry.path] = replace(other, mode=other.mode | entry.mode)
                entry = replace(entry, mode=other.mode)
            if not _same(other, entry):
                raise ArtifactError(f"{_names(recipe)}: /{entry.path} is in two of them, with different content")
    return list(found.values())


def _same(one: tar.Entry, other: tar.Entry) -> bool:
    if (one.kind, one.mode, one.size, one.link, one.uid, one.gid) != (
        other.kind,
        other.mode,
        other.size,
        other.link,
        other.uid,
        other.gid,
    ):
        return False
    return one.kind is not tar.Kind.FILE or Digest.of_chunks(content_of(one)) == Digest.of_chunks(content_of(other))


def _layer(recipe: Recipe, record: dict[str, Any]) -> Layer:
    holds = tuple((part.name, part.version) for part in recipe.parts)
    return Layer(
        kind=recipe.parts[0].kind,
        digest=Digest(record["digest"]),
        size=int(record["size"]),
        diff_id=Digest(record["diff_id"]),
        holds=holds,
        media_type=str(record["media_type"]),
    )


def _names(recipe: Recipe) -> str:
    return ", ".join(part.file or part.name for part in recipe.parts)
