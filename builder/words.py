"""Numbers and lists for people."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["human_size", "listed", "plural"]


def human_size(size: float) -> str:
    """Bytes, in powers of ten as registries and disks count: ``104.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def plural(count: int, one: str, several: str | None = None) -> str:
    """``1 blob``, ``2 blobs``."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """``a, b, c and 4 more``."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"
