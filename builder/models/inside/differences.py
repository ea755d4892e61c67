"""When two scores are the same: labels exactly, numbers within a tolerance, and NaN only with NaN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["TIE", "VOTES", "Numbers", "aligned", "labels_differ", "numbers", "tie_gaps"]

TIE = 1e-6
"""Two best classes no further apart than this are a tie: float32 can't tell them apart reliably."""
VOTES = 1e-9
"""Closer than any chance has it: votes or leaves that are equal, which the original decides by the classes' order."""


class Numbers(NamedTuple):
    """By row: whether any column is out of tolerance, the greatest differences, and how many tolerances that is.

    `absolute` and `relative` are of columns in which both are finite, `relative` without those in which the absolute
    tolerance is as large as what is expected; `excess` is infinite where only one is finite.
    """

    outside: NDArray[np.bool_]
    absolute: NDArray[np.float64]
    relative: NDArray[np.float64]
    excess: NDArray[np.float64]


def numbers(expected: NDArray[Any], got: NDArray[Any], absolute: float, relative: float) -> Numbers:
    """Compare `[rows]` or `[rows, width]` with the same shape; may differ by ``absolute + relative * abs(expected)``.

    NaN is NaN, and an infinity is itself; nothing else is near them.
    """
    import numpy as np

    want = expected.astype(np.float64).reshape(len(expected), -1)
    have = got.astype(np.float64).reshape(len(got), -1)
    if want.shape != have.shape:
        raise ValueError(f"shapes differ: {want.shape} and {have.shape}")
    with np.errstate(all="ignore"):
        finite = np.isfinite(want) & np.isfinite(have)
        same = (want == have) | (np.isnan(want) & np.isnan(have))
        difference = np.where(same, 0.0, np.abs(want - have))
        allowed = absolute + relative * np.abs(want)
        ratio = np.where(difference == 0, 0.0, difference / np.abs(want))
        excess = np.where(difference == 0, 0.0, np.where(allowed > 0, difference / allowed, np.inf))
        excess = np.where(same, 0.0, np.where(finite, excess, np.inf))
        # by the difference itself, as division rounds
        wrong = ~same & ~(finite & (difference <= allowed))
    return Numbers(
        wrong.any(axis=1),
        _greatest(np.where(finite, difference, 0.0)),
        _greatest(np.where(finite & (np.abs(want) > absolute), ratio, 0.0)),
        _greatest(excess),
    )


def _greatest(values: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    return values.max(axis=1) if values.shape[1] else np.zeros(len(values))


def labels_differ(expected: NDArray[Any], got: NDArray[Any]) -> NDArray[np.bool_]:
    """By row; numbers by value, text by its characters, and never a number with text."""
    import numpy as np

    want, have = expected.reshape(len(expected), -1), got.reshape(len(got), -1)
    if want.shape != have.shape or (want.dtype == object) != (have.dtype == object):
        return np.ones(len(want), dtype=bool)
    with np.errstate(invalid="ignore"):
        both_missing = (want != want) & (have != have)
        different: NDArray[np.bool_] = ((want != have) & ~both_missing).astype(bool).any(axis=1)
    return different


def tie_gaps(scores: NDArray[Any]) -> NDArray[np.float64]:
    """How far the two best classes are apart, by row; for `[rows]`, a binary decision function, how far from zero."""
    import numpy as np

    values = scores.astype(np.float64)
    if values.ndim == 1 or values.shape[1] == 1:
        return np.abs(values.reshape(len(values)))
    best = np.sort(values, axis=1)[:, -2:]
    with np.errstate(invalid="ignore"):
        return np.where(np.isnan(values).any(axis=1), np.inf, best[:, 1] - best[:, 0])


def aligned(expected: NDArray[Any], got: NDArray[Any]) -> NDArray[Any] | None:
    """`expected` in the shape of `got`, or None when they can't be of one thing.

    A column is a vector; a binary decision function is, over two classes, its negative and itself.
    """
    import numpy as np

    if expected.shape == got.shape:
        return expected
    if expected.size == got.size and min(expected.shape[1:], default=1) == min(got.shape[1:], default=1) == 1:
        return expected.reshape(got.shape)
    if expected.ndim == 1 and got.ndim == 2 and got.shape[1] == 2:
        return np.stack([-expected, expected], axis=1)
    return None
