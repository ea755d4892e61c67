from __future__ import annotations

import errno
import multiprocessing
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder.cache import Cache, cache_root, storage_error
from builder.content import Digest
from builder.errors import StoreError, UsageError, VerificationError
from tests.support.folders import full_disk, read_only

KEY = "0" * 64


def put(cache: Cache, data: bytes) -> Digest:
    with cache.writer() as writer:
        writer.write(data)
        return writer.commit()


def files(cache: Cache) -> list[Path]:
    return sorted(path for path in cache.root.rglob("*") if path.is_file())


def test_where_it_is(tmp_path: Path) -> None:
    assert cache_root({"LOCKSHIP_CACHE": str(tmp_path)}) == tmp_path
    assert cache_root({"LOCKSHIP_CACHE": "here"}) == Path.cwd() / "here"
    assert cache_root({"LOCKSHIP_CACHE": "~/x"}) == Path.home() / "x"
    assert cache_root({"LOCKSHIP_CACHE": ""}).name == "lockship"
    assert cache_root({}).name == "lockship"


def test_where_it_cannot_be() -> None:
    with pytest.raises(UsageError, match="LOCKSHIP_CACHE names no folder: ~nobody-of-that-name/x"):
        cache_root({"LOCKSHIP_CACHE": "~nobody-of-that-name/x"})


def test_bytes_are_kept_under_their_digest(cache: Cache) -> None:
    digest = Digest.of(b"hello")
    assert cache.blob(digest) is None
    with cache.writer() as writer:
        writer.write(b"hel")
        writer.write(memoryview(b"lo"))
        assert writer.size == 5
        assert cache.blob(digest) is None, "not before it is committed"
        assert writer.commit(digest) == digest
    path = cache.blob(digest)
    assert path is not None
    assert path.read_bytes() == b"hello"
    assert stat.S_IMODE(path.stat().st_mode) == 0o444, "nobody changes it by mistake"
    cache.forget(digest)
    cache.forget(digest)
    assert cache.blob(digest) is None


def test_other_bytes_than_expected_are_not_kept(cache: Cache) -> None:
    with pytest.raises(VerificationError, match="expected sha256:") as caught, cache.writer() as writer:
        writer.write(b"tampered with")
        writer.commit(Digest.of(b"original"))
    assert caught.value.exit_code == 6
    assert "13 bytes" in caught.value.message
    assert files(cache) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_is_not_committed_is_thrown_away(cache: Cache, error: type[BaseException]) -> None:
    with pytest.raises(error), cache.writer() as writer:
        writer.write(b"half of someth")
        raise error
    assert files(cache) == []
    with cache.writer() as writer:
        writer.write(b"changed my mind")
    assert files(cache) == []


def test_a_file_is_adopted(cache: Cache, tmp_path: Path) -> None:
    path = tmp_path / "wheel.whl"
    path.write_bytes(b"x" * (3 << 20))
    digest = cache.adopt(path)
    assert digest == Digest.of(path.read_bytes())
    assert cache.blob(digest) is not None
    with pytest.raises(VerificationError):
        cache.adopt(path, Digest.of(b"other"))


def test_records(cache: Cache) -> None:
    assert cache.record(KEY) is None
    cache.put_record(KEY, {"digest": "x", "size": 1})
    assert cache.record(KEY) == {"digest": "x", "size": 1}
    cache.put_record(KEY, {"digest": "y"})
    assert cache.record(KEY) == {"digest": "y"}


@pytest.mark.parametrize("content", [b"", b'{"digest": "x', b"[]", b'"x"', b"\xff\xfe", b"\0" * 100, b"[" * 100_000])
def test_a_damaged_record_counts_as_none(cache: Cache, content: bytes) -> None:
    cache.put_record(KEY, {"digest": "x"})
    (cache.root / "keys" / KEY).write_bytes(content)
    assert cache.record(KEY) is None
    cache.put_record(KEY, {"digest": "again"})
    assert cache.record(KEY) == {"digest": "again"}


def test_a_record_holds_for_its_own_key_and_bytes_alone(cache: Cache) -> None:
    """A wrong digit in a record would be a wrong image."""
    cache.put_record(KEY, {"digest": "x", "size": 12345})
    written = cache.root / "keys" / KEY
    other = written.with_name("1" * 64)
    other.write_bytes(written.read_bytes())
    assert cache.record("1" * 64) is None
    written.write_bytes(written.read_bytes().replace(b"12345", b"12344"))
    assert cache.record(KEY) is None


def test_a_blob_that_went_bad_is_found_and_dropped(cache: Cache) -> None:
    digest = put(cache, b"some bytes")
    path = cache.checked(digest)
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(b"some bytez")
    with pytest.raises(VerificationError, match=digest) as caught:
        cache.checked(digest)
    assert "again" in (caught.value.hint or "")
    assert cache.checked(digest) is None


def test_what_passes_through_is_seen_by_nobody_else_and_goes(cache: Cache) -> None:
    with cache.passing() as passing:
        digest = put(passing, b"mine")
        assert passing.blob(digest) is not None
        assert cache.blob(digest) is None
        with cache.passing() as other:
            assert other.blob(digest) is None
    assert files(cache) == []


def _many_times(root: Path, number: int) -> list[str]:
    cache = Cache(root)
    digests = []
    for round_ in range(20):
        digests.append(str(put(cache, bytes([round_]) * 100_000)))
        cache.put_record(KEY, {"number": number, "padding": "x" * 5000})
        assert cache.record(KEY) is not None
    return digests


def test_processes_that_write_the_same_at_once(cache: Cache) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        results = pool.starmap(_many_times, [(cache.root, number) for number in range(3)])
    assert results[0] == results[1] == results[2]
    for digest in results[0]:
        path = cache.blob(Digest(digest))
        assert path is not None
        assert Digest.of(path.read_bytes()) == digest
    assert len(files(cache)) == 21, "the blobs and the record, nothing else"


def test_a_tree_is_there_whole_or_not_at_all(cache: Cache) -> None:
    with pytest.raises(RuntimeError), cache.folder("trees", KEY) as (path, there):
        assert not there
        (path / "half").write_text("")
        raise RuntimeError
    assert list((cache.root / "trees").iterdir()) == []
    with cache.folder("trees", KEY) as (path, there):
        assert not there
        (path / "whole").write_text("x")
    with cache.folder("trees", KEY) as (path, there):
        assert there
        assert path == cache.root / "trees" / KEY
        assert (path / "whole").read_text() == "x"
        assert stat.S_IMODE(path.stat().st_mode) == 0o755


def test_two_that_fill_the_same_tree(cache: Cache) -> None:
    def fill(number: int) -> bool:
        with cache.folder("trees", KEY) as (path, there):
            if not there:
                (path / "who").write_text(str(number))
        return there

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fill, range(40)))
    assert [path.name for path in (cache.root / "trees").iterdir()] == [KEY]
    assert [path.name for path in (cache.root / "trees" / KEY).iterdir()] == ["who"]


def _write_blob(cache: Cache) -> None:
    put(cache, b"x" * (2 << 20))


def _write_record(cache: Cache) -> None:
    cache.put_record(KEY, {"padding": "x" * (2 << 20)})


def _make_tree(cache: Cache) -> None:
    with cache.folder("trees", KEY):
        pass


@pytest.mark.parametrize("write", [_write_blob, _write_record])
def test_a_full_disk(tmp_path: Path, write: Callable[[Cache], None]) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    with full_disk(folder, 1 << 20):
        cache = Cache(folder)
        kept = put(cache, b"from before")
        with pytest.raises(StoreError) as caught:
            write(cache)
        assert caught.value.exit_code == 5
        assert caught.value.message == f"cannot write in {folder}: No space left on device"
        assert caught.value.hint == "free some space, or name another folder with LOCKSHIP_CACHE"
        path = cache.blob(kept)
        assert path is not None
        assert files(cache) == [path], "nothing half-written"
        put(cache, b"there is room again")


@pytest.mark.parametrize("write", [_write_blob, _write_record, _make_tree])
def test_a_read_only_cache(tmp_path: Path, write: Callable[[Cache], None]) -> None:
    cache = Cache(tmp_path / "cache")
    digest = put(cache, b"from before")
    cache.put_record(KEY, {"digest": "x"})
    with read_only(cache.root / "blobs" / "sha256"), read_only(cache.root / "keys"), read_only(cache.root):
        with pytest.raises(StoreError) as caught:
            write(cache)
        assert caught.value.exit_code == 5
        assert caught.value.message.startswith(f"cannot write in {cache.root}: ")
        assert caught.value.hint == "name a writable folder with LOCKSHIP_CACHE"
        assert cache.blob(digest) is not None, "it can still be read"
        assert cache.record(KEY) == {"digest": "x"}
        cache.forget(digest)


def test_a_cache_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(StoreError, match="cannot write in"):
        put(Cache(tmp_path / "cache"), b"x")


@pytest.mark.parametrize("number", [errno.EIO, errno.ENAMETOOLONG, None])
def test_any_other_error_has_a_message_and_advice(tmp_path: Path, number: int | None) -> None:
    error = OSError(number, "boom") if number else OSError("boom")
    found = storage_error(error, tmp_path, "write")
    assert "boom" in found.message
    assert found.hint == "name a writable folder with LOCKSHIP_CACHE"
