"""What of the user's Maven settings counts when a lock is made: how repositories are reached, never what is resolved.

Maven "Settings Reference": mirrors, proxies and servers (logins) of ``~/.m2/settings.xml`` are taken over; profiles,
active by default as they may be, and a local repository that others fill, are not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, ParseError, SubElement, fromstring, tostring

from builder.errors import LockError
from builder.javakeys import CENTRAL
from builder.network import is_loopback

__all__ = ["MavenRepository", "Settings", "read_settings", "repositories_of"]

_KEPT: Final = ("mirrors", "proxies", "servers")


@dataclass(frozen=True, slots=True)
class MavenRepository:
    """A repository by its address, and the id that mirrors and servers in Maven's settings call it by."""

    id: str
    url: str


def repositories_of(addresses: Sequence[str]) -> tuple[MavenRepository, ...]:
    """Those at `addresses`, in order, and Maven Central.

    An id is the address without its scheme, with ``-`` for what may not stand in an id: Maven's own copies are kept by
    id, and two repositories must not be taken for one.
    """
    found = [MavenRepository(re.sub(r"[^A-Za-z0-9.]+", "-", url.partition("://")[2]).strip("-"), url.rstrip("/"))
             for url in addresses]  # fmt: skip
    return (*found, MavenRepository("central", CENTRAL))


@dataclass(frozen=True, slots=True)
class Settings:
    """The sections that are taken over, as they stand in the user's file; `mirrors` are (what it mirrors, address)."""

    sections: Mapping[str, tuple[Element, ...]]

    @property
    def mirrors(self) -> tuple[tuple[str, str], ...]:
        """What each mirror is for, in Maven's words, and its address."""
        each = self.sections.get("mirrors", ())
        return tuple((one.findtext("mirrorOf", "").strip(), one.findtext("url", "").strip()) for one in each)

    def reached(self, repository: MavenRepository) -> str:
        """The address that answers for `repository`: its mirror's, if there is one (Maven, "Using Mirrors")."""
        exact = [url for pattern, url in self.mirrors if pattern == repository.id]
        others = [url for pattern, url in self.mirrors if _mirrors(pattern, repository)]
        return next(iter((*exact, *others)), repository.url).rstrip("/")

    def render(self, repositories: Sequence[MavenRepository]) -> bytes:
        """The settings for Maven: what is taken over, and nothing is asked but `repositories`.

        The description of an artifact may name further ones; who locks has not chosen those.
        """
        root = Element("settings")
        for name in _KEPT:
            SubElement(root, name).extend(self.sections.get(name, ()))
        other = SubElement(root.find("mirrors"), "mirror")  # type: ignore[arg-type]
        named = ",".join(f"!{one.id}" for one in repositories)
        for key, value in (("id", "not-in-lockship.toml"), ("mirrorOf", f"*,{named}"), ("url", "http://0.0.0.0/")):
            SubElement(other, key).text = value
        SubElement(other, "blocked").text = "true"
        return bytes(tostring(root, encoding="utf-8", xml_declaration=True))


def _mirrors(pattern: str, repository: MavenRepository) -> bool:
    parts = [part.strip() for part in pattern.split(",")]
    if f"!{repository.id}" in parts:
        return False
    outside = not is_loopback(urlsplit(repository.url).hostname or "")
    return "*" in parts or repository.id in parts or ("external:*" in parts and outside)


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Those of ``~/.m2/settings.xml``, or none; raises LockError for a file that can't be read."""
    file = Path(environ.get("HOME") or Path.home()) / ".m2" / "settings.xml"
    try:
        root = fromstring(file.read_bytes())  # noqa: S314 - the user's own file
    except FileNotFoundError:
        return Settings({})
    except (OSError, ParseError) as error:
        raise LockError(
            f"cannot be read: {error}", file=file, hint="Maven couldn't read it either: mend it, or move it away"
        ) from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return Settings({name: tuple(root.findall(f"{name}/*")) for name in _KEPT})
