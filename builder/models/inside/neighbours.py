"""Numbers as close as can be: the next one up or down, and the two between which something changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[Any]
    Test = Callable[[NDArray[Any]], NDArray[np.bool_]]

__all__ = ["between", "middle", "next_to", "ranks", "values_at"]

BITS = {"float32": "int32", "float64": "int64"}


def ranks(values: Numbers, kind: str) -> NDArray[np.int64]:
    """Where each value (no NaN) stands among all of `kind` (float32, float64, int64): neighbours differ by 1."""
    import numpy as np

    if kind == "int64":
        return values.astype(np.int64)
    bits = values.astype(kind).view(BITS[kind]).astype(np.int64)
    smallest = np.iinfo(BITS[kind]).min
    # floats are sign and magnitude: mirror the negative ones, with both zeros at 0
    return np.where(bits < 0, np.int64(smallest) - bits, bits)


def values_at(places: NDArray[np.int64], kind: str) -> Numbers:
    """The values that stand there: the inverse of `ranks`, but for the sign of zero."""
    import numpy as np

    if kind == "int64":
        return places
    smallest = np.iinfo(BITS[kind]).min
    bits = np.where(places < 0, np.int64(smallest) - places, places)
    return bits.astype(BITS[kind]).view(kind)


def middle(low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
    """Halfway, without overflow."""
    import numpy as np

    return np.asarray((low >> 1) + (high >> 1) + (low & high & 1))


def next_to(values: Numbers, kind: str, steps: int) -> Numbers:
    """The values `steps` further up (or down), at most the greatest finite ones."""
    import numpy as np

    limits = np.iinfo(np.int64) if kind == "int64" else np.finfo(kind)
    ends = ranks(np.array([limits.min, limits.max]), kind).tolist()
    places = ranks(values, kind)
    moved = np.where(places > ends[1] - steps, ends[1], places + steps) if steps > 0 else places
    moved = np.where(places < ends[0] - steps, ends[0], places + steps) if steps < 0 else moved
    return values_at(moved, kind)


def between(low: Numbers, high: Numbers, kind: str, test: Test) -> tuple[Numbers, Numbers]:
    """For each pair with different answers of `test`, two neighbours with different answers, by halving.

    `test` is asked about one value for each pair at a time. Pairs whose answers don't differ end somewhere.
    """
    import numpy as np

    below, above = ranks(low, kind), ranks(high, kind)
    wanted = test(low)
    for _ in range(64):
        halfway = middle(below, above)
        if not ((halfway != below) & (halfway != above)).any():
            break
        same = test(values_at(halfway, kind)) == wanted
        below, above = np.where(same, halfway, below), np.where(same, above, halfway)
    return values_at(below, kind), values_at(above, kind)
