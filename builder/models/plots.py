"""The geometry of the report's two plots: where bars, points and ticks are, in the units of their SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from builder.models.parity import Bin, Histogram, Scatter

__all__ = ["FRAME", "Bar", "Bars", "Cloud", "Point", "Tick", "bars", "cloud"]

WIDTH: Final = 520.0
HEIGHT: Final = 300.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 14.0, 30.0, 44.0
FRAME: Final = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM}
_GAP: Final = 2.0
_LEAST_BAR: Final = 3.0  # a bar that stands for one row is still seen


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis and what is written there."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Bar:
    """Rows that are off by about so much; `wrong` is the height of the part out of tolerance, above the other."""

    x: float
    width: float
    good: float
    wrong: float
    rows: str
    title: str
    label: str


@dataclass(frozen=True, slots=True)
class Bars:
    """The histogram; heights are logarithmic, as one row among ten thousand matters. `tolerance` is a place on x."""

    output: str
    bars: tuple[Bar, ...]
    tolerance: float | None
    base: float


@dataclass(frozen=True, slots=True)
class Point:
    """A row: expected to the right, got upwards."""

    x: float
    y: float
    wrong: bool
    title: str


@dataclass(frozen=True, slots=True)
class Cloud:
    """The scatter plot; what agrees lies on the diagonal from `corner` to its opposite."""

    output: str
    column: int
    points: tuple[Point, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    rows: int


def bars(plot: Histogram, absolute: float) -> Bars:
    """From the first to the last power of ten that has rows, those that are exact at the left."""
    used = [one for one in plot.bins if one.rows]
    low = min((one.exponent for one in used), default=-8)
    high = max((one.exponent for one in used), default=-4)
    middle = [one for one in plot.bins if low <= one.exponent <= high]
    most = max([plot.exact, plot.not_finite, *(one.rows for one in middle), 1])
    slots = 1 + len(middle) + (1 if plot.not_finite else 0)
    step = (WIDTH - LEFT - RIGHT) / slots
    drawn = [_bar(0, step, Bin(exponent=0, rows=plot.exact, outside=0), most, "0", "exactly equal")]
    for place, one in enumerate(middle, 1):
        drawn.append(_bar(place, step, one, most, _power(one.exponent), f"off by {_power(one.exponent)} or more"))
    if plot.not_finite:
        lone = Bin(exponent=0, rows=plot.not_finite, outside=plot.not_finite)
        drawn.append(_bar(slots - 1, step, lone, most, "NaN, ∞", "one of both is not a number"))
    return Bars(plot.output, tuple(drawn), _tolerance(absolute, low, high, step), HEIGHT - BOTTOM)


def _bar(place: int, step: float, one: Bin, most: int, label: str, title: str) -> Bar:
    space = HEIGHT - TOP - BOTTOM
    whole = max(space * math.log1p(one.rows) / math.log1p(most), _LEAST_BAR) if one.rows else 0.0
    wrong = 0.0
    if one.outside:
        wrong = whole if one.outside == one.rows else max(whole * one.outside / one.rows, _LEAST_BAR)
    told = f"{one.rows:,} rows {title}" + (f", {one.outside:,} of them out of tolerance" if one.outside else "")
    x, width = LEFT + place * step + _GAP, step - 2 * _GAP
    return Bar(_round(x), _round(width), _round(whole - wrong), _round(wrong), _short(one.rows), told, label)


def _tolerance(absolute: float, low: int, high: int, step: float) -> float | None:
    if absolute <= 0:
        return None
    at = LEFT + step * (1 + math.log10(absolute) - low)
    return _round(at) if LEFT + step <= at <= LEFT + step * (high - low + 2) else None


def _power(exponent: int) -> str:
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return "1" if exponent == 0 else f"10{raised}"


def _short(rows: int) -> str:
    return "" if not rows else f"{rows:,}" if rows < 10_000 else f"{rows / 1000:.0f}k"


def cloud(plot: Scatter) -> Cloud | None:
    """With one scale for both axes; None when there is nothing to draw."""
    values = [value for x, y, _ in plot.points for value in (x, y)]
    if not values:
        return None
    low, high = _ends(values)
    ticks = tuple(_ticks(low, high))
    span = high - low

    def right(value: float) -> float:
        return _round(LEFT + (value - low) / span * (WIDTH - LEFT - RIGHT))

    def up(value: float) -> float:
        return _round(HEIGHT - BOTTOM - (value - low) / span * (HEIGHT - TOP - BOTTOM))

    ordered = sorted(plot.points, key=lambda point: point[2])  # wrong ones on top
    points = tuple(Point(right(x), up(y), wrong, f"expected {x:.7g}, got {y:.7g}") for x, y, wrong in ordered)
    return Cloud(
        plot.output,
        plot.column,
        points,
        tuple(Tick(right(value), _number(value)) for value in ticks),
        tuple(Tick(up(value), _number(value)) for value in ticks),
        plot.rows,
    )


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low >= 0 and high <= 1 and high - low > 0.05:
        return 0.0, 1.0
    margin = (high - low) * 0.03 or max(abs(high) * 0.05, 1e-9)
    return low - margin, high + margin


def _ticks(low: float, high: float) -> Iterator[float]:
    """About five round numbers from `low` to `high`."""
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
        yield number * step


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def _round(value: float) -> float:
    """Positions need no more digits, and are the same on every machine."""
    return round(value, 1)
