"""What a registry answers, and its refusals in a sentence (OCI distribution specification v1.1, "Error Codes")."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

__all__ = ["Answer", "plain_text"]

_LONGEST: Final = 300  # characters of somebody else's words in a message


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer. `headers` takes names in any case; `url` is where it came from in the end."""

    status: int
    headers: Mapping[str, str]
    data: bytes
    url: str

    @property
    def errors(self) -> tuple[dict[str, Any], ...]:
        """The ``errors`` of an OCI error document, if it is one."""
        try:
            document = json.loads(self.data)
        except (ValueError, RecursionError):
            return ()
        errors = document.get("errors") if isinstance(document, dict) else None
        return tuple(error for error in errors if isinstance(error, dict)) if isinstance(errors, list) else ()

    @property
    def codes(self) -> frozenset[str]:
        """The codes of the errors, such as ``NAME_UNKNOWN``."""
        return frozenset(code for error in self.errors if isinstance(code := error.get("code"), str))

    @property
    def length(self) -> int | None:
        """What Content-Length says."""
        value = self.headers.get("content-length", "")
        return int(value) if value.isdigit() and len(value) < 20 else None

    @property
    def media_type(self) -> str:
        """What Content-Type says, without its parameters."""
        return plain_text(self.headers.get("content-type", "").partition(";")[0].strip().lower())

    def sentence(self, redact: Callable[[str], str] = str) -> str:
        """Status and reasons: ``403 Forbidden (denied: requested access is denied)``.

        `redact` takes out what must not be shown, before long words are cut: half a token is still one.
        """
        try:
            phrase = f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            phrase = str(self.status)
        reasons = []
        for error in self.errors[:3]:
            words = [redact(error[key]) for key in ("code", "message") if isinstance(error.get(key), str)]
            reasons.append(": ".join(words))
        told = plain_text("; ".join(filter(None, reasons)))
        return f"{phrase} ({told})" if told else phrase


def plain_text(text: str) -> str:
    """Somebody else's words for a message: one line, no control characters, not long."""
    words = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * _LONGEST]).split())
    return words if len(words) <= _LONGEST else words[:_LONGEST] + "…"
