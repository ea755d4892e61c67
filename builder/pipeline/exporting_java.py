"""A converted model as a Maven project, and where a JDK and Maven are, as a jar."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builder.errors import UsageError
from builder.models.consumers.java import SIGN, JavaProject, render_java
from builder.models.consumers.java_names import GROUP, coordinates
from builder.pipeline.context import Context
from builder.pipeline.maven import Maven, find_maven, package
from builder.pipeline.packaging import Converted, write_package

__all__ = ["Exported", "Wishes", "export_java"]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What may be chosen; None is the default. `build` is whether there must, may (None) or must not be a jar."""

    group: str | None = None
    artifact: str | None = None
    version: str | None = None
    package: str | None = None
    onnxruntime: str | None = None
    build: bool | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """The project's folder, and the jar when one was built."""

    project: JavaProject
    folder: Path
    jar: Path | None


def export_java(converted: Converted, context: Context, folder: Path, wishes: Wishes) -> Exported:
    """Write the Maven project of a model into `folder` and build its jar, which scores the golden rows as its test.

    Raises UsageError when a jar must be built and can't, RefusedError when the folder holds something else, and as
    `render_java` and `package` do; a project whose build failed stays, to be looked into.
    """
    contract = converted.contract
    chosen = coordinates(
        contract, group=wishes.group, artifact=wishes.artifact, version=wishes.version, package=wishes.package
    )
    project = render_java(contract, converted.model, chosen, wishes.onnxruntime)
    maven = _maven(context, wishes)
    write_package(folder, project.files, SIGN)
    for notice in project.notices:
        context.progress.warn(notice)
    if wishes.group is None:
        context.progress.note(f"the group id is {GROUP}, an example's: name yours with --group")
    if maven is None:
        return Exported(project, folder, None)
    package(maven, folder, context.environ, context.progress)
    return Exported(project, folder, folder / project.jar)


def _maven(context: Context, wishes: Wishes) -> Maven | None:
    """What builds the jar, if one is to be built."""
    if wishes.build is False:
        return None
    found = find_maven(context.environ)
    if not found.obstacle:
        return found
    if wishes.build:
        raise UsageError(
            f"a jar can't be built here: {found.obstacle}",
            hint="install a JDK and Maven (on Debian: default-jdk-headless maven), or take --no-build",
        )
    context.progress.note(f"no jar: {found.obstacle}; `mvn package` in the folder builds it elsewhere")
    return None
