"""What the tests of Python locking share: targets, projects, progress that remembers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.cache import Cache
from builder.content import Platform
from builder.lock.fetch import lock_wheels
from builder.lock.indexes import Indexes, from_environment
from builder.lock.pins import Artifact, Resolution, Target
from builder.lock.python import resolve
from builder.progress import _Silent
from builder.project import Project, load_project

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
TARGETS = {AMD64: Target(AMD64, "3.11.2", "2.36"), ARM64: Target(ARM64, "3.11.2", "2.36")}


class Remembering(_Silent):
    """Progress whose notes and warnings can be looked at."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def write_project(
    folder: Path,
    requirements: str | Mapping[str, str],
    *,
    platforms: Sequence[Platform] = (AMD64,),
    python: str = "",
    names: Sequence[str] = ("requirements.in",),
) -> Project:
    """A project in `folder`; `requirements` is requirements.in, or files by their path relative to it."""
    files = {"requirements.in": requirements} if isinstance(requirements, str) else requirements
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    listed = ", ".join(f'"{name}"' for name in names)
    shown = ", ".join(f'"{platform}"' for platform in platforms)
    (folder / "lockship.toml").write_text(
        f'name = "demo"\nversion = "1"\n[python]\nrequirements = [{listed}]\n{python}\n[image]\nplatforms = [{shown}]\n'
    )
    return load_project(folder / "lockship.toml")


def environment(**more: str) -> dict[str, str]:
    """This process's environment with `more`."""
    return {**os.environ, "PIP_RETRIES": "1", **more}


def targets_of(project: Project) -> list[Target]:
    return [TARGETS[platform] for platform in project.image.platforms]


def lock(
    project: Project,
    environ: Mapping[str, str],
    *,
    existing: str | None = None,
    progress: Remembering | None = None,
    upgrade: bool = False,
    upgrade_packages: Sequence[str] = (),
) -> Resolution:
    """Resolve `project` for its platforms."""
    return resolve(
        project,
        targets_of(project),
        existing=existing,
        upgrade=upgrade,
        upgrade_packages=upgrade_packages,
        indexes=from_environment(environ),
        environ=environ,
        progress=progress or Remembering(),
    )


def wheels(
    project: Project,
    resolution: Resolution,
    environ: Mapping[str, str],
    cache: Cache,
    *,
    progress: Remembering | None = None,
    indexes: Indexes | None = None,
) -> dict[Platform, tuple[Artifact, ...]]:
    """Choose and download."""
    return lock_wheels(
        resolution,
        targets_of(project),
        project=project,
        indexes=indexes or from_environment(environ),
        cache=cache,
        progress=progress or Remembering(),
        environ=environ,
    )
