"""What a test needs beside Python: skipped where it isn't there, a failure where everything must be."""

from __future__ import annotations

import os

import pytest


def need(what: str, condition: object, reason: str) -> None:
    """Go on when `condition` holds; otherwise skip, or fail with ``LOCKSHIP_REQUIRE=all``, as CI sets it."""
    if condition:
        return
    message = f"needs {what}: {reason}"
    if os.environ.get("LOCKSHIP_REQUIRE") == "all":
        pytest.fail(message)
    pytest.skip(message)
