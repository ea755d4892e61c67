"""A converted model as a C# project with its NuGet package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builder.models.consumers.dotnet import SIGN, DotnetProject, package_of, render_dotnet
from builder.pipeline.context import Context
from builder.pipeline.packaging import Converted, write_package

__all__ = ["Exported", "Wishes", "export_dotnet"]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What was asked for about the package; None takes what the contract says."""

    package: str | None = None
    version: str | None = None
    authors: str | None = None
    onnxruntime: str | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """A project that was written, and its package."""

    project: DotnetProject
    folder: Path
    nupkg: Path


def export_dotnet(converted: Converted, context: Context, folder: Path, wishes: Wishes) -> Exported:
    """Write the C# project and the source-only package of `converted` into `folder`. All or nothing.

    Raises UsageError and ModelError as `package_of` and `render_dotnet`, RefusedError as `write_package`.
    """
    package = package_of(
        converted.contract,
        package=wishes.package,
        version=wishes.version,
        runtime=wishes.onnxruntime,
        authors=wishes.authors,
    )
    project = render_dotnet(converted.contract, converted.model, package)
    for notice in project.notices:
        context.progress.warn(notice)
    write_package(folder, project.files, SIGN)
    return Exported(project, folder, folder / project.nupkg)
