"""What is asked of a registry, and the failures after which it may be asked again. Values only, no network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from builder.errors import LockshipError
from builder.registry.tokens import Scopes

__all__ = ["COMMIT", "SMALL", "Body", "Call", "PassingError"]

SMALL: Final = 1 << 20  # bytes of an answer that is no content: errors, tokens
COMMIT: Final = 300.0  # seconds that a registry may take to put a big blob together


@dataclass(frozen=True, slots=True)
class Body:
    """`size` bytes to send; `open` gives them, anew each time it is called."""

    size: int
    open: Callable[[], Iterator[bytes | memoryview]]


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `path` is below the registry, or a whole address; `what` completes "cannot …".

    `limit` is how many bytes of an answer are held in memory; `patience` how many seconds it may take to come.
    """

    method: str
    path: str
    what: str
    scopes: Scopes
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Body | None = None
    limit: int = SMALL
    patience: float | None = None


class PassingError(Exception):
    """A failure that may pass: `failure` is what to raise when it doesn't, `after` what the server asked to wait.

    `status` is what it answered, 0 where the connection broke.
    """

    def __init__(self, failure: LockshipError, after: float | None = None, status: int = 0) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.after = after
        self.status = status
