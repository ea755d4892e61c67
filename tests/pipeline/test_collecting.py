"""Clean-ups in a folder and in a real registry: what goes, what stays, who wins, and what cuts them off."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from builder.cache import Cache
from builder.content import MEDIA_INDEX, Descriptor, Digest
from builder.errors import LockshipError, RefusedError, StoreError, VerificationError
from builder.pipeline import collecting
from builder.pipeline.collecting import Collected, Collection, collect, plan_collection, policy_of
from builder.pipeline.context import Context
from builder.pipeline.surveying import Surveyor
from builder.pipeline.targets import Target
from builder.pipeline.wholeness import require_whole
from builder.registry.artifact import File, artifact, store_artifact
from builder.registry.layout import Layout
from builder.registry.store import Store
from builder.releases.chronicle import Memory, append
from builder.releases.collected import begun, open_collections
from builder.releases.events import Event
from builder.releases.holdings import Policy
from builder.releases.record import Record
from builder.releases.signing import signature_tag
from builder.releases.stages import stages_of
from tests.registry.conftest import open_registry
from tests.support.proxy import answer, at, cut, fault_proxy, matching
from tests.support.registry import RegistryServer, serve_registry
from tests.support.releases import Yard, layout_yard, registry_yard, stamp
from tests.support.thorough import every

pytestmark = pytest.mark.slow

YEAR = 365 * 86_400
POLICY = Policy(1, 30)
AT_ONCE = -5.0  # no blob is too young to be swept


@pytest.fixture(params=["layout", "registry"])
def yard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Yard]:
    """A store of each kind."""
    if request.param == "layout":
        yield layout_yard(tmp_path)
        return
    server: RegistryServer = request.getfixturevalue("registry")
    with registry_yard(tmp_path, server.host, f"gc/{uuid.uuid4().hex[:12]}") as made:
        yield made


def dressed(yard: Yard, version: str, **facts: Any) -> Record:
    """A release with evidence and signatures of both."""
    record = yard.release(version, **facts)
    subject = Descriptor(MEDIA_INDEX, record.digest, record.size)
    kind = "application/vnd.cyclonedx+json"
    bill = artifact(kind, [File("sbom.cdx.json", kind, f"bill of {version}".encode())], subject=subject)
    store_artifact(yard.store, bill)
    for digest in (record.digest, bill.descriptor.digest):
        signature = artifact("application/vnd.example.signature", [File("s", "text/plain", f"{digest}".encode())])
        store_artifact(yard.store, signature, tag=signature_tag(digest))
    return record


def aged(yard: Yard, versions: int = 4, promoted: tuple[int, ...] = (1,)) -> dict[str, Record]:
    """Old releases 1.0, 1.1, …; some of them were promoted."""
    made = {f"1.{number}": dressed(yard, f"1.{number}") for number in range(versions)}
    for number in promoted:
        yard.promote(f"1.{number}")
    yard.clock.now += YEAR
    return made


def plan(yard: Yard, policy: Policy = POLICY) -> Collection:
    return plan_collection(yard.target, policy, yard.clock, grace=AT_ONCE)


def gc(yard: Yard, policy: Policy = POLICY) -> Collected:
    return collect(yard.target, yard.context, plan(yard, policy), yard.machine(), grace=AT_ONCE)


def manifests_of(store: Store, record: Record) -> set[Digest]:
    """Everything of a release, by digest."""
    found = require_whole(store, record.digest, record.version)
    return {one.descriptor.digest for one in (found.root, *found.manifests)}


def going(found: Collection) -> list[str]:
    return [version for drop in found.decision.drops for version in drop.versions]


def tags(yard: Yard) -> list[str]:
    return [tag for tag in yard.store.tag_names() if not tag.startswith("journal")]


def test_what_nothing_needs_goes_with_all_that_belongs_to_it(yard: Yard) -> None:
    made = aged(yard)
    gone = manifests_of(yard.store, made["1.0"])
    assert len(gone) == 4  # index, image, record, bill
    before = plan(yard)
    assert going(before) == ["1.0", "1.2"]
    assert yard.store.resolve("1.0") == made["1.0"].digest  # looking changes nothing
    done = gc(yard)
    assert done.versions == ("1.0", "1.2") and done.manifests == 12
    assert [digest for digest in sorted(gone) if yard.store.manifest(digest) is not None] == []
    assert {tag for tag in tags(yard) if not tag.startswith("sha256-")} == {
        "1.1", "1.1.release", "1.3", "1.3.release", "production"
    }  # fmt: skip
    assert len([tag for tag in tags(yard) if tag.startswith("sha256-")]) == 4
    for version in ("1.1", "1.3"):
        assert len(manifests_of(yard.store, made[version])) == 4
    assert yard.journal().problems == () and open_collections(yard.journal()) == ()
    assert plan(yard).empty


def test_stages_go_back_afterwards(yard: Yard) -> None:
    made = aged(yard, 6, (0, 2, 4))
    assert gc(yard, Policy(2, 0)).versions == ("1.1", "1.3")
    assert yard.rollback().proposal.record.version == "1.2"
    assert yard.rollback().proposal.record.version == "1.0"
    assert yard.has() == made["1.0"].digest


def test_the_first_of_two_looks_at_nothing_it_needn_t(yard: Yard) -> None:
    aged(yard)
    found = plan(yard)
    again = plan(yard)
    if isinstance(yard.store, Layout):
        assert found.requests == again.requests == 0
    else:
        assert again.requests < found.requests
    assert again.decision == found.decision


def test_a_digest_that_another_tag_names_stays(yard: Yard) -> None:
    made = aged(yard)
    index = yard.store.manifest(made["1.0"].digest)
    assert index is not None
    yard.store.put_manifest(index.descriptor, index.data, tag="blessed")
    assert gc(yard).versions == ("1.2",)
    assert yard.store.resolve("blessed") == yard.store.resolve("1.0") == made["1.0"].digest
    require_whole(yard.store, made["1.0"].digest, "blessed")


def test_a_tag_that_is_set_after_the_look_saves_it(yard: Yard) -> None:
    made = aged(yard)
    found = plan(yard)
    index = yard.store.manifest(made["1.0"].digest)
    assert index is not None
    yard.store.put_manifest(index.descriptor, index.data, tag="blessed")
    done = collect(yard.target, yard.context, found, yard.machine(), grace=AT_ONCE)
    assert (done.versions, done.spared) == (("1.2",), ("1.0",))
    require_whole(yard.store, made["1.0"].digest, "1.0")


def test_an_image_that_two_releases_share_stays(yard: Yard) -> None:
    """Another release whose index names an image of the first, and its own."""
    made = aged(yard, 2, ())
    index = yard.store.manifest(made["1.0"].digest)
    assert index is not None
    child = json.loads(index.data)["manifests"][0]
    data = json.dumps({"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": [child], "annotations": {}}).encode()
    yard.store.put_manifest(Descriptor(MEDIA_INDEX, Digest.of(data), len(data)), data, tag="2.0")
    assert gc(yard).versions == ("1.0",)
    require_whole(yard.store, "2.0", "2.0")


def test_a_promotion_after_the_look_wins(yard: Yard) -> None:
    made = aged(yard)
    found = plan(yard)
    yard.promote("1.2")
    done = collect(yard.target, yard.context, found, yard.machine(), grace=AT_ONCE)
    assert (done.versions, done.spared) == (("1.0",), ("1.2",))
    assert yard.has() == made["1.2"].digest
    require_whole(yard.store, made["1.2"].digest, "1.2")
    assert yard.rollback().proposal.record.version == "1.1"


class Meanwhile:
    """Somebody else who promotes a release in a thread of their own."""

    def __init__(self, yard: Yard, version: str) -> None:
        self.failure: LockshipError | None = None
        self._yard, self._version = yard, version
        self._proposal = yard.propose("promote", "production", version)
        self._thread = threading.Thread(target=self._run)

    def begin(self) -> None:
        """Start, and come back when their claim is in the journal."""
        self._thread.start()
        while self._thread.is_alive():
            stage = stages_of(self._yard.journal())["production"]
            if any(move.version == self._version for move in stage.moves):
                return
            time.sleep(0.01)

    def end(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        from dataclasses import replace

        from builder.pipeline.promoting import carry_out

        machine = replace(self._yard.machine("grace"), sleep=lambda seconds: time.sleep(0.02))
        try:
            carry_out(self._yard.target, self._yard.context, self._proposal, machine)
        except LockshipError as error:
            self.failure = error


def test_a_promotion_between_announcing_and_looking_wins(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    made = aged(yard)
    found = plan(yard)
    other = Meanwhile(yard, "1.2")
    real = Surveyor.again

    def again(self: Surveyor, *arguments: Any) -> Any:
        if not other._thread.ident:
            other.begin()
        return real(self, *arguments)

    monkeypatch.setattr(Surveyor, "again", again)
    done = collect(yard.target, yard.context, found, yard.machine(), grace=AT_ONCE)
    other.end()
    assert other.failure is None
    assert (done.versions, done.spared) == (("1.0",), ("1.2",))
    assert yard.has() == made["1.2"].digest
    require_whole(yard.store, made["1.2"].digest, "1.2")


def test_a_promotion_that_comes_too_late_moves_nothing(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    made = aged(yard)
    found = plan(yard)
    other = Meanwhile(yard, "1.2")
    real = Surveyor.again

    def again(self: Surveyor, *arguments: Any) -> Any:
        facts = real(self, *arguments)
        if not other._thread.ident:
            other.begin()
        return facts

    monkeypatch.setattr(Surveyor, "again", again)
    done = collect(yard.target, yard.context, found, yard.machine(), grace=AT_ONCE)
    other.end()
    assert isinstance(other.failure, StoreError | VerificationError)
    assert done.versions == ("1.0", "1.2")
    assert yard.has() == made["1.1"].digest
    require_whole(yard.store, made["1.1"].digest, "1.1")
    assert [move.state for move in stages_of(yard.journal())["production"].moves] == ["moved", "abandoned"]


def test_a_promotion_doesn_t_wait_for_ever(yard: Yard) -> None:
    """Somebody on another machine announced it, and nothing is heard of them."""
    made = aged(yard)
    from builder.releases.collected import notes_of

    until = "2099-01-01T00:00:00Z"
    notes = notes_of({made["1.2"].digest: "1.2"}, [], host="elsewhere", pid=1, until=until)
    append(yard.store, yard.journal(), Event("collect", stamp(yard.clock), "grace", notes=notes))
    with pytest.raises(RefusedError, match=r"a clean-up is deleting 1\.2 right now"):
        yard.promote("1.2")
    assert yard.has() == made["1.1"].digest
    yard.clock.now = 4_200_000_000.0  # beyond it
    yard.promote("1.2")


def test_made_again_it_counts_from_then(yard: Yard) -> None:
    aged(yard)
    gc(yard)
    assert plan(yard).empty
    again = yard.release("1.0")
    assert again.digest not in begun(yard.journal())
    assert going(plan(yard)) == ["1.3"]
    require_whole(yard.store, again.digest, "1.0")


def test_a_journal_with_a_hole_lets_nothing_go(yard: Yard) -> None:
    aged(yard)
    lost = next(one for one in yard.journal().entries if one.event.kind == "promote")
    yard.store.delete(lost.digest)
    yard.target.memory.file.unlink()  # type: ignore[union-attr]
    with pytest.raises(VerificationError, match="not whole"):
        plan(yard)


def test_a_release_that_is_being_made_stays(yard: Yard) -> None:
    made = aged(yard, 2, ())
    gc(yard, Policy(1, 0))
    record = yard.release("3.0")
    entry = next(one for one in yard.journal().entries if one.event.version == "3.0")
    yard.store.delete(entry.digest)  # as if it had not come so far
    yard.target.memory.file.unlink()  # type: ignore[union-attr]
    yard.clock.now += YEAR
    found = plan(yard, Policy(1, 0))
    assert going(found) == []
    assert record.digest in found.decision.keep and made["1.1"].digest in found.decision.keep


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_in_a_folder(tmp_path: Path, when: str) -> None:
    yard = layout_yard(tmp_path)
    made = aged(yard)
    found = plan(yard)
    child = os.fork()
    if child == 0:  # no test runs on in here
        real = Layout.unlist

        def unlist(self: Layout, digests: Any) -> None:
            if when == "after":
                real(self, digests)
            os._exit(9)

        Layout.unlist = unlist  # type: ignore[method-assign]
        try:
            collect(yard.target, yard.context, found, yard.machine(), grace=AT_ONCE)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len(open_collections(yard.journal())) == 1
    for version in ("1.1", "1.3"):
        require_whole(yard.store, made[version].digest, version)
    gc(yard)
    assert open_collections(yard.journal()) == () and plan(yard).empty
    assert not any(tag.startswith(("1.0", "1.2")) for tag in tags(yard))
    assert yard.store.manifest(made["1.0"].digest) is None


def test_a_young_blob_stays_and_what_it_names(tmp_path: Path) -> None:
    """A build has put blobs a while ago and an image just now, but no index yet."""
    store = Layout(tmp_path / "store")
    from tests.support.images import small_image

    image = small_image(store, "of a build that goes on")
    layer = Digest(json.loads(image.data)["layers"][0]["digest"])
    time.sleep(0.05)
    between = time.time()
    time.sleep(0.05)
    assert layer in store.unreferenced(between)[0].blobs
    store.write_blob(image.descriptor, [image.data])
    assert store.sweep(between).blobs == {}
    assert store.has_blob(layer)
    assert layer in store.sweep(time.time() + 5).blobs
    assert not store.has_blob(image.descriptor.digest)


def test_a_blob_that_somebody_counts_on_is_young_again(tmp_path: Path) -> None:
    store = Layout(tmp_path / "store")
    data = b"layer"
    descriptor = Descriptor("application/octet-stream", Digest.of(data), len(data))
    store.write_blob(descriptor, [data])
    path = tmp_path / "store/blobs/sha256" / descriptor.digest.hex
    before = path.stat().st_ctime_ns
    time.sleep(0.02)
    assert store.adopt(descriptor)
    assert path.stat().st_ctime_ns > before


def test_a_blob_that_was_linked_just_now_is_young(tmp_path: Path) -> None:
    """It is as old as the cache's file by its mtime; only its inode says when the link was made."""
    store, file = Layout(tmp_path / "store"), tmp_path / "cached"
    file.write_bytes(b"cached")
    file.chmod(0o444)
    os.utime(file, (0, 0))
    descriptor = Descriptor("application/octet-stream", Digest.of(b"cached"), 6)
    store.add_file(descriptor, file)
    path = store.path(descriptor.digest)
    assert path is not None and path.samefile(file)
    assert store.sweep(time.time() - 60).blobs == {} and path.is_file()


def test_what_the_cache_has_too_is_not_freed(tmp_path: Path) -> None:
    store = Layout(tmp_path / "store")
    cache = Cache(tmp_path / "cache")
    with cache.writer() as writer:
        writer.write(b"shared")
        digest = writer.commit()
    path = cache.blob(digest)
    assert path is not None
    store.add_file(Descriptor("application/octet-stream", digest, 6), path)
    swept = store.sweep(time.time() + 5)
    assert (swept.blobs, swept.linked, swept.size) == ({digest: 6}, 6, 0)
    assert cache.checked(digest) is not None


def test_a_damaged_manifest_stops_everything(tmp_path: Path) -> None:
    yard = layout_yard(tmp_path)
    made = aged(yard)
    path = tmp_path / "store/blobs/sha256" / made["1.1"].digest.hex
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"sha256:", b"sha256:", 1) + b" ")
    with pytest.raises(VerificationError, match="holds sha256"):
        gc(yard)
    assert isinstance(yard.store, Layout)
    with pytest.raises(VerificationError):
        yard.store.sweep(time.time() + 5)


def test_the_policy_is_said_by_somebody(yard: Yard) -> None:
    assert policy_of(yard.target, None) == (Policy(10, 90), "the defaults")
    yard.release("1.0", retention={"keep": 3, "keep-days": 7})
    assert policy_of(yard.target, None) == (Policy(3, 7), "[retention] of the newest release")
    assert policy_of(yard.target, None, keep=5)[0] == Policy(5, 7)
    assert policy_of(yard.target, None, 5, 6) == (Policy(5, 6), "the command line")


# what goes wrong with a registry


def test_a_registry_that_deletes_nothing(tmp_path: Path) -> None:
    with (
        serve_registry(tmp_path / "server", delete=False) as server,
        registry_yard(tmp_path, server.host, "ml/churn") as yard,
    ):
        aged(yard)
        found, before = plan(yard), len(yard.journal().entries)
        with pytest.raises(StoreError, match="does not allow deleting"):
            collect(yard.target, yard.context, found, yard.machine())
        assert len(yard.journal().entries) == before
        yard.promote("1.2")


@contextmanager
def through(server: RegistryServer, name: str, host: str, folder: Path, clock: Any) -> Iterator[Yard]:
    """The repository `name` of `server` as it is seen behind a proxy, by somebody without patience."""
    with open_registry(server, name, host=host, retries=0, plain_http=[host]) as registry:
        target = Target(registry, name, registry.repository, Memory(folder / "memory.jsonl"))
        yield Yard(target, Context(Cache(folder), {}), clock)


def test_leave_to_delete_that_is_lost_on_the_way(registry: RegistryServer, tmp_path: Path) -> None:
    """The first deletions work, then somebody switches it off."""
    name = f"gc/{uuid.uuid4().hex[:12]}"
    with registry_yard(tmp_path, registry.host, name) as yard:
        made = aged(yard)
        with (
            fault_proxy(registry.host, matching("DELETE", "manifests", answer(405), skip=3)) as proxy,
            through(registry, name, proxy.host, tmp_path / "mine", yard.clock) as mine,
            pytest.raises(StoreError, match="does not allow deleting"),
        ):
            gc(mine)
        for version in ("1.1", "1.3"):
            assert len(manifests_of(yard.store, made[version])) == 4
        assert gc(yard).versions == ("1.0", "1.2")
        _all_clean(yard, made)


def _all_clean(yard: Yard, made: dict[str, Record]) -> None:
    assert open_collections(yard.journal()) == () and yard.journal().problems == ()
    left = tags(yard)
    assert not any(tag.startswith(("1.0", "1.2")) for tag in left)
    assert len([tag for tag in left if tag.startswith("sha256-")]) == 4
    for version in ("1.0", "1.2"):
        assert yard.store.manifest(made[version].digest) is None
        assert yard.store.referrers(made[version].digest) == ()
    assert plan(yard).empty


def _count(server: RegistryServer, folder: Path) -> int:
    """How many requests a whole clean-up takes."""
    name = f"gc/{uuid.uuid4().hex[:12]}"
    with registry_yard(folder, server.host, name) as yard:
        aged(yard)
        with fault_proxy(server.host) as proxy:
            with through(server, name, proxy.host, folder / "mine", yard.clock) as mine:
                gc(mine)
            return len(proxy.log)


@pytest.mark.parametrize("when", ["before", "sent"])
@pytest.mark.parametrize("step", [23, pytest.param(every(9), marks=pytest.mark.slow)])
def test_cut_at_any_request_it_is_run_again(registry: RegistryServer, tmp_path: Path, when: Any, step: int) -> None:
    total = _count(registry, tmp_path / "count")
    failed = 0
    for number in range(5 if when == "sent" and step == 23 else 0, total, step):
        folder = tmp_path / str(number)
        name = f"gc/{uuid.uuid4().hex[:12]}"
        with registry_yard(folder, registry.host, name) as yard:
            made = aged(yard)
            with (
                fault_proxy(registry.host, at(number, cut(when))) as proxy,
                through(registry, name, proxy.host, folder / "mine", yard.clock) as mine,
            ):
                try:
                    gc(mine)
                except LockshipError:
                    failed += 1
            for version in ("1.1", "1.3"):
                assert len(manifests_of(yard.store, made[version])) == 4
            assert yard.has() == made["1.1"].digest and yard.journal().problems == ()
            gc(yard)
            _all_clean(yard, made)
    assert failed


def test_referrers_of_a_registry_that_lists_them(registry: RegistryServer, tmp_path: Path) -> None:
    name = f"gc/{uuid.uuid4().hex[:12]}"
    clock = layout_yard(tmp_path / "clock").clock
    with (
        fault_proxy(registry.host, referrers=True) as proxy,
        through(registry, name, proxy.host, tmp_path / "mine", clock) as yard,
    ):
        made = aged(yard)
        gone = manifests_of(yard.store, made["1.0"])
        assert len(gone) == 4
        assert gc(yard).versions == ("1.0", "1.2")
        assert [digest for digest in sorted(gone) if yard.store.manifest(digest) is not None] == []
        assert len(manifests_of(yard.store, made["1.1"])) == 4
        assert plan(yard).empty


def test_a_batch_after_the_other(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "_BATCH", 1)
    aged(yard, 5)
    assert gc(yard).versions == ("1.0", "1.2", "1.3")
    assert plan(yard).empty and open_collections(yard.journal()) == ()
