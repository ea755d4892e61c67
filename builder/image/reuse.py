"""Which layers of a plan a store has already, and why it hasn't the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from builder.content import Platform
from builder.image.index import Plan
from builder.image.stored import Image, Release
from builder.layers.recipe import Layer
from builder.registry.store import Store

__all__ = ["LayerUse", "reuse"]


@dataclass(frozen=True, slots=True)
class LayerUse:
    """One layer of a plan and the platforms that use it.

    `state` is ``reused`` (the store has it), ``cached`` (made before, to be added) or ``new`` (to be made); `reason`
    says why for people.
    """

    layer: Layer
    platforms: tuple[Platform, ...]
    state: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """JSON values; size in bytes."""
        return {
            "kind": self.layer.kind,
            "title": self.layer.title,
            "digest": self.layer.digest,
            "size": self.layer.size,
            "platforms": [str(platform) for platform in self.platforms],
            "state": self.state,
            "reason": self.reason,
        }


def reuse(
    plan: Plan, store: Store, previous: Release | None, *, cached: Callable[[Layer], bool] = lambda _: False
) -> tuple[LayerUse, ...]:
    """Every layer of `plan` once, in the order of its images, lowest first.

    `previous` is what the plan is compared with (`read_release`); `cached` tells whether this machine has made a
    layer before.
    """
    platforms: dict[Layer, list[Platform]] = {}
    for image in plan.images:
        for layer in image.layers:
            platforms.setdefault(layer, []).append(image.platform)
    found = []
    for layer, used in platforms.items():
        if store.has_blob(layer.digest):
            found.append(LayerUse(layer, tuple(used), "reused", "in the store"))
            continue
        before = previous.images.get(used[0]) if previous else None
        state = "cached" if cached(layer) else "new"
        found.append(LayerUse(layer, tuple(used), state, _reason(layer, before)))
    return tuple(found)


def _reason(layer: Layer, before: Image | None) -> str:
    if before is None:
        return "nothing to compare with"
    known = {(part.kind, name): version for part in before.parts for name, version in part.holds}
    moved, came, same = [], [], 0
    for name, version in layer.holds:
        old = known.get((layer.kind, name))
        if old is None:
            came.append(name)
        elif old != version:
            moved.append(f"{name} {old} → {version}")
        else:
            same += 1
    if moved or came:
        return _some([*moved, *(f"{name} is new" for name in came)])
    if layer.kind == "base":
        return "the base moved"
    if layer.kind in ("code", "model"):
        return "its files changed"
    return "other packages share its layer" if same > 1 else "the same version, other bytes"


def _some(items: list[str]) -> str:
    return ", ".join(items[:3]) + (f" and {len(items) - 3} more" if len(items) > 3 else "")
