"""What resolvers answer: pins and artifacts, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from builder.content import Digest, Platform

__all__ = ["Artifact", "Pin", "Resolution", "Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """What packages are chosen for: the image's platform, its Python and its C library.

    `python` is the version that the base ships (``3.11.2``), `glibc` its C library's (``2.36``).
    """

    platform: Platform
    python: str
    glibc: str

    @property
    def minor(self) -> str:
        """``3.11``."""
        return ".".join(self.python.split(".")[:2])


@dataclass(frozen=True, slots=True)
class Artifact:
    """Third-party bytes known by digest.

    `kind` is ``wheel``, ``deb``, ``conda`` or ``jar``; `name` is normalised (PEP 503 for wheels), or ``group:artifact``
    of a jar with its classifier, if any; `size` is in bytes.
    `built_from` is the file name of the sdist that a wheel was built from, with consent; empty for all others.
    `channel` (its name, ``conda-forge``) and `subdir` (``linux-64``, ``noarch``) say where a conda package is from.
    `folder` is where a jar goes in the image, under the name `file`.
    """

    kind: str
    name: str
    version: str
    file: str
    digest: Digest
    size: int
    built_from: str = ""
    channel: str = ""
    subdir: str = ""
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Pin:
    """One line of a requirements.lock: name (PEP 503), exact version, hashes of every file that may be installed.

    `extras` and `marker` as PEP 508 writes them; `via` says who asked for it.
    """

    name: str
    version: str
    hashes: tuple[Digest, ...]
    extras: tuple[str, ...] = ()
    marker: str = ""
    via: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resolution:
    """All pins, and which of them each platform gets; `tools` are the resolvers with their versions."""

    pins: tuple[Pin, ...]
    by_platform: Mapping[Platform, tuple[Pin, ...]]
    tools: Mapping[str, str]
