"""The commands about releases and stages, with their options. See `builder.cli.app`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from builder.cli.options import (
    HERE,
    AffectedOption,
    AllOption,
    JsonOption,
    PlatformOption,
    ProjectOption,
    QuietOption,
    RootArgument,
    SchedulerOption,
    SinceOption,
    of_many,
    opened,
)

__all__ = ["releases"]

RepositoryOption = Annotated[
    str | None,
    typer.Option(
        "--repository", metavar="HOST/NAME", help="In this registry, or oci:FOLDER; no project is needed then."
    ),
]
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="The release's version.")]
StageArgument = Annotated[str, typer.Argument(metavar="STAGE", help="The stage: staging, production, …")]
PublicKeyOption = Annotated[
    Path | None, typer.Option("--key", metavar="FILE", help="Check signatures with this public key.")
]
PrivateKeyOption = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="Sign with this private key. [default: LOCKSHIP_SIGNING_KEY]"),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask; for machines.")]
AcceptSchemaOption = Annotated[
    bool, typer.Option("--accept-schema", help="Go on although the live database or data don't fit; journaled.")
]
TakeOverOption = Annotated[
    bool, typer.Option("--take-over", help="Whoever is at this stage is gone for sure: go on in their place.")
]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; written into the journal.")]

releases = typer.Typer()


@releases.command()
def release(
    root: RootArgument = None,
    everything: AllOption = False,
    affected: AffectedOption = False,
    since: SinceOption = None,
    project: ProjectOption = HERE,
    repository: RepositoryOption = None,
    key: PrivateKeyOption = None,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="WHAT", help="dirty, unpushed, no-git or unsigned; may be repeated. Recorded."),
    ] = None,
    scheduler: SchedulerOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check, convert, build, push, attest and record this version as a release. Prints the digest."""
    if of_many(root, everything, affected, since):
        from builder.cli import many

        choice = many.Choice(project, everything, affected, root, since, repository, scheduler)
        raise typer.Exit(many.release(opened(json, quiet), choice, key, allow or []))
    from builder.cli import release as command

    command.run(opened(json, quiet), project, repository, key, allow or [], scheduler=scheduler)


@releases.command()
def verify(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[VERSION]", help="A release, or the word package. [default: the sources]", show_default=False
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The package's file.", show_default=False)
    ] = None,
    project: ProjectOption = HERE,
    platform: PlatformOption = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Take packages from this machine's cache, each hashed again.")
    ] = False,
    repository: RepositoryOption = None,
    key: PublicKeyOption = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build the release again from the sources here, and compare.")
    ] = False,
    journal: Annotated[bool, typer.Option("--journal", help="Check the journal and the stages' tags.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Build again from the lock and the sources and compare every blob; or check a release, or the journal.

    Of a VERSION: its signature, its evidence, and every byte of it. `verify package FILE` checks what
    `export package` wrote.
    """
    from builder.cli import verify as command

    terminal = opened(json, quiet)
    if journal:
        command.journal(terminal, project, repository)
    elif what == "package":
        command.package(terminal, file)
    elif what is not None:
        command.release(terminal, project, repository, what, key, rebuild=rebuild, offline=offline)
    else:
        command.run(terminal, project, platform or [], offline=offline)


@releases.command()
def approve(
    version: VersionArgument,
    stage: StageArgument,
    project: ProjectOption = HERE,
    repository: RepositoryOption = None,
    key: PrivateKeyOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say that a release may enter a stage, signed with your own key."""
    from builder.cli import promote as command

    command.approve(opened(json, quiet), project, repository, version, stage, key)


@releases.command()
def promote(
    version: VersionArgument,
    stage: StageArgument,
    project: ProjectOption = HERE,
    repository: RepositoryOption = None,
    key: PublicKeyOption = None,
    accept_schema: AcceptSchemaOption = False,
    take_over: TakeOverOption = False,
    reason: ReasonOption = "",
    yes: YesOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Give a stage a release: look, point, deploy, and go back when it isn't well."""
    from builder.cli import promote as command

    command.move(
        opened(json, quiet), project, repository, key, yes=yes,
        action="promote", stage=stage, version=version, accept=accept_schema, take_over=take_over, reason=reason,
    )  # fmt: skip


@releases.command()
def rollback(
    stage: StageArgument,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="VERSION", help="To this release. [default: the last one that was healthy there]"),
    ] = None,
    project: ProjectOption = HERE,
    repository: RepositoryOption = None,
    key: PublicKeyOption = None,
    accept_schema: AcceptSchemaOption = False,
    take_over: TakeOverOption = False,
    reason: ReasonOption = "",
    yes: YesOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take a stage back to a release that was well there. Nothing is built; no project is needed."""
    from builder.cli import promote as command

    command.move(
        opened(json, quiet), project, repository, key, yes=yes,
        action="rollback", stage=stage, version=to, accept=accept_schema, take_over=take_over, reason=reason,
    )  # fmt: skip


@releases.command()
def history(
    stage: Annotated[str | None, typer.Argument(metavar="[STAGE]", help="Only this stage.", show_default=False)] = None,
    project: ProjectOption = HERE,
    repository: RepositoryOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, metavar="N", help="The newest N; 0 is all.")] = 30,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """What was released, promoted and rolled back: when, by whom, from where."""
    from builder.cli import history as command

    command.run(opened(json, quiet), project, repository, stage, limit)


@releases.command()
def show(
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="[default: the project's]", show_default=False)
    ] = None,
    project: ProjectOption = HERE,
    repository: RepositoryOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say on one page what a release is, and where it runs."""
    from builder.cli import show as command

    command.show(opened(json, quiet), project, repository, version)


@releases.command()
def diff(
    old: Annotated[str, typer.Argument(metavar="A", help="A release's version.")],
    new: Annotated[str, typer.Argument(metavar="B", help="Another's.")],
    project: ProjectOption = HERE,
    repository: RepositoryOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare two releases: packages, files, models, data, schema, sizes."""
    from builder.cli import show as command

    command.diff(opened(json, quiet), project, repository, old, new)


@releases.command()
def why(
    version: Annotated[
        str | None,
        typer.Argument(metavar="[VERSION]", help="A release. [default: what the sources give now]", show_default=False),
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", metavar="VERSION", help="Compare with this. [default: the one before]")
    ] = None,
    project: ProjectOption = HERE,
    repository: RepositoryOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say why a digest is not what it was, down to the first input that changed."""
    from builder.cli import show as command

    command.why(opened(json, quiet), project, repository, version, against)


@releases.command()
def gc(
    project: ProjectOption = HERE,
    repository: RepositoryOption = None,
    apply: Annotated[bool, typer.Option("--apply", help="Delete what is shown; otherwise only show it.")] = False,
    keep: Annotated[
        int | None, typer.Option("--keep", min=1, metavar="N", help="Keep the newest N. [default: [retention], or 10]")
    ] = None,
    keep_days: Annotated[
        int | None,
        typer.Option("--keep-days", min=0, metavar="N", help="Keep all for N days. [default: [retention], or 90]"),
    ] = None,
    yes: YesOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show which releases nothing needs, why the others stay, and what piles up; with --apply delete them."""
    from builder.cli import gc as command

    command.run(opened(json, quiet), project, repository, apply=apply, yes=yes, keep=keep, keep_days=keep_days)
