"""A lock's artifacts as recipes of layers. Pure, and light: planning needs no more."""

from __future__ import annotations

from builder.layers.order import BASE_LAYERS, CONDA_LAYERS, PIP_LAYERS, WHEEL_LAYERS, bundle
from builder.layers.recipe import Part, Recipe
from builder.lock.file import LockedPlatform
from builder.lock.pins import Artifact

__all__ = ["conda_part", "is_current", "minor", "part_of", "wheel_and_deb_recipes"]


def minor(version: str) -> str:
    """``3.11`` of ``3.11.2``."""
    return ".".join(version.split(".")[:2])


def wheel_and_deb_recipes(locked: LockedPlatform) -> tuple[Recipe, ...]:
    """The recipes of all locked artifacts, the base's first."""
    code = {"bytecode": locked.bytecode} if locked.bytecode else {}
    params = {"python": minor(locked.python), **code}
    debs = [(part_of(one, params if "python3" in one.name else {}), one.size) for one in locked.debs]
    wheels = [(part_of(one, params), one.size) for one in locked.wheels]
    if not locked.conda:
        return (*bundle(debs, BASE_LAYERS), *bundle(wheels, WHEEL_LAYERS))
    conda = [(conda_part(one, locked.python), one.size) for one in locked.conda]
    return (*bundle(debs, BASE_LAYERS), *bundle(conda, CONDA_LAYERS), *bundle(wheels, PIP_LAYERS))


def conda_part(one: Artifact, python: str) -> Part:
    """A conda package as a part of a layer; only those for any platform depend on the environment's `python`."""
    params = {"channel": one.channel}
    if one.subdir == "noarch" and python:
        params["python"] = minor(python)
    return part_of(one, params)


def is_current(locked: LockedPlatform) -> bool:
    """Whether the lock's layers are those that this version of lockship would make of its artifacts."""
    return [layer.key for layer in locked.layers] == [recipe.key for recipe in wheel_and_deb_recipes(locked)]


def part_of(one: Artifact, params: dict[str, str]) -> Part:
    """An artifact as a part of a layer."""
    return Part(one.kind, one.name, one.version, one.digest, one.file, params)
