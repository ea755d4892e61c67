"""The command line: parse, call, render, exit. Each command's module is imported when it runs."""

import sys
from gc import set_threshold
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line; never returns."""
    set_threshold(50_000, 20, 20)  # importing makes no rubbish, and looking for it there takes a tenth of a second
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # httpx's own command: as much again
    try:
        from builder.cli.app import main as run

        run()
    except KeyboardInterrupt:  # while there was nobody yet to report it
        sys.stderr.write("interrupted\n")
        sys.exit(130)
