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

from builder.errors import LockError, ProjectError
from builder.javakeys import CENTRAL
from builder.network import is_loopback

__all__ = ["BLOCKED", "MavenRepository", "Settings", "read_settings", "repositories_of"]

BLOCKED: Final = "not-in-lockship.toml"
"""What Maven calls a repository that nobody named, in its errors."""

_KEPT: Final = ("mirrors", "proxies", "servers")
_VARIABLE: Final = re.compile(r"\$\{env\.([^}]+)\}")


@dataclass(frozen=True, slots=True)
class MavenRepository:
    """A repository by its address, and the id that mirrors and servers in Maven's settings call it by."""

    id: str
    url: str


def repositories_of(addresses: Sequence[str]) -> tuple[MavenRepository, ...]:
    """Those at `addresses`, in order, and Maven Central.

    An id is the address without its scheme, with ``-`` for what may not stand in an id: Maven's own copies are kept by
    id, and two repositories must not be taken for one. Raises ProjectError when two of them have one id.
    """
    found = [MavenRepository(re.sub(r"[^A-Za-z0-9.]+", "-", url.partition("://")[2]).strip("-"), url.rstrip("/"))
             for url in addresses]  # fmt: skip
    central = MavenRepository("central", CENTRAL)
    known = {one.id: one for one in (central, MavenRepository(BLOCKED, "what isn't named here"))}
    for one in found:
        if known.setdefault(one.id, one).url != one.url:
            raise ProjectError(
                f"Maven can't tell {known[one.id].url} and {one.url} apart: to it both are {one.id}",
                hint="leave out one of the two repositories under [java]",
            )
    return (*dict.fromkeys(found), central)


@dataclass(frozen=True, slots=True)
class Settings:
    """The sections that are taken over from the user's file; `mirrors` are (what it mirrors, address)."""

    sections: Mapping[str, tuple[Element, ...]]

    @property
    def mirrors(self) -> tuple[tuple[str, str], ...]:
        """What each mirror is for, in Maven's words, and its address."""
        each = self.sections.get("mirrors", ())
        return tuple((one.findtext("mirrorOf", "").strip(), one.findtext("url", "").strip()) for one in each)

    def reached(self, repository: MavenRepository) -> str:
        """The address that answers for `repository`: its mirror's, if there is one (Maven, "Using Mirrors").

        Raises LockError for a mirror without an address that can be asked; it may hold a login, and isn't shown.
        """
        exact = [url for pattern, url in self.mirrors if pattern == repository.id]
        others = [url for pattern, url in self.mirrors if _mirrors(pattern, repository)]
        found = next(iter((*exact, *others)), repository.url).rstrip("/")
        if not _is_address(found):
            raise LockError(
                f"the mirror for {repository.id} in ~/.m2/settings.xml has no address that can be asked",
                hint="write one with https://, in which ${env.NAME} stands for a variable that is set",
            )
        return found

    def render(self, repositories: Sequence[MavenRepository]) -> bytes:
        """The settings for Maven: what is taken over, and nothing is asked but `repositories`.

        The description of an artifact may name further ones; who locks has not chosen those.
        """
        root = Element("settings")
        for name in _KEPT:
            SubElement(root, name).extend(self.sections.get(name, ()))
        other = SubElement(root.find("mirrors"), "mirror")  # type: ignore[arg-type]
        named = ",".join(f"!{one.id}" for one in repositories)
        for key, value in (("id", BLOCKED), ("mirrorOf", f"*,{named}"), ("url", "http://0.0.0.0/")):
            SubElement(other, key).text = value
        SubElement(other, "blocked").text = "true"
        return bytes(tostring(root, encoding="utf-8", xml_declaration=True))


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        reached = parts.scheme == "file" or (parts.scheme in ("http", "https") and bool(parts.hostname))
        (parts.hostname or "").encode("idna")  # as whoever connects does: raises for what is no name of a host
        return reached and parts.port != 0 and "${" not in url  # a port that is none raises, too
    except ValueError:
        return False


def _mirrors(pattern: str, repository: MavenRepository) -> bool:
    parts = [part.strip() for part in pattern.split(",")]
    if f"!{repository.id}" in parts:
        return False
    outside = not is_loopback(urlsplit(repository.url).hostname or "")
    return "*" in parts or repository.id in parts or ("external:*" in parts and outside)


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Those of ``~/.m2/settings.xml``, or none; raises LockError for a file that can't be read.

    ``${env.NAME}`` is filled in here: Maven doesn't get to see the environment.
    """
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
        element.text = _VARIABLE.sub(lambda match: environ.get(match[1], match[0]), element.text or "")
    return Settings({name: tuple(root.findall(f"{name}/*")) for name in _KEPT})
