"""What went wrong in there, in words for the person out here."""

from __future__ import annotations

from typing import Any

__all__ = ["Problem"]


class Problem(Exception):  # noqa: N818
    """Ends a program: `message` says what, `hint` what to do next, `details` more for reports (JSON values)."""

    def __init__(self, message: str, *, hint: str | None = None, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details or {}
