"""Where data sets lie: files, folders and globs of a project, and addresses that fsspec knows."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from builder.datakeys import is_url
from builder.errors import LockshipError, ProjectError, StoreError, UsageError

__all__ = ["FileThere", "State", "find_files", "reading"]

# what stores say of a file that another content makes another
_MARKS: Final = (
    "ETag", "etag", "version_id", "generation", "md5Hash", "LastModified", "last_modified", "updated", "mtime",
    "created",
)  # fmt: skip
_SECRETS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s@'\"`]*@|(?<=[?&])([^=&\s'\"]+)=[^&\s'\"]*")


@dataclass(frozen=True, slots=True)
class State:
    """`size` in bytes, and what else tells one content from another."""

    size: int
    mark: tuple[object, ...]


class FileThere(Protocol):
    """A file that was found; `path` is relative to the project, or an address."""

    @property
    def path(self) -> str:
        """As releases name it."""

    def state(self) -> State:
        """As it is now."""

    def open(self) -> BinaryIO:
        """For reading, with seek."""


@dataclass(frozen=True, slots=True)
class _Local:
    path: str
    at: Path

    def state(self) -> State:
        status = self.at.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ProjectError(f"{self.path} is no file", hint="name files and folders under [data]")
        return State(status.st_size, (status.st_mtime_ns, status.st_ino))

    def open(self) -> BinaryIO:
        return self.at.open("rb")


@dataclass(frozen=True, slots=True)
class _Remote:
    path: str
    at: str
    system: Any

    def state(self) -> State:
        self.system.invalidate_cache()  # listings are remembered, and what is asked for is news
        found = self.system.info(self.at)
        if not isinstance(found.get("size"), int):
            raise StoreError(f"{self.path} doesn't say how large it is", hint="put the data where they have a size")
        return State(found["size"], tuple(str(found[key]) for key in _MARKS if found.get(key) is not None))

    def open(self) -> BinaryIO:
        stream: BinaryIO = self.system.open(self.at, "rb")
        return stream


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Whatever goes wrong with a file, or behind an address, as an error of ours that has no credentials in it."""
    try:
        yield
    except LockshipError:
        raise
    except OSError as error:
        says = error.strerror or _scrubbed(str(error)) or type(error).__name__
        if is_url(path):
            raise StoreError(f"cannot read {path}: {says}", hint="is it there, and may you read it?") from None
        raise ProjectError(f"cannot read {path}: {says}", hint="make it readable, or correct [data]") from error
    except Exception as error:  # what stores' packages raise has no common root
        says = _scrubbed(f"{type(error).__name__}: {error}")
        hint = "is it there, and may you read it? Credentials come from where the store's own tools find them"
        raise StoreError(f"cannot read {path}: {says}", hint=hint) from None


def _scrubbed(text: str) -> str:
    """Somebody else's words on one line, without logins and without the parameters of addresses."""
    return " ".join(_SECRETS.sub(lambda found: found[1] or f"{found[2]}=…", text).split())[:300]


def find_files(source: str, root: Path) -> list[FileThere]:
    """The files that `source` leads to, by path; none when nothing is there.

    Of a folder, all files below it whose path has no name that begins with a dot. Raises ProjectError for links that
    leave the project and for what is neither file nor folder, UsageError when the package for an address is missing,
    StoreError when the address doesn't answer.
    """
    if is_url(source):
        with reading(source):
            return _at_address(source)
    with reading(source):
        return [_inside(root, path) for path in _paths(source, root)]


def _paths(source: str, root: Path) -> list[str]:
    clean = os.path.normpath(source)
    at = root / clean
    if at.is_dir():
        return sorted(_below(at, root))
    if os.path.lexists(at):
        return [clean]
    matched = glob.glob(clean, root_dir=root, recursive=True) if glob.has_magic(clean) else []  # noqa: PTH207  its ** has files
    return sorted({os.path.normpath(path) for path in matched if not (root / path).is_dir()})


def _below(folder: Path, root: Path) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise error

    for here, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                yield (Path(here) / name).relative_to(root).as_posix()


def _inside(root: Path, path: str) -> FileThere:
    at = root / path
    if not at.resolve().is_relative_to(root.resolve()):
        raise ProjectError(f"{path} is a link that leaves the project", hint="put the data there, or give an address")
    if not at.is_file():
        what = "a link that leads nowhere" if at.is_symlink() else "neither a file nor a folder"
        raise ProjectError(f"{path} is {what}", hint="correct the path under [data]")
    return _Local(path, at)


def _at_address(source: str) -> list[FileThere]:
    system, at = _file_system(source)
    system.invalidate_cache()
    if glob.has_magic(at):
        found = system.glob(at, detail=True)
        return [_remote(system, path) for path in sorted(found) if found[path].get("type") != "directory"]
    try:
        there = system.info(at)
    except FileNotFoundError as error:
        if (cause := error.__cause__) is not None and _is_silence(cause):
            raise cause from None
        return []
    if there.get("type") == "directory":
        inner = (path for path in system.find(at) if not any(part.startswith(".") for part in path.split("/")))
        return [_remote(system, path) for path in sorted(inner)]
    return [_Remote(source, at, system)]


def _is_silence(error: BaseException) -> bool:
    """Whether a server didn't answer, or refused: over HTTP, fsspec calls that too a file that isn't there."""
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return status not in (404, 410)
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError)


def _remote(system: Any, at: str) -> FileThere:
    return _Remote(str(system.unstrip_protocol(at)), at, system)


def _file_system(source: str) -> tuple[Any, str]:
    scheme = source.partition("://")[0]
    try:
        core, registry = import_module("fsspec.core"), import_module("fsspec.registry")
    except ModuleNotFoundError:
        hint = "pip install 'lockship[data]', and the package for that store"
        raise UsageError(f"{source} needs fsspec, which is not installed beside lockship", hint=hint) from None
    try:
        system, at = core.url_to_fs(source)
    except ImportError as error:
        cause = error.__cause__ or error.__context__ or error
        module = getattr(cause, "name", None) or str(registry.known_implementations[scheme]["class"]).partition(".")[0]
        raise UsageError(
            f"{scheme}:// needs the package {module}, which is not installed beside lockship",
            hint=f"pip install {module}",
        ) from None
    except ValueError as error:
        if scheme in registry.known_implementations:
            raise
        raise UsageError(f"{source}: nothing here knows {scheme}://", hint="see fsspec's list of stores") from error
    return system, str(at)
