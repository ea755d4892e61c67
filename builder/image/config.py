"""The image configuration and what both it and the manifest say about the image.

OCI image specification v1.1, "Image Configuration" and "Annotations".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from builder.content import Digest, Platform, canonical_json
from builder.layers.recipe import Layer

if TYPE_CHECKING:
    from builder.project import Project

__all__ = [
    "BASE",
    "DIRTY",
    "ENVIRONMENT",
    "EPOCH",
    "NOTHING",
    "PYTHON",
    "Facts",
    "Inherited",
    "annotations_of",
    "entrypoint",
    "environment",
    "image_config",
    "labels",
    "user",
]

EPOCH: Final = "1970-01-01T00:00:00Z"

# Annotations and labels of ours.
BASE: Final = "dev.lockship.base"
DIRTY: Final = "dev.lockship.dirty"
PYTHON: Final = "dev.lockship.python"

# What every image starts with; the project's env goes over it. Output appears at once, because a container that is
# killed takes with it what Python still holds; byte code comes with the layers and can't be written at run time anyway.
ENVIRONMENT: Final = {
    "PATH": "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "VIRTUAL_ENV": "/opt/venv",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}

_TITLE: Final = 200  # characters of a layer's title in the history: some layers hold a hundred packages


@dataclass(frozen=True, slots=True)
class Facts:
    """What an image says about itself.

    `created` is RFC 3339 in UTC (the commit's time, SOURCE_DATE_EPOCH or `EPOCH`); `revision` the commit and `source`
    the repository's address; `base` as the project names it, `base_digest` its digest when it is an image.
    """

    name: str
    version: str
    created: str = EPOCH
    revision: str | None = None
    source: str | None = None
    dirty: bool = False
    base: str = ""
    base_digest: Digest | None = None


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a base that is an image passes on, as ``FROM`` does in a Dockerfile; see `BaseImage` of the lock.

    `history` has an entry for each of its layers.
    """

    env: tuple[str, ...] = ()
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    history: tuple[str, ...] = ()


NOTHING: Final = Inherited()
_JAVA: Final = re.compile(r"openjdk-(\d+)-jre-headless")
_ROOT: Final = ("", "0", "root")


def annotations_of(facts: Facts) -> dict[str, str]:
    """The facts under their OCI names, with ours beside them."""
    said = {
        "org.opencontainers.image.title": facts.name,
        "org.opencontainers.image.version": facts.version,
        "org.opencontainers.image.created": facts.created,
        "org.opencontainers.image.revision": facts.revision,
        "org.opencontainers.image.source": facts.source,
        BASE: facts.base or None,
        DIRTY: "true" if facts.dirty else None,
    }
    if facts.base_digest is not None:
        # only for a base that is an image: tools take these for the image that the lowest layers are shared with
        said["org.opencontainers.image.base.name"] = facts.base
        said["org.opencontainers.image.base.digest"] = str(facts.base_digest)
    return {key: value for key, value in said.items() if value is not None}


def labels(project: Project, facts: Facts, python: str, base: Inherited = NOTHING) -> dict[str, str]:
    """The base's labels, the facts over them, the project's own over those; only ours can't be replaced."""
    ours = {key: value for key, value in annotations_of(facts).items() if key.startswith("dev.lockship.")}
    return {**base.labels, **annotations_of(facts), **project.image.labels, **ours, PYTHON: python}


def java_home(platform: Platform, layers: Sequence[Layer]) -> str:
    """Where Debian's Java is, if a layer has it: what would link ``/usr/bin/java`` to it is a script, and none runs."""
    held = (name for layer in layers if layer.kind == "deb" for name, _ in layer.holds)
    found = sorted((int(match[1]) for name in held if (match := _JAVA.fullmatch(name))), reverse=True)
    return f"/usr/lib/jvm/java-{found[0]}-openjdk-{platform.architecture}" if found else ""


def environment(project: Project, base: Inherited = NOTHING, *, java: str = "") -> dict[str, str]:
    """The base's variables, ours over them, the project's over all; PATH begins with the virtual environment's.

    For a project with jars, `java` is the folder of the image's Java; its programs are last on the PATH.
    """
    below = dict(one.split("=", 1) for one in base.env)
    ours = dict(ENVIRONMENT)
    if project.python.conda:
        ours["CONDA_PREFIX"] = ours.pop("VIRTUAL_ENV")
    if path := below.get("PATH"):
        first = ENVIRONMENT["PATH"].partition(":")[0]
        ours["PATH"] = ":".join([first, *(folder for folder in path.split(":") if folder != first)])
    if project.java is not None and java:
        ours |= {"PATH": f"{ours['PATH']}:{java}/bin", "JAVA_HOME": java}
    return below | ours | dict(sorted(project.image.env.items()))


def user(project: Project, base: Inherited = NOTHING) -> str:
    """The project's user; when it names none, the base's, unless that is root."""
    if "user" in project.image.model_fields_set or base.user.partition(":")[0] in _ROOT:
        return f"{project.image.user}:{project.image.user}"
    return base.user


def entrypoint(project: Project, base: Inherited = NOTHING) -> tuple[str, ...]:
    """The project's entrypoint, or else the base's; ``entrypoint = []`` in the project file is for none."""
    return project.image.entrypoint if "entrypoint" in project.image.model_fields_set else base.entrypoint


def image_config(
    project: Project,
    platform: Platform,
    layers: Sequence[Layer],
    facts: Facts,
    *,
    python: str,
    base: Inherited = NOTHING,
) -> bytes:
    """The configuration of the image for `platform` with these `layers`, lowest first, in canonical JSON.

    `python` is the full version of the interpreter in the image; `base` is what it inherits.
    """
    image = project.image
    variables = environment(project, base, java=java_home(platform, layers))
    config: dict[str, object] = {
        "Env": [f"{key}={value}" for key, value in variables.items()],
        "Cmd": list(image.command),
        "WorkingDir": image.workdir,
        "User": user(project, base),
        "Labels": labels(project, facts, python, base),
    }
    if words := entrypoint(project, base):
        config["Entrypoint"] = list(words)
    if ports := {*base.ports, *(f"{port}/tcp" for port in image.ports)}:
        config["ExposedPorts"] = {port: {} for port in ports}
    if base.volumes:
        config["Volumes"] = {volume: {} for volume in base.volumes}
    if base.stop_signal:
        config["StopSignal"] = base.stop_signal
    return canonical_json(
        {
            "created": facts.created,
            "architecture": platform.architecture,
            "os": platform.os,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
            "history": _history(layers, facts, base),
        }
    )


def _history(layers: Sequence[Layer], facts: Facts, base: Inherited) -> list[dict[str, str]]:
    """An entry for each layer; the base's own without a time, because none is locked."""
    said = iter(base.history)
    return [
        {"created_by": next(said, "")}
        if layer.kind == "base"
        else {"created": facts.created, "created_by": f"lockship layer {layer.kind} {_short(layer.title)}".strip()}
        for layer in layers
    ]


def _short(title: str) -> str:
    return title if len(title) <= _TITLE else title[: _TITLE - 1] + "…"
