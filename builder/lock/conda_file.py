"""``conda-lock.yml`` (conda-lock's unified format, version 1): what of it we write, and what we read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from builder.content import Digest, Platform
from builder.errors import LockError
from builder.lock.conda_input import channel_name, names_login, yaml
from builder.lock.file import CONDA_FILE

__all__ = ["SUBDIRS", "CondaPin", "normalised", "parse_conda_lock"]

SUBDIRS: Final[Mapping[Platform, str]] = {
    Platform("linux", "amd64"): "linux-64",
    Platform("linux", "arm64"): "linux-aarch64",
}
_HINT: Final = "run `lockship lock`, which writes it anew; or restore it from version control"


@dataclass(frozen=True, slots=True)
class CondaPin:
    """One package for one platform: `manager` is ``conda`` or ``pip``; `digest` is None where the channel gives none.

    `url` is where it was when it was locked, and has no login.
    """

    name: str
    version: str
    manager: str
    digest: Digest | None
    url: str = field(repr=False)

    @property
    def file(self) -> str:
        """The archive's file name."""
        return unquote(urlsplit(self.url).path.rpartition("/")[2])

    @property
    def subdir(self) -> str:
        """``linux-64``, ``noarch``."""
        return self.url.split("/")[-2]

    @property
    def channel(self) -> str:
        """The channel's name."""
        return channel_name(self.url.rsplit("/", 2)[0])


def parse_conda_lock(text: str) -> dict[Platform, tuple[CondaPin, ...]]:
    """The packages of every platform, by name; raises LockError for what is not such a file."""
    reader = yaml()
    platforms = {subdir: platform for platform, subdir in SUBDIRS.items()}
    found: dict[Platform, list[CondaPin]] = {}
    try:
        document = reader.safe_load(text)
        if document["version"] != 1:
            raise ValueError(f"version {document['version']!r}")
        for one in document["metadata"]["platforms"]:
            if one in platforms:
                found[platforms[one]] = []
        for one in document["package"]:
            if (platform := platforms.get(one["platform"])) is not None:
                found[platform].append(_pin(one))
    except (reader.YAMLError, RecursionError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise LockError(f"can't be read: {error}", file=CONDA_FILE, hint=_HINT) from error
    return {platform: tuple(sorted(pins, key=lambda pin: (pin.manager, pin.name))) for platform, pins in found.items()}


def _pin(one: Mapping[str, Any]) -> CondaPin:
    sha256 = one["hash"].get("sha256")
    url = str(one["url"])
    if names_login(url):
        raise ValueError(f"the address of {one['name']} holds credentials")
    if one["manager"] not in ("conda", "pip"):
        raise ValueError(f"a manager called {one['manager']!r}")
    digest = Digest.from_hex(str(sha256)) if sha256 else None
    return CondaPin(str(one["name"]), str(one["version"]), str(one["manager"]), digest, url)


def normalised(text: str) -> str:
    """conda-lock's file without its own head, which names commands that would write it another way."""
    lines = text.splitlines(keepends=True)
    body = [number for number, line in enumerate(lines) if not line.startswith("#") and line.strip()]
    head = "# Written by `lockship lock`; conda-lock, mamba and micromamba install from it.\n"
    return head + "".join(lines[body[0] if body else 0 :])
