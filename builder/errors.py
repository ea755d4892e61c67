"""The tree of what may go wrong, each kind with the exit code that the command line returns.

::

    LockshipError              1  a bug of ours, when nothing below fits
    ├── UsageError             2  the command line is not what the command takes
    │   └── ProjectError       2  the project file or a file it names is wrong
    ├── LockError              3  the lock can't be made
    │   ├── StaleLockError     3  an input moved since the lock was written
    │   ├── ResolutionError    3  no set of packages satisfies what was asked for
    │   └── ArtifactError      3  a locked artifact can't be used: malformed, hostile or not to be had
    ├── ModelError             4  a model is not convertible or failed parity
    ├── StoreError             5  a store, a cache, an engine or the network failed
    ├── VerificationError      6  bytes are not what their digest or signature says
    └── RefusedError           7  possible, but refused: immutable tag, preflight, retention
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

__all__ = [
    "ArtifactError",
    "LockError",
    "LockshipError",
    "ModelError",
    "ProjectError",
    "RefusedError",
    "ResolutionError",
    "StaleLockError",
    "StoreError",
    "UsageError",
    "VerificationError",
]


class LockshipError(Exception):
    """Anything that ends a command; `message` says what, `hint` what to do next.

    `file` and `line` (1-based) point at the input that is to blame, when one is.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        file: Path | str | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(message, hint, file, line)
        self.message = message
        self.hint = hint
        self.file = None if file is None else str(file)
        self.line = line

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.hint, self.file, self.line))

    def __str__(self) -> str:
        where = ""
        if self.file is not None:
            where = f"{self.file}:{self.line}: " if self.line is not None else f"{self.file}: "
        return where + self.message


def _rebuild(
    kind: type[LockshipError], message: str, hint: str | None, file: str | None, line: int | None
) -> LockshipError:
    """Errors cross process boundaries: layers are made in a pool."""
    return kind(message, hint=hint, file=file, line=line)


class UsageError(LockshipError):
    """The command line is not what the command takes."""

    exit_code = 2


class ProjectError(UsageError):
    """The project file, or a file it names, is wrong."""


class LockError(LockshipError):
    """The lock can't be made."""

    exit_code = 3


class StaleLockError(LockError):
    """An input moved since the lock was written, or the lock itself was changed."""


class ResolutionError(LockError):
    """No set of packages satisfies what was asked for."""


class ArtifactError(LockError):
    """A locked artifact can't be used: malformed, hostile, or not to be had any more."""


class ModelError(LockshipError):
    """A model is not convertible, or its scores differ."""

    exit_code = 4


class StoreError(LockshipError):
    """A store, the cache, an engine or the network failed."""

    exit_code = 5


class VerificationError(LockshipError):
    """Bytes are not what their digest or signature says."""

    exit_code = 6


class RefusedError(LockshipError):
    """Possible, but refused: an immutable tag, a preflight, retention."""

    exit_code = 7
