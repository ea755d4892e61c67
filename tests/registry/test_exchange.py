"""The client against real registries that are protected, different, or in the middle of something."""

from __future__ import annotations

import base64
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.content import Digest
from builder.errors import LockshipError, RefusedError, StoreError, UsageError
from builder.network import Network
from builder.pipeline.copying import copy
from builder.registry.client import Registry
from builder.registry.credentials import find_credential
from builder.registry.endpoint import network_of
from builder.registry.layout import Layout
from builder.registry.reference import Repository
from tests.support.images import blob, put_blob, small_image
from tests.support.proxy import (
    Exchange,
    Faults,
    always,
    answer,
    at,
    fault_proxy,
    location,
    matching,
    no_mounts,
    redirect_blobs,
    relative,
)
from tests.support.registry import PASSWORD, USER, RegistryServer, private_ca, serve_registry, write_login
from tests.support.require import need
from tests.support.storage import serve_storage

pytestmark = pytest.mark.slow


def open_at(
    server: RegistryServer, name: str, host: str | None = None, *, push: bool = True, retries: int = 5, **environ: str
) -> Registry:
    """A repository of `server`, through whatever answers at `host`, as somebody with this environment."""
    repository = Repository(host or server.host, name)
    environ = {**server.environ(), "HOME": "/nowhere", **environ}
    network = network_of(environ)
    certificate = network.certificate or str(server.docker_config / "ca.pem")
    if network.certificate is None:  # one small file: to read all that the system trusts takes its time
        private_ca().cert_pem.write_to_path(certificate)
    network = Network(certificate=certificate, retries=retries)
    return Registry(repository, network, lambda: find_credential(repository, environ, own=repository.host), push=push)


def tag_image(store: Registry, text: str, tag: str = "1") -> Digest:
    image = small_image(store, text)
    store.put_manifest(image.descriptor, image.data, tag=tag)
    return image.descriptor.digest


def shown(error: LockshipError) -> str:
    return f"{error} {error.hint} {error!r} {error.__cause__!r}"


# Who may, and who may not.


def test_a_password_is_right_or_wrong(tmp_path: Path) -> None:
    with serve_registry(tmp_path, "basic") as server:
        with open_at(server, "a") as store:
            digest = tag_image(store, "a")
        right = {"LOCKSHIP_REGISTRY_USERNAME": USER, "LOCKSHIP_REGISTRY_PASSWORD": PASSWORD}
        with open_at(server, "a", push=False, DOCKER_CONFIG="/nowhere", **right) as store:
            assert store.resolve("1") == digest
        wrong = right | {"LOCKSHIP_REGISTRY_PASSWORD": "wr0ng-password"}
        for push in (False, True):
            with open_at(server, "a", push=push, **wrong) as store, pytest.raises(StoreError) as caught:
                store.resolve("1")
            assert caught.value.exit_code == 5
            assert "401 Unauthorized" in caught.value.message
            assert "LOCKSHIP_REGISTRY_USERNAME" in (caught.value.hint or "")
            assert "wr0ng-password" not in shown(caught.value)
        with open_at(server, "a", DOCKER_CONFIG="/nowhere") as store, pytest.raises(StoreError) as caught:
            put_blob(store, b"x")
        assert "no credentials were found for 127.0.0.1" in (caught.value.hint or "")


def test_tokens_for_users_and_for_anybody(tmp_path: Path) -> None:
    with serve_registry(tmp_path, "token") as server:
        tokens = server.tokens
        assert tokens is not None
        with open_at(server, "ml/a") as store:
            digest = tag_image(store, "a")
        assert {one.user for one in tokens.asked} == {USER}
        assert tokens.asked[0].scopes == ("repository:ml/a:pull,push",)
        # nobody in particular
        with open_at(server, "ml/a", push=False, DOCKER_CONFIG="/nowhere") as store, pytest.raises(StoreError):
            store.resolve("1")
        tokens.anonymous_pull = True
        with open_at(server, "ml/a", push=False, DOCKER_CONFIG="/nowhere") as store:
            assert store.resolve("1") == digest
        assert tokens.asked[-1].user == ""
        assert "authorization" not in tokens.asked[-1].headers
        with open_at(server, "ml/a", DOCKER_CONFIG="/nowhere") as store, pytest.raises(StoreError) as caught:
            put_blob(store, b"new")
        assert caught.value.exit_code == 5
        # somebody who may pull alone
        tokens.allowed = lambda user, name, actions: actions & {"pull"}
        with open_at(server, "ml/a") as store, pytest.raises(StoreError) as caught:
            put_blob(store, b"new")
        assert "pull and push" in (caught.value.hint or "")
        # an identity token, from a server that calls its tokens otherwise
        tokens.allowed = None
        tokens.identities["refresh-me"] = USER
        tokens.fields = ("access_token",)
        write_login(server.docker_config, server.host)
        config = f'{{"auths": {{"{server.host}": {{"identitytoken": "refresh-me"}}}}}}'
        with open_at(server, "ml/a", DOCKER_AUTH_CONFIG=config) as store:
            put_blob(store, b"new")
        assert (tokens.asked[-1].method, tokens.asked[-1].user) == ("POST", USER)
        # a wrong password, and a server that has a bad moment
        with (
            open_at(
                server, "ml/a", LOCKSHIP_REGISTRY_USERNAME=USER, LOCKSHIP_REGISTRY_PASSWORD="wr0ng-password"
            ) as store,
            pytest.raises(StoreError) as caught,
        ):
            store.resolve("1")
        assert "its token server" in caught.value.message
        assert "wr0ng-password" not in shown(caught.value)
        tokens.statuses += [503, 429]
        with open_at(server, "ml/a", LOCKSHIP_REGISTRY_USERNAME=USER, LOCKSHIP_REGISTRY_PASSWORD=PASSWORD) as store:
            assert store.resolve("1") == digest


def test_nobody_looks_for_credentials_where_none_are_asked_for(registry: RegistryServer) -> None:
    def broken() -> None:
        raise StoreError("the credential helper is not installed")

    repository = Repository(registry.host, f"exchange/{uuid.uuid4().hex}")
    with Registry(repository, Network(), broken, push=True) as store:
        digest = tag_image(store, "a")
        assert store.resolve("1") == digest


def test_a_registry_token_goes_to_the_registry_as_it_is(tmp_path: Path) -> None:
    with serve_registry(tmp_path, "token") as server:
        tokens = server.tokens
        assert tokens is not None
        token = tokens.sign(USER, {"ml/a": frozenset({"pull", "push"})})
        write_login(server.docker_config, server.host)
        with open_at(server, "ml/a", LOCKSHIP_REGISTRY_TOKEN=token) as store:
            tag_image(store, "a")
        assert tokens.asked == []


@pytest.mark.slow
@pytest.mark.parametrize("announced", [None, 300, 0])
def test_tokens_that_end_in_the_middle_of_an_upload(tmp_path: Path, announced: int | None) -> None:
    """Two seconds each; one server says so, one says something else, one says nothing."""
    with serve_registry(tmp_path, "token") as server, fault_proxy(server.host) as proxy:
        tokens = server.tokens
        assert tokens is not None
        tokens.lifetime, tokens.announced = 2, announced
        data = bytes(range(256)) * (3 << 14)  # 12 MiB: two parts
        descriptor = blob(data)

        def chunks() -> Iterator[bytes]:
            for start in range(0, len(data), 1 << 20):
                yield data[start : start + (1 << 20)]
                if start == 9 << 20:
                    time.sleep(2.1)

        with open_at(server, "ml/a", proxy.host, **_login(server, tmp_path, proxy.host)) as store:
            store.write_blob(descriptor, chunks())
            time.sleep(2.1)
            tag_image(store, "a")
            assert b"".join(store.read_blob(descriptor.digest)) == data
        assert server.blob_file(descriptor.digest).read_bytes() == data
        assert len(tokens.issued) > 1
        refused = [one for one in proxy.log if one.status == 401]
        assert len(refused) <= 1 + len(tokens.issued)  # each token is asked for once, and not at each request
        if announced == 300:
            assert len([one for one in refused if one.method != "GET"]) >= 1


def _login(server: RegistryServer, folder: Path, host: str) -> dict[str, str]:
    """A docker configuration for `host` instead of the server itself."""
    return {"DOCKER_CONFIG": str(write_login(folder / "login", host, server.user, server.password))}


def test_a_token_that_is_refused_at_any_request(tmp_path: Path) -> None:
    with serve_registry(tmp_path, "token") as server, fault_proxy(server.host) as proxy:
        tokens = server.tokens
        assert tokens is not None
        challenge = f'Bearer realm="{tokens.realm}",service="{tokens.service}",error="invalid_token"'
        login = _login(server, tmp_path, proxy.host)
        number = 0
        while True:
            proxy.clear()
            proxy.faults = at(number, answer(401, {"WWW-Authenticate": challenge}))
            with open_at(server, f"ml/a{number}", proxy.host, **login) as store:
                digest = tag_image(store, "a")
            with open_at(server, f"ml/a{number}", proxy.host, push=False, **login) as store:
                copy(store, Layout(tmp_path / str(number)), "1", tag="1")
            assert Layout(tmp_path / str(number)).resolve("1") == digest
            if number >= len(proxy.log):
                break
            number += 1
        assert number > 10


def test_a_private_ca(tmp_path: Path) -> None:
    with serve_registry(tmp_path, "token", tls=True) as server:
        with open_at(server, "ml/a") as store:
            digest = tag_image(store, "a")
        assert server.tokens is not None
        assert server.tokens.realm.startswith("https://")
        other = tmp_path / "other.pem"
        private_ca().cert_pem.write_to_path(str(other))
        asked = len(server.tokens.asked)
        with (
            open_at(server, "ml/a", push=False, SSL_CERT_FILE=str(other)) as store,
            pytest.raises(StoreError, match="certificate") as caught,
        ):
            store.resolve("1")
        assert caught.value.exit_code == 5
        assert "SSL_CERT_FILE" in (caught.value.hint or "")
        assert len(server.tokens.asked) == asked
        with open_at(server, "ml/a", push=False) as store:
            assert store.resolve("1") == digest


def test_plain_http_is_for_this_machine_alone(registry: RegistryServer) -> None:
    address = _own_address()
    need("an address that isn't loopback", address, "this machine has none")
    with fault_proxy(registry.host, address=address) as proxy:
        repository = Repository(proxy.host, "exchange/plain")
        asked: list[int] = []

        def credential() -> None:
            asked.append(1)

        with Registry(repository, Network(), credential, push=True) as store, pytest.raises(LockshipError) as caught:
            put_blob(store, b"x")
        assert isinstance(caught.value, UsageError | StoreError)
        assert "plain" in shown(caught.value).lower()
        assert "plain-http" in (caught.value.hint or "")
        assert proxy.log == []
        with Registry(repository, Network(), credential, push=True, plain_http=[proxy.host]) as store:
            put_blob(store, b"x")
        assert proxy.log


def _own_address() -> str:
    """An address of this machine that isn't loopback; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        found = str(probe.getsockname()[0])
        return "" if found.startswith("127.") else found


# Secrets stay where they belong.


def _secrets(server: RegistryServer) -> list[str]:
    assert server.tokens is not None
    basic = base64.b64encode(f"{server.user}:{server.password}".encode()).decode()
    return [server.password, basic, *server.tokens.issued]


def _told(log: list[Exchange]) -> str:
    return "\n".join(f"{one.path} {dict(one.headers)}" for one in log)


def test_secrets_go_to_nobody_else(tmp_path: Path) -> None:
    with (
        serve_registry(tmp_path / "r", "token") as server,
        serve_registry(tmp_path / "other") as other,
        serve_storage(server.blob_file) as storage,
        fault_proxy(server.host) as proxy,
        fault_proxy(other.host) as stranger,
    ):
        elsewhere = stranger.host.replace("127.0.0.1", "localhost")
        login = _login(server, tmp_path, proxy.host)
        with open_at(server, "ml/a", proxy.host, **login) as store:
            digest = tag_image(store, "a")
        # blobs that are had from storage with signed addresses
        proxy.faults = redirect_blobs(storage.address)
        with open_at(server, "ml/a", proxy.host, push=False, **login) as store:
            copy(store, Layout(tmp_path / "pulled"), "1", tag="1")
        assert Layout(tmp_path / "pulled").resolve("1") == digest
        assert len(storage.log) == 2
        assert all("authorization" not in headers for _, _, headers in storage.log)
        # the registry itself sees tokens, never the password
        for secret in _secrets(server)[:2]:
            assert secret not in _told(proxy.log)
        # everything else that a registry may send on to somebody else
        hostile: list[Faults] = [
            always(answer(307, {"Location": f"http://{elsewhere}/v2/"})),
            always(answer(302, {"Location": f"http://{elsewhere}/v2/"})),
            always(location(lambda value: f"http://{elsewhere}/v2/ml/a/blobs/uploads/1?_state=x")),
            matching("GET", "/v2/$", answer(401, {"WWW-Authenticate": f'Basic realm="http://{elsewhere}/token"'})),
            always(answer(401, {"Link": f'<http://{elsewhere}/v2/_catalog>; rel="next"'})),
            matching(
                "GET",
                "tags/list",
                answer(200, {"Link": f'<http://{elsewhere}/v2/ml/a/tags/list>; rel="next"'}, b'{"tags":[]}'),
            ),
        ]
        for number, faults in enumerate(hostile):
            proxy.faults = faults
            for push in (False, True):
                with open_at(server, "ml/a", proxy.host, push=push, retries=0, **login) as store:
                    for act in (
                        lambda store=store: store.resolve("1"),
                        lambda store=store: store.tags(),
                        lambda store=store: list(store.read_blob(Digest.of(b"layer a"))),
                        lambda store=store, number=number: put_blob(store, b"hostile %d" % number),
                        lambda store=store: tag_image(store, "b", "2"),
                    ):
                        try:
                            act()
                        except LockshipError as error:
                            for secret in _secrets(server):
                                assert secret not in shown(error)
        told = _told(stranger.log) + str(storage.log)
        assert stranger.log
        for secret in _secrets(server):
            assert secret not in told
        assert all("authorization" not in one.headers for one in stranger.log)


def test_a_realm_somewhere_else_gets_no_password_in_the_clear(tmp_path: Path) -> None:
    """A registry names its token server; over plain HTTP that can't be somebody else's machine."""
    with serve_registry(tmp_path, "token") as server, fault_proxy(server.host) as proxy:
        login = _login(server, tmp_path, proxy.host)
        for realm in ("http://203.0.113.1/token", "ftp://127.0.0.1/", "http://169.254.169.254/latest", "//x", "x"):
            challenge = f'Bearer realm="{realm}",service="s"'
            proxy.faults = always(answer(401, {"WWW-Authenticate": challenge}))
            with (
                open_at(server, "ml/a", proxy.host, push=False, retries=0, **login) as store,
                pytest.raises(StoreError) as caught,
            ):
                store.resolve("1")
            assert caught.value.exit_code == 5
            assert "its token server is said to be" in caught.value.message
            assert ": refused, " in caught.value.message
            assert server.password not in shown(caught.value)


# Registries that are different.

DIFFERENT: dict[str, Faults] = {
    "relative locations": relative(),
    "mounts become uploads": no_mounts(202),
    "mounts not allowed": no_mounts(405),
    "mounts forbidden": no_mounts(403),
    "mounts unknown": no_mounts(404),
    "403 for what is missing": matching("HEAD", "/blobs/", answer(403), times=1),
    "a query in locations": always(location(lambda value: value + ("&" if "?" in value else "?") + "x=%2F%3D")),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_a_registry_that_is_different(registry: RegistryServer, tmp_path: Path, kind: str) -> None:
    layer = b"layer " + kind.encode()
    number = list(DIFFERENT).index(kind)
    neighbour, name = f"exchange/neighbour-{number}", f"exchange/different-{number}"
    with open_at(registry, neighbour) as store:
        put_blob(store, layer)
    with fault_proxy(registry.host, DIFFERENT[kind]) as proxy, open_at(registry, name, proxy.host) as store:
        if not store.adopt(blob(layer), [Repository(proxy.host, neighbour)]):
            put_blob(store, layer)
        digest = tag_image(store, kind)
        assert store.resolve("1") == digest
        assert b"".join(store.read_blob(Digest.of(layer))) == layer
        copy(store, Layout(tmp_path / "layout"), "1", tag="1")
    assert Layout(tmp_path / "layout").resolve("1") == digest


@pytest.mark.parametrize("api", [False, True])
def test_referrers_with_and_without_the_api(registry: RegistryServer, api: bool) -> None:
    name = f"exchange/referrers-{api}".lower()
    with fault_proxy(registry.host, referrers=api, page=1) as proxy, open_at(registry, name, proxy.host) as store:
        subject = small_image(store, "subject")
        store.put_manifest(subject.descriptor, subject.data, tag="1")
        notes = [small_image(store, text, subject.descriptor) for text in ("one", "two", "three")]
        for note in notes:
            store.put_manifest(note.descriptor, note.data)
        assert {one.digest for one in store.referrers(subject.descriptor.digest)} == {
            note.descriptor.digest for note in notes
        }
        assert {one.artifact_type for one in store.referrers(subject.descriptor.digest)} == {
            "application/vnd.example.note"
        }
        fallback = f"sha256-{subject.descriptor.digest.hex}"
        assert bool(proxy.asked("PUT", f"/manifests/{fallback}")) is not api
        assert set(store.tags()) == {"1"}
        store.delete(notes[0].descriptor.digest)
        assert notes[0].descriptor.digest not in {one.digest for one in store.referrers(subject.descriptor.digest)}


# Several at once.


def _together(*acts: object) -> list[str]:
    """Run them at the same time: "done", or the name of the error."""
    outcomes = [""] * len(acts)
    barrier = threading.Barrier(len(acts))

    def run(number: int) -> None:
        barrier.wait()
        try:
            acts[number]()  # type: ignore[operator]
            outcomes[number] = "done"
        except LockshipError as error:
            outcomes[number] = type(error).__name__

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_the_same_version_twice_at_once(registry: RegistryServer) -> None:
    with open_at(registry, "exchange/same") as one, open_at(registry, "exchange/same") as two:
        outcomes = _together(lambda: tag_image(one, "same"), lambda: tag_image(two, "same"))
        assert outcomes == ["done", "done"]
        assert set(one.tags()) == {"1"}


def test_two_images_for_one_version_at_once(registry: RegistryServer, tmp_path: Path) -> None:
    for number in range(5):
        name = f"exchange/two-{number}"
        with open_at(registry, name) as one, open_at(registry, name) as two:
            outcomes = _together(lambda one=one: tag_image(one, "left"), lambda two=two: tag_image(two, "right"))
            assert set(outcomes) <= {"done", RefusedError.__name__}
            assert "done" in outcomes
            copy(one, Layout(tmp_path / str(number)), "1", tag="1")  # whichever it is, it is whole


def test_different_versions_at_once(registry: RegistryServer) -> None:
    with open_at(registry, "exchange/versions") as store:
        acts = [lambda number=number: tag_image(store, f"version {number}", f"1.{number}") for number in range(6)]
        assert _together(*acts) == ["done"] * 6
        assert set(store.tags()) == {f"1.{number}" for number in range(6)}
