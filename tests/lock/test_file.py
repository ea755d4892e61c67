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
from builder.lock.file import Change, Lock, LockedLayer, LockedPlatform, changes, parse_lock, read_lock
from builder.lock.pins import Artifact

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")

digests = st.binary(max_size=8).map(Digest.of)
words = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
lines = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
names = st.from_regex(r"[a-z0-9][a-z0-9+.-]{0,9}", fullmatch=True)
files = lines.map(lambda text: "a" + text.replace("/", "").replace("\\", ""))
sizes = st.integers(0, 2**40)
artifacts = st.builds(Artifact, st.just("wheel"), names, lines, files, digests, sizes, lines)
conda_packages = st.builds(
    Artifact,
    st.just("conda"),
    st.from_regex(r"[a-z0-9_][a-z0-9_.-]{0,9}", fullmatch=True),
    lines,
    files,
    digests,
    sizes,
    channel=st.sampled_from(["conda-forge", "conda-forge/label/dev"]),
    subdir=st.sampled_from(["linux-64", "noarch"]),
)
jar_names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,9}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,9}){1,2}", fullmatch=True)
jars = st.builds(
    Artifact,
    st.just("jar"),
    jar_names,
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,9}", fullmatch=True),
    files,
    digests,
    sizes,
    folder=st.sampled_from(["/app/lib", "/opt/jars of ours"]),
)
layers = st.builds(
    LockedLayer,
    st.sampled_from(["deb", "wheel", "conda"]),
    digests.map(lambda digest: digest.hex),
    digests,
    sizes,
    digests,
    st.lists(st.from_regex(r"[a-z0-9][a-z0-9.-]{0,9}", fullmatch=True), max_size=3).map(tuple),
)
platforms = st.builds(
    LockedPlatform,
    st.just(AMD64),
    st.sampled_from(["3.11.2", "3.14.0~rc1"]),
    lines,
    lines,
    st.just(()),
    st.lists(artifacts, max_size=3, unique_by=lambda one: one.name).map(
        lambda ones: tuple(sorted(ones, key=lambda o: o.name))
    ),
    st.lists(layers, max_size=3).map(tuple),
    conda=st.lists(conda_packages, max_size=3, unique_by=lambda one: one.name).map(
        lambda ones: tuple(sorted(ones, key=lambda o: o.name))
    ),
    jars=st.lists(jars, max_size=3, unique_by=lambda one: one.name).map(
        lambda ones: tuple(sorted(ones, key=lambda o: o.name))
    ),
)
locks = st.builds(
    Lock,
    lines,
    st.dictionaries(words, digests, max_size=3),
    st.dictionaries(words, digests, max_size=3),
    st.dictionaries(words, lines, max_size=3),
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


def conda(**changed: str) -> Lock:
    one = Artifact("conda", "_libgcc_mutex", "0.1", "_libgcc_mutex-0.1-main.tar.bz2", Digest.of(b""), 1,
                   channel="conda-forge", subdir="linux-64")  # fmt: skip
    return replace(
        lock(), platforms=(LockedPlatform(AMD64, "", "2.36", "", (), (), (), conda=(replace(one, **changed),)),)
    )


def test_an_environment_need_not_have_a_python(tmp_path: Path) -> None:
    path = tmp_path / "lockship.lock"
    conda().write(path)
    assert read_lock(path) == conda()
    replace(lock(), platforms=(LockedPlatform(AMD64, "", "2.36", "", (), (), ()),)).write(path)
    with pytest.raises(StaleLockError, match="is damaged"):
        read_lock(path)


@pytest.mark.parametrize(
    "changed",
    [
        {"channel": "https://host/forge"},
        {"channel": "../x"},
        {"subdir": "../.."},
        {"name": "a/b"},
        {"file": "../a.conda"},
    ],
)
def test_hostile_conda_packages(tmp_path: Path, changed: dict[str, str]) -> None:
    path = tmp_path / "lockship.lock"
    conda(**changed).write(path)
    with pytest.raises(StaleLockError, match="is damaged"):
        read_lock(path)


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


GOOD = LockedLayer("wheel", "0" * 64, Digest.of(b"a"), 5, Digest.of(b"b"), ("demo",))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("size = 10", "size = -10"),
        ("size = 10", 'size = "10"'),
        ("size = 10", "size = 10.5"),
        ("size = 10", "size = true"),
        ("size = 5", "size = -1"),
        ('file = "demo', 'file = "../../demo'),
        ('file = "demo', 'file = "/etc/demo'),
        ('file = "demo', 'file = ".demo'),
        ('file = "demo', 'file = "a\\\\demo'),
        ('file = "demo', 'file = "a\\ndemo'),
        ('name = "demo"', 'name = "../demo"'),
        ('name = "demo"', "name = 5"),
        ('holds = ["demo"]', 'holds = ["a b"]'),
        ('holds = ["demo"]', "holds = 5"),
        ('key = "0', 'key = "x'),
        ('kind = "wheel"', 'kind = "system"'),
        ('python = "3.11.2"', "python = 3.11"),
        ('python = "3.11.2"', 'python = "3.11/../../x"'),
        ('sha256 = "', 'sha256 = "zz'),
        ('digest = "sha256:', 'digest = "md5:'),
        ('"linux/amd64"', '"windows/amd64"'),
        ("[tools]", "[tools]\nnumber = 5"),
        ("[inputs]", "[inputs]\nnumber = 5"),
        ('name = "debian:bookworm"', "name = []"),
    ],
)
def test_a_hostile_lock_with_a_right_checksum_is_refused(tmp_path: Path, before: str, after: str) -> None:
    one = lock(wheel("demo", "1"), on=(AMD64,))
    text = replace(one, platforms=(replace(one.platforms[0], layers=(GOOD,)),)).render().decode()
    assert before in text
    head, _, body = text.replace(before, after).partition('checksum = "')
    body = body.partition("\n")[2]
    path = tmp_path / "lockship.lock"
    path.write_text(f'{head}checksum = "{Digest.of(body.encode())}"\n{body}')
    with pytest.raises(StaleLockError, match="is damaged") as caught:
        read_lock(path)
    assert "lockship lock" in (caught.value.hint or "")


def test_a_lock_that_is_a_folder_or_nests_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "lockship.lock"
    path.mkdir()
    with pytest.raises(StaleLockError, match="cannot be read"):
        read_lock(path)
    path.rmdir()
    path.write_text("a = " + "[" * 100_000)
    with pytest.raises(StaleLockError, match="is damaged"):
        read_lock(path)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("com.acme:churn", "../churn"),
        ("com.acme:churn", "com.acme:.."),
        ('version = "1.0"', 'version = "../1.0"'),
        ("/app/lib", "app/lib"),
        ("/app/lib", "/app/../etc"),
        ("/app/lib", "/app//lib"),
        ("churn-1.0.jar", "../churn.jar"),
    ],
)
def test_a_jar_from_anybody_s_lock_names_no_other_place(tmp_path: Path, was: str, becomes: str) -> None:
    """Names become addresses and paths."""
    jar = Artifact("jar", "com.acme:churn", "1.0", "churn-1.0.jar", Digest.of(b"jar"), 3, folder="/app/lib")
    one = replace(lock(), platforms=(LockedPlatform(AMD64, "3.11.2", "2.36", "", (), (), (), jars=(jar,)),))
    text = one.render().decode()
    assert parse_lock(text.encode()) == one
    head, _, body = text.partition("[inputs]")
    body = "\n[inputs]" + body.replace(was, becomes)
    checksum = next(line for line in head.splitlines() if line.startswith("checksum"))
    forged = head.replace(checksum, f'checksum = "{Digest.of(body.encode())}"').removesuffix("\n") + body
    with pytest.raises(StaleLockError, match="is damaged"):
        parse_lock(forged.encode())
