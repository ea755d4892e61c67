"""The python of a base image: where it is, which one it is, and what it needs to run. Nothing of it is run here."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from builder.content import Platform
from builder.errors import ArtifactError, ProjectError
from builder.lock.elf import Elf, read_elf
from builder.lock.rootfs import File, Folder, Tree

__all__ = ["Python", "find_python"]

# Where pythons are in images, beside the folders of PATH.
_USUAL: Final = ("/usr/local/bin", "/usr/bin", "/bin", "/opt/conda/bin", "/opt/python/bin")
_PROGRAM: Final = 256 << 20  # bytes of a program or library at most
_TEXT: Final = 32 << 20
_VERSION: Final = re.compile(rb"(?<![0-9A-Za-z.])(3\.\d{1,2}\.\d{1,3}(?:(?:a|b|rc)\d{1,2})?\+?)\0")
_GLIBC: Final = re.compile(rb"GNU C Library [^\n]*release version (\d+\.\d+)")


@dataclass(frozen=True, slots=True)
class Python:
    """A python of an image.

    `path` is the program itself, links followed; `version` the full version, `build` a name for what compiles byte
    code alike; `glibc` the C library's version. `prefix` and `library` are the folders that it calls home and that its
    standard library is in; `loader` is empty for a static program, `libraries` are the shared ones by name.
    """

    path: str
    version: str
    build: str
    glibc: str
    prefix: str
    library: str
    loader: str
    libraries: Mapping[str, File]


def find_python(
    tree: Tree, env: Mapping[str, str], minor: str, platform: Platform, what: str, *, file: Path | None = None
) -> Python:
    """The python `minor` (``3.11``) of an image that starts with `env`; `what` names the image.

    Looked for along PATH, then where pythons usually are; a virtual environment leads to the python behind it. Raises
    ProjectError when there is none, or another, or one without glibc.
    """
    return _Search(tree, env, minor, platform, what, file).found()


class _Search:
    def __init__(
        self, tree: Tree, env: Mapping[str, str], minor: str, platform: Platform, what: str, file: Path | None
    ) -> None:
        self.tree, self.env, self.minor, self.platform, self.what, self.file = tree, env, minor, platform, what, file
        self.folders = list(_library_folders(tree, env, platform))

    def found(self) -> Python:
        others: dict[str, str] = {}
        untold: list[str] = []
        for path, program in self.candidates():
            data = self.tree.read(program, _PROGRAM)
            elf = read_elf(data)
            if elf is None:
                continue  # a script that chooses among several (pyenv's shims) is no interpreter
            self.refuse_musl(elf)
            version = self.version(path, data, elf)
            if version is None:
                untold.append(path)
                continue
            if ".".join(version.split(".")[:2]) == self.minor:
                return self.described(path, version, elf)
            others.setdefault(version, path)
        raise self.missing(others, untold)

    def candidates(self) -> Iterator[tuple[str, File]]:
        """Programs that may be it, each once, the likeliest first."""
        seen = set()
        path = [one for one in self.env.get("PATH", "").split(":") if one.startswith("/")]
        folders = list(dict.fromkeys([*path, *_USUAL]))
        while folders:
            folder = folders.pop(0)
            for name in (f"python{self.minor}", "python3", "python", *self.numbered(folder)):
                found = self.tree.file(f"{folder}/{name}")
                if found is None or found[0] in seen or not found[1].executable:
                    continue
                seen.add(found[0])
                if (home := self.home_of(found[0])) is not None:
                    folders.insert(0, home)
                else:
                    yield found

    def numbered(self, folder: str) -> list[str]:
        """Other versions in `folder`: for saying what there is."""
        there = self.tree.folder(folder)
        return [] if there is None else sorted(one for one in there.children if re.fullmatch(r"python3\.\d+", one))

    def home_of(self, path: str) -> str | None:
        """For a program that was copied into a virtual environment, the folder of the one it was copied from."""
        config = self.tree.file(posixpath.dirname(posixpath.dirname(path)) + "/pyvenv.cfg")
        if config is None:
            return None
        text = self.tree.read(config[1], _TEXT).decode("utf-8", "replace")
        for line in text.splitlines():
            key, _, value = line.partition("=")
            if key.strip().lower() == "home":
                return value.strip()
        return None

    def refuse_musl(self, elf: Elf | None) -> None:
        """Raises ProjectError for a system on musl: wheels for glibc don't run there."""
        if elf is not None:
            musl = posixpath.basename(elf.loader).startswith("ld-musl-")
        else:
            library = self.tree.folder("/lib")
            names = library.children if library is not None else ()
            musl = any(name.startswith("ld-musl-") for name in names) and self.library("libc.so.6", ()) is None
        if musl:
            raise ProjectError(
                f"image.base: {self.what} is built on musl (as Alpine is), and the wheels that are locked need glibc",
                hint=f'choose a base with glibc: docker.io/library/python:{self.minor}-slim, or "debian:bookworm"',
                file=self.file,
            )

    def missing(self, others: Mapping[str, str], untold: Sequence[str]) -> ProjectError:
        if others:
            has = " and ".join(f"Python {version} ({path})" for version, path in others.items())
            minors = [".".join(one.split(".")[:2]) for one in others]
            return ProjectError(
                f"image.base: {self.what} has {has}, the project wants {self.minor}",
                hint=f'write version = "{minors[0]}" under [python], or choose a base with Python {self.minor}',
                file=self.file,
            )
        if untold:
            return ProjectError(
                f"image.base: {self.what}: which Python {untold[0]} is can't be told",
                hint="choose a base with an ordinary CPython",
                file=self.file,
            )
        self.refuse_musl(None)
        return ProjectError(
            f"image.base: {self.what} has no Python: none is on its PATH or in {', '.join(_USUAL[:2])}",
            hint=f"choose a base with Python {self.minor}, such as docker.io/library/python:{self.minor}-slim; "
            '"debian:bookworm" is put together with one',
            file=self.file,
        )

    def version(self, path: str, data: bytes, elf: Elf) -> str | None:
        """The full version, which the program itself or its libpython holds; where several strings look like one, what
        the image says elsewhere decides. None when nothing does.
        """
        shared = [name for name in elf.needed if name.startswith("libpython3.")]
        for name in shared:
            if (library := self.library(name, self.own_folders(elf, path))) is not None:
                data += self.tree.read(library, _PROGRAM)
        found = {match[1].decode() for match in _VERSION.finditer(data)}
        if len(found) != 1:
            said = set(self.told(path))
            found = (found & said) or found or said
        # a version of SQLite, linked in, looks the same: what has a standard library here is Python's
        if len(found) != 1:
            prefix = posixpath.dirname(posixpath.dirname(path))
            found = {one for one in found if self.standard_library(prefix, ".".join(one.split(".")[:2])) is not None}
        return found.pop() if len(found) == 1 else None

    def told(self, path: str) -> Iterable[str]:
        """Versions that the image gives beside the program: headers, PYTHON_VERSION, the package's."""
        prefix = posixpath.dirname(posixpath.dirname(path))
        include = self.tree.folder(f"{prefix}/include")
        for name in sorted(include.children) if include is not None else ():
            header = self.tree.file(f"{prefix}/include/{name}/patchlevel.h")
            if header is not None:
                text = self.tree.read(header[1], _TEXT).decode("utf-8", "replace")
                yield from re.findall(r'(?m)^#define\s+PY_VERSION\s+"([^"]+)"', text)
        if version := self.env.get("PYTHON_VERSION"):
            yield version
        if match := re.match(r"(?:\d+:)?(\d+\.\d+\.\d+)", self.package(path)):
            yield match[1]

    def package(self, path: str) -> str:
        """The Debian version of the package that `path` belongs to, or nothing."""
        match = re.fullmatch(r"/usr/bin/(python3\.\d+)", path)
        if match is None:
            return ""
        name = f"{match[1]}-minimal"
        for status in ("/var/lib/dpkg/status", f"/var/lib/dpkg/status.d/{name}"):
            found = self.tree.file(status)
            text = self.tree.read(found[1], _TEXT).decode("utf-8", "replace") if found is not None else ""
            for paragraph in text.split("\n\n"):
                fields = dict(re.findall(r"(?m)^(Package|Version|Status): *(.*)$", paragraph))
                if fields.get("Package") == name and "installed" in fields.get("Status", "installed").split():
                    return str(fields.get("Version", ""))
        return ""

    def described(self, path: str, version: str, elf: Elf) -> Python:
        prefix = posixpath.dirname(posixpath.dirname(path))
        library = self.standard_library(prefix, self.minor)
        if library is None:
            raise ProjectError(
                f"image.base: {self.what}: {path} has no standard library in {prefix}/lib/python{self.minor}",
                hint="choose a base with an ordinary CPython",
                file=self.file,
            )
        if elf.architecture != self.platform.architecture:
            raise ProjectError(
                f"image.base: {self.what}: {path} is for another processor ({elf.architecture or 'unknown'})",
                hint="choose a base whose programs are for the platform that it names",
                file=self.file,
            )
        if elf.loader and self.tree.file(elf.loader) is None:
            raise ProjectError(
                f"image.base: {self.what}: {path} needs {elf.loader}, which is not there",
                hint="the base can't run its own Python; choose another",
                file=self.file,
            )
        return Python(
            path=path,
            version=version,
            build=self.package(path).partition("+b")[0] or version,
            glibc=self.glibc(),
            prefix=prefix,
            library=library,
            loader=elf.loader,
            libraries=self.closure(path, elf),
        )

    def standard_library(self, prefix: str, minor: str) -> str | None:
        """The folder of the standard library (``lib64`` on some systems)."""
        for name in ("lib", "lib64"):
            if self.tree.file(f"{prefix}/{name}/python{minor}/os.py") is not None:
                return f"{prefix}/{name}/python{minor}"
        return None

    def glibc(self) -> str:
        library = self.library("libc.so.6", ())
        match = _GLIBC.search(self.tree.read(library, _PROGRAM)) if library is not None else None
        if match is None:
            raise ProjectError(
                f"image.base: {self.what} has no glibc (libc.so.6), so no wheel can be chosen for it",
                hint=f'choose a base with glibc: docker.io/library/python:{self.minor}-slim, or "debian:bookworm"',
                file=self.file,
            )
        return match[1].decode()

    def own_folders(self, elf: Elf, path: str) -> Sequence[str]:
        """Where a program says its libraries are."""
        here = posixpath.dirname(path)
        return [one.replace("${ORIGIN}", here).replace("$ORIGIN", here) for one in elf.folders]

    def library(self, name: str, own: Sequence[str]) -> File | None:
        """A shared library by name, where the loader would find it."""
        for folder in (*own, *self.folders):
            if (found := self.tree.file(f"{folder}/{name}")) is not None:
                return found[1]
        return None

    def closure(self, path: str, elf: Elf) -> dict[str, File]:
        """The libraries that the program needs to start, and those that they need."""
        found: dict[str, File] = {}
        pending = [(name, path, elf) for name in elf.needed]
        while pending:
            name, user, of = pending.pop()
            if name in found or posixpath.basename(elf.loader) == name:
                continue
            library = self.library(name, self.own_folders(of, user))
            if library is None:
                raise ProjectError(
                    f"image.base: {self.what}: {user} needs {name}, which is not there",
                    hint="the base can't run its own Python; choose another",
                    file=self.file,
                )
            found[name] = library
            inner = read_elf(self.tree.read(library, _PROGRAM))
            if inner is None:
                raise ArtifactError(f"{self.what}: {name} is not a library")
            pending.extend((one, f"{posixpath.dirname(path)}/{name}", inner) for one in inner.needed)
        return found


def _library_folders(tree: Tree, env: Mapping[str, str], platform: Platform) -> Iterator[str]:
    """Where the loader of an image looks, in its order (ld.so(8))."""
    yield from (one for one in env.get("LD_LIBRARY_PATH", "").split(":") if one.startswith("/"))
    yield from _configured(tree, "/etc/ld.so.conf", 0)
    for base in ("/lib", "/usr/lib"):
        yield f"{base}/{platform.multiarch}"
    yield from ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")


def _configured(tree: Tree, path: str, depth: int) -> Iterator[str]:
    """The folders of ld.so.conf and of what it includes (ldconfig(8))."""
    found = tree.file(path)
    if found is None or depth > 4:
        return
    for line in tree.read(found[1], _TEXT).decode("utf-8", "replace").splitlines():
        words = line.partition("#")[0].split()
        if words[:1] == ["include"]:
            for pattern in words[1:]:
                folder, name = posixpath.split(posixpath.join(posixpath.dirname(path), pattern))
                there = tree.folder(folder)
                for one in sorted(there.children) if isinstance(there, Folder) else ():
                    if fnmatchcase(one, name):
                        yield from _configured(tree, f"{folder}/{one}", depth + 1)
        else:
            yield from (word for word in words if word.startswith("/"))
