"""The journal in stores of both kinds: what is written is there; what was tampered with shows; memory and packs only
save time."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.content import Digest
from builder.errors import StoreError
from builder.parallel import Stop
from builder.registry.artifact import EMPTY, File, artifact, store_artifact
from builder.registry.client import Registry
from builder.registry.layout import Layout
from builder.registry.store import Store
from builder.releases import chronicle
from builder.releases.chronicle import Memory, append, pack, read_journal
from builder.releases.events import Event
from builder.releases.journal import Entry, Journal, entry_artifact, entry_tag
from tests.registry.conftest import new_name, open_registry
from tests.support.images import put_blob, small_image
from tests.support.registry import RegistryServer


def event(number: int, at: str = "2026-01-02T03:04:05Z") -> Event:
    return Event("release", at, "ada", version=f"1.{number}", digest=Digest.of(b"%d" % number))


def write(store: Store, count: int, memory: Memory | None = None) -> list[Entry]:
    """So many entries, one behind the other."""
    journal, found = read_journal(store), []
    for number in range(count):
        found.append(append(store, journal, event(number), memory=memory))
        journal = journal.with_entry(found[-1])
    return found


def tag_of(entry: Entry) -> str:
    return entry_tag(entry.event, entry.digest)


def requests(store: Store) -> int:
    return store.requests if isinstance(store, Registry) else 0


def test_what_is_appended_is_read(store: Store) -> None:
    assert read_journal(store) == Journal()
    written = write(store, 4)
    journal = read_journal(store)
    assert [one.digest for one in journal.entries] == [one.digest for one in written]
    assert journal.heads == (written[-1].digest,)
    assert not journal.problems
    assert written[2].saw == (written[1].digest,)


def test_two_who_saw_the_same_lose_nothing(store: Store) -> None:
    write(store, 1)
    seen = read_journal(store)
    both = [append(store, seen, event(number)) for number in (8, 9)]
    journal = read_journal(store)
    assert set(journal.heads) == {one.digest for one in both}
    last = append(store, journal, event(10, "2001-01-01T00:00:00Z"))
    journal = read_journal(store)
    assert journal.entries[-1].digest == last.digest and journal.heads == (last.digest,)
    assert journal.entries[-1].clock_went_back and journal.entries[-1].time == "2026-01-02T03:04:05Z"


def test_an_entry_is_one_request(store: Store) -> None:
    """But for the first, which sends the blob that all have."""
    (first,) = write(store, 1)
    before = requests(store)
    append(store, Journal((first,)), event(5))
    assert requests(store) - before <= 1


def test_an_entry_where_the_blob_of_all_entries_is_gone(store: Store) -> None:
    write(store, 1)
    seen = read_journal(store)
    store.delete(EMPTY.digest)
    append(store, seen, event(5))
    assert store.has_blob(EMPTY.digest)
    assert len(read_journal(store).entries) == 2


# tampering


def test_an_entry_that_was_deleted(store: Store) -> None:
    written = write(store, 3)
    store.delete(written[1].digest)
    (problem,) = read_journal(store).problems
    assert f"the entry {written[1].digest} is gone" in problem


def test_a_tag_that_was_moved_to_another_entry(store: Store) -> None:
    """The digest is in the tag: what it names now is of no interest; the entry is read, or missed."""
    written = write(store, 3)
    other = entry_artifact(event(66), [])
    store.put_manifest(other.descriptor, other.manifest, tag=tag_of(written[1]), move=True)
    assert [one.digest for one in read_journal(store).entries] == [one.digest for one in written]
    store.delete(written[1].digest)
    store.put_manifest(other.descriptor, other.manifest, tag=tag_of(written[1]), move=True)
    (problem, *_) = read_journal(store).problems
    assert f"the entry {written[1].digest} is gone" in problem


def test_something_else_under_a_tag_of_the_journal(store: Store) -> None:
    written = write(store, 2)
    image = small_image(store)
    store.put_manifest(image.descriptor, image.data, tag=entry_tag(event(3), image.descriptor.digest))
    journal = read_journal(store)
    assert [one.digest for one in journal.entries] == [one.digest for one in written]
    assert journal.problems == (f"the entry {image.descriptor.digest} can't be read: it is not an entry of a journal",)


@pytest.mark.parametrize("damage", ["changed", "cut short", "removed"])
def test_an_entry_whose_bytes_were_damaged(tmp_path: Path, damage: str) -> None:
    store = Layout(tmp_path / "store")
    written = write(store, 3)
    hurt(tmp_path / "store/blobs/sha256" / written[1].digest.hex, damage)
    (problem,) = read_journal(store).problems
    assert written[1].digest in problem


@pytest.mark.parametrize("damage", ["changed", "cut short", "removed"])
def test_an_entry_that_was_damaged_on_the_registrys_disk(
    registry: RegistryServer, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One entry that nobody can read any more must not keep a stage from being rolled back."""
    monkeypatch.setattr(Stop, "wait", lambda self, seconds: self.check())  # nobody needs to wait for a test
    with open_registry(registry, new_name()) as store:
        written = write(store, 3)
        hurt(registry.blob_file(written[1].digest), damage)
        (problem,) = read_journal(store).problems
        assert written[1].digest in problem


def hurt(file: Path, damage: str) -> None:
    data = file.read_bytes()
    file.unlink()
    if damage == "changed":
        file.write_bytes(data.replace(b"ada", b"eve"))
    elif damage == "cut short":
        file.write_bytes(data[:-20])


# memory


def test_what_was_read_once_is_remembered(store: Store, tmp_path: Path) -> None:
    memory = Memory(tmp_path / "deep/memory.jsonl")
    written = write(store, 5)
    first = read_journal(store, memory)
    before = requests(store)
    assert read_journal(store, memory) == first
    assert requests(store) - before <= 1, "the list of tags"
    append(store, first, event(9), memory=memory)
    before = requests(store)
    assert len(read_journal(store, memory).entries) == len(written) + 1
    assert requests(store) - before <= 1, "what one wrote, one knows"


def garbage(data: bytes) -> bytes:
    return random.Random(1).randbytes(3000)


@pytest.mark.parametrize(
    "damage",
    [
        garbage,
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[len(data) // 2 :],
        lambda data: data.replace(b"ada", b"eve"),
        lambda data: b"\n\r\n".join(reversed(data.split(b"\n"))),
        lambda data: data + b'{"half a li',
        lambda data: data + entry_artifact(event(66), []).manifest + b"\n",
    ],
)
def test_a_damaged_memory_costs_time_alone(store: Store, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    memory = Memory(tmp_path / "memory.jsonl")
    write(store, 4)
    first = read_journal(store, memory)
    assert memory.file is not None
    memory.file.write_bytes(damage(memory.file.read_bytes()))
    for _ in range(3):
        assert read_journal(store, memory) == first
    before = requests(store)
    assert read_journal(store, memory) == first
    assert requests(store) - before <= 1, "it is whole again"


def test_a_memory_that_nobody_can_write(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    memory = Memory(tmp_path / "file" / "memory.jsonl")
    write(store, 2, memory)
    assert len(read_journal(store, memory).entries) == 2
    assert len(read_journal(store, Memory(tmp_path)).entries) == 2, "a folder is no memory"


def test_a_memory_of_another_store_is_none(store: Store, tmp_path: Path) -> None:
    memory = Memory(tmp_path / "memory.jsonl")
    other = Layout(tmp_path / "other")
    write(other, 3)
    read_journal(other, memory)
    assert read_journal(store, memory) == Journal()


# lists of tags that are no snapshots


def test_an_entry_that_is_listed_before_the_one_it_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry lists page by page while others write: a cause may be missing from the list for the moment."""
    store = Layout(tmp_path / "store")
    written = write(store, 3)
    whole, lists = store.tag_names(), []

    def names() -> list[str]:
        lists.append(None)
        return [tag for tag in whole if len(lists) > 1 or tag != tag_of(written[1])]

    monkeypatch.setattr(store, "tag_names", names)
    journal = read_journal(store)
    assert not journal.problems and len(journal.entries) == 3
    assert len(lists) == 2


# packs


@pytest.fixture
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chronicle, "PACK", 5)
    monkeypatch.setattr(chronicle, "_FEW", 3)


def packs(store: Store) -> list[str]:
    return [tag for tag in store.tag_names() if tag.startswith("journal-pack.")]


@pytest.mark.usefixtures("small_packs")
def test_a_pack_is_made_of_enough_entries(store: Store, tmp_path: Path) -> None:
    write(store, 4)
    assert pack(store, read_journal(store), Memory()) == 0
    written = write(store, 7)
    plain = read_journal(store)
    assert pack(store, plain, Memory()) == 5
    assert pack(store, plain, Memory()) == 5
    assert pack(store, plain, Memory()) == 0, "one is left, and that is not enough"
    assert len(packs(store)) == 2
    before = requests(store)
    assert read_journal(store, Memory(tmp_path / "memory.jsonl")) == plain
    assert requests(store) - before <= 1 + 2 * 2 + 1, "the tags, two packs, and the entry that none of them holds"
    assert plain.entries[-1].digest == written[-1].digest


@pytest.mark.usefixtures("small_packs")
@pytest.mark.parametrize("what", ["no artifact", "another file", "foreign lines", "changed lines", "blob gone"])
def test_a_pack_that_is_not_right_is_passed_over(store: Store, what: str) -> None:
    write(store, 6)
    plain = read_journal(store)
    lines = b"".join(entry_artifact(one.event, one.saw).manifest + b"\n" for one in plain.entries)
    if what == "no artifact":
        image = small_image(store)
        store.put_manifest(image.descriptor, image.data, tag="journal-pack.1")
    else:
        data = {
            "another file": lines,
            "foreign lines": entry_artifact(event(66), []).manifest + b"\n\xff\xfe\n",
            "changed lines": lines.replace(b"ada", b"eve"),
            "blob gone": lines,
        }[what]
        name = "other.jsonl" if what == "another file" else "entries.jsonl"
        file = File(name, "application/jsonl", data)
        store_artifact(store, artifact("application/vnd.example", [file]), tag="journal-pack.1")
        if what == "blob gone":
            store.delete(file.descriptor.digest)
    assert read_journal(store) == plain
    assert pack(store, plain, Memory()) in (0, 5)


@pytest.mark.usefixtures("small_packs")
def test_a_pack_never_brings_back_what_has_no_tag(store: Store) -> None:
    written = write(store, 6)
    pack(store, read_journal(store), Memory())
    store.delete(written[1].digest)
    assert any(str(written[1].digest) in one for one in read_journal(store).problems)


def test_a_store_that_is_down_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Layout(tmp_path / "store")
    write(store, 2)

    def down(reference: object) -> None:
        raise StoreError("it is down")

    monkeypatch.setattr(store, "manifest", down)
    monkeypatch.setattr(store, "has_blob", down)
    with pytest.raises(StoreError, match="it is down"):
        read_journal(store)


def test_blobs_are_no_entries(store: Store) -> None:
    put_blob(store, b"something")
    assert read_journal(store) == Journal()
