"""Conda environments: locked upon a base that brings no Python, looked at before they are believed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from packaging.utils import canonicalize_name

from builder.content import Digest, Platform
from builder.errors import ArtifactError, ProjectError
from builder.init.requirements import R_NEEDS
from builder.layers.condafile import info_of, scripts_of
from builder.lock import indexes
from builder.lock.conda import CondaResolution, resolve_conda
from builder.lock.conda_fetch import lock_conda_packages
from builder.lock.fetch import lock_wheels
from builder.lock.file import CONDA_FILE, Lock
from builder.lock.indexes import Indexes
from builder.lock.pins import Artifact, Pin, Resolution, Target
from builder.pipeline.context import Context
from builder.pipeline.recipes import minor
from builder.project import Project

__all__ = ["lock_environment", "refuse_misfits"]


def refuse_misfits(project: Project, *, image_base: bool) -> None:
    """Raises ProjectError for what a conda environment can't be combined with."""
    if image_base:
        raise ProjectError(
            "a conda environment stands on a base that is put together from packages",
            hint='write base = "debian:bookworm" under [image]: of it only the C library is taken', file=project.file,
        )  # fmt: skip
    if project.image.runtime == "onnx":
        raise ProjectError(
            'runtime = "onnx" chooses among requirements, and the project has a conda environment',
            hint="leave `runtime` out, and give the environment what runs the models", file=project.file,
        )  # fmt: skip


def lock_environment(
    project: Project,
    context: Context,
    base: Lock,
    *,
    existing: str | None,
    upgrade: bool,
    upgrade_packages: Sequence[str],
) -> tuple[Lock, str]:
    """`base` with the conda packages of every platform and the wheels of the pip section; the text of conda-lock.yml.

    Raises what solving and downloading do, and ArtifactError for a package that wants to run a script.
    """
    chosen = indexes.from_environment(context.environ)
    resolution = resolve_conda(
        project,
        {locked.platform: locked.glibc for locked in base.platforms},
        existing=existing,
        upgrade=upgrade,
        upgrade_packages=upgrade_packages,
        indexes=chosen,
        environ=context.environ,
        progress=context.progress,
    )
    packages = lock_conda_packages(resolution.pins, indexes=chosen, cache=context.cache, progress=context.progress)
    _refuse_scripts(project, context, packages)
    _warn_of_r(context, base, packages)
    pythons = {platform: _python(found, project) for platform, found in packages.items()}
    wheels = _wheels(project, context, base, resolution, pythons, chosen)
    platforms = tuple(
        replace(
            locked,
            python=pythons[locked.platform],
            conda=packages[locked.platform],
            wheels=wheels.get(locked.platform, ()),
        )
        for locked in base.platforms
    )
    outputs = {CONDA_FILE: Digest.of(resolution.text.encode())}
    return replace(
        base, outputs=outputs, tools={**base.tools, **resolution.tools}, platforms=platforms
    ), resolution.text


def _python(packages: Sequence[Artifact], project: Project) -> str:
    """The version of the environment's python; empty when there is none. Raises ProjectError for an unwanted one."""
    found = next((one.version for one in packages if one.name == "python"), "")
    asked = project.python.version
    if found and "version" in project.python.model_fields_set and minor(found) != asked:
        raise ProjectError(
            f"[python] version is {asked}, and the environment has python {found}",
            hint=f"leave `version` out, or ask for python={asked} in {project.python.conda[0]}", file=project.file,
        )  # fmt: skip
    return found


def _refuse_scripts(project: Project, context: Context, packages: Mapping[Platform, Sequence[Artifact]]) -> None:
    """No script of a package is run, so one that has some may come out incomplete: somebody must have looked."""
    allowed = set(project.python.skip_scripts)
    found: dict[str, str] = {}
    for one in {one.digest: one for each in packages.values() for one in each}.values():
        path = context.cache.blob(one.digest)
        assert path is not None
        if one.name not in allowed and (scripts := scripts_of(info_of(path, one.file))):
            found.setdefault(one.name, f"{one.file} ({' and '.join(scripts)})")
    if found:
        names = ", ".join(f'"{name}"' for name in sorted(found))
        raise ArtifactError(
            f"these packages run scripts when they are installed, and none is run here: {', '.join(found.values())}",
            hint=f"if they work without: skip-scripts = [{names}] under [python]; else leave them out",
            file=project.file,
        )


def _warn_of_r(context: Context, base: Lock, packages: Mapping[Platform, Sequence[Artifact]]) -> None:
    """R's programs are shell scripts, and text in R is as the locale has it."""
    debs = {one.name for locked in base.platforms for one in locked.debs}
    lacking = sorted({"dash", "libc-bin"} - debs)
    if lacking and any(one.name == "r-base" for each in packages.values() for one in each):
        context.progress.warn(
            f"R is started by a shell, in the locale C.UTF-8, and the image lacks {' and '.join(lacking)}: "
            f"packages = {json.dumps(R_NEEDS)} under [image]"
        )


def _wheels(
    project: Project,
    context: Context,
    base: Lock,
    resolution: CondaResolution,
    pythons: Mapping[Platform, str],
    chosen: Indexes,
) -> Mapping[Platform, tuple[Artifact, ...]]:
    """The wheels of what conda-lock pinned for the pip section."""
    by_platform = {
        platform: tuple(
            Pin(canonicalize_name(pin.name), pin.version, () if pin.digest is None else (pin.digest,))
            for pin in pins
            if pin.manager == "pip"
        )
        for platform, pins in resolution.pins.items()
    }
    pins = tuple({(pin.name, pin.version): pin for group in by_platform.values() for pin in group}.values())
    if not pins:
        return {}
    return lock_wheels(
        Resolution(pins, by_platform, {}),
        [Target(locked.platform, pythons[locked.platform], locked.glibc) for locked in base.platforms],
        project=project,
        indexes=chosen,
        cache=context.cache,
        progress=context.progress,
        environ=context.environ,
    )
