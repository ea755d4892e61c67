"""Names of images: ``host/name:tag@digest`` (the grammar is that of distribution/reference, which docker uses)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from builder.content import Digest
from builder.errors import LockshipError, UsageError

__all__ = ["Reference", "Repository", "full_name", "is_tag", "parse_reference", "parse_repository"]

_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)(?:\.[A-Za-z0-9-]+)*(?::\d{1,5})?|\[[0-9a-fA-F:]+\](?::\d{1,5})?"
)
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LONGEST: Final = 255  # characters of a repository's whole name

# What docker.io means, and where its registry really is.
_HUB: Final = "docker.io"
_HUB_ALIASES: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
_HUB_HOST: Final = "registry-1.docker.io"

_NO_LOGIN: Final = "no user or password here: credentials come from docker's configuration or the environment"


def is_tag(text: str) -> bool:
    """Whether `text` can be a tag (OCI distribution specification v1.1, "Pulling manifests")."""
    return _TAG.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, order=True)
class Repository:
    """A repository of a registry: `host` as people write it (``docker.io``), `name` below it (``library/python``)."""

    host: str
    name: str

    @property
    def endpoint(self) -> str:
        """The host (and port) that answers for `host`."""
        return _HUB_HOST if self.host == _HUB else self.host

    def __str__(self) -> str:
        return f"{self.host}/{self.name}"


@dataclass(frozen=True, slots=True)
class Reference:
    """A manifest in a repository, by tag, by digest, or by both: then the digest decides."""

    repository: Repository
    tag: str | None = None
    digest: Digest | None = None

    @property
    def selector(self) -> Digest | str:
        """What to ask the registry for."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        return f"{self.repository}{f':{self.tag}' if self.tag else ''}{f'@{self.digest}' if self.digest else ''}"


def full_name(name: str) -> str:
    """A repository's name as engines complete it: ``churn`` is ``docker.io/library/churn``."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"{_HUB}/{name}" if slash else f"{_HUB}/library/{name}"


def parse_repository(text: str) -> Repository:
    """``registry.example.com/ml/churn``, or docker's short forms; raises UsageError for anything else."""
    host, _, name = full_name(text).partition("/")
    if not _is_host(host) or not _NAME.fullmatch(name) or len(text) > _LONGEST:
        raise UsageError(f"not a repository: {_shown(text)}", hint=_explained(text))
    if host.lower() in _HUB_ALIASES:
        return Repository(_HUB, name if "/" in name else f"library/{name}")
    return Repository(host.lower(), name)


def parse_reference(text: str) -> Reference:
    """``host/name``, ``host/name:tag``, ``host/name@sha256:…`` or both; without either the tag is ``latest``.

    Raises UsageError for anything else.
    """
    rest, at, digest = text.partition("@")
    if at and "/" in digest:
        raise UsageError(f"not an image's reference: {_shown(text)}", hint=_NO_LOGIN)
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:  # the colon, if any, is a port's
        head, tag = rest, ""
    try:
        repository = parse_repository(head)
        pinned = Digest(digest) if at else None
    except LockshipError as error:
        raise UsageError(f"not an image's reference: {_shown(text)}", hint=error.hint or error.message) from error
    if colon and head != rest and not is_tag(tag):
        raise UsageError(
            f"not an image's reference: {_shown(text)}", hint="a tag is letters, digits and . _ -, at most 128 of them"
        )
    return Reference(repository, tag or (None if pinned else "latest"), pinned)


def _is_host(text: str) -> bool:
    if not _HOST.fullmatch(text):
        return False
    try:
        return urlsplit(f"//{text}").port != 0
    except ValueError:  # a port that is too high, a bracket with no address in it
        return False


def _shown(text: str) -> str:
    """`text` for a message, without what may be a login."""
    before, at, after = text.rpartition("@")
    if at and after.startswith("sha256:"):
        text, (before, at, after) = before, before.rpartition("@")
    return repr((f"…@{after}" if at else text)[:140])


def _explained(text: str) -> str:
    if "@" in text:
        return _NO_LOGIN
    if "://" in text:
        return f"leave out {text.partition('://')[0]}://, as in registry.example.com/ml/churn"
    host = full_name(text).partition("/")[0]
    if _HOST.fullmatch(host) and not _is_host(host):
        return f"{host} is no host: a port is a number from 1 to 65535, in brackets is an IPv6 address"
    if text != text.lower():
        return "a repository's name has no capital letters, as in registry.example.com/ml/churn"
    return "write HOST/NAME, as in registry.example.com/ml/churn"
