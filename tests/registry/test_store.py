"""The contract of `Store`: what holds for every store there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.content import MEDIA_INDEX, MEDIA_MANIFEST, Digest
from builder.errors import RefusedError, StoreError, VerificationError
from builder.registry.store import Store
from tests.support.images import blob, index_of, put_blob, small_image
from tests.support.progress import Heard

pytestmark = pytest.mark.slow

ABSENT = Digest.of(b"absent")


def test_a_blob_comes_back(store: Store, new_store: Callable[[], Store]) -> None:
    data = bytes(range(256)) * 10_000
    descriptor = blob(data)
    assert not store.has_blob(descriptor.digest)
    store.write_blob(descriptor, [data[:100], b"", data[100:]])
    assert store.has_blob(descriptor.digest)
    assert b"".join(new_store().read_blob(descriptor.digest)) == data


def test_an_empty_blob(store: Store) -> None:
    descriptor = put_blob(store, b"")
    assert b"".join(store.read_blob(descriptor.digest)) == b""


def test_a_blob_that_is_there_is_not_read_again(store: Store) -> None:
    descriptor = put_blob(store, b"once")

    def never() -> Iterator[bytes]:
        raise AssertionError("read again")
        yield b""

    store.write_blob(descriptor, never())


def test_what_is_there_counts_as_done(store: Store, tmp_path: Path) -> None:
    """Or a progress bar would never get to its end."""
    file = tmp_path / "file"
    file.write_bytes(b"once")
    heard = Heard()
    for _ in range(2):
        with heard.task("writing", 8) as task:
            store.write_blob(blob(b"once"), [b"once"], task=task)
            store.add_file(blob(b"once"), file, task=task)
    assert [step.done for step in heard.steps] == [8, 8]


def test_a_blob_that_is_not_there(store: Store) -> None:
    assert not store.has_blob(ABSENT)
    with pytest.raises(StoreError, match=ABSENT):
        list(store.read_blob(ABSENT))


@pytest.mark.parametrize("data", [b"lies", b"truth, and more", b""])
def test_other_bytes_than_announced_are_refused(store: Store, data: bytes) -> None:
    descriptor = blob(b"truth")
    with pytest.raises(VerificationError) as caught:
        store.write_blob(descriptor, [data])
    assert caught.value.exit_code == 6
    assert not store.has_blob(descriptor.digest)


def test_a_write_that_breaks_off_leaves_nothing(store: Store) -> None:
    descriptor = blob(b"whole")

    def broken() -> Iterator[bytes]:
        yield b"who"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write_blob(descriptor, broken())
    assert not store.has_blob(descriptor.digest)
    store.write_blob(descriptor, [b"whole"])
    assert b"".join(store.read_blob(descriptor.digest)) == b"whole"


@pytest.mark.parametrize("mode", [0o444, 0o644])
def test_a_file_comes_back(store: Store, tmp_path: Path, mode: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    file.chmod(mode)
    descriptor = blob(b"content")
    store.add_file(descriptor, file)
    store.add_file(descriptor, file)
    assert b"".join(store.read_blob(descriptor.digest)) == b"content"


def test_a_file_may_be_edited_afterwards(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_bytes(b"content")
    store.add_file(blob(b"content"), file)
    with file.open("r+b") as handle:
        handle.write(b"CONTENT")
    assert b"".join(store.read_blob(Digest.of(b"content"))) == b"content"


def test_a_file_of_another_size_or_none_is_refused(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"longer than announced")
    with pytest.raises(VerificationError):
        store.add_file(blob(b"content"), file)
    with pytest.raises(StoreError):
        store.add_file(blob(b"content"), tmp_path / "none")
    assert not store.has_blob(Digest.of(b"content"))


def test_a_manifest_comes_back_by_tag_and_digest(store: Store, new_store: Callable[[], Store]) -> None:
    image = small_image(store)
    store.put_manifest(image.descriptor, image.data, tag="1.0")
    for reference in ("1.0", image.descriptor.digest):
        found = new_store().manifest(reference)
        assert found is not None
        assert found.data == image.data
        assert found.descriptor.media_type == MEDIA_MANIFEST
        assert (found.descriptor.digest, found.descriptor.size) == (image.descriptor.digest, image.descriptor.size)
    assert new_store().tags() == {"1.0": image.descriptor.digest}
    assert new_store().tag_names() == ["1.0"]


def test_an_index_and_its_children(store: Store) -> None:
    first, second = small_image(store, "a"), small_image(store, "b")
    for image in (first, second):
        store.put_manifest(image.descriptor, image.data)
    index = index_of(first, second)
    store.put_manifest(index.descriptor, index.data, tag="1.0")
    found = store.manifest("1.0")
    assert found is not None
    assert found.descriptor.media_type == MEDIA_INDEX
    assert store.tags() == {"1.0": index.descriptor.digest}
    child = store.manifest(second.descriptor.digest)
    assert child is not None
    assert child.data == second.data


def test_what_is_not_there_is_none(store: Store) -> None:
    assert store.manifest("none") is None
    assert store.manifest(ABSENT) is None
    assert store.tags() == {}
    assert store.referrers(ABSENT) == ()


def test_a_version_never_changes(store: Store) -> None:
    first, second = small_image(store, "a"), small_image(store, "b")
    store.put_manifest(first.descriptor, first.data, tag="1.0")
    store.put_manifest(first.descriptor, first.data, tag="1.0")
    with pytest.raises(RefusedError, match=r"'1\.0' is taken") as caught:
        store.put_manifest(second.descriptor, second.data, tag="1.0")
    assert caught.value.exit_code == 7
    assert caught.value.hint is not None
    assert store.tags() == {"1.0": first.descriptor.digest}


def test_a_stage_moves(store: Store) -> None:
    first, second = small_image(store, "a"), small_image(store, "b")
    store.put_manifest(first.descriptor, first.data, tag="production", move=True)
    store.put_manifest(second.descriptor, second.data, tag="production", move=True)
    assert store.tags() == {"production": second.descriptor.digest}


def test_one_manifest_under_several_tags(store: Store) -> None:
    image = small_image(store)
    store.put_manifest(image.descriptor, image.data, tag="1.0")
    store.put_manifest(image.descriptor, image.data, tag="production")
    assert store.tags() == dict.fromkeys(("1.0", "production"), image.descriptor.digest)


@pytest.mark.parametrize("tag", ["", "a/b", "-a", "a:b", "x" * 129, "sha256:" + "0" * 64])
def test_what_is_no_tag(store: Store, tag: str) -> None:
    image = small_image(store)
    with pytest.raises(StoreError, match="not a tag"):
        store.put_manifest(image.descriptor, image.data, tag=tag)


def test_a_manifest_with_a_hole_is_refused(store: Store) -> None:
    image = small_image(store)
    store.delete(Digest.of(b"layer a"))
    with pytest.raises(StoreError, match="not there"):
        store.put_manifest(image.descriptor, image.data, tag="1.0")
    assert store.tags() == {}


def test_what_is_no_manifest_is_refused(store: Store) -> None:
    strange = '{"schemaVersion":2,"layers":[],"mediaType":"%s"}'
    for data in (
        b"{}",
        b"not json",
        b"[]",
        b'{"schemaVersion":2,"layers":[{"digest":"md5:x","size":1}]}',
        (strange % "a/b\\nX-Header: c").encode(),
        (strange % "a/bé").encode(),
    ):
        with pytest.raises(VerificationError):
            store.put_manifest(blob(data, MEDIA_MANIFEST), data, tag="1.0")
    layer = put_blob(store, b"just a layer")
    assert store.manifest(layer.digest) is None


def test_other_manifest_bytes_than_announced_are_refused(store: Store) -> None:
    first, second = small_image(store, "a"), small_image(store, "b")
    with pytest.raises(VerificationError):
        store.put_manifest(first.descriptor, second.data, tag="1.0")
    assert store.tags() == {}


def test_referrers(store: Store, new_store: Callable[[], Store]) -> None:
    image = small_image(store)
    store.put_manifest(image.descriptor, image.data, tag="1.0")
    notes = [small_image(store, text, subject=image.descriptor) for text in ("x", "y")]
    for note in notes:
        store.put_manifest(note.descriptor, note.data)
        store.put_manifest(note.descriptor, note.data)
    tagged = small_image(store, "z", subject=image.descriptor)
    store.put_manifest(tagged.descriptor, tagged.data, tag="note")
    found = new_store().referrers(image.descriptor.digest)
    assert [entry.digest for entry in found] == sorted(m.descriptor.digest for m in (*notes, tagged))
    assert {entry.artifact_type for entry in found} == {"application/vnd.example.note"}
    assert {entry.annotations["about"] for entry in found} == {"x", "y", "z"}
    assert new_store().tags().keys() == {"1.0", "note"}
    assert new_store().tag_names() == ["1.0", "note"]


def test_a_referrer_may_come_before_its_subject(store: Store) -> None:
    image = small_image(store)
    note = small_image(store, "x", subject=image.descriptor)
    store.put_manifest(note.descriptor, note.data)
    assert [entry.digest for entry in store.referrers(image.descriptor.digest)] == [note.descriptor.digest]


def test_deleting_a_manifest_drops_all_its_tags(store: Store) -> None:
    image, other = small_image(store, "a"), small_image(store, "b")
    for tag in ("1.0", "production"):
        store.put_manifest(image.descriptor, image.data, tag=tag)
    store.put_manifest(other.descriptor, other.data, tag="2.0")
    store.delete(image.descriptor.digest)
    store.delete(image.descriptor.digest)
    assert store.manifest(image.descriptor.digest) is None
    assert store.tags() == {"2.0": other.descriptor.digest}
    assert store.has_blob(Digest.of(b"layer a"))


def test_deleting_a_blob(store: Store) -> None:
    descriptor = put_blob(store, b"gone")
    store.delete(descriptor.digest)
    assert not store.has_blob(descriptor.digest)
    store.delete(ABSENT)
