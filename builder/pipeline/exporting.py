"""The locked project in another tool's format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.content import Digest, Platform
from builder.errors import UsageError
from builder.image.dockerfile import PIP, BaseFrom, base_archives, render_dockerfile, write_context
from builder.layers import tar
from builder.layers.recipe import Layer
from builder.lock.file import REQUIREMENTS_FILE, Lock, LockedPlatform
from builder.lock.pins import Artifact, Resolution
from builder.lock.requirements import parse, render
from builder.pipeline.building import blob_of
from builder.pipeline.context import Context, host_platform
from builder.pipeline.fetching import fetch_missing_wheels
from builder.pipeline.planning import Prepared, prepare
from builder.pipeline.remaking import make_missing
from builder.pipeline.standing import inherited
from builder.project import Project
from builder.registry.reference import parse_reference

__all__ = ["Exported", "export_dockerfile"]


@dataclass(frozen=True, slots=True)
class Exported:
    """A folder for ``docker build``, and the platform that it is for."""

    folder: Path
    platform: Platform
    tag: str


def export_dockerfile(project: Project, context: Context, folder: Path, platform: Platform | None = None) -> Exported:
    """Write a build context into `folder`: Dockerfile, base layers, wheels, code. Its build needs no network.

    For `platform`, or this machine's where the project has it, or the project's first. Raises RefusedError when the
    folder holds something else, UsageError for a conda environment or jars.
    """
    if project.python.conda:
        raise UsageError(
            "a conda environment can't be exported as a Dockerfile: pip installs what that has",
            hint="`lockship build` makes the image",
            file=project.file,
        )
    if project.java is not None:
        raise UsageError(
            "[java] artifacts can't be exported as a Dockerfile: pip installs no jars",
            hint="`lockship build` makes the image",
            file=project.file,
        )
    prepared = prepare(project, context, [platform or _usual(project)])
    (image,) = prepared.plan.images
    locked = prepared.lock.platform(image.platform)
    base = [layer for layer in image.layers if layer.kind in ("system", "deb")]
    own = [layer for layer in image.layers if layer.kind in ("model", "code")]
    make_missing(prepared, context, base)
    wheels = _wheels(prepared, context, locked)
    entries = _merged(prepared, own)
    archives = base_archives(base)
    dockerfile = render_dockerfile(
        prepared.project,
        prepared.plan.facts,
        base=list(archives),
        python=locked.python,
        wheels=bool(wheels),
        files=bool(entries),
        image_base=_image_base(prepared.lock, locked),
    )
    with blob_of(prepared, context, base) as paths:
        write_context(
            folder,
            dockerfile,
            requirements=_requirements(project, locked),
            pip=_pip(prepared, context),
            base={name: paths[layer.digest] for name, layer in archives.items()},
            wheels=wheels,
            entries=entries,
        )
    return Exported(folder, image.platform, f"{project.name}:{prepared.plan.facts.version}")


def _requirements(project: Project, locked: LockedPlatform) -> bytes:
    """requirements.lock, or the part of it that the image gets: pip installs all that it is given."""
    if not project.python.requirements:
        return b""
    file = project.path(REQUIREMENTS_FILE)
    data = file.read_bytes()
    if project.image.runtime == "python":
        return data
    names = {wheel.name for wheel in locked.wheels}
    pins = tuple(pin for pin in parse(data.decode(), file) if pin.name in names)
    return render(Resolution(pins, {}, {})).encode()


def _image_base(lock: Lock, locked: LockedPlatform) -> BaseFrom | None:
    if locked.base is None:
        return None
    name = f"{parse_reference(lock.base).repository}@{locked.base.digest}"
    return BaseFrom(name, locked.base.interpreter, locked.base.owns_venv, inherited(locked))


def _usual(project: Project) -> Platform:
    host = host_platform()
    return host if host is not None and host in project.image.platforms else project.image.platforms[0]


def _fetched(prepared: Prepared, context: Context, artifacts: Sequence[Artifact]) -> dict[str, Path]:
    fetch_missing_wheels(prepared.project, context, artifacts)
    found = {}
    for one in artifacts:
        path = context.cache.blob(one.digest)
        assert path is not None
        found[one.file] = path
    return found


def _wheels(prepared: Prepared, context: Context, locked: LockedPlatform) -> dict[str, Path]:
    built = [one.name for one in locked.wheels if one.built_from]
    if built:
        raise UsageError(
            f"{', '.join(built)}: built from source, so requirements.lock pins another file than the wheel",
            hint="`docker build` can't install it by hash; use `lockship build`, or publish the wheel on an index",
        )
    return _fetched(prepared, context, locked.wheels)


def _pip(prepared: Prepared, context: Context) -> Path:
    file, digest = PIP
    version = file.split("-")[1]
    return _fetched(prepared, context, [Artifact("wheel", "pip", version, file, digest, 0)])[file]


def _merged(prepared: Prepared, own: Sequence[Layer]) -> tuple[tar.Entry, ...]:
    """The entries of the project's own layers, as one tree."""
    digests: list[Digest] = [layer.digest for layer in own]
    return tuple(tar.arrange(entry for digest in digests for entry in prepared.local[digest].entries))
