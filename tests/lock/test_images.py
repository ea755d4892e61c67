"""A base image in the lock: written, read back, and refused when it isn't what was written."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.content import MEDIA_LAYER_GZIP, MEDIA_LAYER_TAR, Digest, Platform
from builder.errors import LockshipError, StaleLockError
from builder.lock import images
from builder.lock.file import Change, Lock, LockedPlatform, changes, read_lock
from builder.lock.images import BaseFolder, BaseImage, BaseLayer

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")

digests = st.binary(max_size=8).map(Digest.of)
texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
lines = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
paths = st.from_regex(r"[a-z]{1,3}(/[a-zé .]{1,3}[a-z]){0,2}", fullmatch=True)
sizes = st.integers(0, 2**40)
bases = st.builds(
    BaseImage,
    digest=digests,
    interpreter=paths.map(lambda path: f"/{path}"),
    build=lines,
    layers=st.lists(
        st.builds(BaseLayer, digests, sizes, digests, st.sampled_from([MEDIA_LAYER_GZIP, MEDIA_LAYER_TAR]), lines),
        max_size=3,
    ).map(tuple),
    env=st.lists(texts.map(lambda value: f"A={value}"), max_size=3).map(tuple),
    user=lines,
    entrypoint=st.lists(texts, max_size=3).map(tuple),
    labels=st.dictionaries(texts, texts, max_size=3),
    ports=st.lists(st.sampled_from(["80/tcp", "53/udp", "8000-8010/tcp"]), max_size=2).map(tuple),
    volumes=st.lists(texts, max_size=2).map(tuple),
    stop_signal=lines,
    owns_venv=st.booleans(),
    links=st.dictionaries(paths, texts, max_size=3),
    folders=st.lists(
        st.builds(BaseFolder, paths, st.integers(0, 0o7777), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
        max_size=3,
        unique_by=lambda one: one.path,
    ).map(lambda ones: tuple(sorted(ones, key=lambda one: one.path))),
)

BASE = BaseImage(
    Digest.of(b"manifest"),
    "/usr/local/bin/python3.11",
    "3.11.9",
    (BaseLayer(Digest.of(b"blob"), 4, Digest.of(b"tar"), created_by="RUN x"),),
    env=("PATH=/usr/local/bin",),
    ports=("80/tcp",),
    links={"bin": "usr/bin"},
    folders=(BaseFolder("root", 0o700, 0, 0),),
)


def lock(base: BaseImage, *platforms: Platform, name: str = "docker.io/library/python:3.11-slim") -> Lock:
    locked = tuple(LockedPlatform(one, "3.11.9", "2.36", "3.11.9", (), (), (), base) for one in platforms or (AMD64,))
    return Lock(name, {}, {}, {}, locked, {}, Digest.of(b"index"), {ARM64: Digest.of(b"arm64")})


@given(bases)
def test_what_is_written_reads_back(tmp_path_factory: pytest.TempPathFactory, base: BaseImage) -> None:
    path = tmp_path_factory.mktemp("lock") / "lockship.lock"
    lock(base).write(path)
    assert read_lock(path) == lock(base)


def test_one_fact_per_line() -> None:
    text = lock(BASE).render().decode()
    assert '[platform."linux/amd64".base]\n' in text
    assert 'env = [\n  "PATH=/usr/local/bin",\n]\n' in text
    assert '  { path = "root", mode = "0700", uid = 0, gid = 0 },\n' in text
    assert f'[interpreter."linux/arm64"]\nimage = "{Digest.of(b"arm64")}"\n' in text
    assert f'[base]\nname = "docker.io/library/python:3.11-slim"\ndigest = "{Digest.of(b"index")}"\n' in text
    assert tomllib.loads(text)


DAMAGE: list[tuple[str, Any]] = [
    ("interpreter", "usr/bin/python3"),
    ("interpreter", "/usr/../bin"),
    ("digest", "sha256:0"),
    ("env", ["no equals sign"]),
    ("env", "A=b"),
    ("env", ["A=\0"]),
    ("ports", ["80"]),
    ("ports", ["80/tcp; rm"]),
    ("user", "a\nb"),
    ("owns_venv", 1),
    ("links", [{"path": "/bin", "target": "usr/bin"}]),
    ("links", [{"path": "a//b", "target": "usr/bin"}]),
    ("folders", [{"path": "root", "mode": "777", "uid": 0, "gid": 0}]),
    ("folders", [{"path": "root", "mode": "0777", "uid": -1, "gid": 0}]),
    ("folders", [{"path": "root", "mode": "0777", "uid": 2**32, "gid": 0}]),
    ("layers", [{"digest": Digest.of(b""), "size": -1, "diff_id": Digest.of(b""), "media_type": MEDIA_LAYER_TAR}]),
    ("layers", [{"digest": Digest.of(b""), "size": 1, "diff_id": Digest.of(b""), "media_type": "x", "created_by": ""}]),
]


@pytest.mark.parametrize(("key", "value"), DAMAGE)
def test_what_is_not_what_stands_there(key: str, value: Any) -> None:
    table = tomllib.loads("\n".join(images.lines(BASE)))
    images.parse(table)
    with pytest.raises((ValueError, KeyError, TypeError, LockshipError)):
        images.parse(table | {key: value})


def test_a_damaged_base_is_a_stale_lock(tmp_path: Path) -> None:
    path = tmp_path / "lockship.lock"
    text = lock(BASE).render().decode().replace('"80/tcp"', '"eighty"')
    head, _, body = text.partition("checksum = ")
    body = body.partition("\n")[2]
    path.write_text(f'{head}checksum = "{Digest.of(body.encode())}"\n{body}')
    with pytest.raises(StaleLockError, match="is damaged: 'eighty'") as caught:
        read_lock(path)
    assert caught.value.exit_code == 3
    assert "lockship lock" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "damaged",
    [
        replace(lock(BASE), base_digest=None),
        replace(lock(BASE), platforms=(replace(lock(BASE).platforms[0], base=None),)),
        lock(BASE, name="https://me:secret@registry.test/base"),
    ],
)
def test_a_base_that_is_only_half_there(tmp_path: Path, damaged: Lock) -> None:
    damaged.write(tmp_path / "lockship.lock")
    with pytest.raises(StaleLockError, match="is damaged") as caught:
        read_lock(tmp_path / "lockship.lock")
    assert "secret" not in str(caught.value)


def test_changes_tell_when_the_base_moved() -> None:
    old, new = lock(BASE, AMD64, ARM64), lock(replace(BASE, digest=Digest.of(b"new")), AMD64, ARM64)
    assert changes(old, old) == ()
    assert changes(old, new) == (
        Change("base", old.base, str(BASE.digest), Digest.of(b"new"), ("linux/amd64", "linux/arm64")),
    )
    other = lock(BASE, AMD64, name="docker.io/lab/base:1")
    assert [(one.name, one.before, one.after) for one in changes(lock(BASE), other)] == [
        ("docker.io/lab/base:1", "", BASE.digest),
        ("docker.io/library/python:3.11-slim", BASE.digest, ""),
    ]


def test_a_lock_of_debian_packages_has_no_trace_of_this() -> None:
    text = Lock("debian:bookworm", {}, {}, {}, (LockedPlatform(AMD64, "3.11.2", "2.36", "", (), (), ()),)).render()
    assert re.sub(r'checksum = ".*"', "", text.decode()).split("\n")[3:] == [
        "",
        "[inputs]",
        "",
        "[outputs]",
        "",
        "[tools]",
        "",
        "[base]",
        'name = "debian:bookworm"',
        "",
        '[platform."linux/amd64"]',
        'python = "3.11.2"',
        'glibc = "2.36"',
        'bytecode = ""',
        "debs = [",
        "]",
        "wheels = [",
        "]",
        "layers = [",
        "]",
        "",
    ]
