"""A lock's artifacts as recipes of layers. Pure, and light: planning needs no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from builder.layers.order import BASE_LAYERS, CONDA_LAYERS, JAR_LAYERS, PIP_LAYERS, WHEEL_LAYERS, bundle
from builder.layers.recipe import Part, Recipe
from builder.lock.file import LockedPlatform
from builder.lock.pins import Artifact

__all__ = ["conda_part", "is_current", "minor", "part_of", "wheel_and_deb_recipes"]

# Links that their maintainer scripts would make, without which shell scripts don't start, and R doesn't either: the
# shell that ``#!/bin/sh`` names, and ``which``. Part of the layer's key.
_LINKS: Final = {
    "dash": {"links": {"usr/bin/sh": "dash"}},
    "debianutils": {"links": {"usr/bin/which": "which.debianutils"}},
}
# What a conda package's files become; another number where that changed. Part of the layer's key.
_CONDA_REVISION: Final = 2


def minor(version: str) -> str:
    """``3.11`` of ``3.11.2``."""
    return ".".join(version.split(".")[:2])


def wheel_and_deb_recipes(locked: LockedPlatform) -> tuple[Recipe, ...]:
    """The recipes of all locked artifacts, the base's first."""
    code = {"bytecode": locked.bytecode} if locked.bytecode else {}
    params = {"python": minor(locked.python), **code}
    debs = [
        (part_of(one, params if "python3" in one.name else _LINKS.get(one.name, {})), one.size) for one in locked.debs
    ]
    wheels = [(part_of(one, params), one.size) for one in locked.wheels]
    jars = [(part_of(one, {"folder": one.folder}), one.size) for one in locked.jars]
    beside = JAR_LAYERS if jars else 0
    if not locked.conda:
        return (*bundle(debs, BASE_LAYERS), *bundle(wheels, WHEEL_LAYERS - beside), *bundle(jars, JAR_LAYERS))
    conda = [(conda_part(one, locked.python), one.size) for one in locked.conda]
    packages = (*bundle(conda, CONDA_LAYERS - beside), *bundle(wheels, PIP_LAYERS))
    return (*bundle(debs, BASE_LAYERS), *packages, *bundle(jars, JAR_LAYERS))


def conda_part(one: Artifact, python: str) -> Part:
    """A conda package as a part of a layer; only those for any platform depend on the environment's `python`."""
    params: dict[str, Any] = {"channel": one.channel, "revision": _CONDA_REVISION}
    if one.subdir == "noarch" and python:
        params["python"] = minor(python)
    return part_of(one, params)


def is_current(locked: LockedPlatform) -> bool:
    """Whether the lock's layers are those that this version of lockship would make of its artifacts."""
    return [layer.key for layer in locked.layers] == [recipe.key for recipe in wheel_and_deb_recipes(locked)]


def part_of(one: Artifact, params: Mapping[str, Any]) -> Part:
    """An artifact as a part of a layer."""
    return Part(one.kind, one.name, one.version, one.digest, one.file, params)
