"""Debian packages as layers: what comes out, what is refused, and that nothing else matters."""

from __future__ import annotations

import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.cache import Cache
from builder.content import Platform
from builder.errors import ArtifactError, LockError, StoreError
from builder.layers import deb, system, tar
from builder.layers.encode import encode
from builder.layers.recipe import Part
from builder.lock.debian import fetch_debs, resolve_base
from builder.lock.pins import Artifact
from builder.progress import SILENT
from builder.project import Image
from tests.support import apt_repository as make
from tests.support.apt_repository import Piece, folder, hard, regular, soft
from tests.support.require import need


def entries(
    tmp_path: Path,
    pieces: Sequence[Piece],
    *,
    name: str = "demo",
    compiled: deb.Compiled | None = None,
    params: Mapping[str, str] | None = None,
    scripts: Mapping[str, bytes] | None = None,
    compression: str = "xz",
) -> dict[str, tar.Entry]:
    path = tmp_path / "demo.deb"
    path.write_bytes(make.deb(name, "1.0", pieces, scripts=scripts, compression=compression))
    return {one.path: one for one in tar.arrange(deb.entries(path, part(name, params), compiled))}


def part(name: str = "demo", params: Mapping[str, str] | None = None) -> Part:
    return Part("deb", name, "1.0", None, f"{name}_1.0_amd64.deb", params or {})


def content(entry: tar.Entry) -> bytes:
    assert not isinstance(entry.content, tar.Deflated)
    return b"".join(tar.iterate(entry.content))


@pytest.mark.parametrize("compression", ["xz", "gz", "none"])
def test_files_folders_and_links_come_as_they_are(tmp_path: Path, compression: str) -> None:
    found = entries(
        tmp_path,
        [
            folder(""),
            folder("etc"),
            regular("etc/demo.conf", b"conf", 0o640, gid=42),
            folder("var"),
            folder("var/mail", 0o2775, gid=8),
            regular("usr/bin/demo", b"\x7fELF", 0o4755),
            soft("usr/bin/d", "demo"),
            regular("usr/share/dämon/x y", b""),
            regular(r"usr/lib/systemd/system/a\x2db.slice", b"[Slice]"),
        ],
        compression=compression,
    )
    assert found["etc/demo.conf"] == tar.Entry("etc/demo.conf", tar.Kind.FILE, 0o640, 4, content=b"conf", gid=42)
    assert found["var/mail"] == tar.directory("var/mail", 0o2775, gid=8)
    assert found["usr/bin/demo"].mode == 0o4755
    assert found["usr/bin/d"] == tar.symlink("usr/bin/d", "demo")
    assert {"usr/share/dämon/x y", r"usr/lib/systemd/system/a\x2db.slice"} <= found.keys()


def test_scanners_see_the_package(tmp_path: Path) -> None:
    pieces = [regular("bin/demo", b"x"), regular("usr/share/man/man1/demo.1.gz", b"y")]
    found = entries(tmp_path, pieces, scripts={"postinst": b"#!/bin/sh\nrm -rf /\n"})
    status = content(found["var/lib/dpkg/status.d/demo"]).decode()
    assert status.startswith("Package: demo\nVersion: 1.0\nArchitecture: amd64\n")
    assert status.endswith("for tests\n")
    assert content(found["var/lib/dpkg/status.d/demo.md5sums"]) == b"9dd4e461268c8034f5c8564e155c67a6  usr/bin/demo\n"
    assert not any("postinst" in path for path in found)


def test_manuals_go_and_copyrights_stay(tmp_path: Path) -> None:
    gone = [
        "usr/share/doc/demo/changelog.Debian.gz",
        "usr/share/doc/demo/examples/copyright",
        "usr/share/man/man1/demo.1.gz",
        "usr/share/info/demo.info.gz",
        "usr/share/lintian/overrides/demo",
        "usr/share/locale/de/LC_MESSAGES/demo.mo",
        "usr/share/bug/demo/script",
        "usr/share/doc-base/demo",
        "usr/share/gtk-doc/html/demo",
    ]
    kept = [
        "usr/share/doc/demo/copyright",
        "usr/lib/locale/C.utf8/LC_CTYPE",
        "usr/share/mandatory",
        "srv/usr/share/man",
    ]
    links = [soft("usr/share/doc/demo-data", "demo")]
    found = entries(tmp_path, [folder("usr/share/man"), *(regular(path) for path in gone + kept), *links])
    files = {path for path, one in found.items() if one.kind is not tar.Kind.DIRECTORY and "status.d" not in path}
    assert files == {*kept, "usr/share/doc/demo-data"}
    assert not {"usr/share/man", "usr/share/info", "usr/share/doc/demo/examples"} & found.keys()


@pytest.mark.parametrize("top", ["bin", "sbin", "lib", "lib32", "lib64", "libx32"])
def test_usr_is_merged(tmp_path: Path, top: str) -> None:
    found = entries(tmp_path, [folder(top), folder(f"{top}/x"), regular(f"{top}/x/demo", b"x"), folder("usr")])
    assert f"usr/{top}/x/demo" in found
    assert top not in found


@pytest.mark.parametrize(
    ("path", "target", "expected"),
    [
        ("lib/x86_64-linux-gnu/libfoo.so", "libfoo.so.1", "libfoo.so.1"),
        ("lib/x86_64-linux-gnu/libfoo.so", "../other/libfoo.so.1", "../other/libfoo.so.1"),
        ("lib/x86_64-linux-gnu/foo.conf", "../../etc/foo.conf", "../../../etc/foo.conf"),
        ("lib/x/foo", "../../usr/lib/y/foo", "../y/foo"),
        ("lib/x/foo", "../../bin/foo", "../../bin/foo"),
        ("sbin/foo", "../usr/sbin/bar", "bar"),
        ("sbin/foo", "/etc/foo", "/etc/foo"),
        ("lib/foo", "../../../../../etc/foo", "../../../../../etc/foo"),  # no way leads above the root
        ("lib64/ld.so.2", "/lib/x86_64-linux-gnu/ld.so.2", "/lib/x86_64-linux-gnu/ld.so.2"),
        ("usr/lib/foo", "../../lib/bar", "../../lib/bar"),
        ("bin", "usr/bin", "usr/bin"),
    ],
)
def test_symlinks_mean_the_same_after_the_merge(tmp_path: Path, path: str, target: str, expected: str) -> None:
    found = entries(tmp_path, [soft(path, target)])
    assert found[path if path == "bin" else deb.usrmerge.moved(path)].link == expected


def test_a_link_from_one_side_of_the_merge_to_the_other_is_the_file(tmp_path: Path) -> None:
    for pieces in (
        [regular("bin/demo", b"x", 0o755), soft("usr/bin/demo", "/bin/demo")],
        [soft("usr/bin/demo", "../../bin/demo"), regular("bin/demo", b"x", 0o755)],
    ):
        assert entries(tmp_path, pieces)["usr/bin/demo"].kind is tar.Kind.FILE


def test_hard_links_stay_and_follow_the_merge(tmp_path: Path) -> None:
    found = entries(
        tmp_path,
        [regular("bin/zz", b"tool", 0o755, uid=5), hard("bin/aa", "bin/zz"), hard("usr/share/man/man1/zz", "bin/zz")],
    )
    # extraction goes by name: the file comes under its first one
    assert found["usr/bin/aa"] == tar.Entry("usr/bin/aa", tar.Kind.FILE, 0o755, 4, content=b"tool", uid=5)
    assert found["usr/bin/zz"] == tar.Entry("usr/bin/zz", tar.Kind.HARDLINK, 0o755, link="usr/bin/aa", uid=5)
    assert "usr/share/man/man1/zz" not in found


def test_a_hard_link_to_what_was_dropped_keeps_the_bytes(tmp_path: Path) -> None:
    pieces = [regular("usr/share/doc/demo/README", b"text"), hard("etc/motd", "usr/share/doc/demo/README")]
    found = entries(tmp_path, pieces)
    assert content(found["etc/motd"]) == b"text"
    assert "usr/share/doc/demo/README" not in found


def test_capabilities_stay_and_other_attributes_go(tmp_path: Path) -> None:
    info, data = regular("usr/bin/ping", b"x", 0o755)
    capability = b"\x01\x00\x00\x02\x00\x20\x00\x00" + bytes(12)
    info.pax_headers = {
        "SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape"),
        "SCHILY.xattr.user.note": "hello",
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(data))
    path = _with_data(tmp_path, buffer.getvalue())
    (found,) = [one for one in deb.entries(path, part(), None) if one.path == "usr/bin/ping"]
    assert found.xattrs == (("security.capability", capability),)


def test_links_that_a_script_would_make_are_there_unless_the_package_has_them(tmp_path: Path) -> None:
    params: Any = {"links": {"usr/bin/sh": "dash"}}
    found = entries(tmp_path, [regular("./bin/dash", b"shell", 0o755)], name="dash", params=params)
    assert (found["usr/bin/sh"].kind, found["usr/bin/sh"].link) == (tar.Kind.SYMLINK, "dash")
    own = [regular("./bin/dash", b"shell", 0o755), soft("./bin/sh", "other")]
    assert entries(tmp_path, own, name="dash", params=params)["usr/bin/sh"].link == "other"
    assert "usr/bin/sh" not in entries(tmp_path, own[:1], name="dash")


def test_certificates_are_bundled(tmp_path: Path) -> None:
    base = "usr/share/ca-certificates/mozilla"
    pieces = [regular(f"{base}/b.crt", b"B\n"), regular(f"{base}/B.crt", b"A"), regular(f"{base}/note.txt", b"no")]
    found = entries(tmp_path, pieces, name="ca-certificates")
    assert content(found["etc/ssl/certs/ca-certificates.crt"]) == b"A\nB\n"
    assert found["usr/lib/ssl/cert.pem"].link == "/etc/ssl/certs/ca-certificates.crt"
    assert "etc/ssl/certs/ca-certificates.crt" not in entries(tmp_path, pieces)


def test_byte_code_is_asked_for_once(tmp_path: Path) -> None:
    asked: list[list[tuple[str, bytes]]] = []

    def compiled(sources: Sequence[tuple[str, bytes]]) -> dict[str, bytes]:
        asked.append(list(sources))
        return {path: b"code of " + source for path, source in sources if source != b"bad"}

    pieces = [
        regular("usr/lib/python3.11/os.py", b"os"),
        regular("usr/lib/python3.11/json/decoder.py", b"decoder"),
        regular("usr/lib/python3.11/__pycache__/x.py", b"cached"),
        regular("usr/lib/python3/dist-packages/six.py", b"six"),
        regular("usr/lib/python3.11/bad.py", b"bad"),
        regular("usr/lib/python3.11/data.txt", b"data"),
        regular("usr/share/demo/tool.py", b"tool"),
        soft("usr/lib/python3.11/sitecustomize.py", "/etc/python3.11/sitecustomize.py"),
    ]
    found = entries(tmp_path, pieces, compiled=compiled, params={"python": "3.11"})
    assert asked == [
        [
            ("/usr/lib/python3.11/bad.py", b"bad"),
            ("/usr/lib/python3.11/json/decoder.py", b"decoder"),
            ("/usr/lib/python3.11/os.py", b"os"),
            ("/usr/lib/python3/dist-packages/six.py", b"six"),
        ]
    ]
    made = {path: content(one) for path, one in found.items() if path.endswith(".pyc")}
    assert made == {
        "usr/lib/python3.11/__pycache__/os.cpython-311.pyc": b"code of os",
        "usr/lib/python3.11/json/__pycache__/decoder.cpython-311.pyc": b"code of decoder",
        "usr/lib/python3/dist-packages/__pycache__/six.cpython-311.pyc": b"code of six",
    }


def test_without_modules_nobody_is_asked(tmp_path: Path) -> None:
    def compiled(sources: Sequence[tuple[str, bytes]]) -> dict[str, bytes]:
        raise AssertionError("asked")

    assert "etc/x" in entries(tmp_path, [regular("etc/x")], compiled=compiled)


# what is refused


def _with_data(tmp_path: Path, data: bytes, suffix: str = "") -> Path:
    control = make.tar_of([regular("control", b"Package: demo\nVersion: 1.0\n")])
    path = tmp_path / "demo.deb"
    path.write_bytes(make.archive([("debian-binary", b"2.0\n"), ("control.tar", control), (f"data.tar{suffix}", data)]))
    return path


def _special(kind: bytes) -> Piece:
    info = tarfile.TarInfo("./dev/thing")
    info.type = kind
    return info, b""


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([_special(tarfile.CHRTYPE)], "device node"),
        ([_special(tarfile.BLKTYPE)], "device node"),
        ([_special(tarfile.FIFOTYPE)], "device node"),
        ([regular("etc/.wh.passwd")], "whiteout"),
        ([folder("etc/.wh..wh..opq")], "whiteout"),
        ([regular("../etc/passwd")], "unsafe path"),
        ([regular("etc/../../passwd")], "unsafe path"),
        ([hard("etc/x", "../../etc/shadow")], "unsafe path"),
        ([hard("etc/x", "etc/nothing")], "no file of the package"),
        ([hard("etc/x", "etc/x")], "no file of the package"),
        ([hard("etc/x", "etc/y"), hard("etc/y", "etc/x")], "no file of the package"),
        ([regular("etc/x", b"1"), regular("etc/x", b"2")], "is there twice"),
        ([regular("bin/x", b"1"), regular("usr/bin/x", b"2")], "is there twice"),
        ([regular("etc/x"), hard("etc/x", "etc/x")], "is there twice"),
    ],
)
def test_hostile_contents(tmp_path: Path, pieces: Sequence[Piece], message: str) -> None:
    with pytest.raises(ArtifactError, match=message) as caught:
        entries(tmp_path, pieces)
    assert "demo_1.0_amd64.deb" in caught.value.message
    assert caught.value.exit_code == 3


def test_an_absolute_path_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("/etc/passwd")
    path = _with_data(tmp_path, make.tar_of([(info, b"")]))
    with pytest.raises(ArtifactError, match="unsafe path '/etc/passwd'"):
        deb.entries(path, part(), None)


def test_another_package_than_locked(tmp_path: Path) -> None:
    path = tmp_path / "demo.deb"
    path.write_bytes(make.deb("demo", "1.1"))
    with pytest.raises(ArtifactError, match=r"its version is 1\.1, the lock says 1\.0"):
        deb.entries(path, part(), None)
    with pytest.raises(ArtifactError, match="its package is demo, the lock says other"):
        deb.entries(path, part("other"), None)


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an archive",
        b"!<arch>\n",
        b"!<arch>\nshort header",
        make.archive([("debian-binary", b"2.0\n")]),
        make.archive([("control.tar", b"")]),
        make.archive([("debian-binary", b"2.0\n"), ("control.tar.xz", b"junk"), ("data.tar.xz", b"junk")]),
        make.archive([("debian-binary", b"2.0\n"), ("control.tar", make.tar_of([])), ("data.tar", b"")]),
        make.archive([("debian-binary", b"2.0\n")])[:-8] + b"-1        `\n",
        _cut(make.deb("demo", "1.0", [regular("etc/x", bytes(range(256)) * 9)])),
        make.deb("demo", "1.0", [regular("etc/x", bytes(range(256)) * 9)], compression="gz")[:-40],
    ],
)
def test_damaged_packages(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "demo.deb"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"demo_1\.0_amd64\.deb: ") as caught:
        deb.entries(path, part(), None)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("at", [0, 100, 600, 700, 1100, -1])
def test_a_data_archive_that_is_cut_or_changed(tmp_path: Path, at: int) -> None:
    whole = make.tar_of([regular("etc/a", b"a" * 600), regular("etc/b", b"b")])
    assert deb.entries(_with_data(tmp_path, whole), part(), None)
    with pytest.raises(ArtifactError):
        # without its end, an archive may lack anything
        deb.entries(_with_data(tmp_path, whole[: at if at >= 0 else len(whole.rstrip(b"\0"))]), part(), None)


def test_a_header_that_does_not_parse_is_no_end(tmp_path: Path) -> None:
    whole = bytearray(make.tar_of([regular("etc/a", b"a"), regular("etc/b", b"b")]))
    whole[1024 + 3] ^= 1
    with pytest.raises(ArtifactError, match="damaged"):
        deb.entries(_with_data(tmp_path, bytes(whole)), part(), None)


def test_a_checksum_after_the_end_counts(tmp_path: Path) -> None:
    import gzip

    packed = bytearray(gzip.compress(make.tar_of([regular("etc/a", b"a")])))
    packed[-6] ^= 1
    with pytest.raises(ArtifactError, match="CRC"):
        deb.entries(_with_data(tmp_path, bytes(packed), ".gz"), part(), None)


def test_another_compression_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="'zst'") as caught:
        entries(tmp_path, [], compression="zst")
    assert "another distribution" in (caught.value.hint or "")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_an_error_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    whole = make.deb("demo", "1.0", [regular("etc/x", b"text"), soft("bin/y", "z")], compression="gz")
    at = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255))
    path = tmp_path / "demo.deb"
    path.write_bytes(whole[:at] + bytes([byte]) + whole[at + 1 :])
    try:
        tar.arrange(deb.entries(path, part(), None))
    except ArtifactError as error:
        assert error.message


# that nothing else matters

_NAMES = st.lists(st.sampled_from("abcde"), min_size=1, max_size=3).map("/".join)


@st.composite
def packages(draw: st.DrawFn) -> list[Piece]:
    """Files, links to files, and their folders; no path below a file."""
    pieces: list[Piece] = []
    tops = draw(st.lists(st.sampled_from(["bin", "lib", "etc", "usr/lib", "usr/share"]), unique=True, max_size=4))
    for number, top in enumerate(tops):
        pieces.append(folder(top))
        for inner in draw(st.lists(_NAMES, unique=True, max_size=4)):
            path = f"{top}/{number}/{inner}/file"
            pieces.append(regular(path, draw(st.binary(max_size=20)), draw(st.sampled_from([0o644, 0o755, 0o4755]))))
            if draw(st.booleans()):
                pieces.append(hard(f"{top}/{number}/{inner}/again", path))
            if draw(st.booleans()):
                pieces.append(soft(f"{top}/{number}/{inner}/soft", draw(st.sampled_from(["file", "../x", "/etc/x"]))))
    return pieces


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=packages(), random=st.randoms(use_true_random=False), compression=st.sampled_from(["xz", "gz", "none"]))
def test_the_order_in_the_package_does_not_matter(
    tmp_path: Path, pieces: list[Piece], random: object, compression: str
) -> None:
    shuffled = [piece for piece in pieces if piece[0].type != tarfile.LNKTYPE]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    # a hard link follows the file it names: tar has no other way
    for piece in pieces:
        if piece[0].type == tarfile.LNKTYPE:
            after = next(i for i, one in enumerate(shuffled) if one[0].name == piece[0].linkname)
            shuffled.insert(random.randint(after + 1, len(shuffled)), piece)  # type: ignore[attr-defined]
    layers = []
    for order, packed in ((pieces, "xz"), (shuffled, compression)):
        path = tmp_path / "demo.deb"
        path.write_bytes(make.deb("demo", "1.0", order, compression=packed, md5sums=False))
        sink = io.BytesIO()
        encode(tar.arrange(deb.entries(path, part(), None)), sink, compress=False)
        layers.append(sink.getvalue())
    assert layers[0] == layers[1]
    with tarfile.open(fileobj=io.BytesIO(layers[0])) as archive:
        names = archive.getnames()
        for info in archive:
            if info.islnk():
                assert names.index(info.linkname) < names.index(info.name)


# unpacking


def _unpacked(tmp_path: Path, pieces: Sequence[Piece], root: Path) -> None:
    path = tmp_path / "demo.deb"
    path.write_bytes(make.deb("demo", "1.0", pieces))
    deb.unpack(path, root)


def test_unpacking_for_this_machine(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    pieces = [
        folder("var", 0o700),
        regular("bin/tool", b"tool", 0o6755),
        hard("bin/same", "bin/tool"),
        regular("etc/secret", b"s", 0o600),
        soft("lib64/ld.so", "/lib/x/ld.so.2"),
        soft("etc/up", "../../../../etc/passwd"),
        regular("usr/share/man/man1/x", b"manual"),
    ]
    for _ in range(2):  # again over itself
        _unpacked(tmp_path, pieces, root)
    assert (root / "usr/bin/tool").stat().st_mode & 0o7777 == 0o755
    assert (root / "etc/secret").stat().st_mode & 0o7777 == 0o644
    assert (root / "usr/bin/same").read_bytes() == b"tool"
    assert str((root / "usr/lib64/ld.so").readlink()) == "../lib/x/ld.so.2"
    assert (root / "etc/up").resolve(strict=False) == (root / "etc/passwd").resolve()
    assert not (root / "usr/share/man").exists()


def test_unpacking_never_leaves_its_folder(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "srv").symlink_to(outside)
    with pytest.raises(ArtifactError, match="runs through the symlink 'srv'"):
        _unpacked(tmp_path, [regular("srv/x", b"x")], root)
    with pytest.raises(ArtifactError, match="not a directory"):
        _unpacked(tmp_path, [soft("opt", str(outside)), regular("opt/x", b"x")], root)
    (root / "etc").mkdir()
    (root / "etc/x").symlink_to(outside / "made")
    _unpacked(tmp_path, [regular("etc/x", b"x")], root)
    assert not list(outside.iterdir())
    assert (root / "etc/x").read_bytes() == b"x"


_MEMORY = """
import sys
from pathlib import Path
from builder.layers import deb, tar
from builder.layers.encode import encode
from builder.layers.recipe import Part
class Sink:
    def write(self, data): pass
made = encode(tar.arrange(deb.entries(Path(sys.argv[1]), Part("deb", "demo", "1.0"), None)), Sink(), compress=False)
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(made.size, int(peak.split()[1]) * 1024)
"""


@pytest.mark.slow
def test_memory_stays_bounded(tmp_path: Path) -> None:
    pieces = [regular(f"usr/lib/big{number}", bytes([number]) * (100 << 20)) for number in range(4)]
    path = tmp_path / "demo.deb"
    path.write_bytes(make.deb("demo", "1.0", pieces, compression="none"))
    done = subprocess.run([sys.executable, "-c", _MEMORY, str(path)], capture_output=True, text=True, check=True)
    size, peak = map(int, done.stdout.split())
    assert size > 400 << 20
    assert peak < 150 << 20, peak


# Debian's own

AMD64 = Platform.parse("linux/amd64")

_PROBE = """
import ctypes, datetime, lzma, os, pwd, socket, sqlite3, ssl, sys, tempfile, zoneinfo
assert ssl.create_default_context().cert_store_stats()["x509_ca"] > 100
assert sqlite3.connect(":memory:").execute("select 1").fetchone() == (1,)
assert lzma.decompress(lzma.compress(b"x")) == b"x"
assert ctypes.CDLL("libstdc++.so.6")
assert zoneinfo.ZoneInfo("Europe/Berlin").utcoffset(datetime.datetime(2024, 7, 1)) == datetime.timedelta(hours=2)
assert socket.getservbyname("https") == 443
tempfile.NamedTemporaryFile().close()
assert os.access(os.path.expanduser("~"), os.W_OK)
print(sys.version_info[:2], pwd.getpwuid(os.getuid()).pw_name)
"""


def _base(cache: Cache, root: Path, suite: str, python: str) -> list[Artifact]:
    need("apt and an amd64 machine", shutil.which("apt-get") and platform.machine() == "x86_64", "not here")
    image = Image(base=f"debian:{suite}")
    try:
        base = resolve_base(image, python, AMD64, root=root, environ=os.environ, progress=SILENT)
    except (LockError, StoreError) as error:
        need("a Debian mirror", None, str(error))
        raise
    fetch_debs(
        base.artifacts,
        image,
        AMD64,
        cache,
        root=root,
        environ=os.environ,
        progress=SILENT,
        locations=base.locations,
    )
    return list(base.artifacts)


def _blob(cache: Cache, artifact: Artifact) -> Path:
    path = cache.blob(artifact.digest)
    assert path is not None
    return path


@pytest.mark.apt
@pytest.mark.slow
@pytest.mark.parametrize(("suite", "python"), [("bookworm", "3.11"), ("trixie", "3.13")])
def test_the_unpacked_python_runs_on_this_machine(tmp_path: Path, shared_cache: Cache, suite: str, python: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for one in _base(shared_cache, tmp_path, suite, python):
        deb.unpack(_blob(shared_cache, one), root)
    loader = root / "usr/lib64/ld-linux-x86-64.so.2"
    libraries = root / "usr/lib/x86_64-linux-gnu"
    command = [str(loader), "--library-path", str(libraries), str(root / f"usr/bin/python{python}"), "-I", "-S", "-c"]
    script = "import sqlite3, lzma, ssl, py_compile; print(py_compile.__file__)"
    done = subprocess.run([*command, script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(root / f"usr/lib/python{python}/py_compile.py")


@pytest.mark.apt
@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.parametrize(("suite", "python"), [("bookworm", "3.11"), ("trixie", "3.13")])
def test_python_runs_in_a_container(tmp_path: Path, shared_cache: Cache, engine: str, suite: str, python: str) -> None:
    import docker

    system_part = Part("system", "system", params={"user": 65532, "architecture": "amd64"})
    found = {one.path: one for one in system.entries(system_part)}
    for one in _base(shared_cache, tmp_path, suite, python):
        made = Part("deb", one.name, one.version, one.digest, one.file)
        for entry in deb.entries(_blob(shared_cache, one), made, None):
            # layers lie over each other: what two of them hold must be the same
            assert found.setdefault(entry.path, entry) == entry
    with (tmp_path / "base.tar").open("wb") as file:
        encode(tar.arrange(found.values()), file, compress=False)
    client = docker.DockerClient(base_url=engine)
    try:
        with (tmp_path / "base.tar").open("rb") as file:
            answer = json.loads(client.api.import_image_from_data(file.read()).splitlines()[-1])
        image = answer["status"]
        try:
            for user, name in ((0, "root"), (65532, "app")):
                command = [f"python{python}", "-c", _PROBE]
                said = client.containers.run(image, command, user=user, remove=True, network_mode="none")
                major, minor = python.split(".")
                assert said.decode().strip() == f"({major}, {minor}) {name}"
        finally:
            client.images.remove(image, force=True)
    finally:
        client.close()
