"""Conda packages to layers: the same files that rattler installs, the same bytes everywhere, nothing that harms."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.cache import Cache
from builder.content import Digest
from builder.errors import ArtifactError
from builder.layers import conda, condafile, tar
from builder.layers.make import make
from builder.layers.recipe import Layer, Part, Recipe
from tests.support.conda import PLACEHOLDER, installed_by_rattler, make_package, pack
from tests.support.real_conda import real_conda

VENV = "opt/venv"


def part_of(path: Path, **params: str) -> Part:
    name, version, _ = path.name.rsplit("-", 2)
    known = {"channel": "lab"} | params
    return Part("conda", name, version, Digest.of(path.read_bytes()), path.name, known)


def installed(path: Path, **params: str) -> dict[str, tar.Entry]:
    part = part_of(path, **{"python": "3.11", **params})
    return {entry.path: entry for entry in conda.entries(path, part)}


def content(entry: tar.Entry) -> bytes:
    assert not isinstance(entry.content, tar.Deflated)
    return b"".join(tar.iterate(entry.content))


def several(
    folder: Path, python: bytes = b"\x7fELF" + PLACEHOLDER.encode() + b"\0", script: str = "exit 1"
) -> list[Path]:
    """One package of each kind: `python` is that program, `script` what one does after it was installed."""
    library = make_package(
        folder,
        "libfoo",
        "1.2",
        {
            "share/foo/foo.conf": f"prefix={PLACEHOLDER}\nagain {PLACEHOLDER}/share\n",
            "lib/libfoo.so.1.2": b"\x7fELF\0"
            + PLACEHOLDER.encode() * 2
            + b"/lib\0tail\0"
            + PLACEHOLDER.encode()
            + b"\0",
            "lib/libfoo.so": ("link", "libfoo.so.1.2"),
            "lib/pkg/up.so": ("link", "../libfoo.so.1.2"),
            "bin/foo": (f"#!{PLACEHOLDER}/bin/python -u\n".encode(), 0o775),
            "bin/foo-twin": ("hard", "bin/foo"),
            "bin/.libfoo-post-link.sh": (f"#!/bin/sh\n{script}\n".encode(), 0o755),
            "share/blob": bytes(range(256)) * 2048,
        },
    )
    interpreter = make_package(
        folder,
        "python",
        "3.11.9",
        {
            "bin/python3.11": (python, 0o755),
            "bin/python": ("link", "python3.11"),
            "lib/python3.11/os.py": "# stdlib\n",
        },
    )
    module = make_package(
        folder,
        "greeter",
        "1.1",
        {
            "site-packages/greeter/__init__.py": "",
            "site-packages/greeter/cli.py": "def main(): print('hi')\n",
            "site-packages/greeter-1.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: greeter\nVersion: 1.1\n",
            "python-scripts/greet-more": (f"#!{PLACEHOLDER}/bin/python\n".encode(), 0o755),
            "share/greeter/data.txt": "x\n",
        },
        noarch="python",
        entry_points=["greet = greeter.cli:main", "greet2=greeter.cli : App.run"],
    )
    marked = {"share/old.txt": f"{PLACEHOLDER}\n", "lib/o.bin": b"\0" + PLACEHOLDER.encode() + b"\0"}
    old = make_package(folder, "oldfmt", "1.0", marked, suffix=".tar.bz2", old=True)
    generic = make_package(folder, "zones", "2024a", {"share/zone.txt": "tz\n"}, noarch="generic", suffix=".tar.bz2")
    return [library, interpreter, module, old, generic]


def on_disk(root: Path) -> Iterator[tuple[str, tuple[str, Any]]]:
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            yield name, ("link", path.readlink().as_posix())
        elif path.is_file() and "/conda-meta/" not in name and not name.endswith("CACHEDIR.TAG"):
            yield name, ("file", (bool(path.stat().st_mode & 0o111), path.read_bytes()))


def in_layers(packages: list[Path], **params: str) -> dict[str, tuple[str, Any]]:
    found: dict[str, tuple[str, Any]] = {}
    for path in packages:
        for name, entry in installed(path, **params).items():
            if entry.kind is tar.Kind.SYMLINK:
                found[name] = ("link", entry.link)
            elif "/conda-meta/" not in name:
                found[name] = ("file", (bool(entry.mode & 0o111), content(entry)))
    return found


@pytest.mark.parametrize("prefix", ["", "/srv/elsewhere/venv"])
def test_what_is_installed_is_what_rattler_installs(tmp_path: Path, prefix: str) -> None:
    packages = several(tmp_path / "channel")
    where = {"prefix": prefix} if prefix else {}
    theirs = dict(on_disk(installed_by_rattler(packages, tmp_path, **where)))
    for name in ("greet", "greet2"):  # which conda indents otherwise
        kind, (executable, text) = theirs[f"{VENV}/bin/{name}"]
        theirs[f"{VENV}/bin/{name}"] = (kind, (executable, text.replace(b"\t", b"    ")))
    assert in_layers(packages, **where) == theirs


@pytest.mark.slow
@pytest.mark.index
def test_what_is_installed_is_what_conda_installs(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """conda writes the prefix that it installs at: here one as long as that of images, which is put in its place."""
    packages = several(tmp_path / "channel", python=b"#!/bin/sh\nexit 0\n", script="exit 0")
    tail = {"share/tail.bin": PLACEHOLDER.encode() + b"\0" + PLACEHOLDER.encode()}  # where rattler does otherwise
    packages.append(make_package(tmp_path / "channel", "tail", "1.0", tail))
    prefix = Path("/tmp", secrets.token_hex(2))
    assert len(str(prefix)) == len(f"/{VENV}")
    prefix.mkdir()
    request.addfinalizer(lambda: shutil.rmtree(prefix))
    environ = {**os.environ, "CONDA_PKGS_DIRS": str(tmp_path / "pkgs"), "CONDA_SUBDIR": "linux-64"}
    words = [real_conda(tmp_path / "conda"), "create", "--yes", "--offline", "--prefix", prefix]
    subprocess.run([*words, *packages], env=environ, check=True)
    theirs = {
        f"{VENV}/{name}": (kind, found if kind == "link" else (found[0], found[1].replace(bytes(prefix), b"/opt/venv")))
        for name, (kind, found) in on_disk(prefix)
        if not name.startswith("conda-meta/")
    }
    assert in_layers(packages) == theirs


def test_the_record_is_what_rattler_writes_without_where_and_when(tmp_path: Path) -> None:
    packages = several(tmp_path / "channel")
    root = installed_by_rattler(packages, tmp_path)
    for path in packages:
        stem = path.name.removesuffix(".conda").removesuffix(".tar.bz2")
        name = f"{VENV}/conda-meta/{stem}.json"
        ours = json.loads(content(installed(path)[name]))
        theirs = json.loads((root / name).read_text())
        assert sorted(ours["files"]) == sorted(theirs["files"])
        for key in ("name", "version", "build", "build_number", "subdir", "sha256", "size", "fn", "timestamp"):
            assert ours[key] == theirs[key], key
        marks = {one["_path"]: one for one in theirs["paths_data"]["paths"]}
        for row in ours["paths_data"]["paths"]:
            known = marks[row["_path"]]
            if row["path_type"] != "softlink":  # rattler hashes what the link leads to
                assert row.get("sha256_in_prefix") == known.get("sha256_in_prefix"), row
                assert row["path_type"] == known["path_type"]
        assert ours["channel"] == "lab"
        assert not {"url", "link", "extracted_package_dir"} & ours.keys()
        assert str(tmp_path) not in json.dumps(ours)


def test_the_own_list_is_enough_to_find_clashes(tmp_path: Path) -> None:
    for path in several(tmp_path):
        part = part_of(path, python="3.11")
        known = {name for name, entry in installed(path).items() if entry.kind is not tar.Kind.DIRECTORY}
        records = {name for name in known if name.startswith(f"{VENV}/conda-meta/")}
        assert conda.installed_paths(path, part).keys() == known - records


def test_byte_code_keeps_step_with_its_source(tmp_path: Path) -> None:
    def code(time: int, flags: int = 0) -> bytes:
        return b"\xa7\x0d\x0d\x0a" + struct.pack("<III", flags, time, 3) + b"code"

    path = make_package(
        tmp_path,
        "mod",
        files={
            "lib/python3.11/a.py": "a\n",
            "lib/python3.11/__pycache__/a.cpython-311.pyc": code(1_700_000_000),
            "lib/python3.11/b.py": "b\n",
            "lib/python3.11/__pycache__/b.cpython-311.pyc": code(5),
            "lib/python3.11/__pycache__/c.cpython-311.pyc": code(1_700_000_000),
            "lib/python3.11/d.py": "d\n",
            "lib/python3.11/__pycache__/d.cpython-311.pyc": code(1_700_000_000, 1),
        },
    )
    found = installed(path)
    folder = f"{VENV}/lib/python3.11/__pycache__"
    assert content(found[f"{folder}/a.cpython-311.pyc"]) == code(tar.MTIME)
    assert content(found[f"{folder}/b.cpython-311.pyc"]) == code(5)
    assert content(found[f"{folder}/c.cpython-311.pyc"]) == code(1_700_000_000)
    assert content(found[f"{folder}/d.cpython-311.pyc"]) == code(1_700_000_000, 1)


def made(path: Path, root: Path) -> Layer:
    cache = Cache(root)
    digest = cache.adopt(path)
    part = part_of(path, python="3.11")
    assert digest == part.artifact
    return make(Recipe((part,)), root, None)


_MAKE = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[3]]
from tests.layers.test_conda import made
print(made(Path(sys.argv[1]), Path(sys.argv[2])).digest)
"""


@pytest.mark.parametrize(
    "environ", [{"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "LC_ALL": "C"}, {"PYTHONHASHSEED": "77", "TZ": "UTC"}]
)
def test_a_layer_is_the_same_everywhere(tmp_path: Path, environ: dict[str, str]) -> None:
    path = several(tmp_path / "channel")[0]
    expected = made(path, tmp_path / "cache").digest
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _MAKE, str(path), str(tmp_path / "other"), str(Path(__file__).parents[2])],
        cwd=tmp_path / "elsewhere",
        env={**os.environ, **environ},
        umask=0o077,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == expected


def test_another_package_than_the_locked_one(tmp_path: Path) -> None:
    path = make_package(tmp_path, "evil", "6.6")
    part = Part("conda", "good", "1.0", Digest.of(path.read_bytes()), path.name, {"channel": "lab"})
    with pytest.raises(ArtifactError, match=r"evil-6\.6-0\.conda: its name is 'evil', the lock says 'good'"):
        conda.entries(path, part)


def test_a_python_package_without_a_python(tmp_path: Path) -> None:
    path = make_package(tmp_path, "mod", files={"site-packages/mod.py": ""}, noarch="python")
    with pytest.raises(ArtifactError, match="the environment has no python"):
        conda.entries(path, part_of(path))


INDEX = json.dumps({"name": "evil", "version": "1", "build": "0", "build_number": 0, "depends": []})


def evil(folder: Path, payload: dict[str, Any], paths: list[dict[str, Any]], suffix: str = ".conda") -> Path:
    info = {"info/index.json": INDEX, "info/paths.json": json.dumps({"paths": paths, "paths_version": 1})}
    return pack(folder / f"evil-1-0{suffix}", payload, info)


def row(path: str, kind: str = "hardlink", **more: str) -> dict[str, Any]:
    return {"_path": path, "path_type": kind, "sha256": "0" * 64, "size_in_bytes": 1, **more}


@pytest.mark.parametrize("suffix", [".conda", ".tar.bz2"])
@pytest.mark.parametrize(
    ("payload", "paths", "complaint"),
    [
        ({"../up": "x"}, [row("../up")], "unsafe path"),
        ({"a/../../up": "x"}, [], "unsafe path"),
        ({"/etc/passwd": "x"}, [row("/etc/passwd")], "unsafe path"),
        ({"a": "x"}, [row("a"), row("./a")], "two of its files go to"),
        ({}, [row("a")], "lists 'a', which it doesn't hold"),
        ({"l": ("link", "/etc/shadow")}, [row("l", "softlink")], "out of the environment"),
        ({"l": ("link", "../../etc/shadow")}, [row("l", "softlink")], "out of the environment"),
        ({"l": ("link", "../../../../opt/venv/x")}, [row("l", "softlink")], "out of the environment"),
        ({"l": ("hard", "../x")}, [row("l")], "unsafe path"),
        ({"l": ("hard", "nothing")}, [row("l")], "a hard link to 'nothing'"),
        ({"conda-meta/x.json": "{}"}, [row("conda-meta/x.json")], "where installers keep their records"),
        ({"conda-meta": "{}"}, [row("conda-meta")], "where installers keep their records"),
        ({"a/.wh.b": ""}, [row("a/.wh.b")], "whiteout"),
        ({"a": b"/old\0"}, [row("a", prefix_placeholder="/old", file_mode="binary")], "too short for /opt/venv"),
        ({"a": b"/old\0"}, [row("a", prefix_placeholder="/old", file_mode="odd")], "a file's mode is 'odd'"),
    ],
)
def test_hostile_packages(
    tmp_path: Path, payload: dict[str, Any], paths: list[dict[str, Any]], complaint: str, suffix: str
) -> None:
    path = evil(tmp_path, payload, paths, suffix)
    with pytest.raises(ArtifactError, match=complaint) as caught:
        conda.entries(path, part_of(path))
    assert path.name in caught.value.message


@pytest.mark.parametrize("point", ["x = os:system(1)", "x", "../x = a:b", "x = a", "x y = a:b"])
def test_malformed_entry_points(tmp_path: Path, point: str) -> None:
    path = make_package(tmp_path, "mod", noarch="python", entry_points=[point])
    with pytest.raises(ArtifactError, match="entry point"):
        installed(path)


@pytest.mark.parametrize("suffix", [".conda", ".tar.bz2"])
def test_damaged_packages(tmp_path: Path, suffix: str) -> None:
    path = make_package(tmp_path, "mod", files={"a": bytes(range(256)) * 64}, suffix=suffix)
    data = path.read_bytes()
    for at in range(0, len(data), max(1, len(data) // 40)):
        for damaged in (data[:at], data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]):
            path.write_bytes(damaged)
            try:
                conda.entries(path, part_of(path))
            except ArtifactError as error:
                assert path.name in error.message


def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condafile, "_BOMB_SIZE", 1 << 20)
    for suffix in (".conda", ".tar.bz2"):
        path = make_package(tmp_path, "bomb", files={"zeros": bytes(8 << 20)}, suffix=suffix)
        with pytest.raises(ArtifactError, match="a bomb"):
            conda.entries(path, part_of(path))


def test_scripts_are_found(tmp_path: Path) -> None:
    files = {"bin/.noisy-post-link.sh": "x", "bin/.noisy-pre-unlink.sh": "x", "bin/.other-pre-link.sh": "x"}
    path = make_package(tmp_path, "noisy", files=files)
    assert condafile.scripts_of(condafile.info_of(path, path.name)) == ("post-link",)
