"""The commands with their options, and the one place where errors become exit codes.

Nothing heavy is imported here: ``lockship --help`` answers at once. A command function only names its options and
hands over to a module of its own in this package, which calls `builder.pipeline` and renders what it returns.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from builder.errors import LockshipError

if TYPE_CHECKING:
    from builder.cli.terminal import Terminal

__all__ = ["app", "invoke", "main"]


class _InterruptError(Exception):
    """Ctrl-C, which typer would swallow without a word."""


class _Group(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _InterruptError from error


app = typer.Typer(
    name="lockship",
    cls=_Group,
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

# What the parser raises for a wrong command line; typer keeps the class to itself.
_CommandLineError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def main() -> NoReturn:
    """Run the command line; never returns."""
    _ready_streams()
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(invoke(sys.argv[1:]))


def _terminated(*_: object) -> NoReturn:
    """A cancelled CI job cleans up as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def _ready_streams() -> None:
    """Standard streams that are there, and that take any file's name."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:  # closed by the caller: the next file we open would be taken for it
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def invoke(arguments: list[str]) -> int:
    """Run one command and give its exit code; no exception but SystemExit from `arguments` reaches the caller."""
    from builder.cli.terminal import OutputError, Terminal

    # typer reports its own usage errors before any command runs: with --json they are documents too
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    terminal = Terminal.from_environment(json="--json" in ours, quiet=False)
    try:
        return _invoke(arguments, terminal)
    except BrokenPipeError:  # whoever read our output is gone; tell nobody
        _drop_output()
        return 141
    except OutputError as error:
        _drop_output()
        return Terminal.from_environment(json=False, quiet=False).fail(error)


def _invoke(arguments: list[str], terminal: Terminal) -> int:
    from builder.cli.terminal import OutputError

    try:
        result = app(arguments, standalone_mode=False, obj=None)
    except OutputError:
        raise
    except LockshipError as error:
        return terminal.fail(error)
    except (_InterruptError, KeyboardInterrupt, typer.Abort):
        return terminal.interrupted()
    except typer.Exit as stop:
        return stop.exit_code
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # as the parser has it
            raise stop.__context__ from None
        return stop.code if isinstance(stop.code, int) else 1
    except BrokenPipeError:
        raise
    except _CommandLineError as error:
        return terminal.usage(error.format_message())
    except Exception as error:
        return terminal.crash(error)
    return result if isinstance(result, int) else 0


def _drop_output() -> None:
    """What is still to be written goes nowhere, and Python's own last flush says nothing about it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminal(json: bool, quiet: bool) -> Terminal:
    from builder.cli.terminal import Terminal

    return Terminal.from_environment(json=json, quiet=quiet)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        from builder import __version__

        typer.echo(f"lockship {__version__}")
        raise typer.Exit


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="The folder to look at.")] = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Look at a folder and write a commented lockship.toml that fits it."""
    from builder.cli import init as command

    command.run(_terminal(json, quiet), folder)


@app.command()
def lock(
    project: ProjectOption = HERE,
    check: Annotated[bool, typer.Option("--check", help="Only say whether the lock fits its inputs. Offline.")] = False,
    upgrade: Annotated[bool, typer.Option("--upgrade", "-U", help="Take the newest of everything.")] = False,
    upgrade_package: Annotated[
        list[str] | None,
        typer.Option("--upgrade-package", "-P", metavar="NAME", help="Take the newest of this one; may be repeated."),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Pin every dependency to a hash, and compute the layers they become."""
    from builder.cli import lock as command

    command.run(_terminal(json, quiet), project, check=check, upgrade=upgrade, packages=upgrade_package or [])


@app.command()
def plan(
    project: ProjectOption = HERE,
    platform: PlatformOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what would be built, its digest, and how it differs from what the store has. Offline."""
    from builder.cli import plan as command

    command.run(_terminal(json, quiet), project, platform or [])


@app.command()
def build(
    project: ProjectOption = HERE,
    platform: PlatformOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Build the image into the store. Prints the digest."""
    from builder.cli import build as command

    command.run(_terminal(json, quiet), project, platform or [])


@app.command()
def verify(
    project: ProjectOption = HERE,
    platform: PlatformOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Build again from the lock and the sources with a cold cache, and compare every blob."""
    from builder.cli import verify as command

    command.run(_terminal(json, quiet), project, platform or [])


@app.command()
def load(
    project: ProjectOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Load the image into a Docker engine, building it first if needed."""
    from builder.cli import load as command

    command.load(_terminal(json, quiet), project)


@app.command()
def run(
    project: ProjectOption = HERE,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGS]", help="Words after the project's command.")
    ] = None,
    volume: Annotated[
        list[str] | None,
        typer.Option("--volume", "-v", metavar="HOST:PATH[:ro]", help="Mount a folder; may be repeated."),
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", metavar="NAME=VALUE", help="Set a variable; may be repeated.")
    ] = None,
    publish: Annotated[
        list[str] | None, typer.Option("--publish", "-p", metavar="HOST:PORT", help="Publish a port; may be repeated.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Run the project's command in a Docker engine, loading the image if needed; its exit status is ours."""
    from builder.cli import load as command

    code = command.run(
        _terminal(False, quiet), project, arguments or [], volumes=volume or [], env=env or [], publish=publish or []
    )
    raise typer.Exit(code)


@export.command("dockerfile")
def export_dockerfile(
    project: ProjectOption = HERE,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Write the build context here.")
    ] = Path("docker"),
    platform: Annotated[
        str | None, typer.Option("--platform", metavar="OS/ARCH", help="For this platform. [default: this machine's]")
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a folder for `docker build` that installs the same lock, for teams whose rules ask for one."""
    from builder.cli import dockerfile as command

    command.run(_terminal(json, quiet), project, output, platform)
