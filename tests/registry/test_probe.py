"""What registries are asked beyond what stores need, by real ones; and that nothing is left behind."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from builder.errors import StoreError
from builder.network import Network
from builder.parallel import Stop
from builder.registry.client import Registry
from builder.registry.credentials import find_credential
from builder.registry.endpoint import Endpoint, network_of
from builder.registry.probe import (
    Mount,
    Pull,
    greet,
    may_pull,
    may_push,
    mounts,
    proxy_for,
    reach,
    referrers,
)
from builder.registry.reference import Repository
from builder.registry.session import Session
from builder.registry.tokens import DeniedError
from tests.support.images import index_of, small_image
from tests.support.proxy import Call, Fault, Faults, always, answer, either, fault_proxy, matching, no_mounts
from tests.support.registry import PASSWORD, USER, RegistryServer, serve_registry, write_login

pytestmark = pytest.mark.slow


@contextmanager
def session(host: str, environ: Mapping[str, str] | None = None) -> Iterator[Session]:
    """A session as the doctor opens it."""
    network = replace(network_of(environ or {}), retries=0)
    repository = Repository(host, "any/thing")
    with Session(
        Endpoint(host),
        network,
        lambda: find_credential(repository, environ or {}),
        jitter=lambda: 0.0,
        clock=time.monotonic,
        stop=Stop(),
    ) as made:
        yield made


def push_image(server: RegistryServer, name: str, text: str = "a", *, index: bool = False) -> None:
    """An image, tagged 1, in the repository `name`."""
    repository = Repository(server.host, name)
    environ = server.environ()
    with Registry(repository, network_of(environ), lambda: find_credential(repository, environ), push=True) as store:
        image = small_image(store, text)
        if index:
            store.put_manifest(image.descriptor, image.data)
            image = index_of(image)
        store.put_manifest(image.descriptor, image.data, tag="1")


def files_of(server: RegistryServer) -> set[str]:
    """Every file that a registry keeps, those of uploads that are under way among them.

    But for the state of a hash, which Distribution 2.8 writes once more when it has removed an upload.
    """
    storage = server.folder / "storage"
    files = (path for path in storage.rglob("*") if path.is_file() and "hashstates" not in path.parts)
    return {str(path.relative_to(storage)) for path in files}


# the network


def timer(*moments: float) -> Callable[[], float]:
    remaining = iter(moments)
    return lambda: next(remaining)


def test_who_answers_is_reached(registry: RegistryServer) -> None:
    found = reach(registry.host, Network(), timer(1.0, 1.25))
    assert (found.address, found.milliseconds, found.proxy) == (registry.host, 250.0, None)


def test_nobody_answers() -> None:
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:9: connection refused") as caught:
        reach("127.0.0.1:9", Network(), timer(0, 0))
    assert caught.value.exit_code == 5
    assert "running" in (caught.value.hint or "")


def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(StoreError, match=r"nobody knows the name registry\.invalid") as caught:
        reach("registry.invalid:5000", Network(), timer(0, 0))
    assert "DNS" in (caught.value.hint or "")


def test_the_proxy_is_what_is_reached(registry: RegistryServer) -> None:
    network = network_of({"HTTPS_PROXY": f"http://ada:s3cr3t@{registry.host}"})
    found = reach("registry.example.com", network, timer(0, 0))
    assert found.address == registry.host
    assert found.proxy == f"the proxy {registry.host}"
    with pytest.raises(StoreError, match=r"the proxy 127\.0\.0\.1:9: ") as caught:
        reach("registry.example.com", network_of({"https_proxy": "http://ada:s3cr3t@127.0.0.1:9"}), timer(0, 0))
    assert "s3cr3t" not in str(caught.value)


NO_PROXY = "registry.lab, .corp, only.here:5000, 10.0.0.0/8"


@pytest.mark.parametrize(
    ("host", "proxied"),
    [
        ("registry.example.com", True),
        ("registry.example.com:5000", True),
        ("127.0.0.1:5000", False),
        ("localhost", False),
        ("[::1]:5000", False),
        ("registry.lab", False),
        ("a.registry.lab:5000", False),
        ("another-registry.lab", True),
        ("dots.corp", False),
        ("only.here:5000", False),
        ("only.here:6000", True),
        ("10.1.2.3:5000", False),
        ("11.1.2.3:5000", True),
    ],
)
def test_which_hosts_are_behind_a_proxy(host: str, proxied: bool) -> None:
    network = network_of({"https_proxy": "http://proxy:3128", "no_proxy": NO_PROXY})
    assert proxy_for(network, host) == ("http://proxy:3128" if proxied else None)
    assert proxy_for(Network(), host) is None


# greetings


def test_a_registry_for_anybody(registry: RegistryServer) -> None:
    with session(registry.host) as asked:
        found = greet(asked, time.time)
    assert found.server
    assert (found.status, found.version, found.challenge, found.tls) == (200, "registry/2.0", None, None)
    assert found.base == registry.url
    assert found.skew is not None
    assert abs(found.skew) < 30


def test_a_registry_that_asks_who_is_there_over_tls(tmp_path: Path) -> None:
    with serve_registry(tmp_path, "basic", tls=True) as server, session(server.host, server.environ()) as asked:
        found = greet(asked, time.time)
    assert found.server
    assert found.status == 401
    assert found.challenge is not None
    assert found.challenge.scheme == "basic"
    assert (found.tls or "").startswith("TLSv1.")
    assert found.until is not None
    assert found.until > time.time()


def test_a_ca_that_nobody_trusts(tmp_path: Path) -> None:
    with (
        serve_registry(tmp_path, tls=True) as server,
        session(server.host) as asked,
        pytest.raises(StoreError, match="CERTIFICATE_VERIFY_FAILED") as caught,
    ):
        greet(asked, time.time)
    assert "SSL_CERT_FILE" in (caught.value.hint or "")


def test_nobody_greets() -> None:
    with session("127.0.0.1:9") as asked, pytest.raises(StoreError, match=r"127\.0\.0\.1:9: cannot connect"):
        greet(asked, time.time)


HTML = {"Content-Type": "text/html; charset=utf-8", "Docker-Distribution-Api-Version": None}
JSON = {"Content-Type": "application/json", "Docker-Distribution-Api-Version": None}
VERSION = "Docker-Distribution-Api-Version"


@pytest.mark.parametrize(
    ("fault", "server"),
    [
        (Fault(status=200, headers=HTML, body=b"<html>Welcome!</html>"), False),
        (Fault(status=404, headers=HTML, body=b"<html>Not here</html>"), False),
        (Fault(status=200, headers=JSON, body=b"[1]"), False),
        (Fault(status=200, headers=JSON, body=b"{}"), True),
        (Fault(status=200, headers=JSON, body=b""), True),
        (Fault(status=401, headers=JSON, body=b""), False),
        (Fault(status=401, headers=JSON | {"WWW-Authenticate": 'Basic realm="x"'}, body=b""), True),
        (Fault(status=404, headers={VERSION: "registry/2.0"}, body=b""), True),
    ],
)
def test_what_counts_as_a_registry(registry: RegistryServer, fault: Fault, server: bool) -> None:
    with fault_proxy(registry.host, always(fault)) as proxy, session(proxy.host) as asked:
        assert greet(asked, time.time).server is server


@pytest.mark.parametrize("ahead", [-90.0, 0.0, 7200.0])
def test_clocks_are_compared(registry: RegistryServer, ahead: float) -> None:
    now = 1_700_000_000.0
    fault = Fault(headers={"Date": formatdate(now + ahead, usegmt=True)})
    with fault_proxy(registry.host, always(fault)) as proxy, session(proxy.host) as asked:
        found = greet(asked, timer(now - 2, now + 3))
    assert found.skew == pytest.approx(ahead)


@pytest.mark.parametrize("date", [None, "yesterday"])
def test_a_registry_without_a_clock(registry: RegistryServer, date: str | None) -> None:
    with fault_proxy(registry.host, always(Fault(headers={"Date": date}))) as proxy, session(proxy.host) as asked:
        assert greet(asked, time.time).skew is None


# leave


def test_pulling_what_is_not_there_yet(registry: RegistryServer) -> None:
    with session(registry.host) as asked:
        assert may_pull(asked, "probe/new") == Pull(there=False)


def test_pulling_what_is_there(registry: RegistryServer) -> None:
    push_image(registry, "probe/there")
    with session(registry.host) as asked:
        assert may_pull(asked, "probe/there") == Pull(there=True, tags=("1",))


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"tags": 5}', b"[" * 100_000])
def test_a_list_of_tags_that_is_none(registry: RegistryServer, body: bytes) -> None:
    page = matching("GET", "tags/list", answer(200, {"Content-Type": "text/html"}, body))
    with (
        fault_proxy(registry.host, page) as proxy,
        session(proxy.host) as asked,
        pytest.raises(StoreError, match=r"no list of tags \(text/html\)"),
    ):
        may_pull(asked, "probe/page")


@pytest.mark.parametrize("auth", ["basic", "token"])
def test_the_right_password_and_a_wrong_one(tmp_path: Path, auth: Any) -> None:
    with serve_registry(tmp_path, auth) as server:
        with session(server.host, server.environ()) as asked:
            assert may_pull(asked, "a/b") == Pull(there=False)
            assert may_push(asked, "a/b").given_up
        write_login(server.docker_config, server.host, USER, "not-the-word")
        with session(server.host, server.environ()) as asked:
            for question in (may_pull, may_push):
                with pytest.raises(DeniedError) as caught:
                    question(asked, "a/b")
                assert "docker/config.json" in (caught.value.hint or "")
                assert "not-the-word" not in f"{caught.value} {caught.value.hint}"


def test_nobody_in_particular_is_not_let_in(tmp_path: Path) -> None:
    with serve_registry(tmp_path, "token") as server, session(server.host) as asked:
        for question in (may_pull, may_push):
            with pytest.raises(DeniedError) as caught:
                question(asked, "a/b")
            assert f"docker login {server.host}" in (caught.value.hint or "")


def test_leave_to_pull_only(tmp_path: Path) -> None:
    with serve_registry(tmp_path, "token") as server, session(server.host, server.environ()) as asked:
        assert server.tokens is not None
        server.tokens.allowed = lambda user, repository, actions: actions & {"pull"}
        assert may_pull(asked, "a/b") == Pull(there=False)
        with pytest.raises(DeniedError) as caught:
            may_push(asked, "a/b")
    assert "push" in f"{caught.value} {caught.value.hint}"


def test_nothing_stays_of_the_upload(tmp_path: Path) -> None:
    with serve_registry(tmp_path) as server:
        push_image(server, "a/b")
        before = files_of(server)
        with fault_proxy(server.host) as proxy, session(proxy.host) as asked:
            found = may_push(asked, "a/b")
        assert (found.given_up, found.chunk) == (True, 0)
        assert [(one.method, one.status) for one in proxy.asked("POST PUT PATCH DELETE")] == [
            ("POST", 202),
            ("DELETE", 204),
        ]
        assert files_of(server) == before


def test_an_upload_that_may_not_be_given_up(registry: RegistryServer) -> None:
    faults = either(
        matching("DELETE", "uploads", answer(405)),
        matching("POST", "uploads", Fault(headers={"OCI-Chunk-Min-Length": "5242880"})),
    )
    with fault_proxy(registry.host, faults) as proxy, session(proxy.host) as asked:
        found = may_push(asked, "probe/kept")
    assert (found.given_up, found.chunk) == (False, 5 << 20)


def test_a_registry_that_wants_repositories_made_first(registry: RegistryServer) -> None:
    body = b'{"errors": [{"code": "NAME_UNKNOWN", "message": "create it first"}]}'
    missing = matching("POST", "uploads", answer(404, {"Content-Type": "application/json"}, body))
    with (
        fault_proxy(registry.host, missing) as proxy,
        session(proxy.host) as asked,
        pytest.raises(StoreError, match="create it first") as caught,
    ):
        may_push(asked, "probe/nowhere")
    assert "before the first push" in (caught.value.hint or "")


# abilities


def test_who_lists_referrers(registry: RegistryServer) -> None:
    with session(registry.host) as asked:
        assert referrers(asked, "probe/referrers") == "fallback"
    with fault_proxy(registry.host, referrers=True) as proxy, session(proxy.host) as asked:
        assert referrers(asked, "probe/referrers") == "api"


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (answer(404, {}, b'{"errors": [{"code": "NAME_UNKNOWN"}]}'), "unknown"),
        (answer(404, {}, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}'), "fallback"),
        (answer(405), "fallback"),
        (answer(200, {"Content-Type": "text/html"}, b"<html>"), "fallback"),
    ],
)
def test_what_other_registries_say_of_referrers(registry: RegistryServer, fault: Fault, found: str) -> None:
    with fault_proxy(registry.host, always(fault)) as proxy, session(proxy.host) as asked:
        assert referrers(asked, "probe/referrers") == found


def test_a_registry_that_fails_is_not_taken_for_an_old_one(registry: RegistryServer) -> None:
    with (
        fault_proxy(registry.host, matching("GET", "referrers", answer(501))) as proxy,
        session(proxy.host) as asked,
        pytest.raises(StoreError, match="501"),
    ):
        referrers(asked, "probe/referrers")


def test_nothing_there_to_mount(registry: RegistryServer) -> None:
    with session(registry.host) as asked:
        assert mounts(asked, "probe/empty", ()) == Mount(None)


@pytest.mark.parametrize("index", [False, True])
def test_mounts_are_tried_where_nothing_changes(tmp_path: Path, index: bool) -> None:
    with serve_registry(tmp_path) as server:
        push_image(server, "a/b", index=index)
        push_image(server, "other", "something else")
        before = files_of(server)
        with session(server.host) as asked:
            assert mounts(asked, "a/b", ("1",), ("nothing/here", "other")) == Mount(True, "a/b")
        push_image(server, "twin")
        between = files_of(server)
        with session(server.host) as asked:
            assert mounts(asked, "a/b", ("1",), ("nothing/here", "other", "twin")) == Mount(True, "twin")
        assert files_of(server) == between > before


@pytest.mark.parametrize("status", [202, 405])
def test_a_registry_that_refuses_mounts(tmp_path: Path, status: int) -> None:
    with serve_registry(tmp_path) as server:
        push_image(server, "a/b")
        before = files_of(server)
        with fault_proxy(server.host, no_mounts(status)) as proxy, session(proxy.host) as asked:
            found = mounts(asked, "a/b", ("1",))
        assert found.works is False
        assert found.said.startswith(str(status))
        assert [one.status for one in proxy.asked("DELETE")] == ([204] if status == 202 else [])
        assert files_of(server) == before


def test_mounts_with_tokens(tmp_path: Path) -> None:
    with serve_registry(tmp_path, "token") as server:
        push_image(server, "a/b")
        push_image(server, "twin")
        with session(server.host, server.environ()) as asked:
            assert mounts(asked, "a/b", ("1",), ("twin",)) == Mount(True, "twin")
            assert server.tokens is not None
            assert ("repository:a/b:pull,push", "repository:twin:pull") in [one.scopes for one in server.tokens.asked]


def hostile(call: Any) -> Fault | None:
    return answer(200, {"Content-Type": "application/json"}, b'{"tags": ["../../etc", 7, "1?n=2", "ok"]}')


def test_tags_that_are_none_are_passed_over(registry: RegistryServer) -> None:
    faults: Faults = hostile
    with fault_proxy(registry.host, faults) as proxy, session(proxy.host) as asked:
        assert may_pull(asked, "probe/tags").tags == ("ok",)


def test_a_token_server_that_repeats_what_it_was_told(registry: RegistryServer, tmp_path: Path) -> None:
    """Not even the beginning of a secret that is too long for a message."""
    long = "s3cr3t-" + "x" * 500

    def faults(call: Call) -> Fault:
        if call.path.startswith("/token"):
            told = call.headers["authorization"] + base64.b64decode(call.headers["authorization"].split()[1]).decode()
            body = json.dumps({"errors": [{"code": "DENIED", "message": told}]}).encode()
            return answer(401, {"Content-Type": "application/json"}, body)
        return answer(401, {"WWW-Authenticate": f'Bearer realm="http://{proxy.host}/token"'})

    with fault_proxy(registry.host, faults) as proxy:
        environ = {"DOCKER_CONFIG": str(write_login(tmp_path, proxy.host, USER, long))}
        with session(proxy.host, environ) as asked, pytest.raises(DeniedError) as caught:
            may_pull(asked, "a/b")
    shown = f"{caught.value} {caught.value.hint}"
    assert "DENIED" in shown
    assert "s3cr3t" not in shown
    assert base64.b64encode(f"{USER}:s3cr3t".encode()).decode()[:12] not in shown


def test_no_secret_is_in_what_is_found(tmp_path: Path) -> None:
    with serve_registry(tmp_path, "basic") as server, session(server.host, server.environ()) as asked:
        found = [greet(asked, time.time), may_pull(asked, "a/b"), may_push(asked, "a/b")]
        assert PASSWORD not in repr(found)
