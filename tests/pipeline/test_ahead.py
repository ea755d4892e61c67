"""Layers come ahead of their reader: in order, whole, bounded, and nothing stays behind."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.content import Digest
from builder.errors import StoreError, VerificationError
from builder.parallel import Stop
from builder.pipeline.ahead import Ahead
from builder.registry.layout import Layout
from tests.support.images import put_blob


class Watched(Layout):
    """Tells what is being read, and holds back what it is told to."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.begun: list[Digest] = []
        self.held: dict[Digest, threading.Event] = {}
        self.fails: set[Digest] = set()

    def read_blob(self, digest: Digest, *, start: int = 0) -> Iterator[bytes]:
        self.begun.append(digest)
        data = b"".join(super().read_blob(digest, start=start))
        yield data[: len(data) // 2]
        if digest in self.held:
            assert self.held[digest].wait(30)
        if digest in self.fails:
            raise StoreError("the connection broke")
        yield data[len(data) // 2 :]


@pytest.fixture
def store(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "store")


def layers(store: Layout, *sizes: int) -> list[tuple[Digest, int]]:
    return [(put_blob(store, os.urandom(size)).digest, size) for size in sizes]


def whole(source: Ahead | Layout, digest: Digest) -> None:
    assert Digest.of(b"".join(source.read_blob(digest))) == digest


def test_everything_comes_in_order(store: Watched) -> None:
    made = layers(store, 10, 3_000_000, 1, 500_000, 70_000)
    other = put_blob(store, b"a configuration").digest
    with Ahead(store, made, Stop()) as ahead:
        whole(ahead, other)
        for digest, _ in made:
            whole(ahead, digest)
    assert sorted(store.begun) == sorted([other, *(digest for digest, _ in made)])


def test_nothing_is_fetched_before_somebody_reads_and_nothing_below_that(store: Watched) -> None:
    made = layers(store, 10, 20, 30, 40)
    with Ahead(store, made, Stop()) as ahead:
        assert store.begun == []
        whole(ahead, made[2][0])
        whole(ahead, made[3][0])
    assert set(store.begun) == {made[2][0], made[3][0]}


def test_the_next_ones_come_while_this_one_is_read(store: Watched) -> None:
    made = layers(store, 1000, 1000, 1000)
    store.held[made[0][0]] = threading.Event()
    with Ahead(store, made, Stop(), threads=3) as ahead:
        reading = ahead.read_blob(made[0][0])
        assert len(next(reading)) == 500  # as it comes, not only when it is whole
        while len(store.begun) < 3:
            pass
        store.held[made[0][0]].set()
        assert sum(map(len, reading)) == 500
        whole(ahead, made[1][0])
        whole(ahead, made[2][0])


def test_room_and_threads_are_bounded(store: Watched) -> None:
    made = layers(store, 1000, 1000, 1000, 5000, 1000)
    for digest, _ in made:
        store.held[digest] = threading.Event()
    with Ahead(store, made, Stop(), room=2000, threads=8) as ahead:
        reading = ahead.read_blob(made[0][0])
        next(reading)
        assert set(store.begun) <= {made[0][0], made[1][0]}
        for event in store.held.values():
            event.set()
        assert sum(map(len, reading)) == 500
        for digest, _ in made[1:]:
            whole(ahead, digest)  # the fourth is larger than the room, and comes when it is asked for
    assert len(store.begun) == 5


def test_a_second_round_from_below(store: Watched) -> None:
    """As when an engine wants every layer after all."""
    made = layers(store, 10, 20, 30)
    with Ahead(store, made, Stop()) as ahead:
        for digest, _ in (*made[1:], *made):
            whole(ahead, digest)


def test_a_failure_reaches_whoever_reads(store: Watched) -> None:
    made = layers(store, 10, 20, 30)
    store.fails.add(made[1][0])
    with Ahead(store, made, Stop()) as ahead:
        whole(ahead, made[0][0])
        with pytest.raises(StoreError, match="broke"):
            whole(ahead, made[1][0])


def test_more_than_was_announced_is_refused(store: Watched) -> None:
    [(digest, _)] = layers(store, 5000)
    with Ahead(store, [(digest, 4000)], Stop()) as ahead, pytest.raises(VerificationError, match="more than the 4,000"):
        whole(ahead, digest)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_leaving_early_ends_what_is_on_its_way(store: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    early = tmp_path / "early"
    early.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(early))
    opened = open_files()
    made = layers(store, 1000, 1000, 1000)
    stop = Stop()
    store.held = {digest: stop._event for digest, _ in made}  # held until told to stop
    with Ahead(store, made, stop) as ahead:
        reading = ahead.read_blob(made[0][0])
        next(reading)
        assert open_files() > opened
        reading.close()  # type: ignore[attr-defined]
    assert not [one for one in threading.enumerate() if one.name == "lockship-ahead"]
    assert list(early.iterdir()) == []
    assert open_files() == opened
