"""Small signed apt repositories with real debs, made from nothing."""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

__all__ = [
    "BASE",
    "AptRepository",
    "Key",
    "Piece",
    "archive",
    "deb",
    "fill",
    "folder",
    "hard",
    "regular",
    "serve",
    "soft",
    "tar_of",
]

Piece = tuple[tarfile.TarInfo, bytes]


# pieces of a data.tar


def regular(path: str, data: bytes = b"", mode: int = 0o644, uid: int = 0, gid: int = 0) -> Piece:
    """A file."""
    info = tarfile.TarInfo("./" + path)
    info.size, info.mode, info.uid, info.gid = len(data), mode, uid, gid
    return info, data


def folder(path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> Piece:
    """A directory."""
    info = tarfile.TarInfo("./" + path + "/" if path else "./")
    info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, mode, uid, gid
    return info, b""


def soft(path: str, target: str) -> Piece:
    """A symbolic link."""
    info = tarfile.TarInfo("./" + path)
    info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, target
    return info, b""


def hard(path: str, target: str) -> Piece:
    """A hard link to another path of the archive."""
    info = tarfile.TarInfo("./" + path)
    info.type, info.mode, info.linkname = tarfile.LNKTYPE, 0o644, "./" + target
    return info, b""


def deb(
    name: str,
    version: str = "1.0",
    pieces: Iterable[Piece] = (),
    *,
    architecture: str = "amd64",
    depends: str = "",
    scripts: Mapping[str, bytes] | None = None,
    compression: str = "xz",
    md5sums: bool = True,
) -> bytes:
    """A .deb (deb(5)); `scripts` are further control files."""
    pieces = list(pieces)
    control = (
        f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: Nobody <nobody@example.com>\n"
        + (f"Depends: {depends}\n" if depends else "")
        + f"Description: {name}\n for tests\n"
    )
    sums = "".join(
        f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}  {info.name.removeprefix('./')}\n"
        for info, data in pieces
        if info.isreg()
    )
    files = {"control": control.encode(), **({"md5sums": sums.encode()} if md5sums else {}), **(scripts or {})}
    suffix, pack = {
        "xz": (".xz", lambda data: lzma.compress(data, preset=0)),
        "gz": (".gz", _gzip),
        "none": ("", bytes),
        "zst": (".zst", bytes),
    }[compression]
    return archive(
        [
            ("debian-binary", b"2.0\n"),
            ("control.tar" + suffix, pack(tar_of(regular(path, data) for path, data in files.items()))),
            ("data.tar" + suffix, pack(tar_of(pieces))),
        ]
    )


def _gzip(data: bytes) -> bytes:
    import gzip

    return gzip.compress(data, 1, mtime=0)


def tar_of(pieces: Iterable[Piece]) -> bytes:
    """A tar in GNU format, as dpkg-deb writes them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for info, data in pieces:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def archive(members: Sequence[tuple[str, bytes]]) -> bytes:
    """An ar archive."""
    parts = [b"!<arch>\n"]
    for name, data in members:
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode())
        parts.append(data + b"\n" * (len(data) % 2))
    return b"".join(parts)


# a repository


class Key:
    """A signing key in a folder of its own; a context manager."""

    def __enter__(self) -> Key:
        # a short path: gpg-agent's socket is in it
        self._home = tempfile.TemporaryDirectory(prefix="key-")
        self._gpg("--passphrase", "", "--quick-gen-key", "Test Archive <archive@example.com>", "ed25519", "sign", "0")
        return self

    def __exit__(self, *exc: object) -> None:
        subprocess.run(["gpgconf", "--kill", "all"], env=self._environ, check=False, capture_output=True)
        self._home.cleanup()

    @property
    def _environ(self) -> dict[str, str]:
        return {**os.environ, "GNUPGHOME": self._home.name}

    def _gpg(self, *words: str) -> bytes:
        command = ["gpg", "--batch", "--no-tty", "--yes", *words]
        return subprocess.run(command, env=self._environ, check=True, capture_output=True).stdout

    def export(self, path: Path) -> Path:
        """Write the public key to `path` and give it back."""
        path.write_bytes(self._gpg("--export"))
        return path

    def armoured(self) -> str:
        """The public key as text."""
        return self._gpg("--armor", "--export").decode()

    def sign(self, release: Path) -> None:
        """Write InRelease beside `release`."""
        self._gpg("--clearsign", "-o", str(release.with_name("InRelease")), str(release))


@dataclass
class AptRepository:
    """An archive below `root`: pool and dists. Call `publish` after adding and removing debs."""

    root: Path
    key: Key
    suite: str = "bookworm"
    origin: str = "Debian"
    architectures: tuple[str, ...] = ("amd64", "arm64")
    _stanzas: dict[tuple[str, str, str], str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """The repository as a file: URI."""
        return self.root.as_uri()

    @property
    def dist(self) -> Path:
        """The folder of the suite."""
        return self.root / "dists" / self.suite

    def pool(self, name: str, version: str, architecture: str = "amd64") -> Path:
        """Where a deb lies."""
        version = version.partition(":")[2] or version
        return self.root / "pool/main" / name[0] / name / f"{name}_{version}_{architecture}.deb"

    def add(
        self,
        name: str,
        version: str = "1.0",
        pieces: Iterable[Piece] = (),
        *,
        architectures: Sequence[str] = ("amd64",),
        depends: str = "",
        scripts: Mapping[str, bytes] | None = None,
    ) -> None:
        """Put a deb into the pool, once for each architecture."""
        pieces = list(pieces)
        for architecture in architectures:
            data = deb(name, version, pieces, architecture=architecture, depends=depends, scripts=scripts)
            path = self.pool(name, version, architecture)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            self._stanzas[name, version, architecture] = (
                f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"
                + (f"Depends: {depends}\n" if depends else "")
                + f"Filename: {path.relative_to(self.root)}\nSize: {len(data)}\n"
                f"SHA256: {hashlib.sha256(data).hexdigest()}\nDescription: {name}\n"
            )

    def drop(self, name: str, version: str = "1.0", *, from_pool: bool = True) -> None:
        """Forget a version, as archives do when a newer one is there."""
        for key in [key for key in self._stanzas if key[:2] == (name, version)]:
            del self._stanzas[key]
            if from_pool:
                self.pool(*key).unlink()

    def publish(self) -> None:
        """Write the indexes and sign them."""
        lines = []
        for architecture in self.architectures:
            mine = [text for key, text in sorted(self._stanzas.items()) if key[2] in (architecture, "all")]
            path = self.dist / f"main/binary-{architecture}/Packages"
            path.parent.mkdir(parents=True, exist_ok=True)
            data = "\n".join(mine).encode()
            path.write_bytes(data)
            lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {path.relative_to(self.dist)}\n")
        release = self.dist / "Release"
        release.write_text(
            f"Origin: {self.origin}\nLabel: {self.origin}\nSuite: {self.suite}\nCodename: {self.suite}\n"
            "Date: Thu, 01 Jan 2026 00:00:00 UTC\n"
            f"Architectures: {' '.join(self.architectures)}\nComponents: main\nSHA256:\n{''.join(lines)}"
        )
        self.key.sign(release)


# (name, version, architecture-independent, dependencies): what a base asks for, in miniature
BASE = (
    ("python3.11-minimal", "3.11.2-6+deb12u1", False, "libpython3.11-minimal, libc6"),
    ("libpython3.11-minimal", "3.11.2-6+deb12u1", False, "libc6"),
    ("libpython3.11-stdlib", "3.11.2-6+deb12u1", False, "libpython3.11-minimal, zlib1g"),
    ("zlib1g", "1:1.2.13.dfsg-1", False, "libc6"),
    ("libstdc++6", "12.2.0-14", False, "libc6"),
    ("libc6", "2.36-9+deb12u1", False, ""),
    ("base-files", "12.4+deb12u1", False, ""),
    ("netbase", "6.4", True, ""),
    ("ca-certificates", "20230311", True, "openssl-that-is-nowhere"),
    ("tzdata", "2024a-0+deb12u1", True, "debconf-that-is-nowhere"),
)


def fill(repository: AptRepository) -> None:
    """Add `BASE` for both architectures and publish."""
    for name, version, independent, depends in BASE:
        pieces = [folder("usr"), folder("usr/share"), regular(f"usr/share/{name}.txt", name.encode())]
        which = ("all",) if independent else ("amd64", "arm64")
        repository.add(name, version, pieces, architectures=which, depends=depends)
    repository.publish()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass

    def translate_path(self, path: str) -> str:
        # a proxy is asked for whole URLs
        if path.startswith("http://"):
            path = "/" + path.split("/", 3)[3]
        return super().translate_path(path)


@contextmanager
def serve(root: Path, handler: type[SimpleHTTPRequestHandler] = _Quiet) -> Iterator[str]:
    """Serve `root` over HTTP on a port of this machine; gives the URL, which works as a proxy's too."""
    with ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: handler(*args, directory=str(root))) as server:  # type: ignore[arg-type]
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
