"""What only a registry does: media types, digests in headers, pages, lists of referrers, refusals in its own words."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from builder.content import MEDIA_CONFIG, MEDIA_INDEX, MEDIA_MANIFEST, Descriptor, Digest, canonical_json
from builder.errors import LockshipError, RefusedError, StoreError, VerificationError
from builder.network import Network
from builder.parallel import Stop, each
from builder.registry.client import Registry
from builder.registry.manifests import MEDIA_DOCKER_LIST, MEDIA_DOCKER_MANIFEST
from builder.registry.reference import Repository
from builder.registry.referrers import fallback_tag
from builder.registry.store import Manifest
from tests.registry.conftest import new_name, open_registry
from tests.registry.impostor import Reply, impostor
from tests.support.images import blob, index_of, put_blob, small_image
from tests.support.proxy import (
    Call,
    Fault,
    Proxy,
    answer,
    at,
    changed,
    content_type,
    cut,
    either,
    fault_proxy,
    matching,
)
from tests.support.registry import RegistryServer

pytestmark = pytest.mark.slow

Servers = Callable[[str], RegistryServer]


@pytest.fixture
def proxy(servers: Servers) -> Iterator[Proxy]:
    with fault_proxy(servers("open").host) as running:
        yield running


@pytest.fixture
def registry(servers: Servers, proxy: Proxy) -> Iterator[Registry]:
    with open_registry(servers("open"), new_name(), host=proxy.host) as registry:
        yield registry


@pytest.fixture
def image(registry: Registry, proxy: Proxy) -> Manifest:
    """An image with the tag ``1.0``."""
    image = small_image(registry)
    registry.put_manifest(image.descriptor, image.data, tag="1.0")
    proxy.clear()
    return image


def answering(status: int, body: bytes, **headers: str) -> Callable[[], Any]:
    """A registry that says one thing only."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def replies(method: str, path: str, sent: dict[str, str], received: bytes) -> Reply:
        return (200, {}, b"{}") if path == "/v2/" else (status, named, body)

    return lambda: impostor(replies)


def client(host: str, **options: Any) -> Registry:
    return Registry(Repository(host, "a"), Network(retries=0, timeout=5), lambda: None, **options)


# manifests


def docker_image(registry: Registry) -> Manifest:
    """What docker pushes."""
    config = put_blob(registry, b'{"os":"linux"}', "application/vnd.docker.container.image.v1+json")
    layer = put_blob(registry, b"layer", "application/vnd.docker.image.rootfs.diff.tar.gzip")
    document = {
        "schemaVersion": 2,
        "mediaType": MEDIA_DOCKER_MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json()],
    }
    data = json.dumps(document, indent=3).encode()
    return Manifest(blob(data, MEDIA_DOCKER_MANIFEST), data)


def test_docker_media_types(registry: Registry, proxy: Proxy) -> None:
    image = docker_image(registry)
    registry.put_manifest(image.descriptor, image.data)
    entry = image.descriptor.to_json() | {"platform": {"os": "linux", "architecture": "amd64"}}
    data = canonical_json({"schemaVersion": 2, "mediaType": MEDIA_DOCKER_LIST, "manifests": [entry]})
    registry.put_manifest(blob(data, MEDIA_DOCKER_LIST), data, tag="list")
    assert registry.manifest("list") == Manifest(blob(data, MEDIA_DOCKER_LIST), data)
    assert registry.manifest(image.descriptor.digest) == image
    assert [one.headers["content-type"] for one in proxy.asked("PUT", "/manifests/")] == [
        MEDIA_DOCKER_MANIFEST,
        MEDIA_DOCKER_LIST,
    ]


def test_a_manifest_that_does_not_say_what_it_is(registry: Registry) -> None:
    config = put_blob(registry, b"{}", MEDIA_CONFIG)
    data = canonical_json({"schemaVersion": 2, "config": config.to_json(), "layers": []})
    registry.put_manifest(blob(data, MEDIA_MANIFEST), data, tag="1")
    found = registry.manifest("1")
    assert found is not None
    assert found.descriptor.media_type == MEDIA_MANIFEST


@pytest.mark.parametrize("reference", ["1.0", "digest"])
@pytest.mark.parametrize(
    "fault",
    [
        changed(lambda data: data.replace(b"about", b"ABOUT")),
        content_type(MEDIA_INDEX),
        content_type("text/html"),
        content_type("application/json"),
        Fault(headers={"Docker-Content-Digest": str(Digest.of(b"another"))}),
    ],
    ids=["bytes", "index", "html", "json", "header"],
)
def test_a_manifest_that_is_not_what_it_should_be(
    registry: Registry, proxy: Proxy, image: Manifest, reference: str, fault: Fault
) -> None:
    asked = image.descriptor.digest if reference == "digest" else reference
    proxy.faults = matching("GET", "/manifests/", fault)
    if "Docker-Content-Digest" in fault.headers and isinstance(asked, Digest):
        assert registry.manifest(asked) == image  # who knows the digest needs no header
        return
    with pytest.raises(VerificationError, match=f"{registry.repository}[:@]{reference[:1] or ''}|came as") as caught:
        registry.manifest(asked)
    assert caught.value.exit_code == 6
    assert caught.value.hint is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>welcome</html>",
        b"[" * 200_000,
        b'{"schemaVersion": 2}',
        b'{"schemaVersion": 1, "fsLayers": []}',
        b'{"schemaVersion": 2, "layers": [{"digest": "sha256:0"}]}',
        b'{"schemaVersion": 2, "layers": [], "config": null}',
        b'{"schemaVersion": 2, "layers": [], "mediaType": 7}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_manifest(body: bytes) -> None:
    with answering(200, body, Content_Type="text/html")() as host, client(host) as registry:
        with pytest.raises(StoreError, match=r"text/html") as by_tag:
            registry.manifest("1")
        assert by_tag.value.exit_code == 5
        with pytest.raises(VerificationError):
            registry.manifest(Digest.of(b"x"))


def test_a_tag_without_a_digest_in_the_header(registry: Registry, proxy: Proxy, image: Manifest) -> None:
    for fault in (Fault(headers={"Docker-Content-Digest": None}), answer(405)):
        proxy.faults = matching("HEAD", "/manifests/", fault)
        assert registry.resolve("1.0") == image.descriptor.digest


def test_what_cannot_be_a_tag_names_nothing(registry: Registry, proxy: Proxy) -> None:
    assert registry.resolve("../../blobs") is None
    assert proxy.log == []


def test_only_what_was_missing_is_named(registry: Registry) -> None:
    config = put_blob(registry, b"{}", MEDIA_CONFIG)
    layer = blob(b"never sent")
    data = canonical_json(
        {"schemaVersion": 2, "mediaType": MEDIA_MANIFEST, "config": config.to_json(), "layers": [layer.to_json()]}
    )
    with pytest.raises(StoreError, match="not there") as caught:
        registry.put_manifest(blob(data, MEDIA_MANIFEST), data, tag="1")
    assert layer.digest in caught.value.message and config.digest not in caught.value.message
    assert registry.resolve("1") is None


def test_what_is_missing_for_a_moment_is_waited_for(registry: Registry, proxy: Proxy) -> None:
    """Distribution says so of a blob that somebody else, who pushes the same, has linked again right now."""
    image = small_image(registry)
    layer = json.loads(image.data)["layers"][0]["digest"]
    unknown = answer(400, {}, error("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", {"Digest": layer}))
    proxy.faults = matching("PUT", "/manifests/", unknown, times=3)
    registry.put_manifest(image.descriptor, image.data)
    index = index_of(image)
    unknown = answer(400, {}, error("MANIFEST_BLOB_UNKNOWN", "", {"Digest": image.descriptor.digest}))
    proxy.faults = matching("PUT", "/manifests/", unknown, times=3)
    registry.put_manifest(index.descriptor, index.data, tag="1")
    assert registry.resolve("1") == index.descriptor.digest
    proxy.clear()
    proxy.faults = matching("PUT", "/manifests/", unknown)
    with pytest.raises(StoreError, match="not there"):
        registry.put_manifest(image.descriptor, image.data)
    assert len(proxy.asked("PUT")) == 6


@pytest.mark.slow
def test_the_same_pushed_several_times_at_once(servers: Servers) -> None:
    """Over and over: what is told apart here are moments."""
    server, failures = servers("open"), list[str]()
    for _ in range(40):
        name, barrier = new_name(), threading.Barrier(4)

        def once(name: str = name, barrier: threading.Barrier = barrier) -> None:
            try:
                with open_registry(server, name, jitter=lambda: 0.0) as own:  # with pauses: moments must pass
                    own.resolve("none")  # connected
                    barrier.wait()
                    push(own)
            except LockshipError as error:
                failures.append(f"{error} {error.hint}")

        threads = [threading.Thread(target=once) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_a_manifest_that_is_too_large(registry: Registry) -> None:
    layers = [blob(b"x").to_json()] * 40_000
    data = canonical_json({"schemaVersion": 2, "mediaType": MEDIA_MANIFEST, "layers": layers})
    with pytest.raises(StoreError, match="4,194,304"):
        registry.put_manifest(blob(data, MEDIA_MANIFEST), data)


def test_a_registry_that_stores_something_else(registry: Registry, proxy: Proxy) -> None:
    image = small_image(registry)
    proxy.faults = matching("PUT", "/manifests/", Fault(headers={"Docker-Content-Digest": str(Digest.of(b"x"))}))
    with pytest.raises(VerificationError, match="was stored as"):
        registry.put_manifest(image.descriptor, image.data)


# tags


def test_a_version_that_is_there_is_not_sent_again(registry: Registry, proxy: Proxy, image: Manifest) -> None:
    before = registry.sent
    registry.put_manifest(image.descriptor, image.data, tag="1.0")
    assert [one.method for one in proxy.log] == ["HEAD"]
    assert registry.sent == before


def test_two_who_push_the_same_version_at_once(registry: Registry, servers: Servers, proxy: Proxy) -> None:
    ours, theirs = small_image(registry, "ours"), small_image(registry, "theirs")
    name = registry.repository.name

    def interfere(call: Call) -> None:
        if call.method == "PUT" and call.path.endswith("/manifests/1.0"):
            proxy.faults = lambda other: overwrite() if other.method == "HEAD" else None

    def overwrite() -> None:
        proxy.faults = None
        with open_registry(servers("open"), name) as other:
            other.put_manifest(theirs.descriptor, theirs.data, tag="1.0", move=True)

    proxy.faults = interfere
    with pytest.raises(RefusedError, match=r"'1\.0' is taken") as caught:
        registry.put_manifest(ours.descriptor, ours.data, tag="1.0")
    assert caught.value.exit_code == 7
    assert theirs.descriptor.digest in caught.value.message
    assert registry.resolve("1.0") == theirs.descriptor.digest


def test_a_tag_that_vanishes(registry: Registry, proxy: Proxy) -> None:
    image = small_image(registry)
    proxy.faults = matching("HEAD", "/manifests/", answer(404))
    with pytest.raises(StoreError, match="gone right after"):
        registry.put_manifest(image.descriptor, image.data, tag="1.0")


def test_tags_come_in_pages() -> None:
    asked: list[str] = []

    def replies(method: str, path: str, sent: dict[str, str], received: bytes) -> Reply:
        if "/tags/list" not in path:
            return 200, {"Docker-Content-Digest": str(Digest.of(path.encode()))}, b""
        asked.append(path)
        number = len(asked)
        link = {"Link": f'</v2/a/tags/list?last=v{number}&n=1>; rel="next"'} if number < 5 else {}
        return 200, link, json.dumps({"name": "a", "tags": [f"v{number}", "sha256-" + "0" * 64, "../no-tag"]}).encode()

    with impostor(replies) as host, client(host) as registry:
        found = registry.tags()
    assert found == {f"v{number}": Digest.of(f"/v2/a/manifests/v{number}".encode()) for number in range(1, 6)}
    assert asked[0] == "/v2/a/tags/list?n=1000" and asked[-1] == "/v2/a/tags/list?last=v4&n=1"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"tags": [7]}', b'{"tags": 7}', b'{"name": "a"}', b"[" * 99_999])
def test_what_is_no_list_of_tags(body: bytes) -> None:
    with answering(200, body)() as host, client(host) as registry, pytest.raises(StoreError, match="no list of tags"):
        registry.tags()


def test_lists_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.registry.listing._PAGES", 20)
    count = [0]

    def replies(method: str, path: str, sent: dict[str, str], received: bytes) -> Reply:
        count[0] += 1
        return 200, {"Link": f'</v2/a/tags/list?last={count[0]}>; rel="next"'}, b'{"tags": null}'

    with impostor(replies) as host, client(host) as registry, pytest.raises(StoreError, match="no end"):
        registry.tags()


def test_a_list_that_leads_elsewhere() -> None:
    link = '<http://evil.example.com/v2/>; rel="next"'
    with (
        answering(200, b'{"tags": []}', Link=link)() as host,
        client(host) as registry,
        pytest.raises(StoreError, match="it sends us to"),
    ):
        registry.tags()


def test_a_list_that_comes_around() -> None:
    link = '</v2/a/tags/list?n=1000>; rel="next"'
    with answering(200, b'{"tags": []}', Link=link)() as host, client(host) as registry:
        assert registry.tags() == {}


# referrers


def notes(registry: Registry, subject: Descriptor, *texts: str) -> list[Manifest]:
    """Referrers of `subject`, not yet stored."""
    return [small_image(registry, text, subject=subject) for text in texts]


def test_a_registry_with_the_referrers_api(servers: Servers) -> None:
    server = servers("open")
    with fault_proxy(server.host, referrers=True, page=2) as proxy:
        with open_registry(server, new_name(), host=proxy.host) as registry:
            image = small_image(registry)
            for note in notes(registry, image.descriptor, *"abcde"):
                registry.put_manifest(note.descriptor, note.data)
            found = registry.referrers(image.descriptor.digest)
            assert [one.annotations["about"] for one in sorted(found, key=lambda one: one.annotations["about"])] == [
                *"abcde"
            ]
            assert [one.digest for one in found] == sorted(one.digest for one in found)
            assert registry.manifest(fallback_tag(image.descriptor.digest)) is None
            registry.delete(found[0].digest)
            assert len(registry.referrers(image.descriptor.digest)) == 4
        assert len(proxy.asked("GET", "/referrers/")) >= 3
        assert proxy.asked("PUT", "/manifests/sha256-") == []


def test_a_registry_without_it(registry: Registry, proxy: Proxy, image: Manifest) -> None:
    first, second = notes(registry, image.descriptor, "x", "y")
    registry.put_manifest(first.descriptor, first.data)
    registry.put_manifest(second.descriptor, second.data, tag="note")
    found = registry.manifest(fallback_tag(image.descriptor.digest))
    assert found is not None
    document = json.loads(found.data)
    assert document["mediaType"] == MEDIA_INDEX
    assert {entry["digest"] for entry in document["manifests"]} == {first.descriptor.digest, second.descriptor.digest}
    assert {entry["artifactType"] for entry in document["manifests"]} == {"application/vnd.example.note"}
    assert registry.tags().keys() == {"1.0", "note"}
    registry.delete(first.descriptor.digest)
    assert [one.digest for one in registry.referrers(image.descriptor.digest)] == [second.descriptor.digest]


def test_a_list_that_was_not_written_is_written_next_time(registry: Registry, proxy: Proxy, image: Manifest) -> None:
    [note] = notes(registry, image.descriptor, "x")
    proxy.faults = matching("PUT", "/manifests/sha256-", answer(403))
    with pytest.raises(StoreError):
        registry.put_manifest(note.descriptor, note.data, tag="note")
    assert registry.referrers(image.descriptor.digest) == ()
    proxy.faults = None
    registry.put_manifest(note.descriptor, note.data, tag="note")
    assert [one.digest for one in registry.referrers(image.descriptor.digest)] == [note.descriptor.digest]


def test_many_who_refer_at_once_within_one_process(registry: Registry, image: Manifest) -> None:
    made = notes(registry, image.descriptor, *"abcdefgh")
    each(made, lambda one: registry.put_manifest(one.descriptor, one.data), Stop())
    assert {one.digest for one in registry.referrers(image.descriptor.digest)} == {
        one.descriptor.digest for one in made
    }


def test_another_writer_in_between(registry: Registry, servers: Servers, proxy: Proxy, image: Manifest) -> None:
    ours, theirs = notes(registry, image.descriptor, "ours", "theirs")
    name = registry.repository.name
    busy = threading.Event()

    def interfere(call: Call) -> None:
        # they read before we write, and write after it
        if call.method == "HEAD" and "/manifests/sha256-" in call.path and not busy.is_set():
            busy.set()
            with open_registry(servers("open"), name) as other:
                other.put_manifest(theirs.descriptor, theirs.data)

    proxy.faults = interfere
    registry.put_manifest(ours.descriptor, ours.data)
    assert busy.is_set()
    found = {one.digest for one in registry.referrers(image.descriptor.digest)}
    assert found == {ours.descriptor.digest, theirs.descriptor.digest}


def test_our_entry_is_written_again_when_it_got_lost(
    registry: Registry, servers: Servers, proxy: Proxy, image: Manifest
) -> None:
    ours, theirs = notes(registry, image.descriptor, "ours", "theirs")
    with open_registry(servers("open"), registry.repository.name) as other:
        other.put_manifest(theirs.descriptor, theirs.data)
        tag = fallback_tag(image.descriptor.digest)
        before = other.manifest(tag)
        assert before is not None

    def interfere(call: Call) -> None:
        if call.method == "PUT" and call.path.endswith(tag):
            # the next who reads finds that somebody wrote over it
            proxy.faults = restore

    def restore(call: Call) -> None:
        proxy.faults = None
        with open_registry(servers("open"), registry.repository.name) as other:
            other.put_manifest(before.descriptor, before.data, tag=tag, move=True)

    proxy.faults = interfere
    registry.put_manifest(ours.descriptor, ours.data)
    found = {one.digest for one in registry.referrers(image.descriptor.digest)}
    assert found == {ours.descriptor.digest, theirs.descriptor.digest}


def test_a_list_that_never_stays_ours(registry: Registry, proxy: Proxy, image: Manifest) -> None:
    [note] = notes(registry, image.descriptor, "x")
    proxy.faults = matching("PUT", "/manifests/sha256-", answer(201))
    with pytest.raises(StoreError, match="changes all the time"):
        registry.put_manifest(note.descriptor, note.data)


def test_a_list_with_what_is_gone(registry: Registry, image: Manifest, servers: Servers) -> None:
    first, second = notes(registry, image.descriptor, "x", "y")
    registry.put_manifest(first.descriptor, first.data)
    # another tool deletes the manifest alone
    with (
        fault_proxy(servers("open").host, referrers=True) as proxy,
        open_registry(servers("open"), registry.repository.name, host=proxy.host) as other,
    ):
        other.delete(first.descriptor.digest)
    registry.put_manifest(second.descriptor, second.data)
    assert [one.digest for one in registry.referrers(image.descriptor.digest)] == [second.descriptor.digest]


def test_a_tag_that_is_no_list_of_referrers(registry: Registry, image: Manifest) -> None:
    registry.put_manifest(image.descriptor, image.data, tag=fallback_tag(image.descriptor.digest))
    with pytest.raises(StoreError, match="no list of referrers") as caught:
        registry.referrers(image.descriptor.digest)
    assert caught.value.hint is not None


@pytest.mark.parametrize(
    "fault", [answer(404), answer(405), answer(501), answer(200, {"Content-Type": "text/html"}, b"hi")]
)
def test_registries_that_know_no_referrers(registry: Registry, proxy: Proxy, fault: Fault) -> None:
    proxy.faults = matching("GET", "/referrers/", fault)
    assert registry.referrers(Digest.of(b"x")) == ()


def test_a_broken_list_of_referrers(registry: Registry, proxy: Proxy) -> None:
    proxy.faults = matching("GET", "/referrers/", answer(200, {"Content-Type": MEDIA_INDEX}, b"{}"))
    with pytest.raises(StoreError, match="no such list"):
        registry.referrers(Digest.of(b"x"))


# refusals


def error(code: str, message: str = "", detail: object = None) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message, "detail": detail}]}).encode()


@pytest.mark.parametrize(
    ("status", "body", "message", "hint"),
    [
        (
            403,
            error("DENIED", "requested access to the resource is denied"),
            "DENIED: requested access",
            "no credentials",
        ),
        (401, error("UNAUTHORIZED", "authentication required"), "UNAUTHORIZED: auth", "no credentials"),
        (400, error("NAME_INVALID", "invalid repository name"), "NAME_INVALID: invalid repository name", None),
        (400, error("X", "a\nb\x00\x1b[31mc"), r"\(X: a b \[31mc\)", None),
        (400, error("X", "y" * 5000), "y{290}", None),
        (400, b"<html>" + b"x" * 100_000, "400 Bad Request$", None),
        (400, b"[" * 100_000, "400 Bad Request$", None),
        (400, b'{"errors": [null, 7, {"code": 7}]}', "400 Bad Request$", None),
        (418, b"", "it answered 418 I'm a Teapot", None),
        (777, b"", "it answered 777", None),
    ],
)
def test_refusals(status: int, body: bytes, message: str, hint: str | None) -> None:
    with answering(status, body)() as host, client(host) as registry:
        with pytest.raises(StoreError, match=message) as caught:
            registry.manifest("1")
        assert caught.value.message.startswith(f"{host}: cannot read {host}/a:1: it answered ")
        assert len(caught.value.message) < 600 and caught.value.message.isprintable()
        assert hint is None or hint in (caught.value.hint or "")
        assert caught.value.exit_code == 5


def test_a_registry_that_does_not_allow_deleting(registry: Registry, proxy: Proxy, image: Manifest) -> None:
    proxy.faults = matching("DELETE", "", answer(405, {}, error("UNSUPPORTED", "The operation is unsupported.")))
    with pytest.raises(StoreError, match="does not allow deleting") as caught:
        registry.delete(image.descriptor.digest)
    assert caught.value.hint is not None
    assert registry.resolve("1.0") == image.descriptor.digest


def test_a_damaged_manifest_can_be_deleted(registry: Registry, proxy: Proxy, image: Manifest) -> None:
    proxy.faults = matching("GET", "/manifests/", changed(lambda data: b"damaged"))
    registry.delete(image.descriptor.digest)
    assert registry.resolve("1.0") is None


def test_an_index_before_its_children(registry: Registry) -> None:
    child = small_image(registry)
    index = index_of(child)
    with pytest.raises(StoreError, match="not there"):
        registry.put_manifest(index.descriptor, index.data, tag="1")
    assert registry.tags() == {}


# lines that break


def push(registry: Registry) -> Manifest:
    """One image with an index, as a push sends it."""
    image = small_image(registry)
    registry.put_manifest(image.descriptor, image.data)
    index = index_of(image)
    registry.put_manifest(index.descriptor, index.data, tag="1.0")
    return index


def can_be_pulled(registry: Registry) -> bool:
    """Whether the tag is there; everything below it must be, then."""
    index = registry.manifest("1.0")
    if index is None:
        return False
    for entry in json.loads(index.data)["manifests"]:
        manifest = registry.manifest(Digest(entry["digest"]))
        assert manifest is not None
        document = json.loads(manifest.data)
        for part in (document["config"], *document["layers"]):
            assert len(b"".join(registry.read_blob(Digest(part["digest"])))) == part["size"]
    return True


def test_without_another_try_the_next_push_completes(servers: Servers) -> None:
    server = servers("open")
    number, failed = 0, True
    while failed:
        name = new_name()
        with (
            fault_proxy(server.host, at(number, cut("sent"))) as proxy,
            open_registry(server, name, host=proxy.host, retries=0) as registry,
            open_registry(server, name) as direct,
        ):
            try:
                push(registry)
                failed = False
            except LockshipError as error:
                assert error.exit_code == 5 and proxy.host in error.message
                can_be_pulled(direct)
            proxy.faults = None
            push(registry)
            assert can_be_pulled(direct)
        number += 1
    assert number > 8


def test_everything_fails_at_once(registry: Registry, proxy: Proxy) -> None:
    proxy.faults = either(matching("PUT", "", answer(500)), matching("POST", "", answer(503)))
    with pytest.raises(StoreError):
        push(registry)
    proxy.faults = None
    push(registry)
    assert can_be_pulled(registry)
