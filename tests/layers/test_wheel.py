"""Wheels become the layer that installing them would make."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.errors import ArtifactError
from builder.layers import tar, wheel
from builder.layers.encode import encode
from builder.layers.recipe import Part
from tests.support.wheels import make_wheel

SITE = "opt/venv/lib/python3.11/site-packages"


def part(path: Path, name: str = "demo") -> Part:
    return Part("wheel", name, "1.0", None, path.name, {"python": "3.11"})


def layer(path: Path, name: str = "demo", compiled: wheel.Compile | None = None) -> bytes:
    sink = io.BytesIO()
    encode(tar.arrange(wheel.entries(path, part(path, name), compiled)), sink)
    return sink.getvalue()


def read(blob: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(blob), mode="r:gz") as archive:
        return {
            member.name: archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive
            if member.isfile()
        }


def modes(blob: bytes) -> dict[str, int]:
    with tarfile.open(fileobj=io.BytesIO(blob), mode="r:gz") as archive:
        return {member.name: member.mode for member in archive}


def test_files_go_to_site_packages_and_parts_of_data_spread(tmp_path: Path) -> None:
    path = make_wheel(
        tmp_path,
        "demo",
        "1.0",
        {"demo/__init__.py": b"x = 1\n", "demo/big.bin": b"\0" * 100_000},
        data={
            "scripts/tool": b"#!python -u\nprint(1)\n",
            "scripts/shell": b"#!/bin/sh\necho 1\n",
            "headers/demo.h": b"int x;\n",
            "data/share/demo/readme": b"hello\n",
            "purelib/extra.py": b"y = 2\n",
            "platlib/native.so": b"\x7fELF",
        },
    )
    found = read(layer(path))
    assert found[f"{SITE}/demo/__init__.py"] == b"x = 1\n"
    assert found[f"{SITE}/demo/big.bin"] == b"\0" * 100_000
    assert found["opt/venv/bin/tool"] == b"#!/opt/venv/bin/python\nprint(1)\n"
    assert found["opt/venv/bin/shell"] == b"#!/bin/sh\necho 1\n"
    assert found["opt/venv/include/site/python3.11/demo/demo.h"] == b"int x;\n"
    assert found["opt/venv/share/demo/readme"] == b"hello\n"
    assert found[f"{SITE}/extra.py"] == b"y = 2\n"
    assert found[f"{SITE}/native.so"] == b"\x7fELF"
    assert modes(layer(path))["opt/venv/bin/tool"] == 0o755


def test_console_scripts_are_made_and_run(tmp_path: Path) -> None:
    path = make_wheel(
        tmp_path,
        "demo",
        "1.0",
        {"demo/__init__.py": b"class A:\n    def go():\n        print('went')\n        return 3\n"},
        entry_points="[console_scripts]\ndemo-run = demo : A.go [extra]\n[other]\nx = y\n",
    )
    found = read(layer(path))
    script = found["opt/venv/bin/demo-run"]
    assert script.startswith(b"#!/opt/venv/bin/python\n")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/__init__.py").write_bytes(found[f"{SITE}/demo/__init__.py"])
    done = subprocess.run(
        [sys.executable, "-c", script.decode()], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (3, "went\n")


def test_record_lists_every_file_with_its_hash(tmp_path: Path) -> None:
    path = make_wheel(
        tmp_path,
        "demo",
        "1.0",
        {"demo/__init__.py": b"x = 1\n", "demo/umlaut-ä,comma.txt": b"1"},
        data={"scripts/tool": b"#!python\n"},
        entry_points="[console_scripts]\nrun = demo:main\n",
    )
    found = read(layer(path, compiled=lambda sources: {name: b"code" for name, _ in sources}))
    rows = {row[0]: row for row in csv.reader(io.StringIO(found[f"{SITE}/demo-1.0.dist-info/RECORD"].decode()))}
    paths = {os.path.normpath(f"{SITE}/{name}") for name in rows}
    assert paths == set(found)
    for name, digest, size in rows.values():
        data = found[os.path.normpath(f"{SITE}/{name}")]
        if name.endswith((".pyc", "/RECORD")):
            assert (digest, size) == ("", "")
        else:
            import base64

            expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert (digest, size) == (f"sha256={expected}", str(len(data)))
    assert found[f"{SITE}/demo-1.0.dist-info/INSTALLER"] == b"lockship\n"


def test_shipped_byte_code_and_build_paths_stay_out(tmp_path: Path) -> None:
    path = make_wheel(
        tmp_path,
        "demo",
        "1.0",
        {
            "demo/__init__.py": b"",
            "demo/__pycache__/__init__.cpython-311.pyc": b"stale",
            "demo-1.0.dist-info/direct_url.json": b'{"url": "file:///tmp/x"}',
        },
    )
    blob = layer(path)
    assert not [name for name in read(blob) if "pyc" in name or "direct_url" in name]
    assert b"direct_url" not in read(blob)[f"{SITE}/demo-1.0.dist-info/RECORD"]


def test_byte_code_lies_where_the_interpreter_looks(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {"demo/a.py": b"1\n", "top.py": b"2\n", "demo/broken.py": b"?"})
    asked: list[str] = []

    def compiled(sources: object) -> dict[str, bytes]:
        names = [name for name, _ in sources]  # type: ignore[attr-defined]
        asked.extend(names)
        return {name: b"code of " + name.encode() for name in names if "broken" not in name}

    found = read(layer(path, compiled=compiled))
    assert asked == sorted(asked)
    assert found[f"{SITE}/demo/__pycache__/a.cpython-311.pyc"] == f"code of /{SITE}/demo/a.py".encode()
    assert found[f"{SITE}/__pycache__/top.cpython-311.pyc"] == f"code of /{SITE}/top.py".encode()
    assert f"{SITE}/demo/__pycache__/broken.cpython-311.pyc" not in found


@settings(max_examples=30, deadline=None)
@given(
    files=st.dictionaries(
        st.text(st.characters(categories=("Ll", "Lo", "Nd")), min_size=1, max_size=12).map(lambda t: f"demo/{t}.x"),
        st.binary(max_size=3000),
        max_size=8,
    )
)
def test_any_wheel_reads_back(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = make_wheel(tmp_path_factory.mktemp("wheel"), "demo", "1.0", files)
    found = read(layer(path))
    assert {name: data for name, data in found.items() if name.endswith(".x")} == {
        f"{SITE}/{name}": data for name, data in files.items()
    }


def test_the_wheels_own_streams_are_in_the_layer(tmp_path: Path) -> None:
    data = os.urandom(1000) * 50
    path = make_wheel(tmp_path, "demo", "1.0", {"demo/data.bin": data})
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("demo/data.bin")
        assert info.compress_type == zipfile.ZIP_DEFLATED
    raw = path.read_bytes()
    name, extra = struct.unpack("<HH", raw[info.header_offset + 26 : info.header_offset + 30])
    start = info.header_offset + 30 + name + extra
    assert raw[start : start + info.compress_size] in layer(path)


def test_order_of_entries_and_zip_details_do_not_matter_to_the_tar(tmp_path: Path) -> None:
    files = {f"demo/{letter}.py": letter.encode() * 100 for letter in "abcde"}
    one = make_wheel(tmp_path, "demo", "1.0", files)
    other = tmp_path / "other" / one.name
    other.parent.mkdir()
    with zipfile.ZipFile(one) as source, zipfile.ZipFile(other, "w") as target:
        for info in reversed(source.infolist()):
            info.date_time = (2001, 1, 1, 1, 1, 2)
            target.writestr(info, source.read(info), zipfile.ZIP_STORED)
    import gzip

    assert gzip.decompress(layer(one)) == gzip.decompress(layer(other))


@pytest.mark.parametrize("wanted", [b"RECORD", b"METADATA", b"WHEEL"])
def test_a_wheel_without_its_metadata_is_refused(tmp_path: Path, wanted: bytes) -> None:
    path = _rewritten(make_wheel(tmp_path, "demo", "1.0", {"demo.py": b""}), drop=wanted.decode())
    with pytest.raises(ArtifactError, match=rf"demo-1\.0.*has no .*{wanted.decode()}"):
        layer(path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"../evil.py": b""}, "unsafe path"),
        ({"/etc/passwd": b""}, "unsafe path"),
        ({"C:/evil": b""}, "unsafe path"),
        ({"demo\\evil": b""}, "unsafe path"),
        ({"demo/.wh.secret": b""}, "whiteout"),
    ],
)
def test_hostile_names_are_refused(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {"demo/__init__.py": b""})
    with zipfile.ZipFile(path, "a") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with pytest.raises(ArtifactError, match=message) as caught:
        layer(path)
    assert path.name in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 3


def test_duplicate_names_are_refused(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {"demo/a.py": b"one"})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("demo/a.py", b"two")
    with pytest.raises(ArtifactError, match=r"'demo/a\.py' is there twice"):
        layer(path)


def test_a_symlink_is_refused(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {"demo/a.py": b""})
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("demo/link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ArtifactError, match=r"'demo/link' is a link"):
        layer(path)


def test_a_lying_crc_is_refused(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {"demo/a.py": b"some content that is long enough" * 9})
    with zipfile.ZipFile(path) as archive:
        crc = archive.getinfo("demo/a.py").CRC.to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(crc, b"\1\2\3\4"))
    with pytest.raises(ArtifactError, match=r"demo/a\.py.*CRC"):
        layer(path)


def test_a_truncated_stream_is_refused(tmp_path: Path) -> None:
    """The stream's last bytes are another entry's: sizes agree everywhere, the stream doesn't end."""
    content = os.urandom(500) * 3
    path = make_wheel(tmp_path, "demo", "1.0", {"demo/a.bin": content})
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("demo/a.bin")
    raw = bytearray(path.read_bytes())
    name, extra = struct.unpack("<HH", raw[info.header_offset + 26 : info.header_offset + 30])
    end = info.header_offset + 30 + name + extra + info.compress_size
    raw[end - 20 : end] = bytes(20)
    path.write_bytes(bytes(raw))
    with pytest.raises(ArtifactError, match=r"demo/a\.bin"):
        layer(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {"demo/a.py": b"1" * 5000})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match="not a readable zip file"):
        layer(path)


def test_headers_that_disagree_are_refused(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {"demo/aaaa.py": b"1"})
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"demo/aaaa.py", b"demo/bbbb.py", 1))
    with pytest.raises(ArtifactError, match="disagree"):
        layer(path)


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {"demo/a.py": b"1"})
    with (
        zipfile.ZipFile(path, "a") as archive,
        archive.open(zipfile.ZipInfo("demo/zeros"), "w", force_zip64=True) as file,
    ):
        archive.getinfo  # noqa: B018
        for _ in range(4):
            file.write(bytes(1 << 20))
    raw = path.read_bytes()
    # the central directory's claim, 4 MiB, raised to nearly 4 GiB
    claim = (4 << 20).to_bytes(4, "little")
    position = raw.rindex(claim)
    path.write_bytes(raw[:position] + (0xFFFFFFF0).to_bytes(4, "little") + raw[position + 4 :])
    with pytest.raises(ArtifactError):
        layer(path)


@pytest.mark.parametrize("name", ["python", "python3", "python3.11"])
def test_no_script_replaces_the_interpreter(tmp_path: Path, name: str) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {"demo.py": b""}, entry_points=f"[console_scripts]\n{name} = demo:x\n")
    with pytest.raises(ArtifactError, match=f"script called '{name}'"):
        layer(path)


def test_zip64_and_data_descriptors_are_read(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {"demo/a.py": b"1\n"})

    class Pipe(io.RawIOBase):
        """Not seekable, so that zipfile writes data descriptors."""

        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:  # type: ignore[override]
            self.data += data  # type: ignore[arg-type]
            return len(data)  # type: ignore[arg-type]

    pipe = Pipe()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as target:  # type: ignore[call-overload]
        for info in source.infolist():
            with target.open(zipfile.ZipInfo(info.filename), "w", force_zip64=True) as file:
                file.write(source.read(info))
    before = read(layer(path))
    path.write_bytes(bytes(pipe.data))
    assert read(layer(path)) == before


def _rewritten(path: Path, *, drop: str) -> Path:
    with zipfile.ZipFile(path) as source:
        kept = [(info, source.read(info)) for info in source.infolist() if not info.filename.endswith("/" + drop)]
    with zipfile.ZipFile(path, "w") as target:
        for info, data in kept:
            target.writestr(info, data)
    return path


def test_what_starts_with_python_is_the_environments_interpreter(tmp_path: Path) -> None:
    lines = {"one": b"#!python", "two": b"#!pythonw -u\r\nx", "three": b"#!python3\nx", "four": b"#! python\nx"}
    path = make_wheel(tmp_path, "demo", "1.0", {}, data={f"scripts/{name}": text for name, text in lines.items()})
    found = read(layer(path))
    assert found["opt/venv/bin/one"] == b"#!/opt/venv/bin/python"
    assert found["opt/venv/bin/two"] == b"#!/opt/venv/bin/python\nx"
    assert found["opt/venv/bin/three"] == b"#!/opt/venv/bin/python\nx"
    assert found["opt/venv/bin/four"] == b"#! python\nx"


def test_an_entry_points_script_takes_the_place_of_a_wrapper_that_is_shipped(tmp_path: Path) -> None:
    data = {f"scripts/{name}": b"#!python\nold\n" for name in ("tool", "tool-script.py", "tool.exe", "toolbox")}
    path = make_wheel(tmp_path, "demo", "1.0", {}, data=data, entry_points="[console_scripts]\ntool = demo:main\n")
    found = {name: text for name, text in read(layer(path)).items() if name.startswith("opt/venv/bin/")}
    assert set(found) == {"opt/venv/bin/tool", "opt/venv/bin/toolbox"}
    assert b"from demo import main" in found["opt/venv/bin/tool"]


def test_no_section_of_entry_points_is_special(tmp_path: Path) -> None:
    text = "[DEFAULT]\nevil = os:abort\n[console_scripts]\ntool = demo.cli:main\n"
    path = make_wheel(tmp_path, "demo", "1.0", {}, entry_points=text)
    assert [name for name in read(layer(path)) if "/bin/" in name] == ["opt/venv/bin/tool"]


@pytest.mark.parametrize("name", ["..", ".wh.python", ".wh..wh..opq", "a/b", "a\\b"])
def test_no_entry_point_leaves_its_folder_or_hides_files(tmp_path: Path, name: str) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {}, entry_points=f"[console_scripts]\n{name} = demo:main\n")
    with pytest.raises(ArtifactError, match=r"demo-1\.0"):
        layer(path)


@pytest.mark.parametrize("value", ["demo", "demo:", "demo:main; import os", "a b:c", "demo:main()"])
def test_a_malformed_entry_point_is_refused(tmp_path: Path, value: str) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {}, entry_points=f"[console_scripts]\ntool = {value}\n")
    with pytest.raises(ArtifactError, match=r"demo-1\.0.*entry point 'tool'"):
        layer(path)


@pytest.mark.parametrize(
    "place",
    [
        "data/pyvenv.cfg",
        "data/bin",
        "data/lib64",
        "data/bin/python",
        "data/bin/python3.11",
        "data/include",
        "scripts/python3",
        "data/lib/python3.11",
    ],
)
def test_no_file_replaces_a_part_of_the_environment(tmp_path: Path, place: str) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {}, data={place: b"mine"})
    with pytest.raises(ArtifactError) as caught:
        layer(path)
    assert path.name in caught.value.message or "not a directory" in caught.value.message


def test_data_below_lib64_is_where_its_link_leads(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {}, data={"data/lib64/demo/x": b"1", "data/lib/other": b"2"})
    found = read(layer(path))
    assert "opt/venv/lib/demo/x" in found
    assert not [name for name in modes(layer(path)) if "lib64" in name]


def test_the_data_folder_is_one_however_its_name_is_written(tmp_path: Path) -> None:
    """As for pip, for which every folder on top that ends so is one."""
    path = make_wheel(tmp_path, "demo", "1.0", {"Demo-1.0.0.data/scripts/tool": b"#!python\n"})
    assert read(layer(path))["opt/venv/bin/tool"] == b"#!/opt/venv/bin/python\n"


def test_a_pth_file_and_a_signature_of_record_are_files_like_others(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {"demo.pth": b"import demo\n", "demo-1.0.dist-info/RECORD.jws": b"{}"})
    found = read(layer(path))
    assert found[f"{SITE}/demo.pth"] == b"import demo\n"
    assert b"demo-1.0.dist-info/RECORD.jws,sha256=" in found[f"{SITE}/demo-1.0.dist-info/RECORD"]


def test_record_repeats_what_the_wheel_says_of_its_files_as_pip_does(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {"demo.py": b"x = 1\n", "other.py": b"y = 1\n"})
    with zipfile.ZipFile(path) as source:
        members = {info.filename: source.read(info) for info in source.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in members.items():
            target.writestr(name, data if not name.endswith("RECORD") else b"demo.py,sha256=claimed,9\n")
    record = read(layer(path))[f"{SITE}/demo-1.0.dist-info/RECORD"]
    assert b"demo.py,sha256=claimed,6\n" in record, "its size is known to be another"
    digest = hashlib.sha256(b"y = 1\n").digest()
    import base64

    assert b"other.py,sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=") + b",6\n" in record


def test_paths_that_differ_in_case_alone_are_two_files(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {"demo/a.py": b"1", "demo/A.py": b"2", "Demo/a.py": b"3"})
    found = read(layer(path))
    assert [found[f"{SITE}/{name}"] for name in ("demo/a.py", "demo/A.py", "Demo/a.py")] == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    ("attributes", "mode"),
    [
        (0, 0o644),
        (0o100600 << 16, 0o644),
        (0o100666 << 16, 0o644),
        (0o104711 << 16, 0o755),
        (0o106777 << 16 | 0x20, 0o755),
        (0o100010 << 16, 0o755),
        (0x21, 0o644),
    ],
)
def test_modes_are_two_whatever_the_zip_says(tmp_path: Path, attributes: int, mode: int) -> None:
    path = make_wheel(tmp_path, "demo", "1.0", {})
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("demo/file")
        info.external_attr = attributes
        archive.writestr(info, b"1")
    # `writestr` fills in a mode where there is none
    raw = path.read_bytes()
    at = raw.rindex(b"demo/file") - 46 + 38
    path.write_bytes(raw[:at] + attributes.to_bytes(4, "little") + raw[at + 4 :])
    assert modes(layer(path))[f"{SITE}/demo/file"] == mode


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_wheel_is_the_same_or_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whichever bits flip: contents that are let through are the right ones."""
    folder = tmp_path_factory.mktemp("wheel")
    files = {"demo/a.py": b"x = 1\n" * 50, "demo/b.bin": bytes(range(256))}
    path = make_wheel(folder, "demo", "1.0", files, entry_points="[console_scripts]\ntool = demo.a:main\n")
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(raw))
    try:
        found = read(layer(path))
    except ArtifactError:
        return
    assert set(found.values()) >= set(files.values())
