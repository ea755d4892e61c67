"""How to reach servers: proxies, certificates, and which credentials belong to which of them.

Nothing here looks at the process's environment: `Network` says it all.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from builder.errors import UsageError

if TYPE_CHECKING:
    import ssl

__all__ = [
    "Login",
    "Network",
    "host_of",
    "is_exempt",
    "is_loopback",
    "is_within",
    "origin",
    "proxies_of",
    "redacted",
    "without_login",
]

Origin = tuple[str, str, int]


def origin(url: str) -> Origin:
    """Scheme, host and port of `url`, as credentials are bound to them."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or {"https": 443, "http": 80}.get(scheme, 0)


def without_login(url: str) -> str:
    """`url` without user and password."""
    if "@" not in url:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=_host(parts)))


def redacted(url: str) -> str:
    """`url` for people and logs: no user, password, query or fragment (signed URLs carry secrets there)."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, _host(parts), parts.path, "", ""))


def host_of(url: str) -> str:
    """Host and port of `url` as written there, for messages."""
    return _host(urlsplit(url))


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return False


def is_within(host: str, entries: Iterable[str]) -> bool:
    """Whether `host` is an address in one of the networks (``10.0.0.0/8``) among `entries` of NO_PROXY."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    for entry in entries:
        with suppress(ValueError):
            if "/" in entry and address in ipaddress.ip_network(entry, strict=False):
                return True
    return False


def is_exempt(host: str, entries: Iterable[str]) -> bool:
    """Whether requests to `host` (with its port, if any) go past the proxy, as NO_PROXY's `entries` say."""
    entries = tuple(entries)
    name = ""
    with suppress(ValueError):
        name = urlsplit(f"//{host}").hostname or ""
    if is_within(name, entries):
        return True
    bare = [entry.lstrip(".*").lower() for entry in entries]
    return any(one in ("", host, name, f"[{name}]") or name.endswith(f".{one}") for one in bare)


@dataclass(frozen=True)
class Login:
    """User and password for the addresses below one index."""

    origin: Origin
    path: str
    user: str
    password: str


@dataclass(frozen=True)
class Network:
    """How to reach servers. `timeout` in seconds; `proxies` maps a URL scheme or ``all`` to the proxy's URL."""

    certificate: str | None = None
    client_certificate: str | None = None
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    no_proxy: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    timeout: float = 15.0
    retries: int = 5
    logins: tuple[Login, ...] = field(default=(), repr=False)
    netrc: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)

    def authorization(self, url: str) -> str | None:
        """The Authorization header for `url`: of the nearest index on the very same origin, else of netrc."""
        where = origin(url)
        same = [login for login in self.logins if login.origin == where]
        if same:
            best = max(same, key=lambda login: _common(login.path, urlsplit(url).path))
            user, password = best.user, best.password
        elif where[1] in self.netrc:
            user, password = self.netrc[where[1]]
        else:
            return None
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def trusts(self, url: str) -> bool:
        """Whether pip's trusted-host names the host of `url`."""
        _, host, port = origin(url)
        return host in self.trusted_hosts or f"{host}:{port}" in self.trusted_hosts

    def check(self, url: str) -> None:
        """Raise UsageError for plain HTTP to another machine, unless that host is trusted by name."""
        scheme, host, _ = origin(url)
        if scheme == "http" and not is_loopback(host) and not self.trusts(url):
            raise UsageError(
                f"{redacted(url)} is plain HTTP: anybody on the way could answer in its place",
                hint=f"use https, or name the host in pip's configuration: trusted-host = {host}",
            )

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every password that must not appear in a message."""
        found = [login.password or login.user for login in self.logins]
        found += [password for _, password in self.netrc.values()]
        found += [unquote(urlsplit(proxy).password or "") for proxy in self.proxies.values()]
        return tuple(sorted({secret for secret in found if len(secret) > 3}, key=len, reverse=True))

    def redact(self, text: str) -> str:
        """`text`, somebody else's words, without logins in URLs and without any password we know."""
        text = re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s@'\"`]*@", r"\1", text)
        for secret in self.secrets:
            text = text.replace(secret, "****")
        return text

    @cached_property
    def context(self) -> ssl.SSLContext:
        """TLS with the user's certificates; without any, those of the system and of certifi."""
        import ssl

        try:
            if self.certificate is None:
                import certifi

                context = ssl.create_default_context(cafile=certifi.where())
                context.load_default_certs()
            elif Path(self.certificate).is_dir():
                context = ssl.create_default_context(capath=self.certificate)
            else:
                context = ssl.create_default_context(cafile=self.certificate)
            if self.client_certificate:
                context.load_cert_chain(self.client_certificate)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"the certificates in {self.certificate or self.client_certificate} cannot be used: {error}",
                hint="see cert and client-cert in `pip config list`, and SSL_CERT_FILE",
            ) from error
        return context


def _common(left: str, right: str) -> int:
    pairs = zip(left.split("/"), right.split("/"), strict=False)
    return next((number for number, (a, b) in enumerate(pairs) if a != b), min(left.count("/"), right.count("/")) + 1)


def proxies_of(environ: Mapping[str, str], chosen: str | None) -> tuple[dict[str, str], tuple[str, ...]]:
    """The proxy of pip itself, which stands for all; else the usual variables, lower case first."""
    if chosen:
        return {"http": chosen, "https": chosen}, ()
    found = {}
    for scheme in ("http", "https", "all"):
        # HTTP_PROXY is not trusted in CGI programs: any client could set it (httpoxy)
        names = [f"{scheme}_proxy"] + (
            [] if scheme == "http" and "REQUEST_METHOD" in environ else [f"{scheme}_proxy".upper()]
        )
        if value := next((environ[name] for name in names if environ.get(name)), None):
            found[scheme] = value
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    hosts = tuple(part.strip() for part in exempt.split(",") if part.strip())
    return ({}, ()) if "*" in hosts else (found, hosts if found else ())
