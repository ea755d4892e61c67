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

from builder.cli.bundles import imports
from builder.cli.exports import export
from builder.cli.keys import keys
from builder.cli.options import (
    HERE,
    AffectedOption,
    AllOption,
    JsonOption,
    PlatformOption,
    ProjectOption,
    QuietOption,
    ReferenceArgument,
    RootArgument,
    SchedulerOption,
    SinceOption,
    of_many,
    opened,
)
from builder.cli.packages import packages
from builder.cli.releases import releases
from builder.errors import LockshipError

if TYPE_CHECKING:
    from builder.cli.terminal import Terminal

__all__ = ["app", "invoke", "main"]


app = typer.Typer(
    name="lockship",
    help="Lock a data-science project, ship it as a reproducible image, roll it back.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(releases)
app.add_typer(export, name="export")
app.add_typer(imports, name="import")
app.add_typer(keys, name="keys")
app.add_typer(packages, name="packages")

# What the parser raises for a wrong command line; typer keeps the class to itself.
_CommandLineError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def main() -> NoReturn:
    """Run the command line; never returns."""
    _ready_streams()
    signal.signal(signal.SIGTERM, _terminated)
    code = invoke(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # all is done and told: Ctrl-C ends us without a traceback
    sys.exit(code)


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
        # as typer would call it, but for what it does with Ctrl-C: it ends without a word
        command = typer.main.get_command(app)
        with command.make_context("lockship", arguments) as parsed:
            result = command.invoke(parsed)
    except OutputError:
        raise
    except LockshipError as error:
        return terminal.fail(error)
    except (KeyboardInterrupt, typer.Abort):
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
        if isinstance(error.__cause__, KeyboardInterrupt):  # Python wraps one that comes while a class is made
            return terminal.interrupted()
        return terminal.crash(error)
    return result if isinstance(result, int) else 0


def _drop_output() -> None:
    """What is still to be written goes nowhere, and Python's own last flush says nothing about it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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

    command.run(opened(json, quiet), folder)


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

    command.run(opened(json, quiet), project, check=check, upgrade=upgrade, packages=upgrade_package or [])


@app.command()
def convert(
    project: ProjectOption = HERE,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", metavar="NAME", help="Only this model; may be repeated. [default: all]"),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show each step of each model; convert nothing.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether the converted models fit their inputs. Offline.")
    ] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Convert and compare although nothing changed.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Convert models to ONNX, and prove that they score the same. Prints digests and paths."""
    from builder.cli import convert as command

    code = command.run(opened(json, quiet), project, model or [], explaining=explain, check=check, anew=anew)
    raise typer.Exit(code)


@app.command()
def plan(
    project: ProjectOption = HERE,
    platform: PlatformOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what would be built, its digest, and how it differs from what the store has. Offline."""
    from builder.cli import plan as command

    command.run(opened(json, quiet), project, platform or [])


@app.command()
def build(
    root: RootArgument = None,
    everything: AllOption = False,
    affected: AffectedOption = False,
    since: SinceOption = None,
    project: ProjectOption = HERE,
    platform: PlatformOption = None,
    push: Annotated[bool, typer.Option("--push", help="Build straight into the registry, as `push` does.")] = False,
    scheduler: SchedulerOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Build the image into the store. Prints the digest."""
    if of_many(root, everything, affected, since):
        from builder.cli import many

        choice = many.Choice(project, everything, affected, root, since, scheduler=scheduler)
        raise typer.Exit((many.push if push else many.build)(opened(json, quiet), choice, platform or []))
    if push:
        from builder.cli import push as pushing

        return pushing.run(opened(json, quiet), project, platform or [], None, scheduler=scheduler)
    from builder.cli import build as command

    return command.run(opened(json, quiet), project, platform or [], scheduler=scheduler)


@app.command()
def push(
    root: RootArgument = None,
    everything: AllOption = False,
    affected: AffectedOption = False,
    since: SinceOption = None,
    project: ProjectOption = HERE,
    platform: PlatformOption = None,
    repository: Annotated[
        str | None,
        typer.Option("--repository", metavar="HOST/NAME", help="Push here. [default: [store] repository]"),
    ] = None,
    scheduler: SchedulerOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Push the image to the registry, building what it lacks. Prints the digest."""
    if of_many(root, everything, affected, since):
        from builder.cli import many

        choice = many.Choice(project, everything, affected, root, since, repository, scheduler)
        raise typer.Exit(many.push(opened(json, quiet), choice, platform or []))
    from builder.cli import push as command

    command.run(opened(json, quiet), project, platform or [], repository, scheduler=scheduler)


@app.command()
def pull(
    reference: ReferenceArgument = None,
    project: ProjectOption = HERE,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FOLDER", help="Pull into this image layout. [default: the project's store]"),
    ] = None,
    platform: Annotated[
        str | None, typer.Option("--platform", metavar="OS/ARCH", help="Only this platform's image. [default: all]")
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch a release from a registry, every byte verified. Prints the digest."""
    from builder.cli import pull as command

    command.run(opened(json, quiet), project, reference, to, platform)


@app.command()
def doctor(
    project: ProjectOption = HERE,
    registry: Annotated[
        str | None,
        typer.Option("--registry", metavar="HOST/NAME", help="Look at this one. [default: [store] repository]"),
    ] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Hash every blob of the cache and of the store.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say whether this machine, the project and its registry are ready, and what to do where they aren't."""
    from builder.cli import doctor as command

    raise typer.Exit(command.run(opened(json, quiet), project, registry, deep=deep))


@app.command()
def load(
    reference: ReferenceArgument = None,
    project: ProjectOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Load an image into a Docker engine: the project's, built if needed, or one from a registry."""
    from builder.cli import load as command

    command.load(opened(json, quiet), project, reference)


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
    image: Annotated[
        str | None,
        typer.Option("--image", metavar="REFERENCE", help="Run this image instead, from its registry if need be."),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Run the project's command in a Docker engine, loading the image if needed; its exit status is ours."""
    from builder.cli import load as command

    code = command.run(
        opened(False, quiet), project, arguments or [],
        image=image, volumes=volume or [], env=env or [], publish=publish or [],
    )  # fmt: skip
    raise typer.Exit(code)
