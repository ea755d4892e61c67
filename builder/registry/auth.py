"""Who asks: a registry's challenge, the token that answers it, and where neither may go. Values only, no network.

After RFC 9110 (section 11.6.1) and Distribution's "Token Authentication" and "OAuth2 Token Authentication".
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

from builder.errors import StoreError
from builder.network import redacted

if TYPE_CHECKING:
    from builder.registry.credentials import Credential

__all__ = [
    "Challenge",
    "Token",
    "TokenRequest",
    "basic_authorization",
    "choose_challenge",
    "parse_challenges",
    "read_token",
    "repository_scope",
    "token_request",
    "widen",
]

_WORD: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER: Final = re.compile(rf'({_WORD})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))', re.DOTALL)
_SCHEME: Final = re.compile(_WORD)
_TOKEN68: Final = re.compile(r"[ \t]+[A-Za-z0-9\-._~+/]+=*[ \t]*(?=,|$)")
_LONGEST_HEADER: Final = 16 << 10  # characters that are looked at

_LIFETIME: Final = 60.0  # seconds that a token lives when its server doesn't say
_LONGEST_TOKEN: Final = 64 << 10  # characters


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a registry wants to see: `scheme` (``basic``, ``bearer``) and parameters, both in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """How to ask for a token; `form` is the body of a POST."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    form: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is good until `expires`, on the clock that `read_token` was told."""

    value: str = field(repr=False)
    expires: float


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """The challenges of all ``WWW-Authenticate`` headers of an answer, in order, but for what can't be understood."""
    found: list[Challenge] = []
    for header in headers:
        found.extend(_parse_header(header[:_LONGEST_HEADER]))
    return tuple(found)


def _parse_header(text: str) -> list[Challenge]:
    found: list[tuple[str, dict[str, str]]] = []
    position = 0
    while position < len(text):
        if found and (parameter := _PARAMETER.match(text, position)):
            quoted, plain = parameter[2], parameter[3]
            value = re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL) if quoted is not None else plain
            found[-1][1].setdefault(parameter[1].lower(), value)
            position = parameter.end()
        elif scheme := _SCHEME.match(text, position):
            found.append((scheme[0].lower(), {}))
            position = scheme.end()
            if token68 := _TOKEN68.match(text, position):
                position = token68.end()
        else:
            position += 1
    return [Challenge(scheme, parameters) for scheme, parameters in found]


def choose_challenge(challenges: Sequence[Challenge]) -> Challenge | None:
    """The one to answer: tokens rather than passwords with every request; None when none is known to us."""
    for scheme in ("bearer", "basic"):
        for challenge in challenges:
            if challenge.scheme == scheme and (scheme == "basic" or challenge.parameters.get("realm")):
                return challenge
    return None


def repository_scope(name: str, *actions: str) -> str:
    """The scope for `actions` (``pull``, ``push``, ``delete``) on the repository `name`."""
    return f"repository:{name}:{','.join(actions)}"


def widen(scopes: Sequence[str], demanded: str) -> tuple[str, ...]:
    """`scopes` with the actions that a challenge demands on the very repositories they name.

    What it demands of others is none of its business: a token for them would go to whoever asked.
    """
    actions = {scope.rpartition(":")[0]: scope.rpartition(":")[2].split(",") for scope in scopes}
    for scope in demanded.split():
        resource, _, more = scope.rpartition(":")
        if resource in actions:
            actions[resource] += [action for action in more.split(",") if action and action not in actions[resource]]
    return tuple(f"{resource}:{','.join(names)}" for resource, names in actions.items())


def basic_authorization(user: str, password: str) -> str:
    """The Authorization header of RFC 7617."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def token_request(challenge: Challenge, scopes: Sequence[str], credential: Credential | None) -> TokenRequest:
    """Ask the challenge's realm for a token: with the identity token, with user and password, or as nobody."""
    realm = challenge.parameters.get("realm", "")
    service = challenge.parameters.get("service")
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    if credential is not None and credential.identity_token:
        form = {"grant_type": "refresh_token", "client_id": "lockship", "scope": " ".join(scopes)}
        form |= {"service": service} if service else {}
        form["refresh_token"] = credential.identity_token
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return TokenRequest("POST", realm, headers, urlencode(form).encode())
    query = [("service", service)] if service else []
    query += [("scope", scope) for scope in scopes]
    if credential is not None and credential.password:
        headers["Authorization"] = basic_authorization(credential.username, credential.password)
    return TokenRequest("GET", _with_query(realm, query), headers)


def _with_query(url: str, pairs: Sequence[tuple[str, str]]) -> str:
    parts = urlsplit(url)
    query = "&".join(part for part in (parts.query, urlencode(pairs, safe=":,/")) if part)
    return urlunsplit(parts._replace(query=query, fragment=""))


def read_token(url: str, data: bytes, date: str | None, now: float) -> Token:
    """The token in a token server's answer, which carried the header ``Date`` `date`; `now` is the clock's time.

    A token is used up before its end, so that none ends on the way. Raises StoreError for anything that isn't one.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise _no_token(url, "it sent something that is not JSON")
    value = document.get("token") or document.get("access_token")
    if not isinstance(value, str) or not value:
        raise _no_token(url, "its answer has no token in it")
    if len(value) > _LONGEST_TOKEN or not re.fullmatch(r"[\x21-\x7e]+", value):
        raise _no_token(url, "what it calls a token cannot be one")
    lifetime = max(0.0, _lifetime(document) - _age(document.get("issued_at"), date))
    return Token(value, now + lifetime - min(30.0, lifetime / 4))


def _lifetime(document: Mapping[str, Any]) -> float:
    seconds = document.get("expires_in")
    if isinstance(seconds, str) and re.fullmatch(r"\d{1,9}", seconds):
        seconds = int(seconds)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e9:
        return _LIFETIME
    return float(seconds)


def _age(issued: object, date: str | None) -> float:
    """How old a token was when it came: its server's own clock decides, ours may be wrong."""
    from datetime import datetime
    from email.utils import parsedate_to_datetime

    if not isinstance(issued, str) or date is None:
        return 0.0
    try:
        # Go writes nanoseconds, which Python doesn't read
        made = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", issued))
        return max(0.0, (parsedate_to_datetime(date) - made).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _no_token(url: str, why: str) -> StoreError:
    return StoreError(
        f"no token from {redacted(url)}: {why}", hint="the registry names this token server: ask whoever runs it"
    )
