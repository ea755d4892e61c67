"""Tiny wheels, valid as pip and the wheel specification see them, the same bytes every time."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["make_sdist", "make_wheel", "wheel_name"]

EPOCH = (1980, 1, 1, 0, 0, 0)


def wheel_name(name: str, version: str, tag: str) -> str:
    """The file name of a wheel (binary distribution format, "File name convention")."""
    return f"{_escape(name)}-{version}-{tag}.whl"


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, bytes],
    *,
    tag: str = "py3-none-any",
    requires: Iterable[str] = (),
    entry_points: str | None = None,
    data: Mapping[str, bytes] | None = None,
    build: str = "",
    requires_python: str = "",
    executable: Iterable[str] = (),
) -> Path:
    """Write a wheel into `folder` and give its path.

    `files` are paths in site-packages with their bytes; `data` those below ``NAME-VERSION.data/``
    (``scripts/tool``, ``headers/x.h``); `entry_points` is the text of entry_points.txt; `executable` names the
    archive members with mode 755. RECORD is complete.
    """
    escaped = _escape(name)
    info = f"{escaped}-{version}.dist-info"
    members = dict(files)
    for path, content in (data or {}).items():
        members[f"{escaped}-{version}.data/{path}"] = content
    members[f"{info}/METADATA"] = _metadata(name, version, requires, requires_python)
    members[f"{info}/WHEEL"] = _wheel(tag, build)
    if entry_points is not None:
        members[f"{info}/entry_points.txt"] = entry_points.encode()
    record = "".join(f"{path},sha256={_hash(content)},{len(content)}\n" for path, content in members.items())
    members[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / wheel_name(name, f"{version}-{build}" if build else version, tag)
    runnable = set(executable)
    with zipfile.ZipFile(target, "w") as archive:
        for path, content in members.items():
            member = zipfile.ZipInfo(path, EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = (0o100755 if path in runnable else 0o100644) << 16
            archive.writestr(member, content)
    return target


def make_sdist(
    folder: Path,
    name: str,
    version: str,
    module: bytes = b"VALUE = 1\n",
    *,
    backend: str | None = None,
    requires: Iterable[str] = (),
) -> Path:
    """Write a source distribution whose build backend is in the tree itself, so that building needs no index.

    `backend` replaces the source of that backend (a module with ``build_wheel``). `requires` are its dependencies.
    """
    import gzip
    import io
    import tarfile

    escaped = _escape(name)
    folder.mkdir(parents=True, exist_ok=True)
    root = f"{escaped}-{version}"
    members = {
        "PKG-INFO": _metadata(name, version, requires, ""),
        "pyproject.toml": b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        + f"[project]\nname = {name!r}\nversion = {version!r}\ndependencies = {list(requires)!r}\n".encode(),
        "backend.py": (backend or _BACKEND.format(name=name, version=version, requires=list(requires))).encode(),
        "support_wheels.py": Path(__file__).read_bytes(),
        f"{escaped}.py": module,
    }
    target = folder / f"{root}.tar.gz"
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for path, content in members.items():
            member = tarfile.TarInfo(f"{root}/{path}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target


_BACKEND = """
from pathlib import Path
from support_wheels import make_wheel

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    module = {name!r}.replace("-", "_") + ".py"
    files = {{module: Path(module).read_bytes()}}
    return make_wheel(Path(wheel_directory), {name!r}, {version!r}, files, requires={requires!r}).name
"""


def _escape(name: str) -> str:
    return name.replace("-", "_").replace(".", "_")


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _metadata(name: str, version: str, requires: Iterable[str], requires_python: str) -> bytes:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    if requires_python:
        lines.append(f"Requires-Python: {requires_python}")
    requires = list(requires)
    extras = sorted({part.split("extra ==")[1].strip(" '\"") for part in requires if "extra ==" in part})
    lines += [f"Provides-Extra: {extra}" for extra in extras]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    return ("\n".join(lines) + "\n\n").encode()


def _wheel(tag: str, build: str) -> bytes:
    python, abi, platforms = tag.split("-")
    pure = "true" if platforms == "any" else "false"
    lines = ["Wheel-Version: 1.0", "Generator: tests", f"Root-Is-Purelib: {pure}"]
    if build:
        lines.append(f"Build: {build}")
    lines += [
        f"Tag: {interpreter}-{abi_tag}-{platform}"
        for interpreter in python.split(".")
        for abi_tag in abi.split(".")
        for platform in platforms.split(".")
    ]
    return ("\n".join(lines) + "\n").encode()
