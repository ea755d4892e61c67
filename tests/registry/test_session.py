"""Credentials, redirects and retries, against real registries and a proxy that breaks things."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from builder.content import Digest
from builder.errors import StoreError, UsageError, VerificationError
from builder.http import retry_after
from builder.network import Network
from builder.parallel import Stop, StoppedError, each
from builder.registry.client import Registry
from builder.registry.credentials import Credential
from builder.registry.endpoint import network_of
from builder.registry.reference import Repository
from tests.registry.conftest import new_name, open_registry
from tests.registry.impostor import Replies, Reply, impostor
from tests.support.images import blob, put_blob, small_image
from tests.support.proxy import Faults, answer, at, cut, either, fault_proxy, matching, redirect_blobs, stalled
from tests.support.registry import PASSWORD, USER, RegistryServer, serve_registry
from tests.support.storage import SIGNATURE, serve_storage

pytestmark = pytest.mark.slow

Servers = Callable[[str], RegistryServer]


class Recorded(Stop):
    """Waits for nothing, and remembers for how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.check()


def client(host: str, credential: Credential | None = None, *, retries: int = 0, **options: Any) -> Registry:
    network = Network(retries=retries, timeout=5)
    return Registry(Repository(host, "a"), network, lambda: credential, jitter=lambda: -0.5, **options)


ADA = Credential(USER, PASSWORD, source="the tests")


# who gets in


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_without_credentials(servers: Servers, kind: str) -> None:
    with open_registry(servers(kind), new_name(), environ={"DOCKER_CONFIG": "/nowhere"}) as registry:
        with pytest.raises(StoreError) as caught:
            put_blob(registry, b"data")
        assert caught.value.exit_code == 5
        assert "no credentials were found for 127.0.0.1" in (caught.value.hint or "")
        assert "docker login" in (caught.value.hint or "")


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_with_a_wrong_password(servers: Servers, kind: str) -> None:
    server = servers(kind)
    wrong = Credential(USER, "Wr0ng-pass", source="somewhere special")
    with client(server.host, wrong, push=True) as registry, pytest.raises(StoreError) as caught:
        put_blob(registry, b"data")
    assert "somewhere special" in (caught.value.hint or "")
    assert "Wr0ng" not in str(caught.value) + (caught.value.hint or "")


def test_anybody_may_pull_where_that_is_allowed(servers: Servers) -> None:
    server, name = servers("token"), new_name()
    assert server.tokens is not None
    with open_registry(server, name) as registry:
        descriptor = put_blob(registry, b"public")
    server.tokens.anonymous_pull = True
    try:
        with open_registry(server, name, environ={"DOCKER_CONFIG": "/nowhere"}, push=False) as registry:
            assert b"".join(registry.read_blob(descriptor.digest)) == b"public"
    finally:
        server.tokens.anonymous_pull = False


def test_one_token_serves_for_many_requests_at_once(servers: Servers) -> None:
    server = servers("token")
    assert server.tokens is not None
    with open_registry(server, new_name()) as registry:
        before = len(server.tokens.asked)
        data = [f"blob {number}".encode() for number in range(20)]
        each(data, lambda one: put_blob(registry, one), Stop())
        assert all(each([blob(one).digest for one in data], registry.has_blob, Stop()))
    asked = server.tokens.asked[before:]
    assert [one.scopes for one in asked] == [(f"repository:{registry.repository.name}:pull,push",)]


def test_reading_asks_for_no_more_than_that(servers: Servers) -> None:
    server = servers("token")
    assert server.tokens is not None
    with open_registry(server, new_name(), push=False) as registry:
        before = len(server.tokens.asked)
        assert not registry.has_blob(Digest.of(b"none"))
    assert server.tokens.asked[before].scopes == (f"repository:{registry.repository.name}:pull",)


def test_a_token_is_renewed_before_it_ends(servers: Servers) -> None:
    server = servers("token")
    assert server.tokens is not None
    now = [0.0]
    with open_registry(server, new_name(), clock=lambda: now[0]) as registry:
        put_blob(registry, b"one")
        before = len(server.tokens.asked)
        now[0] = 40
        put_blob(registry, b"two")
        assert len(server.tokens.asked) == before
        now[0] = 50
        put_blob(registry, b"three")
    assert len(server.tokens.asked) == before + 1


@pytest.mark.parametrize("number", range(1, 7))
def test_a_token_may_end_at_any_point_of_a_push(servers: Servers, number: int) -> None:
    server = servers("token")
    assert server.tokens is not None
    challenge = {"WWW-Authenticate": f'Bearer realm="{server.tokens.realm}",service="{server.tokens.service}"'}
    with fault_proxy(server.host, at(number, answer(401, challenge))) as proxy:
        with open_registry(server, new_name(), host=proxy.host) as registry:
            before = len(server.tokens.asked)
            image = small_image(registry)
            registry.put_manifest(image.descriptor, image.data, tag="1")
            assert registry.tags() == {"1": image.descriptor.digest}
        assert len(server.tokens.asked) == before + 2


def test_an_identity_token(servers: Servers) -> None:
    server = servers("token")
    assert server.tokens is not None
    server.tokens.identities["re-fresh"] = USER
    server.tokens.fields = ("access_token",)
    try:
        with client(server.host, Credential(identity_token="re-fresh", source="x"), push=True) as registry:
            put_blob(registry, b"identity")
    finally:
        server.tokens.fields = ("token",)
    assert server.tokens.asked[-1].method == "POST"


def test_a_registry_token_is_sent_as_it_is(servers: Servers) -> None:
    server = servers("token")
    assert server.tokens is not None
    name = new_name()
    token = server.tokens.sign("robot", {name: frozenset({"pull", "push"})})
    before = len(server.tokens.asked)
    repository = Repository(server.host, name)
    with Registry(repository, Network(), lambda: Credential(registry_token=token, source="ci"), push=True) as registry:
        put_blob(registry, b"token")
    assert len(server.tokens.asked) == before
    bad = Credential(registry_token=token[:-9] + "AAAAAAAAA", source="ci")
    with Registry(repository, Network(), lambda: bad, push=True) as registry, pytest.raises(StoreError) as caught:
        put_blob(registry, b"other")
    assert "ci" in (caught.value.hint or "")
    assert len(server.tokens.asked) == before


@pytest.mark.parametrize("token", ["very-s3cret\n", "\nvery-s3cret", "very-s3cret\r\n", "very-s3cret é", "very s3cret"])
def test_a_token_that_no_header_can_carry_is_not_shown(token: str) -> None:
    """As one has it that was pasted with the end of its line."""
    seen: list[dict[str, str]] = []

    def replies(method: str, path: str, sent: dict[str, str], received: bytes) -> Reply:
        seen.append(sent)
        return 401, {"WWW-Authenticate": 'Bearer realm="x"'}, b""

    credential = Credential(registry_token=token, source="LOCKSHIP_REGISTRY_TOKEN")
    with (
        impostor(replies) as host,
        client(host, credential, retries=5) as registry,
        pytest.raises(StoreError, match="from LOCKSHIP_REGISTRY_TOKEN cannot be one") as caught,
    ):
        registry.manifest("1")
    assert caught.value.exit_code == 5
    assert "s3cret" not in f"{caught.value} {caught.value.hint} {caught.value!r} {caught.value.__cause__!r}"
    assert all("authorization" not in one for one in seen)


def test_deleting_asks_for_more_when_the_registry_says_so(servers: Servers) -> None:
    server = servers("token")
    assert server.tokens is not None
    with open_registry(server, new_name()) as registry:
        descriptor = put_blob(registry, b"gone")
        registry.delete(descriptor.digest)
        assert not registry.has_blob(descriptor.digest)
    [scope] = server.tokens.asked[-1].scopes
    assert scope == f"repository:{registry.repository.name}:pull,push,delete"


# token servers that can't be trusted


def challenging(realm: str) -> Replies:
    """A registry that wants a token from `realm`."""
    return lambda *_: (401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'}, b"")


@pytest.mark.parametrize(
    ("status", "headers", "body", "message"),
    [
        (200, {}, b"<html>please log in</html>", "not JSON"),
        (200, {}, b'{"hello": "world"}', "no token in it"),
        (200, {}, b"x" * (2 << 20), "more than"),
        (302, {"Location": "https://evil.example.com/"}, b"", "redirects elsewhere"),
        (403, {}, b'{"errors":[{"code":"DENIED","message":"go \\u001b[31maway"}]}', "denied"),
        (404, {}, b"", "404 Not Found"),
        (503, {}, b"", "503"),
    ],
)
def test_a_token_server_that_lies(status: int, headers: dict[str, str], body: bytes, message: str) -> None:
    seen: list[dict[str, str]] = []

    def tokens(method: str, path: str, sent: dict[str, str], received: bytes) -> Reply:
        seen.append(sent)
        return status, headers, body

    with (
        impostor(tokens) as realm,
        impostor(challenging(f"http://{realm}/token")) as host,
        client(host, ADA) as registry,
        pytest.raises(StoreError, match=f"(?i){message}") as caught,
    ):
        registry.manifest("1")
    assert caught.value.exit_code == 5
    assert PASSWORD not in str(caught.value) and "\x1b" not in str(caught.value)
    assert seen[0]["authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    "realm", ["http://auth.example.com/token", "https://169.254.169.254/token", "file:///etc/passwd", "https://[/"]
)
def test_no_credentials_for_a_realm_that_may_not_be(realm: str) -> None:
    with (
        impostor(challenging(realm)) as host,
        client(host, ADA) as registry,
        pytest.raises(StoreError, match="its token server is said to be"),
    ):
        registry.manifest("1")


def test_a_registry_that_never_has_enough() -> None:
    count = [0]

    def tokens(*_: object) -> Reply:
        count[0] += 1
        return 200, {}, json.dumps({"token": f"token-number-{count[0]}"}).encode()

    def replies(method: str, path: str, sent: dict[str, str], received: bytes) -> Reply:
        # what it was shown comes back in its error
        body = json.dumps({"errors": [{"code": "DENIED", "message": sent.get("authorization", "")}]}).encode()
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{realm}/token"'}, body

    with (
        impostor(tokens) as realm,
        impostor(replies) as host,
        client(host, ADA, retries=5) as registry,
        pytest.raises(StoreError, match="401 Unauthorized") as caught,
    ):
        registry.manifest("1")
    assert count[0] <= 2
    assert "token-number" not in str(caught.value) and "****" in str(caught.value)


# where credentials go


def test_credentials_stay_with_the_registry(servers: Servers) -> None:
    for kind in ("basic", "token"):
        server, name = servers(kind), new_name()
        with serve_storage(server.blob_file) as storage:
            with fault_proxy(server.host, redirect_blobs(storage.address)) as proxy:
                with open_registry(server, name, host=proxy.host) as registry:
                    descriptor = put_blob(registry, b"elsewhere")
                    assert b"".join(registry.read_blob(descriptor.digest)) == b"elsewhere"
                assert any("authorization" in one.headers for one in proxy.log)
            assert [method for method, _, _ in storage.log] == ["GET"]
            assert all("authorization" not in headers for _, _, headers in storage.log)


def test_errors_hide_signed_addresses() -> None:
    def replies(method: str, path: str, sent: dict[str, str], received: bytes) -> Reply:
        if path.startswith("/storage"):
            return 403, {}, b"AccessDenied"
        return (200, {}, b"{}") if path == "/v2/" else (307, {"Location": f"/storage?Signature={SIGNATURE}"}, b"")

    with impostor(replies) as host, client(host) as registry, pytest.raises(StoreError) as caught:
        list(registry.read_blob(Digest.of(b"x")))
    assert "403" in str(caught.value) and SIGNATURE not in str(caught.value)


@pytest.mark.parametrize(
    "target", ["http://elsewhere.example.com/x", "https://169.254.169.254/x", "gopher://x/", "https://[x"]
)
def test_redirects_that_are_refused(target: str) -> None:
    def replies(method: str, path: str, sent: dict[str, str], received: bytes) -> Reply:
        return (200, {}, b"{}") if path == "/v2/" else (307, {"Location": target}, b"")

    with impostor(replies) as host, client(host, retries=5) as registry, pytest.raises(StoreError) as caught:
        registry.manifest("1")
    assert "refused" in caught.value.message or "is none" in caught.value.message


def test_redirects_without_end() -> None:
    def replies(method: str, path: str, sent: dict[str, str], received: bytes) -> Reply:
        return 307, {"Location": path + "x"}, b""

    with impostor(replies) as host, client(host) as registry, pytest.raises(StoreError, match="without end"):
        registry.manifest("1")


def test_nothing_shows_the_password(servers: Servers) -> None:
    encoded = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    def replies(method: str, path: str, sent: dict[str, str], received: bytes) -> Reply:
        if "authorization" not in sent:
            return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
        return (
            400,
            {},
            json.dumps({"errors": [{"code": "X", "message": f"{sent['authorization']} {PASSWORD}"}]}).encode(),
        )

    with impostor(replies) as host, client(host, ADA) as registry, pytest.raises(StoreError) as caught:
        registry.manifest("1")
    assert encoded not in str(caught.value) and PASSWORD not in str(caught.value)
    assert PASSWORD not in repr(registry) + repr(registry.__dict__)


def test_no_more_is_said_than_needed(servers: Servers) -> None:
    """A push asks about each of its layers: what is said there counts as often."""
    server, name = servers("open"), new_name()
    with fault_proxy(server.host) as proxy, open_registry(server, name, host=proxy.host) as registry:
        descriptor = put_blob(registry, b"x")
        b"".join(registry.read_blob(descriptor.digest))
        registry.resolve("1")
        said = {(one.method, one.path.split("?")[0].split("/uploads/")[0].rpartition("/")[0]): one for one in proxy.log}
    heads = {key: set(one.headers) for key, one in said.items()}
    assert heads["HEAD", f"/v2/{name}/blobs"] == {"host", "user-agent"}
    assert heads["GET", f"/v2/{name}/blobs"] == {"host", "user-agent", "accept-encoding"}
    assert heads["HEAD", f"/v2/{name}/manifests"] == {"host", "user-agent", "accept"}
    assert all(one.headers["accept-encoding"] == "identity" for one in said.values() if one.method == "GET")
    assert {one.headers["user-agent"] for one in said.values()} == {"lockship"}


def test_cookies_are_not_kept() -> None:
    """They belong to a host, whatever its port: another server there would get them."""
    seen: list[dict[str, str]] = []

    def replies(method: str, path: str, sent: dict[str, str], received: bytes) -> Reply:
        seen.append(sent)
        return 404, {"Set-Cookie": "session=s3cret; Path=/"}, b""

    with impostor(replies) as host, client(host) as registry:
        registry.manifest("1")
        registry.manifest("2")
    assert len(seen) == 3
    assert all("cookie" not in one for one in seen)


# plain HTTP, TLS


def test_plain_http_only_where_it_is_allowed(tmp_path: Any) -> None:
    # a name that isn't this machine's own, reached through a proxy as if it were far away
    with serve_registry(tmp_path) as server:
        network = Network(proxies={"all": f"http://{server.host}"}, retries=0)
        repository = Repository("registry.example.com:5000", "a")
        with Registry(repository, network, lambda: None, plain_http=["registry.example.com:5000"]) as registry:
            assert registry.manifest("1") is None
        seen = server.said().count("/v2/a/manifests/1")
        assert seen > 0
        with Registry(repository, network, lambda: None) as registry, pytest.raises(StoreError):
            registry.manifest("1")
        assert server.said().count("/v2/a/manifests/1") == seen


def test_a_server_without_tls_that_must_have_it(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.registry.endpoint.is_loopback", lambda host: False)
    with client(servers("open").host, retries=5) as registry, pytest.raises(UsageError) as caught:
        registry.manifest("1")
    assert caught.value.exit_code == 2
    assert "plain-http" in (caught.value.hint or "") and "LOCKSHIP_PLAIN_HTTP" in (caught.value.hint or "")


def test_a_private_ca_must_be_known(servers: Servers) -> None:
    server = servers("tls")
    with client(server.host, retries=5) as registry, pytest.raises(StoreError, match=r"(?i)certificate") as caught:
        registry.manifest("1")
    assert "SSL_CERT_FILE" in (caught.value.hint or "")
    # a host that may do without TLS still has to prove itself where it has TLS
    with client(server.host, plain_http=[server.host]) as registry, pytest.raises(StoreError, match=r"(?i)certificate"):
        registry.manifest("1")


def test_a_proxy_on_the_way(servers: Servers) -> None:
    server = servers("tls")
    environ = {**server.environ(), "https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    # this machine is reached directly
    with open_registry(server, new_name(), environ=environ) as registry:
        assert registry.manifest("1") is None
    network = network_of({"https_proxy": "http://user:s3cret-word@127.0.0.1:9"})
    with (
        Registry(Repository("registry.example.com", "a"), network, lambda: None, jitter=lambda: -0.5) as registry,
        pytest.raises(StoreError) as caught,
    ):
        registry.manifest("1")
    assert "s3cret" not in str(caught.value)


# failures that pass


@pytest.mark.parametrize(
    "fault", [cut("before"), cut("sent"), answer(500), answer(503), answer(429), answer(408), answer(425)]
)
def test_failures_that_pass(servers: Servers, fault: Any) -> None:
    server, stop = servers("open"), Recorded()
    with fault_proxy(server.host, matching("HEAD", "/blobs/", fault, times=3)) as proxy:
        with open_registry(server, new_name(), host=proxy.host, stop=stop, jitter=lambda: 0.5) as registry:
            assert not registry.has_blob(Digest.of(b"x"))
        assert len(proxy.asked("HEAD")) == 4
    assert stop.waits == [0.25, 0.5, 1.0]


def test_manifests_are_asked_for_as_often_as_everything(servers: Servers) -> None:
    with fault_proxy(servers("open").host, matching("GET", "/manifests/", answer(503))) as proxy:
        with open_registry(servers("open"), new_name(), host=proxy.host) as registry, pytest.raises(StoreError):
            registry.manifest("1")
        assert len(proxy.asked("GET", "/manifests/")) == 6


def test_waiting_is_told_of_once(servers: Servers) -> None:
    server, stop, notes, now = servers("open"), Recorded(), [], [0.0]
    faults = matching("HEAD", "/blobs/", answer(429, {"Retry-After": "30"}))
    with (
        fault_proxy(server.host, faults) as proxy,
        open_registry(
            server, new_name(), host=proxy.host, stop=stop, note=notes.append, clock=lambda: now[0]
        ) as registry,
    ):
        for moment in (0.0, 5.0, 50.0):
            now[0] = moment
            with pytest.raises(StoreError):
                registry.has_blob(Digest.of(b"x"))
    assert len(notes) == 2
    assert notes[0].startswith(f"{proxy.host}: cannot look for sha256:")
    assert notes[0].endswith("it answered 429 Too Many Requests; asking again in 30 s")


def test_a_short_pause_is_not_worth_a_note(servers: Servers) -> None:
    server, notes = servers("open"), list[str]()
    with (
        fault_proxy(server.host, matching("HEAD", "/blobs/", answer(503), times=1)) as proxy,
        open_registry(server, new_name(), host=proxy.host, note=notes.append) as registry,
    ):
        assert not registry.has_blob(Digest.of(b"x"))
    assert notes == []


def test_an_address_where_nobody_answers_is_given_up_soon(servers: Servers) -> None:
    """A connection doesn't take as long as an answer may."""
    asked: list[dict[str, float]] = []
    with open_registry(servers("open"), new_name(), timeout=30) as registry:
        hook = lambda request: asked.append(request.extensions["timeout"])  # noqa: E731
        registry._session.client.event_hooks = {"request": [hook]}
        put_blob(registry, b"x")
    assert {one["connect"] for one in asked} == {10.0}
    assert {one["read"] for one in asked} == {30.0, 300.0}
    assert {one["write"] for one in asked} == {30.0}


def test_retry_after_is_obeyed(servers: Servers) -> None:
    server, stop = servers("open"), Recorded()
    faults = either(
        matching("HEAD", "/blobs/", answer(429, {"Retry-After": "7"}), times=1),
        matching("HEAD", "/blobs/", answer(503, {"Retry-After": "100000"}), times=1),
    )
    with (
        fault_proxy(server.host, faults) as proxy,
        open_registry(server, new_name(), host=proxy.host, stop=stop) as registry,
    ):
        assert not registry.has_blob(Digest.of(b"x"))
    assert stop.waits == [7, 60]


def test_retry_after_may_be_a_date() -> None:
    """By the server's own clock: here one that says it is 2001."""
    long_ago = "Mon, 01 Jan 2001 00:00:"
    ahead = {"date": f"{long_ago}01 GMT", "retry-after": f"{long_ago}10 GMT"}
    past = {"date": f"{long_ago}10 GMT", "retry-after": f"{long_ago}01 GMT"}
    none = {"date": f"{long_ago}10 GMT", "retry-after": "soon"}
    waits = [retry_after(httpx.Response(503, headers=headers)) for headers in (ahead, past, none, {})]
    assert waits == [9.0, 0.0, None, None]


def test_digits_that_are_no_number() -> None:
    """What Python calls digits is more than what it reads as a number."""
    stop = Recorded()

    def replies(method: str, path: str, sent: dict[str, str], received: bytes) -> Reply:
        if path == "/v2/":
            return 200, {}, b"{}"
        if method == "HEAD":
            return 404, {}, b""
        if method == "POST":
            return 202, {"Location": "/upload", "OCI-Chunk-Min-Length": "²"}, b""
        return 503, {"Retry-After": "²"}, b""

    with impostor(replies) as host, client(host, retries=1, stop=stop, push=True) as registry:
        with pytest.raises(StoreError, match="503 Service Unavailable"):
            registry.manifest("1")
        with pytest.raises(StoreError, match="503 Service Unavailable"):
            put_blob(registry, b"x")


@pytest.mark.parametrize(("fault", "message"), [(cut("sent"), "cannot look for"), (answer(502), "502 Bad Gateway")])
def test_failures_that_stay(servers: Servers, fault: Any, message: str) -> None:
    server = servers("open")
    with fault_proxy(server.host, matching("HEAD", "/blobs/", fault)) as proxy:
        with (
            open_registry(server, new_name(), host=proxy.host, retries=2) as registry,
            pytest.raises(StoreError, match=message) as caught,
        ):
            registry.has_blob(Digest.of(b"x"))
        assert len(proxy.asked("HEAD")) == 3
    assert caught.value.exit_code == 5
    assert proxy.host in caught.value.message
    assert "run again" in (caught.value.hint or "")


def test_a_server_that_does_not_answer(servers: Servers) -> None:
    server = servers("open")
    with (
        fault_proxy(server.host, matching("HEAD", "/blobs/", stalled(20), times=1)) as proxy,
        open_registry(server, new_name(), host=proxy.host, timeout=1) as registry,
    ):
        assert not registry.has_blob(Digest.of(b"x"))


def test_docker_hub_is_called_as_people_call_it() -> None:
    with Registry(Repository("docker.io", "library/python"), Network(), lambda: None) as registry:
        authorizer = registry._session.authorizer
        assert registry._session.base == "https://registry-1.docker.io"
        assert "docker login docker.io" in authorizer.advice()


def test_nobody_listens() -> None:
    with client("127.0.0.1:9", retries=2) as registry, pytest.raises(StoreError, match=r"127\.0\.0\.1:9: cannot"):
        registry.manifest("1")


def test_a_stop_ends_waiting_and_reading(servers: Servers) -> None:
    server, stop = servers("open"), Stop()
    with (
        fault_proxy(server.host, matching("HEAD", "/blobs/", stalled(60))) as proxy,
        open_registry(server, new_name(), host=proxy.host, stop=stop) as registry,
    ):
        registry.tags()  # connected
        stop.set()
        with pytest.raises(StoppedError):
            registry.has_blob(Digest.of(b"x"))
        assert proxy.asked("HEAD") == []


def test_an_answer_without_end_is_not_kept() -> None:
    def replies(method: str, path: str, sent: dict[str, str], received: bytes) -> Reply:
        return (200, {}, b"{}") if path == "/v2/" else (200, {"Content-Type": "application/json"}, b" " * (5 << 20))

    with impostor(replies) as host, client(host) as registry, pytest.raises(StoreError, match="more than 4,194,304"):
        registry.manifest("1")


def test_verification_errors_are_not_asked_again(servers: Servers) -> None:
    server, name = servers("open"), new_name()
    with open_registry(server, name) as registry:
        image = small_image(registry)
        registry.put_manifest(image.descriptor, image.data, tag="1")
    twisted: Faults = matching("GET", "/manifests/", answer(200, {"Content-Type": "application/json"}, b"{}"))
    with fault_proxy(server.host, twisted) as proxy, open_registry(server, name, host=proxy.host) as registry:
        with pytest.raises(VerificationError):
            registry.manifest(image.descriptor.digest)
        assert len(proxy.asked("GET", "/manifests/")) == 1
