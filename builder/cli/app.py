"""The commands with their options, and the one place where errors become exit codes.

Nothing heavy is imported here: ``lockship --help`` answers at once. A command function only names its options and
hands over to a module of its own in this package, which calls `builder.pipeline` and renders what it returns.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from builder.errors import LockshipError

if TYPE_CHECKING:
    from builder.cli.terminal import Terminal

__all__ = ["app", "main"]

app = typer.Typer(
    name="lockship",
    help="Lock a data-science project, ship it as a reproducible image, roll it back.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
export = typer.Typer(help="Write the project in another tool's format.", no_args_is_help=True)
app.add_typer(export, name="export")

ProjectOption = Annotated[
    Path, typer.Option("--project", "-C", metavar="PATH", help="The project's folder or its lockship.toml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document with a `schema` field.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only warnings and the result.")]
PlatformOption = Annotated[
    list[str] | None,
    typer.Option("--platform", metavar="OS/ARCH", help="Only this platform; may be repeated. [default: all]"),
]
HERE = Path()


def main() -> NoReturn:
    """Run the command line; never returns."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and give its exit code; no exception but SystemExit from `arguments` reaches the caller."""
    from builder.cli.terminal import Terminal

    # typer reports its own usage errors before any command runs: with --json they are documents too
    terminal = Terminal.from_environment(json="--json" in arguments, quiet=False)
    try:
        result = app(arguments, standalone_mode=False, obj=None)
    except LockshipError as error:
        return terminal.fail(error)
    except (KeyboardInterrupt, typer.Abort):
        return terminal.interrupted()
    except typer.Exit as stop:
        return stop.exit_code
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except BrokenPipeError:
        # whoever read our output is gone; tell nobody
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        return terminal.crash(error)
    return result if isinstance(result, int) else 0


def _terminal(json: bool, quiet: bool) -> Terminal:
    from builder.cli.terminal import Terminal

    return Terminal.from_environment(json=json, quiet=quiet)
