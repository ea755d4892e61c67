"""The contestants."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ALL", "LOCKSHIP", "PIP", "UV", "Side"]


@dataclass(frozen=True, slots=True, order=True)
class Side:
    """One way to an image: `tool` is ``lockship``, ``uv`` or ``pip``; the last two inside ``docker build``."""

    tool: str
    bytecode: bool

    @property
    def name(self) -> str:
        """As results name it."""
        return f"{self.tool}{'+bytecode' if self.bytecode else ''}"


LOCKSHIP = (Side("lockship", False), Side("lockship", True))
UV = (Side("uv", False), Side("uv", True))
PIP = (Side("pip", False), Side("pip", True))
ALL = (*LOCKSHIP, *UV, *PIP)
