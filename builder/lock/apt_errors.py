"""What apt says on stderr, as errors of ours: tampered with, unsigned, absent, or out of reach."""

from __future__ import annotations

import re
from typing import Final

from builder.errors import LockError, LockshipError, StoreError, VerificationError
from builder.lock.sources import strip_credentials

__all__ = ["absent", "failure", "update_error"]

_SIGNATURE: Final = re.compile(
    r"GPG error|OpenPGP signature|Missing key|NO_PUBKEY|BADSIG|EXPKEYSIG|REVKEYSIG"
    r"|is not signed|not signed by|signatures? (?:couldn't|were invalid)"
    r"|Clearsigned file isn't valid|no longer signed|is expired|is not valid yet|Valid-Until"
)
_TAMPERED: Final = re.compile(r"Hash Sum mismatch|Hashes of|unexpected size|Size mismatch|Unable to parse package file")
_ABSENT: Final = re.compile(r"\b404\b|File not found|does not have a Release file|\b410\b")


def failure(reason: str, what: str) -> LockshipError:
    """The error for a file that did not come: tampered with, absent, or out of reach."""
    first = reason.strip().splitlines()[0] if reason.strip() else "no reason given"
    if _TAMPERED.search(reason):
        return VerificationError(
            f"{what} is not what the lock says: {first}",
            hint="the repository or something on the way to it changed the file; nothing was used",
        )
    return StoreError(f"cannot fetch {what}: {first}", hint="check the network and the proxy, then run it again")


def absent(reason: str) -> bool:
    """Whether the repository answered that it doesn't have the file."""
    return _ABSENT.search(reason) is not None


def update_error(stderr: str) -> LockshipError:
    """The error for an index that was not read."""
    text = strip_credentials(stderr)
    # that a folder of ours is not there is as it should be
    lines = [line for line in text.splitlines() if line.startswith(("E: ", "W: ")) and "DirectoryExists" not in line]
    for pattern, make in (
        (_SIGNATURE, _unsigned),
        (_TAMPERED, _mismatch),
        (_ABSENT, _no_suite),
    ):
        # the line that says what is wrong may be below the one that names the repository
        if found := next((line for line in lines if pattern.search(line)), None):
            return make(found[3:])
        if pattern.search(text):
            return make(lines[0][3:] if lines else text.strip())
    first = lines[0][3:] if lines else text.strip()
    return StoreError(
        f"cannot read a package index: {first}", hint="check the network, the proxy and apt's sources, then run again"
    )


def _unsigned(line: str) -> LockshipError:
    hint = "the archive's signature could not be checked; nothing was used"
    if "NO_PUBKEY" in line or "Missing key" in line or "is not signed" in line:
        hint = "name the archive's keys: signed-by in apt's sources, or `keyring` in [[image.sources]]"
    return VerificationError(f"the signature of a package index is refused: {line}", hint=hint)


def _mismatch(line: str) -> LockshipError:
    return VerificationError(
        f"a package index is not what its signature covers: {line}",
        hint="the mirror is being updated or was tampered with; try again, or another mirror",
    )


def _no_suite(line: str) -> LockshipError:
    return LockError(f"a repository lacks what the base needs: {line}", hint="check the suite and the source's URI")
