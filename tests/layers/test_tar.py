"""Tar headers: frozen bytes, and other programs that read them back."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builder.errors import ArtifactError
from builder.layers import tar
from tests.layers.golden import HERE, NET_RAW, describe, sample


def plain(entries: list[tar.Entry]) -> bytes:
    """A tar of entries whose content is bytes."""
    blocks = []
    for entry in entries:
        assert isinstance(entry.content, bytes)
        blocks += [tar.header(entry), entry.content, tar.padding(len(entry.content))]
    return b"".join([*blocks, tar.END])


def members(archive: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
        return opened.getmembers()


def read_one(entry: tar.Entry) -> tarfile.TarInfo:
    [member] = members(plain([entry]))
    return member


# golden


def test_headers_are_what_they_were() -> None:
    frozen = (HERE / "headers.txt").read_text(encoding="utf-8").splitlines()
    described = list(describe((HERE / "sample.tar").read_bytes()))
    assert described == frozen
    headers = b"".join(tar.header(entry) for entry in sample())
    # the frozen file without its contents: what a reader skips over
    archive = io.BytesIO((HERE / "sample.tar").read_bytes())
    kept = []
    for entry in sample():
        kept.append(archive.read(len(tar.header(entry))))
        size = entry.size if entry.kind is tar.Kind.FILE else 0
        archive.seek(size + len(tar.padding(size)), os.SEEK_CUR)
    assert archive.read() == tar.END
    assert headers == b"".join(kept)


# any entry reads back equal

_COMPONENT = st.text(
    st.characters(exclude_characters="/\0\\", exclude_categories=["Cs"]), min_size=1, max_size=60
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh.") and len(name.encode()) <= 255)
_LONG_COMPONENT = st.text("abcäß日", min_size=95, max_size=105).filter(lambda name: len(name.encode()) <= 255)
_PATH = (
    st.lists(_COMPONENT | _LONG_COMPONENT, min_size=1, max_size=8)
    .map("/".join)
    .filter(lambda path: len(path) <= 300 and path[1:2] != ":")
)
_ID = st.integers(0, 2**31 - 1)
_XATTRS = st.dictionaries(
    st.text("abcdefghijklmnopqrstuvwxyz._", min_size=1, max_size=20).map("user.{}".format), st.binary(max_size=40)
).map(lambda found: tuple(sorted(found.items())))


@st.composite
def _entry(draw: st.DrawFn) -> tar.Entry:
    kind = draw(st.sampled_from(tar.Kind))
    content = draw(st.binary(max_size=1500)) if kind is tar.Kind.FILE else b""
    return tar.Entry(
        path=draw(_PATH),
        kind=kind,
        mode=draw(st.integers(0, 0o7777)),
        size=len(content),
        link=draw(_PATH) if kind in (tar.Kind.SYMLINK, tar.Kind.HARDLINK) else "",
        content=content,
        uid=draw(_ID),
        gid=draw(_ID),
        xattrs=draw(_XATTRS),
    )


@given(st.lists(_entry(), max_size=6))
@example([tar.file("n" * 100, b"x"), tar.file("n" * 101, b"x"), tar.file("a/" + "n" * 99, b"x")])
@example([tar.directory("d" * 99), tar.directory("d" * 100), tar.directory("p" * 155 + "/" + "d" * 99)])
@example([tar.file("p" * 155 + "/" + "n" * 100, b""), tar.file("p" * 156 + "/" + "n" * 99, b"")])
@example([tar.symlink("a", "t" * 100), tar.symlink("b", "t" * 101)])
@example([tar.file("trailing space ", b""), tar.file("new\nline", b""), tar.file("quo\"te's", b"")])
def test_tarfile_reads_back_what_was_written(entries: list[tar.Entry]) -> None:
    archive = plain(entries)
    assert len(archive) % tar.BLOCK == 0
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
        found = opened.getmembers()
        assert len(found) == len(entries)
        for entry, member in zip(entries, found, strict=True):
            assert member.name == entry.path
            assert member.type == entry.kind.value
            assert member.mode == entry.mode
            assert (member.uid, member.gid) == (entry.uid, entry.gid)
            assert (member.uname, member.gname) == ("", "")
            assert member.mtime == tar.MTIME
            assert member.linkname == entry.link
            assert member.size == entry.size
            given_back = {key: value for key, value in member.pax_headers.items() if key.startswith("SCHILY.xattr.")}
            expected = {f"SCHILY.xattr.{key}": value for key, value in entry.xattrs}
            # tarfile decodes values as UTF-8 with surrogateescape
            assert {key: value.encode("utf-8", "surrogateescape") for key, value in given_back.items()} == expected
            if entry.kind is tar.Kind.FILE:
                content = opened.extractfile(member)
                assert content is not None
                assert content.read() == entry.content


@st.composite
def _extractable(draw: st.DrawFn) -> list[tar.Entry]:
    """Files, folders and links with modes that an extraction shows, arranged."""
    names = draw(st.dictionaries(_PATH, st.binary(max_size=600), max_size=5))
    entries = []
    for number, (path, data) in enumerate(names.items()):
        mode = draw(st.integers(0, 0o777)) | 0o600
        match number % 3:
            case 0:
                entries.append(tar.file(path, data, mode))
            case 1:
                entries.append(tar.directory(path, mode | 0o100))
            case _:
                entries.append(tar.symlink(path, draw(_PATH)))
    try:
        return tar.arrange(entries)
    except ArtifactError:
        return tar.arrange(entries[:1])  # one path ran through another


@settings(max_examples=40)
@given(_extractable())
def test_gnu_tar_extracts_what_was_written(entries: list[tar.Entry]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        options = ["--numeric-owner", "--no-same-owner", "-xpf", "-", "-C", folder]
        run = subprocess.run(["tar", *options], input=plain(entries), capture_output=True, check=False)
        assert (run.returncode, run.stderr) == (0, b"")
        there = sorted(path for path in Path(folder).rglob("*"))
        assert len(there) == len(entries)
        for entry in entries:
            path = Path(folder, entry.path)
            found = path.lstat()
            assert found.st_mtime == tar.MTIME
            match entry.kind:
                case tar.Kind.SYMLINK:
                    assert str(path.readlink()) == entry.link
                case tar.Kind.DIRECTORY:
                    assert stat.S_ISDIR(found.st_mode)
                    assert stat.S_IMODE(found.st_mode) == entry.mode
                case _:
                    assert path.read_bytes() == entry.content
                    assert stat.S_IMODE(found.st_mode) == entry.mode


def gnu_tar(archive: Path | bytes, *options: str) -> list[str]:
    source, data = ("-", archive) if isinstance(archive, bytes) else (str(archive), None)
    run = subprocess.run(["tar", *options, "-tvvf", source], input=data, capture_output=True, check=True)
    assert run.stderr == b""
    return run.stdout.decode().splitlines()


def test_gnu_tar_sees_owners_hard_links_and_attributes() -> None:
    entries = [
        tar.Entry("a", tar.Kind.FILE, 0o4755, 1, content=b"x", uid=65532, gid=2**31 - 1),
        tar.Entry("b", tar.Kind.HARDLINK, 0o4755, link="a"),
        tar.Entry("c", tar.Kind.FILE, 0o755, 1, content=b"x", xattrs=(NET_RAW,)),
    ]
    lines = gnu_tar(plain(entries), "--numeric-owner", "--xattrs", "--xattrs-include=*")
    assert lines[0].split()[:3] == ["-rwsr-xr-x", "65532/2147483647", "1"]
    assert lines[1].endswith(" b link to a")
    assert lines[1].startswith("hrwsr-xr-x")
    assert lines[-1].split() == ["x:", "20", "security.capability"]


@pytest.mark.parametrize("size", [0o77777777777, 0o100000000000, 20 * 2**30 + 1])
def test_sizes_of_8_gib_and_more(tmp_path: Path, size: int) -> None:
    huge = tar.header(tar.Entry("model.bin", tar.Kind.FILE, 0o644, size))
    assert (b"size=" in huge) is (size >= 8 * 2**30)
    path = tmp_path / "huge.tar"
    with path.open("wb") as file:  # sparse: takes no space
        file.write(huge)
        file.seek(size + -size % tar.BLOCK, os.SEEK_CUR)
        file.write(tar.header(tar.file("after", b"")) + tar.END)
    with tarfile.open(path, "r:") as opened:
        assert [(member.name, member.size) for member in opened] == [("model.bin", size), ("after", 0)]
    assert [line.split()[2] for line in gnu_tar(path)] == [str(size), "0"]


def test_names_that_are_not_utf8_keep_their_bytes() -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    assert read_one(tar.file(name, b"")).name == name
    assert b"caf\xe9.txt" in tar.header(tar.file(name, b""))


def test_a_pax_record_counts_its_own_digits() -> None:
    """Lengths around which the number of digits changes."""
    for length in [*range(80, 110), *range(970, 1010)]:
        name = "ä" + "x" * length
        assert read_one(tar.file(name, b"")).name == name


def test_a_name_without_a_fitting_slash_is_not_cut() -> None:
    # USTAR could say only a part of each
    for name in ("p" * 156 + "/n", "a/" + "n" * 101, "x" * 300):
        assert b"path=" in tar.header(tar.file(name, b""))
    for name in ("p" * 155 + "/n", "a/b/" + "n" * 100):
        assert b"path=" not in tar.header(tar.file(name, b""))


@pytest.mark.parametrize("kind", [tar.Kind.FILE, tar.Kind.DIRECTORY])
@pytest.mark.parametrize("length", [99, 100, 101, 154, 155, 156, 157, 254, 255, 256, 257, 258])
def test_every_name_that_ustar_can_say_is_said_so(kind: tar.Kind, length: int) -> None:
    """A name of each length with its one slash at each place: PAX exactly where no cut fits."""
    for slash in range(1, length - 1):
        name = "p" * slash + "/" + "n" * (length - slash - 1)
        stored = name + "/" * (kind is tar.Kind.DIRECTORY)
        fits = len(stored) <= 100 or (slash <= 155 and len(stored) - slash - 1 <= 100)
        entry = tar.Entry(name, kind, 0o755)
        assert (len(tar.header(entry)) == tar.BLOCK) is fits, (slash, length)
        assert read_one(entry).name == name


# paths


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("a", "a"),
        ("./a", "a"),
        ("a//b/./c/", "a/b/c"),
        ("a/..b", "a/..b"),
        ("...", "..."),
        ("ä/ß", "ä/ß"),
        ("a:b", None),
        ("ab:c", "ab:c"),
        ("1:x", "1:x"),
        ("a/.whatever", "a/.whatever"),
    ],
)
def test_safe_paths_are_cleaned(path: str, clean: str | None) -> None:
    if clean is None:
        with pytest.raises(ArtifactError):
            tar.safe_path(path, what="demo")
    else:
        assert tar.safe_path(path, what="demo") == clean


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        ".",
        "./",
        "//",
        "/etc/passwd",
        "..",
        "../a",
        "a/../b",
        "a/..",
        "./..",
        "a\0b",
        "a\\b",
        "..\\b",
        "C:/x",
        "c:x",
        ".wh.a",
        "a/.wh..wh..opq",
        ".wh.x/a",
    ],
)
def test_unsafe_paths_are_refused(path: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        tar.safe_path(path, what="demo-1.0.whl")
    assert "demo-1.0.whl" in caught.value.message
    assert repr(path) in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 3


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | _PATH)
def test_a_safe_path_stays_below_its_root_and_is_safe_again(path: str) -> None:
    try:
        clean = tar.safe_path(path, what="demo")
    except ArtifactError:
        return
    assert os.path.normpath(f"/root/{clean}") == f"/root/{clean}"
    assert os.path.normpath(f"/root/{path}") == f"/root/{clean}"
    assert tar.safe_path(clean, what="demo") == clean


# order


def test_entries_are_sorted_bytewise_with_every_parent_once_and_first() -> None:
    paths = ["b/c", "a", "b.d", "b/a/x", "ä", "Z", "b-a"]
    arranged = tar.arrange(tar.file(path, b"") for path in paths)
    assert [entry.path for entry in arranged] == ["Z", "a", "b", "b/a", "b/a/x", "b/c", "b-a", "b.d", "ä"]
    assert [entry.path for entry in arranged if entry.kind is tar.Kind.DIRECTORY] == ["b", "b/a"]


@given(st.permutations([tar.file("x/1", b"1"), tar.file("x/2", b""), tar.directory("x", 0o700), tar.file("y", b"")]))
def test_the_order_of_what_comes_in_does_not_matter(entries: list[tar.Entry]) -> None:
    arranged = tar.arrange(entries)
    assert [entry.path for entry in arranged] == ["x", "x/1", "x/2", "y"]
    assert arranged[0].mode == 0o700, "a directory that is given is not made up"


@given(st.lists(_PATH, unique=True, max_size=12))
def test_parents_come_first_whatever_the_names(paths: list[str]) -> None:
    try:
        arranged = tar.arrange(tar.directory(path) for path in paths)
    except ArtifactError:
        pytest.fail("directories never collide")
    seen: set[str] = set()
    for entry in arranged:
        parent = entry.path.rpartition("/")[0]
        assert not parent or parent in seen
        assert entry.path not in seen
        seen.add(entry.path)
    assert seen >= set(paths)


def test_made_up_parents_can_have_a_mode_of_their_own() -> None:
    arranged = tar.arrange([tar.file("tmp/x", b"")], parents=lambda path: tar.directory(path, 0o1777))
    assert arranged[0].mode == 0o1777


def test_a_directory_may_be_named_twice_and_nothing_else() -> None:
    assert len(tar.arrange([tar.directory("a"), tar.directory("a")])) == 1
    for first, second in [
        (tar.file("a", b"1"), tar.file("a", b"1")),
        (tar.directory("a"), tar.directory("a", 0o700)),
        (tar.directory("a"), tar.symlink("a", "b")),
        (tar.symlink("a", "b"), tar.directory("a")),
    ]:
        with pytest.raises(ArtifactError, match="'a' is there twice"):
            tar.arrange([first, second])


@pytest.mark.parametrize("blocking", [tar.file("a/b", b""), tar.symlink("a/b", "c"), tar.symlink("a", "/etc")])
def test_nothing_lies_below_what_is_no_directory(blocking: tar.Entry) -> None:
    for entries in ([blocking, tar.file("a/b/c/d", b"")], [tar.file("a/b/c/d", b""), blocking]):
        with pytest.raises(ArtifactError, match="not a directory"):
            tar.arrange(entries)
