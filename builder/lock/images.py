"""A base image as the lock has it: what an offline plan needs to know of it, and the TOML it is written in."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from builder.content import MEDIA_LAYER_GZIP, MEDIA_LAYER_TAR, Digest
from builder.errors import LockshipError
from builder.lock.tables import ANY, inline, lines_of, number, string, text, texts

__all__ = ["BaseFolder", "BaseImage", "BaseLayer", "can_be_written", "lines", "parse"]

_MEDIA: Final = re.compile("|".join(re.escape(one) for one in (MEDIA_LAYER_GZIP, MEDIA_LAYER_TAR)))
_PART: Final = r"(?!\.{1,2}(?:/|$))[^/\x00-\x1f\x7f]+"
_PATH: Final = re.compile(r'(/(?!\.{1,2}(?:/|$))[^/\x00-\x1f\x7f"\\]+)+')
_INNER: Final = re.compile(rf"{_PART}(/{_PART})*")
_PORT: Final = re.compile(r"\d{1,5}(-\d{1,5})?/(tcp|udp|sctp)")
_VARIABLE: Final = re.compile(r"[^=\x00]+=[^\x00]*")


@dataclass(frozen=True, slots=True)
class BaseLayer:
    """A layer of a base image, under the OCI media type; `created_by` is what its history says."""

    digest: Digest
    size: int
    diff_id: Digest
    media_type: str = MEDIA_LAYER_GZIP
    created_by: str = ""


@dataclass(frozen=True, slots=True)
class BaseFolder:
    """A folder of a base image whose mode or owner is not 0755 and root."""

    path: str
    mode: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class BaseImage:
    """What is locked of a base image for one platform.

    `digest` is its manifest's, `interpreter` the absolute path of the real python in it, `build` a name for what that
    compiles alike: the version of its Debian package, or else its own. `layers` are lowest first.
    `env`, `user`, `entrypoint`, `labels`, `ports`, `volumes` and `stop_signal` are what images built upon it inherit.
    `links` are the symlinks of its upper folders, and `folders` those with a mode or owner of their own (paths
    relative to the root), so that what lies upon it replaces neither. `owns_venv`: it has an /opt/venv.
    """

    digest: Digest
    interpreter: str
    build: str
    layers: tuple[BaseLayer, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    owns_venv: bool = False
    links: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[BaseFolder, ...] = ()


def lines(base: BaseImage) -> Iterable[str]:
    """The lines of its table, the head excepted; what is empty is left out."""
    yield f"digest = {string(base.digest)}"
    yield f"interpreter = {string(base.interpreter)}"
    yield f"build = {string(base.build)}"
    if base.owns_venv:
        yield "owns_venv = true"
    for name in ("user", "stop_signal"):
        if value := getattr(base, name):
            yield f"{name} = {string(value)}"
    for name in ("env", "entrypoint", "ports", "volumes"):
        if items := getattr(base, name):
            yield from lines_of(name, (string(item) for item in items))
    for name, pairs in (("labels", base.labels), ("links", base.links)):
        if pairs:
            key = "name" if name == "labels" else "path"
            other = "value" if name == "labels" else "target"
            yield from lines_of(name, (inline({key: one, other: pairs[one]}) for one in sorted(pairs)))
    if base.folders:
        rows = sorted(base.folders, key=lambda one: one.path)
        yield from lines_of(
            "folders",
            (inline({"path": one.path, "mode": f"{one.mode:04o}", "uid": one.uid, "gid": one.gid}) for one in rows),
        )
    yield from lines_of("layers", (_layer_line(layer) for layer in base.layers))


def _layer_line(layer: BaseLayer) -> str:
    facts: dict[str, Any] = {
        "digest": layer.digest,
        "size": layer.size,
        "diff_id": layer.diff_id,
        "media_type": layer.media_type,
        "created_by": layer.created_by,
    }
    return inline(facts)


def parse(table: Mapping[str, Any]) -> BaseImage:
    """What `lines` wrote; raises ValueError, KeyError, TypeError or LockshipError for anything else."""
    return BaseImage(
        digest=Digest(table["digest"]),
        interpreter=text(table["interpreter"], _PATH),
        build=text(table["build"]),
        layers=tuple(
            BaseLayer(
                digest=Digest(one["digest"]),
                size=number(one["size"]),
                diff_id=Digest(one["diff_id"]),
                media_type=text(one["media_type"], _MEDIA),
                created_by=text(one["created_by"]),
            )
            for one in table["layers"]
        ),
        env=texts(table.get("env", []), _VARIABLE),
        user=text(table.get("user", "")),
        entrypoint=texts(table.get("entrypoint", []), ANY),
        labels={text(one["name"], ANY): text(one["value"], ANY) for one in table.get("labels", [])},
        ports=texts(table.get("ports", []), _PORT),
        volumes=texts(table.get("volumes", []), ANY),
        stop_signal=text(table.get("stop_signal", "")),
        owns_venv=_flag(table.get("owns_venv", False)),
        links={text(one["path"], _INNER): text(one["target"], ANY) for one in table.get("links", [])},
        folders=tuple(
            BaseFolder(
                path=text(one["path"], _INNER),
                mode=int(text(one["mode"], re.compile("[0-7]{4}")), 8),
                uid=number(one["uid"], 2**32 - 1),
                gid=number(one["gid"], 2**32 - 1),
            )
            for one in table.get("folders", [])
        ),
    )


def can_be_written(base: BaseImage) -> bool:
    """Whether a lock with `base` reads back: an image may say what no lock takes, such as line breaks in a name."""
    try:
        return parse(tomllib.loads("\n".join(lines(base)))) == base
    except (KeyError, TypeError, ValueError, AttributeError, LockshipError):
        return False


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{str(value)[:80]!r} is not true or false")
    return value
