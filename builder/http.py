"""HTTP as every part of the program speaks it: proxies, certificates, and which failures may pass."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from builder.errors import UsageError
from builder.network import Network, is_exempt, is_loopback, is_within

if TYPE_CHECKING:
    import ssl

    import httpx

__all__ = ["RETRIED", "USER_AGENT", "hopeless", "open_client", "retry_after"]

USER_AGENT: Final = "lockship"

# Answers after which the same request may succeed.
RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT: Final = 60.0  # seconds that a server's Retry-After may ask for


def hopeless(error: Exception) -> bool:
    """Whether asking again is no use: a certificate stays wrong however often one asks."""
    text = str(error)
    return "CERTIFICATE_VERIFY_FAILED" in text or "WRONG_VERSION_NUMBER" in text


def retry_after(response: httpx.Response) -> float | None:
    """What the server asks to wait (RFC 9110, section 10.2.3), in seconds, within reason; None when it doesn't say."""
    value = response.headers.get("retry-after", "")
    if value.isdecimal():
        return min(float(value), LONGEST_WAIT)
    try:  # a date, by the server's own clock: ours may be wrong
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(response.headers.get("date", ""))
        return min(max(0.0, wait.total_seconds()), LONGEST_WAIT)
    except (ValueError, TypeError, OverflowError):
        return None


def open_client(network: Network, *, connections: int = 16) -> httpx.Client:
    """A client that reaches servers as `network` says; raises UsageError for a proxy that can't be used."""
    import httpx

    def transport(proxy: str | None = None, *, verify: bool = True) -> httpx.HTTPTransport:
        context = network.context if verify else _unverified()
        return httpx.HTTPTransport(verify=context, proxy=proxy, limits=httpx.Limits(max_connections=connections))

    mounts: dict[str, httpx.BaseTransport | None] = {}
    try:
        for scheme, proxy in network.proxies.items():
            proxied = transport(proxy if "://" in proxy else f"http://{proxy}")
            near = any("/" in one for one in network.no_proxy)
            mounts[f"{scheme}://"] = _by_network(network.no_proxy, transport(), proxied) if near else proxied
    except (ValueError, ImportError) as error:
        raise UsageError(
            f"the proxy cannot be used: {network.redact(str(error))}", hint="see `pip config list`"
        ) from error
    for host in network.no_proxy:
        for pattern in _patterns(host):
            with suppress(httpx.InvalidURL):  # what is no host is nobody's
                httpx.URL(pattern)
                mounts[pattern] = transport()
    for trusted in network.trusted_hosts:
        direct = is_exempt(trusted, network.no_proxy)
        through = None if direct else network.proxies.get("https") or network.proxies.get("all")
        mounts[f"https://{trusted}"] = transport(through, verify=False)
    return httpx.Client(
        transport=transport(),
        mounts=mounts,
        timeout=network.timeout,
        trust_env=False,
        headers={"User-Agent": USER_AGENT},
    )


def _by_network(
    no_proxy: Sequence[str], direct: httpx.BaseTransport, proxied: httpx.BaseTransport
) -> httpx.BaseTransport:
    """`direct` for addresses in the networks of `no_proxy`, which httpx has no pattern for; else `proxied`."""
    import httpx

    class ByNetwork(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            chosen = direct if is_within(request.url.host, no_proxy) else proxied
            return chosen.handle_request(request)

        def close(self) -> None:
            direct.close()
            proxied.close()

    return ByNetwork()


def _unverified() -> ssl.SSLContext:
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _patterns(host: str) -> tuple[str, ...]:
    """One NO_PROXY entry as httpx's mount patterns."""
    if host == "*":
        return ("all://",)
    host = host.lstrip(".*")
    with suppress(ValueError):
        host = f"[{ipaddress.IPv6Address(host)}]"  # written there as it is, in addresses in brackets
    if is_loopback(host) or re.fullmatch(r"[0-9.]+(:\d+)?|\[.*\](:\d+)?", host):
        return (f"all://{host}",)
    return (f"all://{host}", f"all://*.{host}")
