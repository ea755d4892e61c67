"""A layer holds what pip would have installed: real wheels, file by file."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from builder.layers import tar, wheel
from builder.layers.encode import encode
from builder.layers.recipe import Part

pytestmark = [pytest.mark.slow, pytest.mark.index]

# wheels of every sort: compiled with bundled libraries, pure, with scripts, with data folders, with a namespace
WHEELS = ["numpy==2.2.6", "uvicorn==0.34.0", "pywin32-ctypes==0.2.3", "jupyterlab-widgets==3.0.15", "zope.event==5.0"]
SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A virtual environment into which pip installed the wheels, and the wheels."""
    folder = tmp_path_factory.mktemp("pip")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "download", "--no-deps", "--only-binary=:all:", "-d", str(folder / "wheels"), *WHEELS], check=True
    )
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    wheels = sorted((folder / "wheels").glob("*.whl"))
    subprocess.run(
        [*pip, "--python", str(venv / "bin/python"), "install", "--no-deps", "--no-compile", *map(str, wheels)],
        check=True,
    )
    return venv, wheels


def files_of(path: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and bytes by path below the environment, of the layer that the wheel becomes."""
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    name = re.sub(r"[-_.]+", "-", path.name.split("-")[0]).lower()
    buffer = io.BytesIO()
    part = Part("wheel", name, path.name.split("-")[1], None, path.name, {"python": minor})
    encode(tar.arrange(wheel.entries(path, part, None)), buffer)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer, mode="r:gz") as archive:
        return {
            member.name.removeprefix("opt/venv/"): (member.mode, archive.extractfile(member).read())  # type: ignore[union-attr]
            for member in archive
            if member.isfile()
        }


def test_the_same_files_with_the_same_bytes_and_modes(installed: tuple[Path, list[Path]]) -> None:
    venv, wheels = installed
    ours = {path: found for each in wheels for path, found in files_of(each).items()}
    made_with_the_venv = {"pyvenv.cfg", ".gitignore"} | {f"bin/{path.name}" for path in (venv / "bin").glob("[Aap]*")}
    theirs = {
        path.relative_to(venv).as_posix(): path
        for path in venv.rglob("*")
        if path.is_file()
        and not path.is_symlink()
        and "__pycache__" not in path.parts  # numpy's wheel really ships some byte code
        and path.relative_to(venv).as_posix() not in made_with_the_venv
    }
    scripts = {path for path in theirs if path.startswith("bin/")}
    differs = {
        path for path in theirs if path.endswith((".dist-info/RECORD", ".dist-info/INSTALLER", "/direct_url.json"))
    }
    differs |= {path for path in theirs if path.endswith(".dist-info/REQUESTED")}
    assert {path for path in ours if not path.endswith("RECORD") and not path.endswith("INSTALLER")} == set(
        theirs
    ) - differs
    for path in set(theirs) - differs - scripts:
        assert ours[path][1] == theirs[path].read_bytes(), path
        assert ours[path][0] & 0o111 == theirs[path].stat().st_mode & 0o111, path
    assert scripts
    for path in scripts:
        assert ours[path][0] == 0o755
        assert ours[path][1].startswith(b"#!/opt/venv/bin/python\n")


def test_record_says_what_pip_says(installed: tuple[Path, list[Path]]) -> None:
    venv, wheels = installed
    for each in wheels:
        ours = files_of(each)
        (record,) = [path for path in ours if path.endswith(".dist-info/RECORD")]
        mine = {row[0]: row[1:] for row in csv.reader(io.StringIO(ours[record][1].decode()))}
        pips = {row[0]: row[1:] for row in csv.reader((venv / record).read_text().splitlines())}
        for name in ("REQUESTED", "direct_url.json", "INSTALLER"):
            for rows in (mine, pips):
                rows.pop(f"{record.split('/')[-2]}/{name}", None)
        pips = {name: row for name, row in pips.items() if "__pycache__" not in name}
        scripts = {name for name in pips if name.startswith("../../../bin/")}
        assert mine.keys() == pips.keys()
        assert {name: row for name, row in mine.items() if name not in scripts} == {
            name: row for name, row in pips.items() if name not in scripts
        }


def test_importlib_metadata_reads_it(installed: tuple[Path, list[Path]], tmp_path: Path) -> None:
    _, wheels = installed
    for each in wheels:
        for path, (_, data) in files_of(each).items():
            target = tmp_path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    program = (
        "import importlib.metadata as m, json, sys\n"
        "found = m.distributions(path=[sys.argv[1]])\n"
        "print(json.dumps({d.name: [d.version, d.read_text('INSTALLER'), all(f.locate().exists() for f in d.files)]"
        " for d in found}))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(tmp_path / SITE)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["numpy"] == ["2.2.6", "lockship\n", True]
    assert len(found) == len(WHEELS)
