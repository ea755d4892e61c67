"""Where a registry answers: its address, when that may be plain HTTP, and where it may send us."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

from builder.errors import StoreError, UsageError
from builder.network import Network, is_loopback, origin, proxies_of, redacted

__all__ = ["Endpoint", "link_target", "network_of"]

PLAIN_HTTP: Final = "LOCKSHIP_PLAIN_HTTP"
_LOCAL: Final = ("localhost", "127.0.0.1", "[::1]")
_METADATA: Final = frozenset({"metadata.google.internal", "metadata", "100.100.100.200", "fd00:ec2::254"})


def network_of(environ: Mapping[str, str], plain_http: Sequence[str] = ()) -> Network:
    """How to reach registries: proxies and certificates as `environ` has them, the hosts that may do without TLS.

    Those of `plain_http` and of ``LOCKSHIP_PLAIN_HTTP`` (with ports, separated by commas) are the `trusted_hosts`.
    """
    proxies, no_proxy = proxies_of(environ, None)
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR")
    certificate = next((environ[name] for name in names if environ.get(name)), None)
    named = [part.strip() for part in environ.get(PLAIN_HTTP, "").split(",") if part.strip()]
    for one in named:
        if "/" in one:
            raise UsageError(f"{PLAIN_HTTP} names {one!r}", hint="write hosts, with their ports: registry:5000,other")
    return Network(
        certificate=certificate,
        proxies=proxies,
        # as Go's programs, docker among them, have it: this machine is never behind a proxy
        no_proxy=(*no_proxy, *_LOCAL) if proxies else (),
        trusted_hosts=tuple(dict.fromkeys((*plain_http, *named))),
        timeout=30.0,
    )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The registry at `host` (with its port); `plain_http` are the hosts that may be spoken to without TLS.

    `title` is how people call it, where that differs (``docker.io``).
    """

    host: str
    plain_http: tuple[str, ...] = ()
    title: str = ""

    @property
    def name(self) -> str:
        """The host without its port."""
        return origin(f"https://{self.host}")[1]

    @property
    def may_be_plain(self) -> bool:
        """Whether the registry itself may be spoken to without TLS."""
        return self._may_be_plain(f"http://{self.host}")

    def _may_be_plain(self, url: str) -> bool:
        _, host, port = origin(url)
        return is_loopback(host) or bool({host, f"{host}:{port}"} & {one.lower() for one in self.plain_http})

    def check(self, url: str, said: str) -> None:
        """Raise StoreError unless the registry may send us to `url`; `said` is how it did ("its token server is").

        Not to plain HTTP, unless that host is named. And not to addresses that only this machine can reach, as
        clouds' metadata services are: a registry could have us speak to them in its place.
        """
        try:
            parts = urlsplit(url)
            scheme, host, _ = origin(url)
        except ValueError as error:
            raise StoreError(f"{self.host}: {said} an address that is none") from error
        shown = redacted(url)[:300]
        # a host in other letters is not what it looks like: ideographic full stops make an address, too
        if scheme not in ("http", "https") or not host or not host.isascii() or "@" in parts.netloc:
            raise StoreError(f"{self.host}: {said} {shown!r}: refused, it is not an https address")
        if scheme == "http" and not self._may_be_plain(url):
            raise StoreError(
                f"{self.host}: {said} {shown}: refused, that is plain HTTP",
                hint="a registry behind a proxy that ends TLS must be told its own address (X-Forwarded-Proto)",
            )
        if _is_inward(host) and not (is_loopback(host) and is_loopback(self.name)):
            raise StoreError(f"{self.host}: {said} {shown}: refused, that is an address of this machine's own network")

    def plain_http_error(self) -> UsageError:
        """The error for a server that doesn't speak TLS, and that nobody allowed to."""
        return UsageError(
            f"{self.host} does not speak TLS: over plain HTTP anybody on the way could read and change what is sent",
            hint=f'if that is as it should be, allow it by name: plain-http = ["{self.host}"] in [store], '
            f"or {PLAIN_HTTP}={self.host}",
        )


def _is_inward(host: str) -> bool:
    """Loopback, link-local, and the names of metadata services; in any notation that the system understands."""
    host = host.rstrip(".")  # which a name may end with, as DNS has it
    if is_loopback(host) or host in _METADATA:
        return True
    address: ipaddress.IPv4Address | ipaddress.IPv6Address | None = None
    with suppress(ValueError):
        address = ipaddress.ip_address(host.partition("%")[0])
    if address is None and re.fullmatch(r"[0-9a-fx.]+", host):
        with suppress(OSError):
            address = ipaddress.IPv4Address(socket.inet_aton(host))  # 2130706433, 0x7f.1
    if address is None:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast


def link_target(header: str, base: str) -> str | None:
    """The address of the next page in a ``Link`` header (RFC 8288), made absolute; None when there is none."""
    target: str
    for target, parameters in re.findall(r"<([^>]*)>((?:\s*;[^,]*)?)", header):
        relations = re.search(r'[;\s]rel\s*=\s*"?([^";]*)', parameters, re.IGNORECASE)
        if relations is not None and "next" in relations[1].lower().split():
            with suppress(ValueError):
                return urljoin(base, target)
            return target  # no address at all: asking for it tells
    return None
