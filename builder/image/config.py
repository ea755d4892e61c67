"""The image configuration and what both it and the manifest say about the image.

OCI image specification v1.1, "Image Configuration" and "Annotations".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from builder.content import Digest, Platform, canonical_json
from builder.layers.recipe import Layer
from builder.project import Project

__all__ = ["BASE", "DIRTY", "ENVIRONMENT", "EPOCH", "PYTHON", "Facts", "annotations_of", "image_config", "labels"]

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


def labels(project: Project, facts: Facts, python: str) -> dict[str, str]:
    """The facts as labels; the project's own labels win, except over ours."""
    ours = {key: value for key, value in annotations_of(facts).items() if key.startswith("dev.lockship.")}
    return annotations_of(facts) | project.image.labels | ours | {PYTHON: python}


def image_config(project: Project, platform: Platform, layers: Sequence[Layer], facts: Facts, *, python: str) -> bytes:
    """The configuration of the image for `platform` with these `layers`, lowest first, in canonical JSON.

    `python` is the full version of the interpreter in the image.
    """
    image = project.image
    environment = ENVIRONMENT | dict(sorted(image.env.items()))
    config: dict[str, object] = {
        "Env": [f"{key}={value}" for key, value in environment.items()],
        "Cmd": list(image.command),
        "WorkingDir": image.workdir,
        "User": f"{image.user}:{image.user}",
        "Labels": labels(project, facts, python),
    }
    if image.entrypoint:
        config["Entrypoint"] = list(image.entrypoint)
    if image.ports:
        config["ExposedPorts"] = {f"{port}/tcp": {} for port in image.ports}
    return canonical_json(
        {
            "created": facts.created,
            "architecture": platform.architecture,
            "os": platform.os,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
            "history": [
                {"created": facts.created, "created_by": f"lockship layer {layer.kind} {_short(layer.title)}".strip()}
                for layer in layers
            ],
        }
    )


def _short(title: str) -> str:
    return title if len(title) <= _TITLE else title[: _TITLE - 1] + "…"
