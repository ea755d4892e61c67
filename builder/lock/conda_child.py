"""conda-lock in a process of its own: it changes the environment and the working folder, and leaves by exceptions.

Takes one argument, a JSON object: ``conda``, ``sources``, ``lock``, ``platforms``, ``virtual``, ``mapping`` (paths) and
``update`` (names). What it says goes to standard error.
"""

from __future__ import annotations

import json
import logging
import sys
from importlib import import_module
from pathlib import Path

__all__ = ["main"]


def main(request: str) -> None:
    """Make the lock that `request` asks for; exits with 1 when there is none."""
    asked = json.loads(request)
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    make_lock_files = import_module("conda_lock.conda_lock").make_lock_files

    try:
        make_lock_files(
            conda=asked["conda"],
            src_files=[Path(one) for one in asked["sources"]],
            kinds=["lock"],
            lockfile_path=Path(asked["lock"]),
            platform_overrides=asked["platforms"],
            virtual_package_spec=Path(asked["virtual"]),
            update=asked["update"] or None,
            mapping_url=Path(asked["mapping"]).as_uri(),
        )
    except Exception as error:
        sys.stderr.write(f"\n{type(error).__name__}: {error}\n")
        sys.exit(1)
