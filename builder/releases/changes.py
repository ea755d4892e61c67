"""What changed between two states of something, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

__all__ = ["Action", "Change", "paired"]

Action = Literal["created", "altered", "dropped"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that was created, altered or dropped.

    `kind` is what it is (``table``, ``column``, ``index`` …), `name` how it is called, `within` the table that it is
    part of. `aspect` is what of it was altered (``type``, ``default`` …); `old` and `new` are that, as text.
    """

    action: Action
    kind: str
    name: str
    aspect: str = ""
    old: str = ""
    new: str = ""
    within: str = ""

    @property
    def subject(self) -> str:
        """``column orders.total``."""
        return f"{self.kind} {self.within}.{self.name}" if self.within else f"{self.kind} {self.name}"

    def __str__(self) -> str:
        """``altered column orders.total: type INTEGER -> BIGINT``."""
        aspect = f"{self.aspect} " if self.aspect else ""
        match self.old, self.new:
            case "", "":
                return f"{self.action} {self.subject}"
            case old, "" if self.action == "dropped":
                return f"{self.action} {self.subject}: {old}"
            case "", new if self.action == "created" or not self.aspect:
                return f"{self.action} {self.subject}: {new}"
            case old, new:
                return f"{self.action} {self.subject}: {aspect}{old or 'none'} -> {new or 'none'}"

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, without what is empty."""
        names = ("action", "kind", "name", "aspect", "old", "new", "within")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


def paired(old: Sequence[T], new: Sequence[T], key: str = "name") -> Iterator[tuple[T | None, T | None]]:
    """What has the same name on both sides, or None on one; in the order of names."""
    left = {getattr(one, key): one for one in old}
    right = {getattr(one, key): one for one in new}
    for name in sorted(left.keys() | right.keys()):
        yield left.get(name), right.get(name)
