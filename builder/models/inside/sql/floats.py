"""The floating-point numbers that onnxruntime computes with, in plain Python, and where their roundings change sides.

A float32 comparison of a table's double ``x`` is turned into a comparison of doubles: ``float32(x) <= t`` holds for all
``x`` up to a bound, halfway between two neighbouring float32 (IEEE 754-2019, 4.3.1: ties go to the even one). What a
scaler makes of ``x`` is monotone too, so that thresholds behind it are carried back the same way, by bisection over
the float32 themselves. No rounding is left for the database to do.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

__all__ = ["FLOAT32_LIMIT", "bound_of", "float32", "last", "single"]

FLOAT32_LIMIT = 2.0**128 - 2.0**103
"""What is at least this rounds to infinity."""

_INT64 = (-(2**63), 2**63 - 1)


def float32(value: float) -> float:
    """`value` rounded to a float32."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def single(value: float) -> bool:
    """Whether `value` is a float32."""
    return float32(value) == value


def last(first: int, final: int, accept: Callable[[int], bool]) -> int | None:
    """The last of `first` to `final` that is accepted, where all before an accepted one are; None for none."""
    if not accept(first):
        return None
    while first < final:
        middle = -((-first - final) // 2)
        if accept(middle):
            first = middle
        else:
            final = middle - 1
    return first


def bound_of(kind: str, accept: Callable[[float], bool]) -> tuple[str, float] | bool:
    """Which values of a column are accepted, given that it is all up to some value or all from some value on.

    `kind` is the tensor's type, whose values `accept` is asked about; the answer is an operator and a bound for the
    table's own double (or bigint), or a bool when it is all the same.
    """
    low, high = _RANGES[kind]
    at = _VALUES[kind]
    start, end = accept(at(low)), accept(at(high))
    if start == end:
        return start
    found = last(low, high, (lambda key: accept(at(key))) if start else (lambda key: not accept(at(key))))
    assert found is not None and found < high
    operator, bound = _upto(kind, found)
    return (operator, bound) if start else ({"<=": ">", "<": ">="}[operator], bound)


def _upto(kind: str, key: int) -> tuple[str, float]:
    """The condition for everything up to the value number `key`."""
    if kind != "float32":
        return "<=", _VALUES[kind](key)
    value, following = _from32(key), _from32(key + 1)
    low = -(2.0**128) if math.isinf(value) else value
    high = 2.0**128 if math.isinf(following) else following
    # the float32 with the even number is the one that ends with a zero bit
    return ("<=" if key % 2 == 0 else "<"), low + (high - low) / 2


# Floating-point numbers in order, as integers (the sign-magnitude bits as two's complement); -0 is 0.


def _from32(key: int) -> float:
    return float(struct.unpack("<f", struct.pack("<I", key if key >= 0 else 0x80000000 - key))[0])


def _from64(key: int) -> float:
    return float(struct.unpack("<d", struct.pack("<Q", key if key >= 0 else 0x8000000000000000 - key))[0])


_RANGES = {
    "float32": (-0x7F800000, 0x7F800000),
    "float64": (-0x7FF0000000000000, 0x7FF0000000000000),
    "int64": _INT64,
    "bool": (0, 1),
}
_VALUES: dict[str, Callable[[int], float]] = {
    "float32": _from32,
    "float64": _from64,
    "int64": lambda key: key,
    "bool": lambda key: key,
}
