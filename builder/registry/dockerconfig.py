"""The file in which docker and podman keep credentials: what it says about one repository.

After docker's "config.json" (docs.docker.com, "docker login", "Credential stores") and containers-auth.json(5). Both
have the same form; in the second a key may be a repository or a namespace of a host, and the nearest one counts. Read
here in either, as podman does.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from builder.errors import StoreError
from builder.registry.reference import Repository

__all__ = ["HUB_KEY", "DockerConfig", "Entry", "Helper", "read_config", "registry_host"]

# Under this name docker stores what belongs to docker.io, and asks helpers for it.
HUB_KEY: Final = "https://index.docker.io/v1/"
_HUB: Final = "docker.io"
_HUB_NAMES: Final = frozenset({_HUB, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
_PROGRAM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a file holds for a repository; empty where it says nothing."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __bool__(self) -> bool:
        return bool(self.password or self.identity_token or self.registry_token)

    def __repr__(self) -> str:
        return f"Entry(username={self.username!r})"


@dataclass(frozen=True, slots=True)
class Helper:
    """A program that knows the credential: ``docker-credential-`` and `suffix`, to be asked for `server`."""

    suffix: str
    server: str


@dataclass(frozen=True)
class DockerConfig:
    """A file's content. `source` is its path, or the variable that holds it, for messages."""

    source: str
    text: str
    document: Mapping[str, Any]

    def helpers(self, repository: Repository) -> Iterator[Helper]:
        """The helpers to ask, in turn: the host's own, then the one for all hosts."""
        named = self._table("credHelpers")
        own = [key for key in named if _place(key) == repository.host]
        if own:
            exact = next((key for key in own if key == repository.host), own[0])
            yield Helper(self._program(named[exact], exact), _server(repository.host))
        if store := self.document.get("credsStore"):
            yield Helper(self._program(store, "credsStore"), _server(repository.host))

    def entry(self, repository: Repository) -> Entry:
        """What ``auths`` has for the repository, its nearest namespace or its host; raises StoreError for nonsense."""
        auths = self._table("auths")
        found: dict[str, list[str]] = {}
        for key in auths:
            found.setdefault(_place(key), []).append(key)
        for place in _places(repository):
            for key in sorted(found.get(place, ()), key=lambda key: key != place):
                if entry := self._decode(key, auths[key]):
                    return entry
        return Entry()

    def error(self, message: str, key: str | None = None, *, hint: str | None = None) -> StoreError:
        """An error that points at this file, and at the line of `key`."""
        line = None
        if key is not None:
            before = self.text.partition(json.dumps(key))
            line = before[0].count("\n") + 1 if before[1] else None
        return StoreError(message, hint=hint, file=self.source, line=line)

    def _table(self, name: str) -> Mapping[str, Any]:
        table = self.document.get(name)
        if table is None:
            return {}
        if not isinstance(table, dict):
            raise self.error(f"{name!r} should be an object with an entry for each registry", name)
        return table

    def _program(self, value: object, key: str) -> str:
        if not isinstance(value, str) or not _PROGRAM.fullmatch(value):
            raise self.error(
                f"{key!r} names no credential helper", key, hint='a helper is named by its suffix: "pass", "ecr-login"'
            )
        return value

    def _decode(self, key: str, value: object) -> Entry:
        if not isinstance(value, dict):
            raise self.error(f"the entry for {key!r} should be an object", key)
        texts = {
            name: self._text(key, value, name)
            for name in ("username", "password", "auth", "identitytoken", "registrytoken")
        }
        user, password = texts["username"], texts["password"]
        if texts["auth"]:
            user, password = self._login(key, texts["auth"])
        return Entry(user, password, texts["identitytoken"], texts["registrytoken"])

    def _text(self, key: str, entry: Mapping[str, Any], name: str) -> str:
        value = entry.get(name)
        if value is not None and not isinstance(value, str):
            raise self.error(f"{name!r} in the entry for {key!r} should be a string", key)
        return value or ""

    def _login(self, key: str, text: str) -> tuple[str, str]:
        """User and password from ``auth``: base64, with line breaks as Go's decoder takes them."""
        try:
            decoded = base64.b64decode(re.sub(r"[\r\n]", "", text), validate=True).decode()
        except ValueError:  # not ASCII, not base64, not UTF-8; the cause would quote the secret
            decoded = ""
        user, colon, password = decoded.partition(":")
        if not colon:
            raise self.error(
                f"'auth' in the entry for {key!r} is not USER:PASSWORD in base64", key, hint="log in again"
            ) from None
        return user, password.strip("\0")


def read_config(text: str, source: Path | str) -> DockerConfig:
    """The configuration in `text`; raises StoreError, which names `source` and the line, when it isn't JSON."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise StoreError(
            f"not JSON: {error.msg}, column {error.colno}", hint=_HINT, file=source, line=error.lineno
        ) from None  # the cause holds the whole text
    except RecursionError:
        raise StoreError("not JSON that can be read: nested too deeply", hint=_HINT, file=source) from None
    if not isinstance(document, dict):
        raise StoreError("should be a JSON object", hint=_HINT, file=source)
    return DockerConfig(str(source), text, document)


_HINT: Final = "credentials for registries are looked up here: repair it, or move it away and log in again"


def registry_host(text: str) -> str:
    """The host (and port) that a key or variable means: ``docker.io`` for all of Docker Hub's names."""
    return _place(text).partition("/")[0]


def _server(host: str) -> str:
    return HUB_KEY if host == _HUB else host


def _place(key: str) -> str:
    """What a key of ``auths`` stands for: a host, or a namespace or repository below one.

    Addresses, as docker wrote them for years, stand for their host, whatever path they have.
    """
    bare = re.sub(r"^https?://", "", key, flags=re.IGNORECASE)
    host, _, path = bare.partition("/")
    if bare != key or re.fullmatch(r"v[12]/", path):
        path = ""
    host = host.lower()
    host = _HUB if host in _HUB_NAMES else host
    return f"{host}/{path}".rstrip("/")


def _places(repository: Repository) -> Iterator[str]:
    """The repository, the namespaces that it is in, and its host: the nearest first."""
    place = str(repository)
    while place:
        yield place
        place = place.rpartition("/")[0]
