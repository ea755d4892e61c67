"""The private key that a command signs with; light, because most commands don't."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.terminal import Terminal

if TYPE_CHECKING:
    from builder.releases.keys import PrivateKey

__all__ = ["private_key"]


def private_key(terminal: Terminal, file: Path | None) -> PrivateKey | None:
    """The key to sign with, its password asked for on a terminal."""
    if file is None and not os.environ.get("LOCKSHIP_SIGNING_KEY"):
        return None
    from builder.releases.keys import signing_key

    return signing_key(os.environ, file, ask=_ask, warn=terminal.warn)


def _ask() -> str | None:
    if not sys.stdin.isatty():
        return None
    import getpass

    return getpass.getpass("password of the private key: ")
