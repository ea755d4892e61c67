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
    except (KeyboardInterrupt, RuntimeError) as error:  # while there was nobody yet to report it
        if isinstance(error, RuntimeError) and not isinstance(error.__cause__, KeyboardInterrupt):
            raise  # Python wraps one that comes while a class is made
        sys.stderr.write("interrupted\n")
        sys.exit(130)
