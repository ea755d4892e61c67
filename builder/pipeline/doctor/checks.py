"""What a check found, as a value; and all of them together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from builder.errors import LockshipError, StoreError

__all__ = ["Check", "Group", "Report", "State", "failed", "of_error", "ok", "skipped", "warning"]

State = Literal["ok", "warning", "failed", "skipped"]
Group = Literal["host", "project", "registry"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was `found`, in a line, and what to do about it.

    `details` are what there is no room for in a line, such as the names of files. `exit_code` is the one of the kind of
    failure, as `builder.errors` has them; it counts when the check failed.
    """

    group: Group
    name: str
    state: State
    found: str
    hint: str | None = None
    details: tuple[str, ...] = ()
    exit_code: int = StoreError.exit_code


@dataclass(frozen=True, slots=True)
class Report:
    """All checks, in the order in which they were made."""

    checks: tuple[Check, ...]

    def count(self, state: State) -> int:
        """How many checks ended so."""
        return sum(check.state == state for check in self.checks)

    @property
    def exit_code(self) -> int:
        """0 when nothing failed; else the lowest code of what did: a project file (2) is mended before a lock (3)."""
        return min((check.exit_code for check in self.checks if check.state == "failed"), default=0)


def ok(group: Group, name: str, found: str, *, details: Iterable[str] = ()) -> Check:
    """All is as it should be."""
    return Check(group, name, "ok", found, None, tuple(details))


def warning(group: Group, name: str, found: str, hint: str | None = None, *, details: Iterable[str] = ()) -> Check:
    """Something is missing that not everybody needs, or that may hurt later."""
    return Check(group, name, "warning", found, hint, tuple(details))


def failed(
    group: Group,
    name: str,
    found: str,
    hint: str | None = None,
    *,
    details: Iterable[str] = (),
    exit_code: int = StoreError.exit_code,
) -> Check:
    """Something that is needed doesn't work."""
    return Check(group, name, "failed", found, hint, tuple(details), exit_code)


def skipped(group: Group, name: str, why: str) -> Check:
    """Nothing to look at, or something else failed that this depends on."""
    return Check(group, name, "skipped", why)


def of_error(group: Group, name: str, error: LockshipError, *, exit_code: int | None = None) -> Check:
    """An error as a check that failed; with `exit_code` another code than the error's own."""
    return failed(group, name, str(error), error.hint, exit_code=exit_code or error.exit_code)
