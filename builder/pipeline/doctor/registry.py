"""Is a registry ready: reached, trusted, in time; may we pull, may we push; what can it do?"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from builder.errors import LockshipError, StoreError
from builder.network import is_loopback
from builder.parallel import Stop
from builder.pipeline.doctor.checks import Check, failed, of_error, ok, skipped, warning
from builder.registry import probe
from builder.registry.credentials import find_credential
from builder.registry.endpoint import PLAIN_HTTP, Endpoint, network_of
from builder.registry.reference import Repository
from builder.registry.session import Session
from builder.words import human_size, plural

__all__ = [
    "Clocks",
    "check_certificate",
    "check_clock",
    "check_mounts",
    "check_server",
    "check_transport",
    "registry_checks",
]

SKEW: Final = 60.0  # seconds that clocks may differ before tokens come to grief
SOON: Final = 14 * 86_400.0  # seconds; a certificate that ends sooner is worth a word
_RETRIES: Final = 1  # somebody waits for the answer, and a failure is one, too


@dataclass(frozen=True, slots=True)
class Clocks:
    """The time: `wall` in seconds since 1970, `timer` in seconds from any moment on."""

    wall: Callable[[], float] = time.time
    timer: Callable[[], float] = time.monotonic


def registry_checks(
    repository: Repository,
    shared: Sequence[Repository],
    environ: Mapping[str, str],
    plain_http: Sequence[str],
    clocks: Clocks,
) -> Iterator[Check]:
    """Every check of `repository`, and of those in `shared`, which are on the same host. Nothing is left there."""
    try:
        network = replace(network_of(environ, plain_http), retries=_RETRIES)
        endpoint = Endpoint(repository.endpoint, (*plain_http, *network.trusted_hosts), repository.host)
        reached = probe.reach(repository.endpoint, network, clocks.timer, plain=endpoint.may_be_plain)
    except LockshipError as error:
        yield _wrong("connection", error)
        yield from _skipped(shared, "the registry doesn't answer")
        return
    yield _connected(repository, reached)
    with Session(
        endpoint,
        network,
        lambda: find_credential(repository, environ, own=repository.host),
        jitter=random.random,
        clock=clocks.timer,
        stop=Stop(),
    ) as session:
        for check in _asked(session, repository, shared, plain_http, clocks):
            hint = None if check.hint is None else session.redact(check.hint)
            yield replace(check, found=session.redact(check.found), hint=hint)


def _connected(repository: Repository, reached: probe.Reached) -> Check:
    through = f" through {reached.proxy}" if reached.proxy else ""
    took = f"{reached.milliseconds:.{0 if reached.milliseconds >= 10 else 1}f} ms"
    where = f"to {reached.address} " if reached.address != repository.endpoint else ""
    return ok("registry", "connection", f"{repository.endpoint}{through}: connected {where}in {took}")


def _skipped(shared: Sequence[Repository], why: str, *, after: str = "connection") -> Iterator[Check]:
    """What can't be looked at when the check `after` failed."""
    names = ["connection", "encryption", "server", "clock", "credentials", "pull", "push", "mounts", "referrers"]
    for name in names[names.index(after) + 1 :]:
        yield skipped("registry", name, why)
    for one in shared:
        yield skipped("registry", "shared", f"{one}: {why}")


def _asked(
    session: Session,
    repository: Repository,
    shared: Sequence[Repository],
    plain_http: Sequence[str],
    clocks: Clocks,
) -> Iterator[Check]:
    try:
        greeting = probe.greet(session, clocks.wall)
    except LockshipError as error:
        yield _wrong("encryption", error)
        yield from _skipped(shared, "no connection that can be trusted", after="encryption")
        return
    yield check_transport(greeting, session.endpoint, plain_http)
    if (certificate := check_certificate(greeting, clocks.wall())) is not None:
        yield certificate
    yield (server := check_server(greeting))
    yield check_clock(greeting)
    if server.state == "failed":
        yield from _skipped(shared, "not a registry", after="clock")
        return
    try:
        credential = session.authorizer.credential
    except LockshipError as error:
        yield _wrong("credentials", error)
        yield from _skipped(shared, "the credentials can't be used", after="credentials")
        return
    asks = "" if greeting.challenge else "; the registry asks for none"
    yield ok("registry", "credentials", (f"from {credential.source}" if credential else "none: anonymous") + asks)
    yield from _rights(session, repository, shared)


def _rights(session: Session, repository: Repository, shared: Sequence[Repository]) -> Iterator[Check]:
    name = repository.name
    pull: probe.Pull | None = None
    try:
        pull = probe.may_pull(session, name)
        yield ok("registry", "pull", f"{repository}: {_seen(pull)}")
    except LockshipError as error:
        yield _wrong("pull", error)
    push: probe.Push | None = None
    try:
        push = probe.may_push(session, name)
        yield _pushing(repository, push)
    except LockshipError as error:
        yield _wrong("push", error)
    if pull is None or push is None:
        yield skipped("registry", "mounts", f"needs leave to {'push' if pull else 'pull'}")
    else:
        names = [one.name for one in shared]
        yield _guarded("mounts", lambda: check_mounts(probe.mounts(session, name, pull.tags, names)))
    if pull is None:
        yield skipped("registry", "referrers", "needs leave to pull")
    else:
        yield _guarded("referrers", lambda: _REFERRERS[probe.referrers(session, name)])
    for one in shared:
        yield _guarded("shared", lambda one=one: _shared(session, one))  # type: ignore[misc]


def _wrong(name: str, error: LockshipError) -> Check:
    """Whatever keeps us from using a registry: a variable that is wrong is no project file."""
    return of_error("registry", name, error, exit_code=StoreError.exit_code)


def _seen(pull: probe.Pull) -> str:
    if not pull.there:
        return "nothing was pushed there yet"
    more = " or more" if len(pull.tags) >= probe.TAGS else ""
    return f"can be read, {plural(len(pull.tags), 'tag')}{more}"


def _guarded(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except LockshipError as error:
        return _wrong(name, error)


# what that means


def check_transport(greeting: probe.Greeting, endpoint: Endpoint, plain_http: Sequence[str]) -> Check:
    """TLS, or plain HTTP and who allowed it."""
    if greeting.tls is not None:
        return ok("registry", "encryption", greeting.tls.replace("TLSv", "TLS "))
    if greeting.base.startswith("https:"):
        return ok("registry", "encryption", "TLS")
    if is_loopback(endpoint.name):
        return ok("registry", "encryption", "plain HTTP, which never leaves this machine")
    named = {one.lower() for one in plain_http} & {endpoint.host.lower(), endpoint.name}
    who = "plain-http in [store]" if named else PLAIN_HTTP
    return warning(
        "registry",
        "encryption",
        f"plain HTTP, allowed by {who}",
        "anybody on the way can read and change what is sent, passwords too: better have the registry speak TLS",
    )


def check_certificate(greeting: probe.Greeting, now: float) -> Check | None:
    """A word about a certificate that ends soon."""
    if greeting.until is None or greeting.until - now > SOON:
        return None
    day = datetime.fromtimestamp(greeting.until, UTC).strftime("%Y-%m-%d")
    return warning("registry", "certificate", f"the registry's certificate is good until {day} only", "have it renewed")


def check_server(greeting: probe.Greeting) -> Check:
    """Whether it is a registry that answers."""
    if greeting.server:
        return ok(
            "registry", "server", greeting.version or "a registry that doesn't say which version of the API it has"
        )
    what = f"{greeting.status}, {greeting.media_type or 'no content type'}"
    return failed(
        "registry",
        "server",
        f"{greeting.base}/v2/ answers ({what}), but not as a registry does",
        "is that the registry's own host and port, and not those of its web page?",
    )


def check_clock(greeting: probe.Greeting) -> Check:
    """Whether both clocks agree: tokens are good from a moment to a moment."""
    if greeting.skew is None:
        return skipped("registry", "clock", "the registry doesn't say what time it has")
    if abs(greeting.skew) <= SKEW:
        return ok("registry", "clock", "agrees with the registry's")
    late = "behind" if greeting.skew > 0 else "ahead of"
    return warning(
        "registry",
        "clock",
        f"this machine's clock is {abs(greeting.skew):.0f} seconds {late} the registry's",
        "tokens seem to be used up too early or too late then: set the clock (timedatectl set-ntp true)",
    )


def _pushing(repository: Repository, push: probe.Push) -> Check:
    text = f"{repository}: an upload was begun"
    text += (
        " and given up" if push.given_up else "; the registry doesn't let it be given up, it will forget it by itself"
    )
    if push.chunk:
        text += f"; it wants parts of {human_size(push.chunk)} at least"
    return ok("registry", "push", text)


def check_mounts(mount: probe.Mount) -> Check:
    """Whether layers can be taken from other repositories."""
    if mount.works is None:
        return skipped("registry", "mounts", "unknown: nothing there to try with")
    if mount.works:
        return ok("registry", "mounts", f"supported: tried with a blob of {mount.source}")
    return warning(
        "registry",
        "mounts",
        f"not supported: a blob of {mount.source} was not taken over (it answered {mount.said})",
        "layers are sent to each repository anew: slower, and nothing else",
    )


_REFERRERS: Final[Mapping[probe.Referrers, Check]] = {
    "api": ok("registry", "referrers", "the registry lists them"),
    "fallback": ok("registry", "referrers", "listed under a tag: the registry has no API for them"),
    "unknown": skipped("registry", "referrers", "unknown: nothing there to ask about"),
}


def _shared(session: Session, repository: Repository) -> Check:
    pull = probe.may_pull(session, repository.name)
    if not pull.there:
        return warning(
            "registry", "shared", f"{repository}: nothing was pushed there yet", "is its name in [store] shared right?"
        )
    return ok("registry", "shared", f"{repository}: {_seen(pull)}")
