"""An image's file system out of its layers: laid over each other as engines do, and nothing hostile gets through."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.content import MEDIA_LAYER_GZIP, MEDIA_LAYER_TAR, Digest
from builder.errors import ArtifactError, VerificationError
from builder.lock import rootfs
from builder.lock.images import BaseLayer
from builder.lock.rootfs import File, Folder, Link, Tree
from tests.support.bases import Member, entry, files, layer

DIR = tarfile.DIRTYPE


@contextmanager
def tree(folder: Path, *layers: list[Member]) -> Iterator[Tree]:
    found = []
    for number, members in enumerate(layers):
        tar = layer(members)
        path = folder / str(number)
        path.write_bytes(gzip.compress(tar))
        found.append((BaseLayer(Digest.of(path.read_bytes()), path.stat().st_size, Digest.of(tar)), path))
    with rootfs.opened(found, folder) as made:
        yield made


def text(made: Tree, path: str) -> bytes | None:
    found = made.file(path)
    return None if found is None else made.read(found[1], 1000)


def listed(folder: Folder, path: str = "") -> list[str]:
    found = []
    for name, node in folder.children.items():
        found.append(f"{path}{name}")
        if isinstance(node, Folder):
            found += listed(node, f"{path}{name}/")
    return sorted(found)


def test_later_layers_lie_over_earlier_ones(tmp_path: Path) -> None:
    with tree(tmp_path, files({"a/x": b"1", "a/y": b"2"}), files({"a/x": b"3", "./a/z": b"4"})) as made:
        assert [text(made, f"/a/{name}") for name in "xyz"] == [b"3", b"2", b"4"]


def test_whiteouts_and_opaque_folders_hide_what_is_below_and_nothing_of_their_own_layer(tmp_path: Path) -> None:
    below = files({"a/x": b"1", "a/y": b"2", "b/deep/x": b"1", "b/y": b"2", "c/d/e": b""})
    above = [
        entry("b/new", b"3"),
        entry("b/.wh..wh..opq"),
        entry("b/later", b"4"),
        entry("a/x", b"5"),
        entry("a/.wh.x"),
        entry("a/.wh.y"),
        entry(".wh.c"),
        entry("a/.wh.never-there"),
        entry(".wh..wh.plnk"),
        entry("nowhere/.wh.x"),
    ]
    with tree(tmp_path, below, above) as made:
        assert listed(made.root) == ["a", "a/x", "b", "b/later", "b/new"]
        assert text(made, "/a/x") == b"5"


def test_links_are_followed_inside_the_image_only(tmp_path: Path) -> None:
    members = files(
        {
            "usr/bin/python3.11": b"p",
            "bin": "usr/bin",
            "up": "../../../../../etc/shadow",
            "etc/shadow": b"the image's own",
            "absolute": "/etc/shadow",
            "round": "around",
            "around": "round",
            "dangling": "nowhere",
            "through": "bin/../bin/./python3.11",
            "beyond": "etc/shadow/x",
        }
    )
    with tree(tmp_path, members) as made:
        assert made.file("/bin/python3.11") == made.file("/usr/bin/python3.11") == made.file("through")
        assert made.file("/bin/python3.11")[0] == "/usr/bin/python3.11"  # type: ignore[index]
        assert text(made, "/up") == text(made, "/absolute") == b"the image's own"
        assert (
            made.find("/round") is made.find("/dangling") is made.find("/beyond") is made.find("/usr/nothing") is None
        )
        assert made.find("/../..") == ("/", made.root)
        assert made.folder("/bin") is made.folder("/usr/bin")


def test_hard_links_are_the_file_that_they_link_to(tmp_path: Path) -> None:
    one = [entry("x", b"1"), entry("y", kind=tarfile.LNKTYPE, linkname="./x")]
    other = [entry("z", kind=tarfile.LNKTYPE, linkname="x"), entry(".wh.x")]
    with tree(tmp_path, one, [*other[:1]], other[1:]) as made:
        assert (text(made, "/x"), text(made, "/y"), text(made, "/z")) == (None, b"1", b"1")


def test_a_folder_takes_the_place_of_a_link_only_when_it_says_so(tmp_path: Path) -> None:
    below = files({"usr/lib/old": b"", "lib": "usr/lib", "usr/share/x": b"", "share": "usr/share"})
    with tree(tmp_path, below, [entry("lib/new"), entry("share", kind=DIR), entry("share/y")]) as made:
        assert made.file("/usr/lib/new") is not None  # nobody said that /lib is a folder now
        assert listed(made.folder("/share") or Folder()) == ["y"]
        assert isinstance(made.root.children["lib"], Link)


def test_a_folder_keeps_what_is_in_it_and_takes_the_last_mode_and_owner(tmp_path: Path) -> None:
    with tree(
        tmp_path,
        [entry("app", kind=DIR, mode=0o700, uid=7, gid=8), entry("app/x", b"1")],
        [entry("app", kind=DIR, mode=0o2775, uid=9, gid=10)],
    ) as made:
        found = made.folder("/app")
        assert found is not None
        assert (found.mode, found.uid, found.gid) == (0o2775, 9, 10)
        assert text(made, "/app/x") == b"1"


def test_devices_are_nothing_that_can_be_read(tmp_path: Path) -> None:
    with tree(tmp_path, [entry("dev/null", kind=tarfile.CHRTYPE), entry("pipe", kind=tarfile.FIFOTYPE)]) as made:
        assert made.file("/dev/null") is made.file("/pipe") is None
        assert made.find("/dev/null") is not None


HOSTILE = {
    "climbs out": (entry("../../etc/passwd", b"x"), "a path may not leave the image"),
    "climbs out in the middle": (entry("a/../../x", b"x"), "a path may not leave the image"),
    "links to nothing": (entry("x", kind=tarfile.LNKTYPE, linkname="/etc/passwd"), None),
    "links out": (entry("x", kind=tarfile.LNKTYPE, linkname="../x"), "a path may not leave the image"),
    "lies in a whiteout": (entry(".wh.a/b", b"x"), None),
    "is a whiteout of nothing": (entry("a/.wh.", b""), None),
    "is a whiteout of everything": (entry("a/.wh..", b""), None),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_entries_are_refused(tmp_path: Path, case: str) -> None:
    member, hint = HOSTILE[case]
    with pytest.raises(ArtifactError, match="the base's layer") as caught, tree(tmp_path, [member]):
        pass
    assert caught.value.exit_code == 3
    assert hint is None or caught.value.hint == hint


def header(kind: bytes = tarfile.REGTYPE, size: int = 0, pax: dict[str, str] | None = None) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size, info.pax_headers = kind, size, pax or {}
    return info.tobuf(tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT)


def going_on(sparse: bytes) -> bytes:
    """The header of a sparse file whose map goes on in the next block."""
    block = bytearray(sparse)
    block[482] = 1
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


LONG_NAME = header(tarfile.GNUTYPE_LONGNAME, 2) + b"a\0".ljust(512, b"\0")
MALFORMED = {
    "a size that leads back": header() + header(size=-512),
    "a size that leads back, by an extended header": header() + header(pax={"size": "-512"}),
    "a size that leads beyond everything": header(pax={"size": "9" * 30}) + header(),
    "an extended header that leads back": header() + header(tarfile.XHDTYPE, -512),
    "an extended header that fills the memory": header(pax={"comment": "a" * (1 << 20)}),
    "a long name of a long name, and so on": LONG_NAME * 2000 + header(),
    "a sparse file that is cut off": going_on(header(tarfile.GNUTYPE_SPARSE)),
    "no header behind the first file": header() + b"nothing" * 200,
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_archives_are_errors_of_ours(case: str) -> None:
    with pytest.raises(ArtifactError, match="a layer: not a tar that can be read"):
        Tree().add(io.BytesIO(MALFORMED[case]), "a layer")


def test_a_leading_slash_means_the_images_root(tmp_path: Path) -> None:
    with tree(tmp_path, [entry("/etc/hostile", b"x")]) as made:
        assert text(made, "/etc/hostile") == b"x"
    assert not Path("/etc/hostile").exists()


def test_a_layer_that_is_not_what_its_diff_id_says(tmp_path: Path) -> None:
    data = gzip.compress(layer(files({"x": b"1"})))
    path = tmp_path / "blob"
    path.write_bytes(data)
    wrong = BaseLayer(Digest.of(data), len(data), Digest.of(b"another"))
    with pytest.raises(VerificationError, match="not to its diff id"), rootfs.opened([(wrong, path)], tmp_path):
        pass
    plain = BaseLayer(Digest.of(data), len(data), Digest.of(b"another"), MEDIA_LAYER_TAR)
    with pytest.raises(VerificationError, match="a plain tar"), rootfs.opened([(plain, path)], tmp_path):
        pass


def test_a_plain_tar(tmp_path: Path) -> None:
    data = layer(files({"x": b"1"}))
    path = tmp_path / "blob"
    path.write_bytes(data)
    one = BaseLayer(Digest.of(data), len(data), Digest.of(data), MEDIA_LAYER_TAR)
    with rootfs.opened([(one, path)], tmp_path) as made:
        assert text(made, "/x") == b"1"


@pytest.mark.parametrize(
    "data",
    [b"", b"not gzip", gzip.compress(b"x" * 5000), gzip.compress(b"x" * 9999)[:-9]],
    ids=["empty", "no gzip", "no tar", "cut off"],
)
def test_damaged_layers_are_errors_of_ours(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "blob"
    path.write_bytes(data)
    try:
        diff_id = Digest.of(gzip.decompress(data))
    except (EOFError, OSError):
        diff_id = Digest.of(b"")
    one = BaseLayer(Digest.of(data), len(data), diff_id, MEDIA_LAYER_GZIP)
    with pytest.raises(ArtifactError), rootfs.opened([(one, path)], tmp_path):
        pass


def test_a_bomb_ends_before_the_disk_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootfs, "_BOMB_SIZE", 1 << 20)
    data = gzip.compress(bytes(8 << 20), 9)
    path = tmp_path / "blob"
    path.write_bytes(data)
    one = BaseLayer(Digest.of(data), len(data), Digest.of(bytes(8 << 20)))
    with pytest.raises(ArtifactError, match="made to hurt"), rootfs.opened([(one, path)], tmp_path):
        pass


def test_an_image_with_more_files_than_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootfs, "_MOST", 3)
    with pytest.raises(ArtifactError, match="more than 3 files"), tree(tmp_path, files(dict.fromkeys("abcd", b""))):
        pass


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with tree(tmp_path, files({"x": b"1"})):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["0"]


names = st.sampled_from(["a", "b", "c", ".wh.a", ".wh.b", ".wh..wh..opq"])
paths = st.lists(st.sampled_from(["a", "b", "c"]), max_size=2).flatmap(
    lambda above: names.map(lambda name: "/".join([*above, name]))
)
members = st.lists(
    st.one_of(
        paths.map(lambda path: entry(path, b"x")),
        st.tuples(paths, st.sampled_from(["a", "../b", "/c", "a/b/../.."])).map(
            lambda pair: entry(pair[0], kind=tarfile.SYMTYPE, linkname=pair[1])
        ),
    ),
    max_size=6,
)


@given(st.lists(members, max_size=3))
def test_any_layers_give_a_tree_without_whiteouts_in_it(
    tmp_path_factory: pytest.TempPathFactory, layers: list[list[Member]]
) -> None:
    with tree(tmp_path_factory.mktemp("tree"), *layers) as made:
        assert not any(".wh." in path for path in listed(made.root))
        for path in listed(made.root):
            found = made.find(f"/{path}")
            assert found is None or isinstance(found[1], File | Folder)
