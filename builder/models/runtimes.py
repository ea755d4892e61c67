"""Which operator sets and IR version an onnxruntime reads: models are written for the oldest declared consumer.

The limits were measured: models of each version were loaded into each runtime. A runtime between two rows
is given the limits of the row below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from builder.errors import ProjectError

__all__ = ["DEFAULT", "LIMITS", "NEWEST", "Consumer", "Limits", "limits_for", "minimum_runtime", "parse_consumer"]


@dataclass(frozen=True, slots=True, order=True)
class Limits:
    """The newest ``ai.onnx`` and ``ai.onnx.ml`` operator sets and IR version."""

    opset: int
    ir: int
    ml: int


LIMITS: Final[dict[tuple[int, int], Limits]] = {
    (1, 8): Limits(14, 7, 2),
    (1, 10): Limits(15, 8, 2),
    (1, 12): Limits(17, 8, 3),
    (1, 14): Limits(18, 8, 3),
    (1, 15): Limits(18, 9, 3),
    (1, 16): Limits(19, 9, 3),
    (1, 17): Limits(20, 9, 4),
    (1, 18): Limits(21, 10, 5),
    (1, 21): Limits(22, 10, 5),
    (1, 23): Limits(23, 11, 5),
    (1, 25): Limits(26, 13, 5),
    (1, 32): Limits(28, 14, 5),
}
OLDEST: Final = min(LIMITS)
NEWEST: Final = max(LIMITS)
DEFAULT: Final = "ort-1.14"

_CONSUMER: Final = re.compile(r"(ort|java|dotnet|python)-(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class Consumer:
    """Who reads the model: `language` (``ort`` for any, ``java``, ``dotnet``, ``python``) and its onnxruntime."""

    language: str
    version: str

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)

    @property
    def limits(self) -> Limits:
        """What this runtime reads."""
        return LIMITS[max(known for known in LIMITS if known <= self.release)]

    def __str__(self) -> str:
        return f"{self.language}-{self.version}"


def parse_consumer(text: str) -> Consumer:
    """From ``java-1.17``; raises ProjectError for a runtime that is none, or that is too old or too new to know."""
    found = _CONSUMER.fullmatch(text)
    if found is None:
        raise ProjectError(
            f"not a consumer: {text!r}",
            hint='write the language and its onnxruntime: "java-1.17", "dotnet-1.20", "ort-1.14"',
        )
    consumer = Consumer(found[1], text.partition("-")[2])
    if consumer.release < OLDEST:
        raise ProjectError(
            f"{text}: onnxruntime {consumer.version} reads no operator set that a model could be written for",
            hint=f"the oldest that does is {_dotted(OLDEST)}",
        )
    if consumer.release > NEWEST:
        raise ProjectError(
            f"{text}: there is no onnxruntime {consumer.version} that this lockship knows",
            hint=f"it knows {_dotted(OLDEST)} to {_dotted(NEWEST)}; newer ones read what those read",
        )
    return consumer


def limits_for(consumers: Iterable[Consumer]) -> Limits:
    """What all of `consumers` read."""
    each = [one.limits for one in consumers] or [parse_consumer(DEFAULT).limits]
    return Limits(min(one.opset for one in each), min(one.ir for one in each), min(one.ml for one in each))


def minimum_runtime(opset: int, ir: int, ml: int | None) -> str:
    """The oldest onnxruntime that reads a model with these."""
    for release, limits in sorted(LIMITS.items()):
        if opset <= limits.opset and ir <= limits.ir and (ml or 0) <= limits.ml:
            return _dotted(release)
    return f"newer than {_dotted(NEWEST)}"


def _dotted(release: tuple[int, int]) -> str:
    return ".".join(str(part) for part in release)
