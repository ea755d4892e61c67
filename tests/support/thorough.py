"""Loops over every moment at which something may break: all of them in a night, a part of them in each run."""

from __future__ import annotations

import os

__all__ = ["every"]


def every(step: int) -> int:
    """`step`; 1 with ``LOCKSHIP_THOROUGH`` set, which makes the slow tests take hours."""
    return 1 if os.environ.get("LOCKSHIP_THOROUGH") else step
