"""The commands below ``lockship export``: the project in another tool's format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from builder.cli.options import HERE, JsonOption, ProjectOption, QuietOption, opened

__all__ = ["export"]

export = typer.Typer(help="Write the project in another tool's format.", no_args_is_help=True)


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

    command.run(opened(json, quiet), project, output, platform)


@export.command("ci")
def export_ci(
    name: Annotated[str, typer.Argument(metavar="NAME", help="github, gitlab, jenkins or azure.")],
    project: ProjectOption = HERE,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write this file; - is stdout. [default: the provider's usual one]"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a pipeline for a CI provider: check the lock, plan, build, verify, push."""
    from builder.cli import ci as command

    command.run(opened(json, quiet), project, name, output, force=force)
