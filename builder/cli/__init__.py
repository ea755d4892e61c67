"""The command line: parse, call, render, exit. Each command's module is imported when it runs."""

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line; never returns."""
    try:
        from builder.cli.app import main as run

        run()
    except KeyboardInterrupt:  # while there was nobody yet to report it
        sys.stderr.write("interrupted\n")
        sys.exit(130)
