"""Which packages share a layer, and in what order layers stand.

One package, one layer, while the budget lasts. Past it the largest keep a layer of their own, and the rest go into a
fixed number of bundles by the hash of their *name*: a pin that changes moves its own bundle and no other. "Large" is
counted in powers of two, so that a package that grew a little doesn't trade places with another.

The largest layers stand lowest. An engine that keeps layers as a chain, as Docker's classic storage does, knows a layer
only on top of the very same ones: where a layer changes, it fetches and unpacks everything above once more. So what
stands above the many small packages, which move often, should be small.

The base's budget doesn't depend on how many wheels there are: two projects on one base share its layers,
whatever else they install. Nor does that of the wheels depend on how many jars there are, only on whether any are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from builder.layers.recipe import Layer, Part, Recipe

__all__ = [
    "BASE_LAYERS",
    "CONDA_LAYERS",
    "JAR_LAYERS",
    "MAX_LAYERS",
    "PIP_LAYERS",
    "WHEEL_LAYERS",
    "bundle",
    "largest_first",
]

MAX_LAYERS: Final = 100  # overlay file systems stop at about 127; some room for whoever builds on top
BASE_LAYERS: Final = 32
_OTHERS: Final = 8  # system, venv, models, code
WHEEL_LAYERS: Final = MAX_LAYERS - BASE_LAYERS - _OTHERS
PIP_LAYERS: Final = 16  # wheels upon a conda environment, which has what is left
CONDA_LAYERS: Final = WHEEL_LAYERS - PIP_LAYERS
JAR_LAYERS: Final = 24  # taken from the wheels, or from the conda packages
_BUNDLES: Final = 8


def bundle(parts: Iterable[tuple[Part, int]], limit: int) -> tuple[Recipe, ...]:
    """Recipes for (part, size in bytes) pairs: at most `limit` of them, sorted by name, bundles last."""
    sized = sorted(parts, key=lambda pair: pair[0].name)
    if len(sized) <= limit:
        return tuple(Recipe((part,)) for part, _ in sized)
    ranked = sorted(sized, key=lambda pair: (-pair[1].bit_length(), _mix(pair[0].name)))
    alone = {part.name for part, _ in ranked[: limit - _BUNDLES]}
    bundles: list[list[Part]] = [[] for _ in range(_BUNDLES)]
    for part, _ in sized:
        if part.name not in alone:
            bundles[_mix(part.name) % _BUNDLES].append(part)
    singles: Sequence[Recipe] = [Recipe((part,)) for part, _ in sized if part.name in alone]
    return (*singles, *(Recipe(tuple(group)) for group in bundles if group))


def largest_first(layers: Iterable[Layer]) -> list[Layer]:
    """The layers from the lowest to the topmost; those of about one size by what they hold."""
    return sorted(layers, key=lambda layer: (-layer.size.bit_length(), layer.holds))


def _mix(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
