"""Blobs on their way: parts, broken lines, lost uploads, and what may never be stored."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from builder.content import Descriptor, Digest
from builder.errors import StoreError, VerificationError
from builder.network import Network
from builder.parallel import StoppedError
from builder.registry.client import Registry
from builder.registry.credentials import Credential
from builder.registry.feeds import ChunkFeed, FileFeed, feed_of
from builder.registry.reference import Repository
from tests.registry.conftest import new_name, open_registry
from tests.registry.impostor import Reply, impostor
from tests.support.images import blob, put_blob
from tests.support.proxy import (
    Fault,
    Proxy,
    answer,
    changed,
    cut,
    either,
    fault_proxy,
    location,
    matching,
    no_mounts,
    relative,
    slow,
)
from tests.support.registry import RegistryServer

pytestmark = pytest.mark.slow

Servers = Callable[[str], RegistryServer]

WINDOW = 256 << 10  # instead of 8 MiB
BIG = random.Random(7).randbytes(2 * WINDOW + 10_000)  # three parts
BIG_BLOB = blob(BIG)
UPLOADS = "/blobs/uploads/"


class Chunks:
    """What can be iterated again and again, in odd pieces."""

    def __init__(self, data: bytes = BIG, size: int = 30_003) -> None:
        self.data = data
        self.size = size
        self.times = 0

    def __iter__(self) -> Iterator[bytes]:
        self.times += 1
        return (self.data[at : at + self.size] for at in range(0, len(self.data), self.size))


class Counter:
    """A task that remembers."""

    def __init__(self) -> None:
        self.done = 0

    def advance(self, amount: int) -> None:
        assert amount > 0
        self.done += amount

    def grow(self, amount: int) -> None:
        raise AssertionError


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("feeds", "transfer"):
        monkeypatch.setattr(f"builder.registry.{module}.WINDOW", WINDOW)
    monkeypatch.setattr("builder.registry.feeds.CHUNK", WINDOW // 8)
    monkeypatch.setattr(ChunkFeed, "part", WINDOW)
    monkeypatch.setattr(FileFeed, "part", WINDOW)


@pytest.fixture
def proxy(servers: Servers) -> Iterator[Proxy]:
    with fault_proxy(servers("open").host) as running:
        yield running


@pytest.fixture
def registry(servers: Servers, proxy: Proxy) -> Iterator[Registry]:
    with open_registry(servers("open"), new_name(), host=proxy.host) as registry:
        yield registry


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(BIG)
    return path


def stored(registry: Registry, digest: Digest = BIG_BLOB.digest) -> bytes:
    return b"".join(registry.read_blob(digest))


def test_a_small_blob_takes_two_requests_and_a_look(registry: Registry, proxy: Proxy) -> None:
    task = Counter()
    registry.has_blob(Digest.of(b""))
    proxy.clear()
    registry.write_blob(blob(b"small"), [b"small"], task=task)
    assert [one.method for one in proxy.log] == ["HEAD", "POST", "PUT"]
    assert (task.done, registry.sent, registry.uploaded) == (5, 5, 1)
    registry.write_blob(blob(b"small"), [b"small"], task=task)
    assert (task.done, registry.sent, registry.uploaded) == (10, 5, 1)


def test_what_adopt_missed_is_not_looked_for_again(registry: Registry, proxy: Proxy) -> None:
    assert not registry.adopt(blob(b"x"))
    proxy.clear()
    put_blob(registry, b"x")
    assert [one.method for one in proxy.log] == ["POST", "PUT"]
    put_blob(registry, b"x")
    assert [one.method for one in proxy.log][2:] == ["HEAD"]


def test_a_stream_goes_in_parts(registry: Registry, proxy: Proxy) -> None:
    task = Counter()
    registry.write_blob(BIG_BLOB, Chunks(), task=task)
    assert stored(registry) == BIG
    ranges = [one.headers["content-range"] for one in proxy.asked("PATCH")]
    assert ranges == [f"0-{WINDOW - 1}", f"{WINDOW}-{2 * WINDOW - 1}", f"{2 * WINDOW}-{len(BIG) - 1}"]
    assert task.done == registry.sent == len(BIG)


def test_a_file_goes_in_parts(registry: Registry, proxy: Proxy, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileFeed, "part", 300_000)
    registry.add_file(BIG_BLOB, file)
    assert stored(registry) == BIG
    assert len(proxy.asked("PATCH")) == 2


def test_the_registry_may_want_larger_parts(registry: Registry, proxy: Proxy) -> None:
    least = {"OCI-Chunk-Min-Length": str(300_000)}
    proxy.faults = matching("POST", UPLOADS, Fault(headers=least))
    registry.write_blob(BIG_BLOB, Chunks())
    assert stored(registry) == BIG
    assert len(proxy.asked("PATCH")) == 2


@pytest.mark.parametrize("kind", ["file", "again", "once"])
@pytest.mark.parametrize("when", ["before", "up", "sent"])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_part_may_break(registry: Registry, proxy: Proxy, file: Path, kind: str, when: Any, part: int) -> None:
    proxy.faults = matching("PATCH", UPLOADS, cut(when), times=1, skip=part)
    task = Counter()
    if kind == "file":
        registry.add_file(BIG_BLOB, file, task=task)
    elif kind == "again":
        registry.write_blob(BIG_BLOB, Chunks(), task=task)
    else:
        try:
            registry.write_blob(BIG_BLOB, iter(Chunks()), task=task)
        except StoreError as error:
            # Distribution gave the upload up, and what went by can't be had again
            assert part and "run the same command again" in (error.hint or "")
            assert not registry.has_blob(BIG_BLOB.digest)
            return
    assert stored(registry) == BIG
    assert task.done == len(BIG)
    assert registry.uploaded == 1


@pytest.mark.parametrize("kind", ["file", "again", "once"])
@pytest.mark.parametrize("kept", [0, 1, 1000, WINDOW])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_broken_part_is_gone_on_with(file: Path, kind: str, kept: int, part: int) -> None:
    chunks, task = Chunks(), Counter()
    with uploads(part, kept) as (host, seen), a_client(host) as registry:
        if kind == "file":
            registry.add_file(BIG_BLOB, file, task=task)
        else:
            registry.write_blob(BIG_BLOB, chunks if kind == "again" else iter(chunks), task=task)
    assert seen.data == BIG
    assert task.done == len(BIG)
    assert chunks.times == (0 if kind == "file" else 1)
    assert seen.begun == (1 if part or kept > 1 else 2)
    assert len(BIG) <= registry.sent <= len(BIG) + WINDOW


class Uploads:
    """What a registry has that keeps a part's bytes when the connection breaks (Distribution does not)."""

    data = b""
    begun = 0
    parts = 0
    done = False


@contextmanager
def uploads(part: int, kept: int) -> Iterator[tuple[str, Uploads]]:
    """Such a registry; of the part with the number `part` it keeps `kept` bytes, and its answer never comes."""
    seen = Uploads()

    def replies(method: str, path: str, sent: dict[str, str], body: bytes) -> Reply:
        if method == "POST":
            seen.data, seen.begun = b"", seen.begun + 1
        here = {"Location": f"/v2/a/blobs/uploads/{len(seen.data)}", "Range": f"0-{max(0, len(seen.data) - 1)}"}
        if method == "POST":
            return 202, here, b""
        if method == "HEAD":
            return (200, {"Content-Length": str(len(BIG))}, b"") if seen.done else (404, {}, b"")
        if method == "GET":
            return 204, here, b""
        if method == "PATCH":
            seen.parts += 1
            broken = seen.parts - 1 == part
            if path != here["Location"] or not sent["content-range"].startswith(f"{len(seen.data)}-"):
                return 416, here, b""
            seen.data += body[:kept] if broken else body
            here = {"Location": f"/v2/a/blobs/uploads/{len(seen.data)}", "Range": f"0-{max(0, len(seen.data) - 1)}"}
            return (0 if broken else 202), here, b""
        seen.done = method == "PUT"
        return 201, {}, b""

    with impostor(replies) as host:
        yield host, seen


def a_client(host: str) -> Registry:
    return Registry(Repository(host, "a"), Network(timeout=5), lambda: None, push=True, jitter=lambda: -0.5)


def test_a_registry_that_never_agrees_where_it_is() -> None:
    ends = itertools.cycle([4_000_000, 9_000_000])

    def replies(method: str, path: str, sent: dict[str, str], received: bytes) -> Reply:
        here = {"Location": "/v2/a/blobs/uploads/1"}
        if path == "/v2/":
            return 200, {}, b"{}"
        if method == "POST":
            return 202, here, b""
        if method == "GET":
            return 204, here | {"Range": f"0-{next(ends)}"}, b""
        return (404 if method == "HEAD" else 416), here, b""

    with impostor(replies) as host, a_client(host) as registry, pytest.raises(StoreError, match="416"):
        registry.write_blob(BIG_BLOB, Chunks())


def test_an_iterator_cannot_begin_anew(registry: Registry, proxy: Proxy) -> None:
    # the upload is gone when two parts are there
    proxy.faults = matching("PATCH", UPLOADS, answer(404), skip=2, times=1)
    with pytest.raises(StoreError, match="can't be had again") as caught:
        registry.write_blob(BIG_BLOB, iter(Chunks()))
    assert "again" in (caught.value.hint or "")
    assert not registry.has_blob(BIG_BLOB.digest)
    registry.write_blob(BIG_BLOB, iter(Chunks()))
    assert stored(registry) == BIG


@pytest.mark.parametrize(
    "fault",
    [answer(404), answer(416), answer(400), answer(405), answer(501)],
    ids=lambda fault: str(fault.status),
)
@pytest.mark.parametrize("part", [0, 2])
def test_a_lost_upload_is_begun_anew(registry: Registry, proxy: Proxy, file: Path, fault: Fault, part: int) -> None:
    proxy.faults = matching("PATCH", UPLOADS, fault, skip=part, times=1)
    registry.write_blob(BIG_BLOB, Chunks())
    assert stored(registry) == BIG
    assert registry.uploaded == 1


def test_a_registry_that_does_not_know_parts(registry: Registry, proxy: Proxy, file: Path) -> None:
    proxy.faults = matching("PATCH", UPLOADS, answer(405))
    registry.add_file(BIG_BLOB, file)
    assert stored(registry) == BIG
    assert len(proxy.asked("PATCH")) == 1


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_token_may_end_in_the_middle_of_an_upload(servers: Servers, part: int) -> None:
    server = servers("token")
    assert server.tokens is not None
    challenge = {"WWW-Authenticate": f'Bearer realm="{server.tokens.realm}",service="{server.tokens.service}"'}
    faults = matching("PATCH", UPLOADS, answer(401, challenge), skip=part, times=1)
    with fault_proxy(server.host, faults) as proxy, open_registry(server, new_name(), host=proxy.host) as registry:
        registry.write_blob(BIG_BLOB, iter(Chunks()))
        assert stored(registry) == BIG
        first, second = proxy.asked("PATCH")[part : part + 2]
    assert first.headers["content-range"] == second.headers["content-range"]
    assert first.headers["authorization"] != second.headers["authorization"]


def test_a_stop_ends_a_download(registry: Registry, proxy: Proxy) -> None:
    descriptor = put_blob(registry, BIG)
    proxy.faults = matching("GET", "/blobs/", slow(0.5))  # a piece of 16 KiB each
    chunks = registry.read_blob(descriptor.digest)
    next(chunks)
    registry.stop.set()
    with pytest.raises(StoppedError):
        list(chunks)


def test_a_stop_ends_an_upload(registry: Registry, proxy: Proxy) -> None:
    def chunks() -> Iterator[bytes]:
        yield BIG[:1000]
        registry.stop.set()
        yield BIG[1000:]

    with pytest.raises(StoppedError):
        registry.write_blob(BIG_BLOB, chunks())
    assert proxy.asked("PUT", UPLOADS) == []
    assert sum(one.received for one in proxy.asked("PATCH")) < WINDOW  # in the middle of a part


def test_a_limit_on_requests(registry: Registry, proxy: Proxy, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileFeed, "part", 400_000)

    def limited(call: Any) -> Fault | None:
        large = call.method in ("PATCH", "PUT") and int(call.headers.get("content-length", 0)) > limit
        return answer(413) if large else None

    limit = WINDOW
    proxy.faults = limited
    registry.add_file(BIG_BLOB, file)
    assert stored(registry) == BIG
    limit = 10
    with pytest.raises(StoreError, match="413") as caught:
        put_blob(registry, b"more than ten bytes")
    assert "client_max_body_size" in (caught.value.hint or "")


def test_uploads_elsewhere_get_no_credentials() -> None:
    seen: list[tuple[str, str | None]] = []

    def storage(method: str, path: str, sent: dict[str, str], received: bytes) -> Reply:
        seen.append((method, sent.get("authorization")))
        return 201, {}, b""

    def replies(method: str, path: str, sent: dict[str, str], received: bytes) -> Reply:
        if "authorization" not in sent:
            return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
        return (404, {}, b"") if method == "HEAD" else (202, {"Location": f"http://{elsewhere}/up?signed=1"}, b"")

    credential = Credential("ada", "password", source="here")
    with (
        impostor(storage) as elsewhere,
        impostor(replies) as host,
        Registry(Repository(host, "a"), Network(), lambda: credential, push=True) as registry,
    ):
        put_blob(registry, b"data")
    assert seen == [("PUT", None)]


def test_a_registry_that_does_not_tell_where_an_upload_is(registry: Registry, proxy: Proxy) -> None:
    proxy.faults = either(matching("PATCH", UPLOADS, cut("up"), skip=1, times=1), matching("GET", UPLOADS, answer(405)))
    registry.write_blob(BIG_BLOB, Chunks())
    assert stored(registry) == BIG


def test_a_registry_that_took_less_than_it_was_sent(registry: Registry, proxy: Proxy) -> None:
    proxy.faults = matching("PATCH", UPLOADS, answer(202, {"Range": "0-99", "Location": "/nowhere"}), times=1)
    registry.write_blob(BIG_BLOB, Chunks())
    assert stored(registry) == BIG


def test_parts_that_never_arrive(registry: Registry, proxy: Proxy) -> None:
    proxy.faults = matching("PATCH PUT", UPLOADS, cut("up"))
    with pytest.raises(StoreError, match="cannot send") as caught:
        registry.write_blob(BIG_BLOB, Chunks())
    assert caught.value.exit_code == 5
    assert not registry.has_blob(BIG_BLOB.digest)
    proxy.faults = None
    registry.write_blob(BIG_BLOB, Chunks())
    assert stored(registry) == BIG


@pytest.mark.parametrize("data", [b"small", BIG], ids=["small", "big"])
@pytest.mark.parametrize("when", ["before", "up", "sent"])
def test_the_end_of_an_upload_may_break(registry: Registry, proxy: Proxy, data: bytes, when: Any) -> None:
    proxy.faults = matching("PUT", UPLOADS, cut(when), times=1)
    put_blob(registry, data)
    assert stored(registry, blob(data).digest) == data


@pytest.mark.parametrize("fault", [answer(500), answer(503, forward=True), answer(429)])
def test_the_end_of_an_upload_may_fail(registry: Registry, proxy: Proxy, fault: Fault) -> None:
    proxy.faults = matching("PUT", UPLOADS, fault, times=2)
    registry.write_blob(BIG_BLOB, Chunks())
    assert stored(registry) == BIG


def test_locations_may_be_relative(registry: Registry, proxy: Proxy) -> None:
    proxy.faults = relative()
    registry.write_blob(BIG_BLOB, Chunks())
    put_blob(registry, b"small")
    assert stored(registry) == BIG


def test_what_a_location_carries_is_kept(registry: Registry, proxy: Proxy) -> None:
    proxy.faults = matching("POST PATCH", UPLOADS, location(lambda value: f"{value}&kept=a%2Fb%20c"))
    registry.write_blob(BIG_BLOB, Chunks())
    put_blob(registry, b"small")
    for one in proxy.asked("PUT PATCH"):
        assert one.call.query["kept"] == "a/b c" and "_state" in one.call.query
    assert stored(registry) == BIG


def test_uploads_do_not_go_just_anywhere(registry: Registry, proxy: Proxy) -> None:
    proxy.faults = matching("POST", UPLOADS, location(lambda value: "http://evil.example.com/upload"))
    with pytest.raises(StoreError, match="takes uploads at"):
        put_blob(registry, b"small")
    proxy.faults = matching("POST", UPLOADS, location(lambda value: None))
    with pytest.raises(StoreError, match="did not say where"):
        put_blob(registry, b"small")


# what may never be stored


@pytest.mark.parametrize("data", [BIG[:-1] + b"!", BIG + b"!", BIG[:-1], BIG[: WINDOW + 1], b""])
def test_other_bytes_than_announced(registry: Registry, proxy: Proxy, data: bytes) -> None:
    with pytest.raises(VerificationError, match=r"expected sha256:") as caught:
        registry.write_blob(BIG_BLOB, Chunks(data))
    assert caught.value.exit_code == 6
    assert not registry.has_blob(BIG_BLOB.digest)
    assert proxy.asked("PUT", UPLOADS) == []
    # the upload is given up
    assert len(proxy.asked("DELETE", UPLOADS)) == len(proxy.asked("POST", UPLOADS))


def test_other_bytes_in_a_small_blob_are_not_even_sent(registry: Registry, proxy: Proxy) -> None:
    for data in (b"lies", b"truth.", b""):
        with pytest.raises(VerificationError):
            registry.write_blob(blob(b"truth"), [data])
    with pytest.raises(VerificationError):
        registry.write_blob(blob(b""), [b"something"])
    assert proxy.asked("POST PUT PATCH") == []


def test_a_file_that_is_not_what_its_digest_says(registry: Registry, proxy: Proxy, file: Path) -> None:
    file.write_bytes(BIG[:-1] + b"!")
    with pytest.raises(VerificationError):
        registry.add_file(BIG_BLOB, file)
    assert not registry.has_blob(BIG_BLOB.digest)


def test_a_stream_that_fails_gives_up_its_upload(registry: Registry, proxy: Proxy) -> None:
    class BrokenError(Exception):
        pass

    def broken() -> Iterator[bytes]:
        yield BIG[: WINDOW + 1]
        raise BrokenError

    with pytest.raises(BrokenError):
        registry.write_blob(BIG_BLOB, broken())
    assert len(proxy.asked("DELETE", UPLOADS)) == 1


# what adopt does


def test_a_blob_of_another_size_is_an_error(registry: Registry) -> None:
    descriptor = put_blob(registry, b"twelve bytes")
    lie = Descriptor(descriptor.media_type, descriptor.digest, 13)
    for call in (lambda: registry.adopt(lie), lambda: registry.write_blob(lie, [b"x"])):
        with pytest.raises(VerificationError, match="12 bytes, not 13") as caught:
            call()
        assert caught.value.exit_code == 6


WITHOUT_SIZE = matching("HEAD", "/blobs/", Fault(headers={"Content-Length": None}))


@pytest.mark.parametrize("get", [Fault(), answer(200, body=b"twelve bytes")], ids=["a part", "all of it"])
def test_a_registry_that_tells_no_size_is_asked_in_another_way(registry: Registry, proxy: Proxy, get: Fault) -> None:
    descriptor = put_blob(registry, b"twelve bytes")
    broken = matching("GET", "/blobs/", cut("sent"), times=1)
    proxy.faults = either(WITHOUT_SIZE, broken, matching("GET", "/blobs/", get))
    assert registry.adopt(descriptor)
    with pytest.raises(VerificationError, match="12 bytes, not 13"):
        registry.adopt(Descriptor(descriptor.media_type, descriptor.digest, 13))


def test_a_blob_that_is_there_and_not_served_is_an_error(registry: Registry, proxy: Proxy) -> None:
    descriptor = put_blob(registry, b"twelve bytes")
    proxy.faults = either(WITHOUT_SIZE, matching("GET", "/blobs/", answer(404)))
    with pytest.raises(StoreError, match=r"cannot read sha256:.* 404 Not Found"):
        registry.adopt(descriptor)


def test_mounting(servers: Servers, proxy: Proxy) -> None:
    server = servers("open")
    with (
        open_registry(server, new_name(), host=proxy.host) as shared,
        open_registry(server, new_name(), host=proxy.host) as empty,
        open_registry(server, new_name(), host=proxy.host) as own,
    ):
        descriptor = put_blob(shared, b"shared " + own.repository.name.encode())
        sources = [own.repository, empty.repository, shared.repository]
        proxy.clear()
        assert own.adopt(descriptor, sources)
        assert own.has_blob(descriptor.digest)
        assert (own.mounted, own.uploaded, own.sent) == (1, 0, 0)
    asked = [one.call.query.get("from") for one in proxy.asked("POST")]
    assert asked == [empty.repository.name, shared.repository.name]
    # what the first one began instead is given up
    assert len(proxy.asked("DELETE", UPLOADS)) == 1


def test_a_mount_is_looked_at(servers: Servers, proxy: Proxy) -> None:
    """A registry that says it has mounted, and has nothing, or something else."""
    server = servers("open")
    with (
        open_registry(server, new_name(), host=proxy.host) as shared,
        open_registry(server, new_name(), host=proxy.host) as own,
    ):
        descriptor = put_blob(shared, b"mounted, and looked at")
        lie = Descriptor(descriptor.media_type, descriptor.digest, descriptor.size + 1)
        with pytest.raises(VerificationError, match=rf"{descriptor.size} bytes, not {lie.size}"):
            own.adopt(lie, [shared.repository])
        own.delete(descriptor.digest)
        proxy.faults = matching("POST", "mount=", answer(201))
        assert not own.adopt(descriptor, [shared.repository])
        assert own.mounted == 0


def test_nothing_is_mounted_from_another_registry(servers: Servers, proxy: Proxy) -> None:
    with open_registry(servers("open"), new_name(), host=proxy.host) as own:
        far = Repository("registry.example.com", "ml/shared")
        assert not own.adopt(blob(b"far away"), [far, own.repository])
    assert proxy.asked("POST") == []


@pytest.mark.parametrize("status", [202, 400, 403, 404, 405, 500, 501])
def test_registries_that_do_not_mount(servers: Servers, proxy: Proxy, status: int) -> None:
    server = servers("open")
    proxy.faults = no_mounts(status)
    with (
        open_registry(server, new_name(), host=proxy.host) as shared,
        open_registry(server, new_name(), host=proxy.host) as own,
    ):
        descriptor = put_blob(shared, b"data")
        proxy.clear()
        assert not own.adopt(descriptor, [shared.repository])
        put_blob(own, b"data")
        assert own.has_blob(descriptor.digest)
        # a 202 has opened the upload that is then used
        assert len(proxy.asked("POST")) == {202: 1, 500: 7}.get(status, 2)
    assert proxy.asked("DELETE") == []


@pytest.mark.parametrize("fault", [answer(500), answer(307, {"Location": "http://203.0.113.1/"})])
def test_where_mounting_fails_it_is_not_tried_for_each_layer(servers: Servers, proxy: Proxy, fault: Fault) -> None:
    server = servers("open")
    with (
        open_registry(server, new_name(), host=proxy.host) as broken,
        open_registry(server, new_name(), host=proxy.host) as shared,
        open_registry(server, new_name(), host=proxy.host) as own,
    ):
        made = [put_blob(shared, b"layer %d" % number) for number in range(3)]
        sources = [broken.repository, shared.repository]
        proxy.clear()
        proxy.faults = matching("POST", f"from={broken.repository.name}", fault)
        assert all(own.adopt(one, sources) for one in made)
        names = [one.call.query.get("from") for one in proxy.asked("POST")]
    tries = 6 if fault.status == 500 else 1
    assert names == [broken.repository.name] * tries + [shared.repository.name] * 3


def test_who_only_reads_does_not_mount(servers: Servers, proxy: Proxy) -> None:
    server = servers("open")
    with (
        open_registry(server, new_name(), host=proxy.host) as shared,
        open_registry(server, new_name(), host=proxy.host, push=False) as own,
    ):
        descriptor = put_blob(shared, b"data")
        proxy.clear()
        assert not own.adopt(descriptor, [shared.repository])
        assert proxy.asked("POST") == []


def test_mounting_with_tokens(servers: Servers) -> None:
    server = servers("token")
    assert server.tokens is not None
    with open_registry(server, new_name()) as shared, open_registry(server, new_name()) as own:
        descriptor = put_blob(shared, b"mounted with a token")
        other = shared.repository.name
        server.tokens.allowed = lambda user, name, actions: frozenset() if name == other else actions
        try:
            assert not own.adopt(descriptor, [shared.repository])  # not ours to read: sent instead
        finally:
            server.tokens.allowed = None
    with open_registry(server, new_name()) as own:
        assert own.adopt(descriptor, [shared.repository])
    names = (own.repository.name, shared.repository.name)
    assert server.tokens.asked[-1].scopes == (f"repository:{names[0]}:pull,push", f"repository:{names[1]}:pull")


def test_an_upload_that_nobody_needed_is_given_up(servers: Servers, proxy: Proxy) -> None:
    server = servers("open")
    with open_registry(server, new_name(), host=proxy.host) as own:
        other = open_registry(server, new_name(), host=proxy.host).repository
        assert not own.adopt(blob(b"nowhere"), [other])
    assert len(proxy.asked("DELETE", UPLOADS)) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_no_leave_to_look(registry: Registry, servers: Servers, proxy: Proxy, status: int) -> None:
    proxy.faults = matching("HEAD", "/blobs/", answer(status))
    assert not registry.adopt(blob(b"x"))
    name = new_name()
    with (
        open_registry(servers("open"), name, host=proxy.host, push=False) as reader,
        pytest.raises(StoreError, match=str(status)),
    ):
        reader.adopt(blob(b"x"))


# reading


@pytest.fixture
def big(registry: Registry, proxy: Proxy, file: Path) -> Descriptor:
    registry.add_file(BIG_BLOB, file)
    proxy.clear()
    return BIG_BLOB


def test_a_broken_download_is_gone_on_with(registry: Registry, proxy: Proxy, big: Descriptor) -> None:
    proxy.faults = matching("GET", "/blobs/", cut("down"), times=3)
    assert stored(registry) == BIG
    first, *others = proxy.asked("GET", "/blobs/")
    assert "range" not in first.headers
    assert len(others) == 3 and all(one.status == 206 for one in others)
    assert proxy.sent < len(BIG) * 1.5


def test_a_registry_without_ranges(registry: Registry, proxy: Proxy, big: Descriptor) -> None:
    whole = answer(200, {"Content-Range": ""}, BIG)
    proxy.faults = either(matching("GET", "/blobs/", cut("down"), times=1), matching("GET", "/blobs/", whole, times=1))
    assert stored(registry) == BIG


def test_a_download_that_never_ends_well(registry: Registry, proxy: Proxy, big: Descriptor) -> None:
    proxy.faults = matching("GET", "/blobs/", cut("sent"))
    with pytest.raises(StoreError, match=f"cannot read {big.digest}") as caught:
        stored(registry)
    assert caught.value.exit_code == 5
    assert len(proxy.asked("GET", "/blobs/")) == 6


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1] + b"!", lambda data: data[:-1], lambda data: data + b"!", lambda data: b""]
)
def test_a_damaged_blob(registry: Registry, proxy: Proxy, change: Callable[[bytes], bytes]) -> None:
    descriptor = put_blob(registry, b"some content")
    proxy.faults = matching("GET", "/blobs/", changed(change))
    with pytest.raises(VerificationError, match=descriptor.digest) as caught:
        stored(registry, descriptor.digest)
    assert caught.value.exit_code == 6
    assert caught.value.hint is not None


def test_reading_from_the_middle(registry: Registry, big: Descriptor) -> None:
    assert b"".join(registry.read_blob(big.digest, 1000)) == BIG[1000:]
    assert b"".join(registry.read_blob(big.digest, len(BIG))) == b""


def test_another_part_than_asked_for(registry: Registry, proxy: Proxy, big: Descriptor) -> None:
    proxy.faults = matching("GET", "/blobs/", answer(206, {"Content-Range": f"bytes 5-9/{len(BIG)}"}, b"12345"))
    with pytest.raises(StoreError, match="another part"):
        list(registry.read_blob(big.digest, 1000))


def test_half_read_is_no_error(registry: Registry, big: Descriptor) -> None:
    chunks = registry.read_blob(big.digest)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert registry.has_blob(big.digest)


# A process of its own, because what another test needed counts as well: its peak, in KiB. Not `ru_maxrss`, which a
# process inherits from the one that started it.
THRIFTY = """
import sys
from collections.abc import Iterator
from pathlib import Path
from builder.content import MEDIA_LAYER_GZIP, Descriptor, Digest
from builder.network import Network
from builder.registry.client import Registry
from builder.registry.layout import Layout
from builder.registry.reference import Repository

host, name, file, folder = sys.argv[1:]

class Stream:
    def __iter__(self) -> Iterator[bytes]:
        return (bytes([number]) * (1 << 20) for number in range(160))

def described(digest: Digest) -> Descriptor:
    return Descriptor(MEDIA_LAYER_GZIP, digest, 160 << 20)

with Registry(Repository(host, name), Network(), lambda: None, push=True) as registry:
    with open(file, "rb") as opened:
        first = described(Digest.of_chunks(iter(lambda: opened.read(1 << 20), b"")))
    second = described(Digest.of_chunks(Stream()))
    third = described(Digest.of_chunks(bytes([n]) * (1 << 20) for n in reversed(range(160))))
    registry.add_file(first, Path(file))
    registry.write_blob(second, Stream())
    registry.write_blob(third, (bytes([n]) * (1 << 20) for n in reversed(range(160))))
    for one in (first, second, third):
        Layout(Path(folder)).receive_blob(one, lambda start: registry.read_blob(one.digest, start))
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


@pytest.mark.slow
def test_a_big_blob_is_never_in_memory(servers: Servers, tmp_path: Path) -> None:
    """160 MiB each: a file, a stream that can be had again, one that can't, and all of them back."""
    with (tmp_path / "big").open("wb") as file:
        file.truncate(160 << 20)
    arguments = [servers("open").host, new_name(), str(tmp_path / "big"), str(tmp_path / "layout")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", THRIFTY, *arguments], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) << 10 < 110 << 20, f"{int(done.stdout):,} KiB"


# the bytes themselves


def test_a_feed_goes_back_as_far_as_it_must() -> None:
    feed = ChunkFeed(BIG_BLOB, iter(Chunks()))
    assert b"".join(feed.read(0, WINDOW)) == BIG[:WINDOW]
    assert b"".join(feed.read(WINDOW, WINDOW)) == BIG[WINDOW : 2 * WINDOW]
    assert b"".join(feed.read(WINDOW + 5, WINDOW)) == BIG[WINDOW + 5 : 2 * WINDOW + 5]
    with pytest.raises(StoreError, match="can't be had again"):
        b"".join(feed.read(0, 1))


def test_a_feed_that_can_begin_anew() -> None:
    chunks = Chunks()
    feed = ChunkFeed(BIG_BLOB, chunks)
    for start in (0, 2 * WINDOW, 5, 6000, 0):
        assert hashlib.sha256(b"".join(feed.read(start, len(BIG) - start))).digest() == (
            hashlib.sha256(BIG[start:]).digest()
        )
    assert chunks.times == 4


@pytest.mark.parametrize("data", [BIG, b""], ids=["big", "empty"])
def test_a_stream_without_end_is_not_read_to_it(data: bytes) -> None:
    def chunks() -> Iterator[bytes]:
        yield data
        while True:
            yield b"more"

    with pytest.raises(VerificationError, match="or more"):
        b"".join(feed_of(blob(data), chunks()).read(0, len(data)))


def test_a_feed_of_a_list_is_a_list() -> None:
    feed = feed_of(blob(b"abc"), [b"a", b"", b"bc"])
    assert b"".join(feed.read(1, 2)) == b"bc"


def test_a_file_that_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"short")
    with path.open("rb") as file, pytest.raises(VerificationError, match="became shorter"):
        list(FileFeed(path, file).read(0, 10))
