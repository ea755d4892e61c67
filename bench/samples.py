"""What a step with a registry costs, repeated: seconds, processor seconds, and bytes each way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.measure import Cost
from bench.registry import Registry
from bench.rows import Row
from bench.stage import say
from bench.traffic import Traffic

__all__ = ["Sample", "metered", "taking_turns"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One step, which may be several commands: `seconds` by the clock, `user` seconds of processors, and bytes."""

    seconds: float
    user: float
    traffic: Traffic


def metered(registry: Registry, *commands: Callable[[], Cost]) -> Sample:
    """Run commands one after the other."""
    before = registry.traffic()
    costs = [command() for command in commands]
    return Sample(
        sum(cost.seconds for cost in costs), sum(cost.user for cost in costs), registry.traffic().since(before)
    )


def taking_turns(
    key: str, title: str, sides: Mapping[str, Callable[[], Sample]], repeat: int, *, note: str = ""
) -> Row:
    """Each side in turn, `repeat` times over: a row of seconds, with bytes (``sent``, ``received``) and ``user``."""
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    for number in range(repeat):
        for name, side in sides.items():
            sample = side()
            samples[name].append(sample)
            traffic = sample.traffic
            say(
                f"  {key} {number + 1}. {name:<26} {sample.seconds:7.2f} s, {sample.user:5.2f} s user, "
                f"{traffic.sent:>12,} bytes sent, {traffic.received:>12,} received"
            )
    extra = {
        "sent": _each(samples, lambda one: one.traffic.sent),
        "received": _each(samples, lambda one: one.traffic.received),
        "user": _each(samples, lambda one: one.user),
    }
    return Row(key, title, "s", _each(samples, lambda one: one.seconds), note, extra)


def _each(samples: Mapping[str, Sequence[Sample]], value: Callable[[Sample], float]) -> dict[str, list[float]]:
    return {name: [value(one) for one in found] for name, found in samples.items()}
