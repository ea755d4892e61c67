"""Options that many commands take. Nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from builder.cli.terminal import Terminal

__all__ = [
    "HERE",
    "AffectedOption",
    "AllOption",
    "JsonOption",
    "PlatformOption",
    "ProjectOption",
    "QuietOption",
    "ReferenceArgument",
    "RootArgument",
    "SchedulerOption",
    "SinceOption",
    "of_many",
    "opened",
]

ProjectOption = Annotated[
    Path, typer.Option("--project", "-C", metavar="PATH", help="The project's folder or its lockship.toml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document with a `schema` field.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only warnings and the result.")]
PlatformOption = Annotated[
    list[str] | None,
    typer.Option("--platform", metavar="OS/ARCH", help="Only this platform; may be repeated. [default: all]"),
]
ReferenceArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="REFERENCE",
        help="registry.example.com/ml/churn:1.4.0, or inside a project a version alone.",
        show_default=False,
    ),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler", metavar="ADDRESS", help="Let this Dask cluster make and send layers, such as tcp://HOST:8786."
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="Every project in ROOT and below, in order.")]
AffectedOption = Annotated[
    bool, typer.Option("--affected", help="Of all of them, those that a change touches, and those that need them.")
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="REF", help="What changed since then. [default: where origin's branch was left]"),
]
RootArgument = Annotated[
    Path | None, typer.Argument(metavar="[ROOT]", help="With --all: the folder of the projects.", show_default=False)
]
HERE = Path()


def of_many(root: Path | None, everything: bool, affected: bool, since: str | None) -> bool:
    """Whether a command is about many projects: that those words fit each other is for it to check."""
    return everything or affected or root is not None or since is not None


def opened(json: bool, quiet: bool) -> Terminal:
    """The command's terminal."""
    from builder.cli.terminal import Terminal

    return Terminal.from_environment(json=json, quiet=quiet)
