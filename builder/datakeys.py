"""`[data]` and `[database]`: what a release was made from, and the database schema that it needs."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from builder.sections import Section, inside, matching

__all__ = ["Data", "DataField", "DataName", "DatabaseReference", "DatabaseSection", "is_secret", "is_url"]

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_LOCAL: Final = frozenset(("file", "local"))  # fsspec's names for the file system of this machine
_WEB: Final = frozenset(("http", "https"))
# parameters of signed addresses (S3, Google, Azure), of services that take keys, and libpq's passwords
_SECRET: Final = re.compile(r"(?i)(.*[-_.])?(sig|signature|credential|token|secret|pass|passwd|password|key|auth)\d*")
_SECRET_TOO: Final = re.compile(r"(?i).*(password|secret|token|accesskey|apikey|signature|accesskeyid)")


def is_url(location: str) -> bool:
    """Whether `location` is an address (``s3://bucket/x``) and no path of the project."""
    return _URL.match(location) is not None


def is_secret(name: str) -> bool:
    """Whether an address's parameter of this name holds a password, key or signature."""
    return bool(_SECRET.fullmatch(name) or _SECRET_TOO.fullmatch(name))


def _location(value: str) -> str:
    """A path or glob of the project, or a URL that anybody may read: it is written into every release."""
    if not is_url(value):
        return inside(value)
    if "::" in value:
        raise ValueError("an address is one scheme and one path; chains with '::' are not followed")
    try:
        parts = urlsplit(value)
        user, password = parts.username, parts.password
    except ValueError:
        raise ValueError("not an address") from None
    if parts.scheme.lower() in _LOCAL:
        raise ValueError("data of this machine are named by a path inside the project, without file://")
    # abfs://container@account and sftp://user@host name no secret; a web address has none but a login before the @
    if password is not None or (user is not None and parts.scheme.lower() in _WEB):
        raise ValueError("holds a login: credentials come from the environment, never from the project file")
    if any(is_secret(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise ValueError("is a signed address: credentials come from the environment, never from the project file")
    return value


def _database(value: str) -> str:
    """``env:NAME``, ``file:PATH``, or a URL that holds no password."""
    hint = "write env:NAME, file:PATH or a URL without a password, like postgresql://user@host/name"
    if value.startswith("env:"):
        if not re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*", value):
            raise ValueError(f"not the name of an environment variable; {hint}")
        return value
    if value.startswith("file:") and not is_url(value):
        if value == "file:" or "\0" in value:
            raise ValueError(f"names no file; {hint}")
        return value
    if not is_url(value):
        raise ValueError(hint)
    try:
        parts = urlsplit(value)
        password = parts.password
        _ = parts.port
    except ValueError:
        raise ValueError(f"not an address; {hint}") from None
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if password is not None or any(is_secret(name) for name in names):
        raise ValueError("holds a password: write env:NAME or file:PATH, and put the URL there")
    return value


Location = Annotated[str, AfterValidator(_location)]
DatabaseReference = Annotated[str, AfterValidator(_database)]
DataName = Annotated[
    str, matching(r"[A-Za-z0-9][A-Za-z0-9._-]*", "a data set's name is letters, digits and . _ - between them")
]


def _short(value: object) -> object:
    """A string or a list is short for ``{ paths = … }``; one path is short for a list of one."""
    if isinstance(value, str):
        return {"paths": [value]}
    if isinstance(value, list | tuple):
        return {"paths": value}
    if isinstance(value, dict) and isinstance(value.get("paths"), str):
        return {**value, "paths": [value["paths"]]}
    if not isinstance(value, dict | Data):
        raise ValueError("should be a path, a list of paths, or a table with `paths`")
    return value


class Data(Section):
    """`[data] NAME`: where a data set lies, what it was for, and whether an exported package has it.

    `paths` are files, folders and globs of the project, or addresses that fsspec knows (``s3://``, ``https://``).
    """

    paths: tuple[Location, ...] = Field(min_length=1)
    role: Literal["training", "reference"] = "training"
    ship: bool = False


DataField = Annotated[Data, BeforeValidator(_short)]


class DatabaseSection(Section):
    """`[database]`: whose schema a release needs. `namespace` (``schema`` in the file): None is the database's own.

    `tables` are ``TABLE`` or ``TABLE.COLUMN``, both with ``*`` and ``?`` if need be; empty means all that it sees.
    """

    url: DatabaseReference
    tables: tuple[
        Annotated[str, matching(r"[^.\s][^.]*(\.[^.]+)?", 'written like "orders" or "orders.total"')], ...
    ] = ()
    namespace: str | None = Field(default=None, alias="schema", min_length=1)
