"""What can be asked of a registry beyond what a store needs: does it answer, whom does it let in, what can it do.

Nothing stays behind: the one upload that is begun is given up again, and a mount is only tried with a blob that the
repository has already.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlencode, urlsplit

from builder.content import MEDIA_INDEX, Digest
from builder.errors import StoreError
from builder.network import Network, host_of, is_exempt
from builder.registry.answers import plain_text
from builder.registry.auth import Challenge, choose_challenge, parse_challenges, repository_scope
from builder.registry.calls import Call
from builder.registry.manifests import ACCEPTED, MAX_MANIFEST, parse_manifest
from builder.registry.reference import is_tag
from builder.registry.session import Session
from builder.registry.transfer import location_of

if TYPE_CHECKING:
    import httpx

__all__ = [
    "TAGS",
    "Greeting",
    "Mount",
    "Pull",
    "Push",
    "Reached",
    "Referrers",
    "greet",
    "may_pull",
    "may_push",
    "mounts",
    "proxy_for",
    "reach",
    "referrers",
]

CONNECT: Final = 5.0  # seconds that a connection may take to come about
_BODY: Final = 64 << 10  # bytes of a greeting that are looked at
TAGS: Final = 20  # how many tags are asked for
_BLOBS: Final = 8  # how many blobs of an image are looked for elsewhere
_NOBODY: Final = Digest("sha256:" + "0" * 64)  # a digest that nothing has

Referrers = Literal["api", "fallback", "unknown"]


# the network


@dataclass(frozen=True, slots=True)
class Reached:
    """A connection that came about: to `address`, in `milliseconds` with the name's lookup; `proxy` is its host."""

    address: str
    milliseconds: float
    proxy: str | None = None


def reach(host: str, network: Network, timer: Callable[[], float], *, plain: bool = False) -> Reached:
    """Connect to `host` (with its port, if it has one) or to the proxy before it; `timer` counts seconds.

    With `plain` a host without a port may answer on HTTP's as well. Raises StoreError when nobody answers.
    """
    proxy = proxy_for(network, host)
    parts = urlsplit(f"//{host}" if proxy is None else proxy if "://" in proxy else f"http://{proxy}")
    name = parts.hostname or ""
    ports = [parts.port] if parts.port else [443, 80] if plain and proxy is None else [443 if proxy is None else 80]
    before = timer()
    shown = host if proxy is None else f"the proxy {host_of(proxy) if '://' in proxy else proxy.rpartition('@')[2]}"
    for port in ports:
        try:
            with socket.create_connection((name, port), CONNECT) as connection:
                address, number = connection.getpeername()[:2]
        except OSError as error:
            failure = error
        else:
            where = f"[{address}]:{number}" if ":" in address else f"{address}:{number}"
            return Reached(where, (timer() - before) * 1000, None if proxy is None else shown)
    raise _unreached(shown, name, failure) from failure


def _unreached(shown: str, name: str, error: OSError) -> StoreError:
    if isinstance(error, socket.gaierror):
        return StoreError(
            f"{shown}: nobody knows the name {name}", hint="is it spelt right? else check the network, or the DNS"
        )
    why = "no answer" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()
    if isinstance(error, TimeoutError):
        why += f" within {CONNECT:.0f} seconds"
    return StoreError(f"{shown}: {why}", hint="is it running, and on that port? a firewall or a proxy may be between")


def proxy_for(network: Network, host: str) -> str | None:
    """The proxy that requests to `host` go through, with its credentials; None for none."""
    if is_exempt(host, network.no_proxy):
        return None
    return network.proxies.get("https") or network.proxies.get("all")


# the registry


@dataclass(frozen=True, slots=True)
class Greeting:
    """What `base` answered to somebody unknown who asked for ``/v2/``.

    `version` is its Docker-Distribution-API-Version, `skew` how many seconds its clock is ahead of ours (None: it
    doesn't say). `tls` is the protocol's version and `until` when its certificate ends, in seconds since 1970.
    `server` says that this is how a registry answers.
    """

    base: str
    status: int
    media_type: str
    server: bool
    version: str = ""
    challenge: Challenge | None = None
    skew: float | None = None
    tls: str | None = None
    until: float | None = None


def greet(session: Session, clock: Callable[[], float]) -> Greeting:
    """Ask who is there, without showing any credential; `clock` gives the time in seconds since 1970.

    Raises StoreError or UsageError, as every request of `session` does, when nobody answers as agreed upon.
    """
    import httpx

    last: Exception | None = None
    for _ in range(2):
        try:
            return _greet(session, clock)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            last = error
            # asked as everybody asks, so that a failure that stays is explained as everybody's is
            session.ask(Call("GET", "/v2/", "connect", ()))
    raise StoreError(f"{session.endpoint.host}: the connection broke", hint="run again: it is not steady") from last


def _greet(session: Session, clock: Callable[[], float]) -> Greeting:
    base = session.base
    before = clock()
    with session.client.stream("GET", f"{base}/v2/", headers={"Accept-Encoding": "identity"}) as response:
        with session.stop.watching(response):
            body = next(response.iter_raw(_BODY), b"")
        return _greeting(base, response, body, (before + clock()) / 2)


def _greeting(base: str, response: httpx.Response, body: bytes, now: float) -> Greeting:
    headers = response.headers
    challenge = choose_challenge(parse_challenges(headers.get_list("www-authenticate")))
    version = plain_text(headers.get("docker-distribution-api-version", ""))
    media_type = plain_text(headers.get("content-type", "").partition(";")[0].strip().lower())
    stream = response.extensions.get("network_stream")
    tls = stream.get_extra_info("ssl_object") if stream is not None else None
    return Greeting(
        base,
        response.status_code,
        media_type,
        bool(version) or _answers_so(response.status_code, challenge, body),
        version,
        challenge,
        _skew(headers.get("date"), now),
        tls.version() if tls is not None else None,
        _until(tls) if tls is not None else None,
    )


def _answers_so(status: int, challenge: Challenge | None, body: bytes) -> bool:
    """Whether an answer without the version's header is a registry's ("Determining Support")."""
    if status == 401:
        return challenge is not None
    if status != 200:
        return False
    try:
        return not body.strip() or isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False


def _skew(date: str | None, now: float) -> float | None:
    """How far the server's clock is ahead; its seconds are whole ones."""
    if date is None:
        return None
    with suppress(ValueError, TypeError, OverflowError):
        return parsedate_to_datetime(date).timestamp() + 0.5 - now
    return None


def _until(tls: Any) -> float | None:
    certificate = tls.getpeercert()
    with suppress(KeyError, TypeError, ValueError):
        return float(ssl.cert_time_to_seconds(certificate["notAfter"]))
    return None


@dataclass(frozen=True, slots=True)
class Pull:
    """That a repository may be read. `there` is false for one that nothing was pushed to yet; `tags` are a few."""

    there: bool
    tags: tuple[str, ...] = ()


def may_pull(session: Session, name: str) -> Pull:
    """Read the repository's first tags; raises StoreError when the registry doesn't let us."""
    call = Call("GET", f"/v2/{name}/tags/list?n={TAGS}", f"read {name}", (repository_scope(name, "pull"),))
    answer = session.ask(call)
    if answer.status == 404:
        return Pull(there=False)
    if answer.status != 200:
        raise session.failure(call, answer)
    try:
        tags = list(json.loads(answer.data)["tags"] or ())
    except (ValueError, KeyError, TypeError, RecursionError):
        raise StoreError(
            f"{session.endpoint.host}: cannot {call.what}: what it sent is no list of tags ({answer.media_type})",
            hint="is that the address of a registry?",
        ) from None
    return Pull(there=True, tags=tuple(tag for tag in tags if isinstance(tag, str) and is_tag(tag)))


@dataclass(frozen=True, slots=True)
class Push:
    """That an upload may be begun. `given_up` says that it is gone again, `chunk` the least bytes of a part (or 0)."""

    given_up: bool
    chunk: int = 0


def may_push(session: Session, name: str) -> Push:
    """Begin an upload and give it up; raises StoreError when the registry doesn't let us."""
    scopes = (repository_scope(name, "pull", "push"),)
    call = Call("POST", f"/v2/{name}/blobs/uploads/", f"push to {name}", scopes, body=b"")
    answer = session.ask(call)
    if answer.status != 202:
        hint = "many registries want a repository to be made before the first push" if answer.status == 404 else None
        raise session.failure(call, answer, hint=hint)
    least = answer.headers.get("oci-chunk-min-length", "")
    chunk = int(least) if least.isdecimal() and len(least) < 12 else 0
    return Push(_give_up(session, location_of(session, answer, call.what), scopes), chunk)


def _give_up(session: Session, location: str, scopes: tuple[str, ...]) -> bool:
    """Cancel an upload; whether the registry agreed."""
    try:
        answer = session.ask(Call("DELETE", location, "give up an upload", scopes, patience=CONNECT))
    except StoreError:
        return False
    return answer.status in (200, 202, 204, 404)


def referrers(session: Session, name: str) -> Referrers:
    """Whether the registry lists what refers to a manifest; ``unknown`` while the repository isn't there.

    A registry that does has an empty list for a digest that it doesn't know (v1.1, "Listing Referrers").
    """
    scopes = (repository_scope(name, "pull"),)
    call = Call("GET", f"/v2/{name}/referrers/{_NOBODY}", "list referrers", scopes, {"Accept": MEDIA_INDEX})
    answer = session.ask(call)
    if answer.status == 200:
        return "api" if parse_manifest(answer.data) is not None else "fallback"
    if "NAME_UNKNOWN" in answer.codes:
        return "unknown"
    if answer.status in (401, 403, 429) or answer.status >= 500:
        raise session.failure(call, answer)
    return "fallback"


@dataclass(frozen=True, slots=True)
class Mount:
    """Whether the registry takes a blob from one of its repositories into another: None when there is none to try with.

    `source` is the repository that the blob was to come from, `said` what a registry that doesn't do it answered.
    """

    works: bool | None
    source: str = ""
    said: str = ""


def mounts(session: Session, name: str, tags: Sequence[str], shared: Sequence[str] = ()) -> Mount:
    """Try to mount a blob that the repository `name` has: from one of `shared` that has it too, else from itself."""
    digests = _some_blobs(session, name, tags)
    if not digests:
        return Mount(None)
    source, digest = _in_common(session, shared, digests) or (name, digests[0])
    other = (repository_scope(source, "pull"),) if source != name else ()
    scopes = (repository_scope(name, "pull", "push"), *other)
    query = urlencode({"mount": str(digest), "from": source}, safe=":/")
    call = Call("POST", f"/v2/{name}/blobs/uploads/?{query}", f"mount from {source}", scopes, body=b"")
    answer = session.ask(call)
    if answer.status == 201:
        return Mount(True, source)
    if answer.status == 202:
        _give_up(session, location_of(session, answer, call.what), scopes)
    return Mount(False, source, answer.sentence(session.redact))


def _some_blobs(session: Session, name: str, tags: Sequence[str]) -> list[Digest]:
    """Blobs of the first image that is found under `tags`, its configuration first."""
    for tag in tags[:3]:
        document = _manifest(session, name, tag)
        if document is not None and (entries := document.get("manifests")):
            document = _manifest(session, name, entries[0]["digest"])
        if document is None or "layers" not in document:
            continue
        config = [document["config"]] if "config" in document else []
        return [Digest(part["digest"]) for part in (*config, *document["layers"]) if not part.get("urls")][:_BLOBS]
    return []


def _manifest(session: Session, name: str, reference: str) -> dict[str, Any] | None:
    scopes = (repository_scope(name, "pull"),)
    headers = {"Accept": ", ".join(ACCEPTED)}
    path = f"/v2/{name}/manifests/{reference}"
    answer = session.ask(Call("GET", path, f"read {name}", scopes, headers, limit=MAX_MANIFEST))
    return parse_manifest(answer.data) if answer.status == 200 else None


def _in_common(session: Session, shared: Sequence[str], digests: Sequence[Digest]) -> tuple[str, Digest] | None:
    for source in shared:
        for digest in digests:
            scopes = (repository_scope(source, "pull"),)
            with suppress(StoreError):
                if session.ask(Call("HEAD", f"/v2/{source}/blobs/{digest}", "look for a blob", scopes)).status == 200:
                    return source, digest
    return None
