"""The commands below ``lockship export``: the project in another tool's format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from builder.cli.options import HERE, JsonOption, ProjectOption, QuietOption, ReferenceArgument, opened

__all__ = ["export"]

ModelArgument = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="The model's name, where the project has several.", show_default=False),
]
ContractOption = Annotated[
    Path | None,
    typer.Option("--contract", metavar="FILE", help="This NAME.contract.json, with its .onnx beside; no project."),
]

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


@export.command("onnx")
def export_onnx(
    reference: ReferenceArgument = None,
    project: ProjectOption = HERE,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Write the files here.")] = Path(
        "models"
    ),
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", metavar="NAME", help="Only this model; may be repeated. [default: all]"),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch the models of a release as files: ONNX, contract and parity report, every byte verified."""
    from builder.cli import onnx as command

    command.run(opened(json, quiet), project, reference, output, model or [])


@export.command("package")
def export_package(
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="[default: the project's]", show_default=False)
    ] = None,
    project: ProjectOption = HERE,
    repository: Annotated[
        str | None, typer.Option("--repository", metavar="HOST/NAME", help="From this registry, or oci:FOLDER.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write this file. [default: NAME-VERSION.zip]"),
    ] = None,
    data: Annotated[bool, typer.Option("--data", help="With the data sets themselves, from the project.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a release as one zip: code, lock, models, the data's manifest, checksums. The same bytes each time."""
    from builder.cli import package as command

    command.run(opened(json, quiet), project, repository, version, output, data=data)


@export.command("kubernetes")
def export_kubernetes(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The release's version.")],
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="The stage that it is to run in.")],
    project: ProjectOption = HERE,
    repository: Annotated[
        str | None, typer.Option("--repository", metavar="HOST/NAME", help="The releases' registry.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Write this file; - is stdout.")
    ] = Path("-"),
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write the Kubernetes manifests that a stage's deployment applies: the image by its digest."""
    from builder.cli import kubernetes as command

    command.run(opened(json, quiet), project, repository, version, stage, output)


@export.command("java")
def export_java(
    model: ModelArgument = None,
    project: ProjectOption = HERE,
    contract: ContractOption = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Write the Maven project here.")
    ] = Path("java"),
    group: Annotated[
        str | None, typer.Option("--group", metavar="ID", help="Maven's group id. [default: com.example.models]")
    ] = None,
    artifact: Annotated[
        str | None, typer.Option("--artifact", metavar="ID", help="Maven's artifact id. [default: MODEL-model]")
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", metavar="VERSION", help="The jar's version. [default: the model's]")
    ] = None,
    package: Annotated[
        str | None, typer.Option("--package", metavar="NAME", help="The Java package. [default: the group's, MODEL]")
    ] = None,
    onnxruntime: Annotated[
        str | None,
        typer.Option(
            "--onnxruntime", metavar="X.Y.Z", help="Depend on this release. [default: the declared consumer's newest]"
        ),
    ] = None,
    build: Annotated[
        bool | None,
        typer.Option("--build/--no-build", help="Build the jar, or don't. [default: if a JDK and Maven are there]"),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a converted model as a Maven project with a typed class, and build its jar, which tests itself."""
    from builder.cli import java as command
    from builder.pipeline.exporting_java import Wishes

    wishes = Wishes(group, artifact, version, package, onnxruntime, build)
    command.run(opened(json, quiet), project, model, contract, output, wishes)


@export.command("dotnet")
def export_dotnet(
    model: ModelArgument = None,
    project: ProjectOption = HERE,
    contract: ContractOption = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Write the C# project and its package here.")
    ] = Path("dotnet"),
    package: Annotated[
        str | None, typer.Option("--package", metavar="ID", help="NuGet's package id: Acme.Churn. [default: MODEL]")
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", metavar="VERSION", help="The package's version. [default: the model's]")
    ] = None,
    authors: Annotated[
        str | None, typer.Option("--authors", metavar="NAMES", help="The package's authors. [default: its id]")
    ] = None,
    onnxruntime: Annotated[
        str | None,
        typer.Option("--onnxruntime", metavar="X.Y.Z", help="Depend on this release. [default: as the model declares]"),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a converted model as a C# project with a typed class, and as a source-only NuGet package."""
    from builder.cli import dotnet as command
    from builder.pipeline.exporting_dotnet import Wishes

    wishes = Wishes(package, version, authors, onnxruntime)
    command.run(opened(json, quiet), project, model, contract, output, wishes)


@export.command("sql")
def export_sql(
    dialect: Annotated[str, typer.Option("--dialect", metavar="NAME", help="postgres, sqlite or duckdb.")],
    table: Annotated[str, typer.Option("--table", metavar="[SCHEMA.]TABLE", help="Score the rows of this table.")],
    key: Annotated[
        list[str], typer.Option("--key", metavar="COLUMN", help="Hand this column through; may be repeated.")
    ],
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="The model's name, where the project has several.", show_default=False),
    ] = None,
    project: ProjectOption = HERE,
    contract: Annotated[
        Path | None,
        typer.Option("--contract", metavar="FILE", help="This NAME.contract.json, with its .onnx beside; no project."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write this file. [default: NAME.sql]")
    ] = None,
    view: Annotated[
        str | None, typer.Option("--view", metavar="[SCHEMA.]NAME", help="Create a view of this name with the query.")
    ] = None,
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="TEXT", help="Put this before the names of the result's columns.")
    ] = "",
    sample: Annotated[
        Path | None,
        typer.Option("--sample", metavar="FILE", help="Compare these rows too. [default: the model's sample]"),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option("--database", metavar="URL", help="Verify on this PostgreSQL. [default: a temporary one]"),
    ] = None,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Write the query without running it anywhere.")
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a converted model as a query that scores a table, after running it on a real database."""
    from builder.cli import sql as command
    from builder.pipeline.exporting_sql import Wishes

    wishes = Wishes(dialect, table, tuple(key), prefix, view, database, sample, unverified)
    command.run(opened(json, quiet), project, model, contract, output, wishes)
