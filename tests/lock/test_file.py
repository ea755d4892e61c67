"""lockship.lock: written, read back, and refused when it isn't what was written."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.content import Digest, Platform
from builder.errors import LockError, StaleLockError
from builder.lock.file import Change, Lock, LockedLayer, LockedPlatform, changes, read_lock
from builder.lock.pins import Artifact

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")

digests = st.binary(max_size=8).map(Digest.of)
words = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
artifacts = st.builds(Artifact, st.just("wheel"), words, words, words, digests, st.integers(0, 2**40), words)
layers = st.builds(
    LockedLayer, words, words, digests, st.integers(0, 2**40), digests, st.lists(words, max_size=3).map(tuple)
)
platforms = st.builds(
    LockedPlatform,
    st.just(AMD64),
    words,
    words,
    words,
    st.just(()),
    st.lists(artifacts, max_size=3, unique_by=lambda one: one.name).map(
        lambda ones: tuple(sorted(ones, key=lambda o: o.name))
    ),
    st.lists(layers, max_size=3).map(tuple),
)
locks = st.builds(
    Lock,
    words,
    st.dictionaries(words, digests, max_size=3),
    st.dictionaries(words, digests, max_size=3),
    st.dictionaries(words, words, max_size=3),
    platforms.map(lambda one: (one,)),
)


def wheel(name: str, version: str) -> Artifact:
    file = f"{name}-{version}-py3-none-any.whl"
    return Artifact("wheel", name, version, file, Digest.of(file.encode()), 10)


def lock(*wheels: Artifact, on: tuple[Platform, ...] = (AMD64, ARM64)) -> Lock:
    return Lock(
        "debian:bookworm",
        {"requirements.in": Digest.of(b"in")},
        {},
        {"uv": "1"},
        tuple(LockedPlatform(one, "3.11.2", "2.36", "", (), wheels, ()) for one in on),
    )


@given(locks)
def test_what_is_written_reads_back(tmp_path_factory: pytest.TempPathFactory, one: Lock) -> None:
    path = tmp_path_factory.mktemp("lock") / "lockship.lock"
    one.write(path)
    tomllib.loads(path.read_text())
    assert read_lock(path) == one


def test_no_lock_is_none(tmp_path: Path) -> None:
    assert read_lock(tmp_path / "lockship.lock") is None


def test_one_line_per_artifact(tmp_path: Path) -> None:
    before = lock(wheel("a", "1"), wheel("b", "1")).render().decode().splitlines()
    after = lock(wheel("a", "1"), wheel("b", "2")).render().decode().splitlines()
    moved = {line for line in after if line not in before}
    assert len(moved) == 2  # the checksum and b; b's line is the same on both platforms


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("3.11.2", "3.11.3"),
        lambda text: text + "\n",
        lambda text: text.replace('uv = "1"', 'uv = "2"'),
        lambda text: text.replace("# Written", "# Edited"),
    ],
)
def test_an_edited_lock_is_refused(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "lockship.lock"
    path.write_text(damage(lock(wheel("a", "1")).render().decode()))  # type: ignore[operator]
    with pytest.raises(StaleLockError, match="changed by hand") as caught:
        read_lock(path)
    assert "lockship lock" in (caught.value.hint or "")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("content", [b"", b"format = 1", b"<<<<<<< HEAD\n", b"\xff\xfe", b"format = 'x'\n"])
def test_a_damaged_lock_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lockship.lock"
    path.write_bytes(content)
    with pytest.raises(StaleLockError) as caught:
        read_lock(path)
    assert "lockship lock" in (caught.value.hint or "")


def test_a_newer_lock_asks_for_a_newer_lockship(tmp_path: Path) -> None:
    path = tmp_path / "lockship.lock"
    path.write_text(lock().render().decode().replace("format = 1", "format = 2", 1))
    with pytest.raises(LockError, match="format 2, this lockship reads up to 1") as caught:
        read_lock(path)
    assert caught.value.hint == "upgrade lockship"
    assert not isinstance(caught.value, StaleLockError)  # locking again must not replace it unasked


def test_changes_are_told_once_for_all_platforms() -> None:
    old = lock(wheel("gone", "1"), wheel("moved", "1"), wheel("same", "1"))
    new = lock(wheel("came", "3"), wheel("moved", "2"), wheel("same", "1"))
    both = (str(AMD64), str(ARM64))
    assert changes(old, new) == (
        Change("wheel", "came", "", "3", both),
        Change("wheel", "gone", "1", "", both),
        Change("wheel", "moved", "1", "2", both),
    )
    assert changes(new, new) == ()


def test_a_change_on_one_platform_names_it() -> None:
    old = lock(wheel("a", "1"))
    new = replace(old, platforms=(old.platforms[0], replace(old.platforms[1], wheels=(wheel("a", "2"),))))
    assert changes(old, new) == (Change("wheel", "a", "1", "2", (str(ARM64),)),)


def test_a_platform_that_is_not_locked_is_an_error() -> None:
    with pytest.raises(StaleLockError, match="linux/arm64"):
        lock(on=(AMD64,)).platform(ARM64)
