"""Names of images."""

from __future__ import annotations

__all__ = ["full_name"]


def full_name(name: str) -> str:
    """A repository's name as engines complete it: ``churn`` is ``docker.io/library/churn``."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"
