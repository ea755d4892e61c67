"""``lockship export bundle`` and ``lockship import bundle``: how a project gets to where there is no network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from builder.cli.exports import export
from builder.cli.options import HERE, JsonOption, PlatformOption, ProjectOption, QuietOption, opened

__all__ = ["imports"]

imports = typer.Typer(help="Take in what was exported elsewhere.", no_args_is_help=True)


@export.command("bundle")
def export_bundle(
    project: ProjectOption = HERE,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write this. [default: .lockship/NAME-VERSION.tar]"),
    ] = None,
    platform: PlatformOption = None,
    artifacts: Annotated[
        bool, typer.Option("--artifacts/--no-artifacts", help="With all packages, for building there; or without.")
    ] = True,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write one file with all that building and deploying need where there is no network."""
    from builder.cli import bundle as command

    command.run_export(opened(json, quiet), project, output, platform or [], artifacts=artifacts)


@imports.command("bundle")
def import_bundle(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `lockship export bundle` wrote.")],
    project: ProjectOption = HERE,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FOLDER", help="Images into this layout. [default: the project's store]"),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take a bundle into the cache and the project's store, every byte verified. Prints the release's digest."""
    from builder.cli import bundle as command

    command.run_import(opened(json, quiet), project, file, to)
