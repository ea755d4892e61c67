"""Small conda packages and channels, the same bytes every time, and an installer that isn't ours to compare with."""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import zstandard

from tests.support.serving import listening

__all__ = ["PLACEHOLDER", "Channel", "indexed", "installed_by_rattler", "make_package", "pack", "serve_channel"]

EPOCH = 1_700_000_000
PLACEHOLDER = ("/opt/placehold_" + "placehold_" * 30)[:255]

# bytes or text; ("link", target); ("hard", target); or bytes and a mode
Spec = bytes | str | tuple[str, str] | tuple[bytes, int]


def _tar(files: Mapping[str, Spec]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        hard = {path for path, spec in files.items() if isinstance(spec, tuple) and spec[0] == "hard"}
        for path in [*sorted(files.keys() - hard), *sorted(hard)]:
            spec = files[path]
            info = tarfile.TarInfo(path)
            info.mtime, info.mode = EPOCH, 0o664
            if isinstance(spec, tuple) and isinstance(spec[1], str):
                info.type = tarfile.SYMTYPE if spec[0] == "link" else tarfile.LNKTYPE
                info.linkname = spec[1]
                target = files.get(spec[1])
                if spec[0] == "hard" and isinstance(target, tuple) and isinstance(target[1], int):
                    info.mode = target[1]  # two names of one file
                archive.addfile(info)
                continue
            data, mode = spec if isinstance(spec, tuple) else (spec, 0o664)
            data = data.encode() if isinstance(data, str) else data
            assert isinstance(mode, int)
            info.size, info.mode = len(data), mode
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _row(path: str, spec: Spec, files: Mapping[str, Spec], placeholder: str) -> dict[str, Any]:
    if isinstance(spec, tuple) and spec[0] == "hard":
        spec = files[str(spec[1])]
    linked = isinstance(spec, tuple) and spec[0] == "link"
    data = b"" if linked else spec[0] if isinstance(spec, tuple) else spec
    data = data.encode() if isinstance(data, str) else data
    row: dict[str, Any] = {
        "_path": path,
        "path_type": "softlink" if linked else "hardlink",
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_in_bytes": len(data),
    }
    if placeholder.encode() in data:
        row |= {"prefix_placeholder": placeholder, "file_mode": "binary" if b"\0" in data else "text"}
    return row


def pack(target: Path, payload: Mapping[str, Spec], info: Mapping[str, Spec]) -> Path:
    """Write a package of these members, whatever they say."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.name.endswith(".tar.bz2"):
        target.write_bytes(bz2.compress(_tar({**payload, **info})))
        return target
    compressor = zstandard.ZstdCompressor(level=3)
    stem = target.name.removesuffix(".conda")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (
            ("metadata.json", b'{"conda_pkg_format_version": 2}'),
            (f"pkg-{stem}.tar.zst", compressor.compress(_tar(payload))),
            (f"info-{stem}.tar.zst", compressor.compress(_tar(info))),
        ):
            archive.writestr(zipfile.ZipInfo(name, (2023, 11, 14, 22, 13, 20)), data)
    return target


def make_package(
    folder: Path,
    name: str,
    version: str = "1.0",
    files: Mapping[str, Spec] | None = None,
    *,
    build: str = "0",
    subdir: str = "linux-64",
    depends: Iterable[str] = (),
    noarch: str = "",
    entry_points: Iterable[str] = (),
    suffix: str = ".conda",
    old: bool = False,
    placeholder: str = PLACEHOLDER,
) -> Path:
    """Write a package into ``folder/subdir``: `files` by their path in it. With `old`, without a ``paths.json``.

    Whatever holds `placeholder` is listed as holding the prefix. ``noarch="python"`` or ``"generic"`` is for any
    platform.
    """
    files = dict(files or {})
    subdir = "noarch" if noarch else subdir
    index: dict[str, Any] = {
        "name": name,
        "version": version,
        "build": build,
        "build_number": 0,
        "depends": list(depends),
        "license": "MIT",
        "subdir": subdir,
        "timestamp": EPOCH * 1000,
    }
    if noarch:
        index["noarch"] = noarch
    rows = [_row(path, files[path], files, placeholder) for path in sorted(files)]
    info: dict[str, Spec] = {"info/index.json": json.dumps(index, indent=2), "info/about.json": "{}"}
    held = [row for row in rows if "prefix_placeholder" in row]
    info["info/files"] = "".join(f"{row['_path']}\n" for row in rows)
    if held:
        info["info/has_prefix"] = "".join(
            f"{row['prefix_placeholder']} {row['file_mode']} {row['_path']}\n" for row in held
        )
    if not old:
        info["info/paths.json"] = json.dumps({"paths": rows, "paths_version": 1})
    if noarch == "python":
        link = {"noarch": {"type": "python", "entry_points": list(entry_points)}, "package_metadata_version": 1}
        info["info/link.json"] = json.dumps(link)
    return pack(folder / subdir / f"{name}-{version}-{build}{suffix}", files, info)


def _changed(path: Path, text: str) -> None:
    """Write a file whose time tells whether it changed: HTTP's has whole seconds, and tests are faster than that."""
    before = path.stat().st_mtime if path.exists() else 0.0
    if before and path.read_text() == text:
        return
    path.write_text(text)
    moment = max(path.stat().st_mtime, before + 1)
    os.utime(path, (moment, moment))


def indexed(folder: Path) -> None:
    """Write each ``repodata.json`` of the channel in `folder` from the packages that are there."""
    from builder.layers.condafile import info_of

    for subdir in ("linux-64", "linux-aarch64", "noarch"):
        (folder / subdir).mkdir(parents=True, exist_ok=True)
        tables: dict[str, dict[str, Any]] = {"packages": {}, "packages.conda": {}}
        for path in sorted((folder / subdir).iterdir()):
            if path.name.endswith((".conda", ".tar.bz2")):
                data = path.read_bytes()
                record = dict(info_of(path, path.name).index)
                record |= {"md5": hashlib.md5(data).hexdigest(), "sha256": hashlib.sha256(data).hexdigest()}
                record["size"] = len(data)
                tables["packages.conda" if path.suffix == ".conda" else "packages"][path.name] = record
        document = {"info": {"subdir": subdir}, **tables, "repodata_version": 1}
        _changed(folder / subdir / "repodata.json", json.dumps(document, sort_keys=True))


_RATTLER = """
import asyncio, os, pathlib, sys
from rattler import Config, RepoDataRecord, Subdir, install
async def main(root, cache, subdir, prefix, *packages):
    records = [await RepoDataRecord.from_package_archive(pathlib.Path(one)) for one in packages]
    await install(records, target_prefix=pathlib.Path(root) / "opt/venv", alternative_target_prefix=prefix,
        platform=Subdir(subdir), installed_packages=[], cache_dir=pathlib.Path(cache), execute_link_scripts=False,
        show_progress=False, config=Config.from_toml("allow-hard-links = false\\nallow-ref-links = false\\n"))
asyncio.run(main(*sys.argv[1:]))
os._exit(0)  # its threads outlive the interpreter's end
"""


def installed_by_rattler(
    packages: Iterable[Path], folder: Path, subdir: str = "linux-64", prefix: str = "/opt/venv"
) -> Path:
    """The root folder in which rattler has installed `packages` at ``opt/venv``, for use at `prefix`."""
    root = folder / "root"
    words = [str(root), str(folder / "rattler-cache"), subdir, prefix, *(str(one.absolute()) for one in packages)]
    subprocess.run([sys.executable, "-c", _RATTLER, *words], check=True)
    return root


class Channel:
    """A channel on this machine: `folder` has the packages, `url` is its address; `requests` are the paths asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.requests: list[str] = []
        self.login: tuple[str, str] | None = None

    def package(self, name: str, version: str = "1.0", files: Mapping[str, Spec] | None = None, **more: Any) -> Path:
        """Put a package in."""
        return make_package(self.folder, name, version, files, **more)


class _Handler(SimpleHTTPRequestHandler):
    channel: Channel

    def do_GET(self) -> None:
        self.channel.requests.append(self.path)
        if self.channel.login is not None:
            given = self.headers.get("Authorization", "").removeprefix("Basic ")
            if b64decode(given).decode() != ":".join(self.channel.login):
                self.send_error(401)
                return
        super().do_GET()

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serve_channel(folder: Path, name: str = "lab") -> Iterator[Channel]:
    """A channel called `name` on a free port of this machine."""
    root = folder / name
    indexed(root)
    channel = Channel(root)
    handler = type("Handler", (_Handler,), {"channel": channel})
    with listening(lambda *words: handler(*words, directory=str(folder))) as address:
        channel.url = f"{address}/{name}"
        yield channel
