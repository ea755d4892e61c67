"""The project's own files as a layer: its code, and its models.

Git's and Docker's ignore files are honoured; credentials, keys and histories never get in.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from builder.content import CHUNK
from builder.errors import ProjectError
from builder.layers import tar
from builder.layers.tar import Entry, Kind

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

__all__ = ["Collected", "collect", "excluded", "looks_like_a_secret", "model_entries"]

# Never in an image, wherever they lie: histories, caches, this tool's own folder.
_FOLDERS: Final = frozenset(
    {".git", ".hg", ".svn", ".lockship", "__pycache__", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
    | {".ssh", ".aws", ".gnupg", ".docker", ".kube", ".azure", ".gcloud", ".ipynb_checkpoints", "node_modules"}
)
_SECRET_NAMES: Final = re.compile(
    r"\.env(?!\.(example|sample|template|dist)$)(\..+)?|\.netrc|_netrc|\.pypirc|\.npmrc|\.pgpass|\.git-credentials"
    r"|id_(rsa|dsa|ecdsa|ed25519)|.+\.(key|p12|pfx|jks|keystore|kdbx|ppk)|kubeconfig",
    re.IGNORECASE,
)
_PRIVATE_KEY: Final = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_SUSPICIOUS: Final = (
    ("an AWS access key", re.compile(rb"\b(AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a GitHub token", re.compile(rb"\b(gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})\b")),
    ("a GitLab token", re.compile(rb"\bglpat-[A-Za-z0-9_-]{20,}")),
    ("a Slack token", re.compile(rb"\bxox[abprs]-[A-Za-z0-9-]{10,}")),
    ("a Google API key", re.compile(rb"\bAIza[0-9A-Za-z_-]{35}\b")),
    (
        "a password",
        re.compile(rb"""(?i)\b(password|passwd|secret|api_?key|token)["']?\s*[=:]\s*["'][^"'\s$<{]{8,}["']"""),
    ),
    ("credentials in a URL", re.compile(rb"\b[a-z][a-z0-9+.-]*://[^/\s:@\"'<>{$]+:[^/\s:@\"'<>{$]+@")),
)
_SECRET_KEYS: Final = re.compile(r"(?i)(password|passwd|secret|api_?key|token|credential)s?$")
_LOOK_AT: Final = 1 << 20  # bytes of each file that are searched

# Where packages are: a file of the project would replace theirs, or a folder the link that merges /usr (``lib``).
_PACKAGES: Final = re.compile(
    r"(bin|sbin|lib|lib32|lib64|libx32|libo32|proc|sys|dev|usr(?!/local/.)|opt/venv|var/lib/(dpkg|apt))(/.*)?",
    re.DOTALL,
)

# Folders of the base whose mode is not 0755: a layer that passes through them must not change it.
_MODES: Final = {"tmp": 0o1777, "var/tmp": 0o1777, "root": 0o700}


@dataclass(frozen=True, slots=True)
class Collected:
    """Arranged entries, and what should make somebody look twice (one line each)."""

    entries: tuple[Entry, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Reader:
    """A file's bytes in chunks, read when asked for."""

    path: Path

    def __call__(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk
        except OSError as error:
            raise _unreadable(self.path.name, error) from error


def collect(root: Path, mappings: Sequence[tuple[str, str]]) -> Collected:
    """The files of (source relative to `root`, absolute destination) pairs.

    A file that is named itself is taken even when git ignores it; a folder's ignored files stay out. Raises
    ProjectError for a source that isn't there, for credentials and keys, for links that leave the project, and for a
    destination where packages have their files.
    """
    root = root.resolve()  # the folder may be reached through a link; what lies in it may not lead out
    ignored = _Ignore(root)
    found: dict[str, Entry] = {}
    warnings: list[str] = []
    for source, destination in mappings:
        base = root / source
        _refuse_outside(root, base if base == root else base.parent, source)
        if base.is_symlink() or not base.is_dir():
            pairs: Iterable[tuple[Path, str]] = [(base, destination)]
        else:
            pairs = [
                (path, f"{destination}/{path.relative_to(base).as_posix()}") for path in _walk(base, root, ignored)
            ]
        for path, target in pairs:
            entry = _entry(root, path, target.strip("/"), warnings)
            other = found.setdefault(entry.path, entry)
            if other is not entry and other != entry:
                raise ProjectError(f"two files go to /{entry.path}", hint="give one of them another `target`")
    return Collected(tuple(tar.arrange(found.values(), parents=_parent)), tuple(warnings))


def model_entries(root: Path, source: str, destination: str) -> tuple[Entry, ...]:
    """A model file and the folders above it; raises ProjectError as `collect`."""
    root = root.resolve()
    path = root / source
    if not path.is_file():
        raise ProjectError(f"the model {source} is not there", hint="train it, or correct `source` under [model]")
    _refuse_outside(root, path, source)
    target = _target(destination.strip("/"), source)
    entry = Entry(target, Kind.FILE, 0o644, path.stat().st_size, content=_Reader(path))
    return tuple(tar.arrange([entry], parents=_parent))


def _parent(path: str) -> Entry:
    return tar.directory(path, _MODES.get(path, 0o755))


def _unreadable(what: str, error: OSError) -> ProjectError:
    return ProjectError(f"{what}: {error.strerror}", hint="correct [image] files, or make the file readable")


def _raise(error: OSError) -> None:
    """A folder that can't be listed: what is in it would be missing from the image without a word."""
    raise _unreadable(str(error.filename), error)


def _refuse_outside(root: Path, path: Path, source: str) -> None:
    """Nobody's files get into an image because a checkout held a link to them."""
    if not path.resolve().is_relative_to(root):
        raise ProjectError(f"{source} is a link that leaves the project", hint="put the file itself there")


def _target(target: str, source: str) -> str:
    """Where a file goes, as a clean relative path; raises ProjectError where packages have their files."""
    clean = tar.safe_path(target, what=source)
    if _PACKAGES.fullmatch(clean):
        raise ProjectError(
            f"{source} would go to /{clean}, where packages have their files",
            hint="give it a `target` below /app, /usr/local, /srv or another folder of its own",
        )
    return clean


def _walk(base: Path, root: Path, ignored: _Ignore) -> Iterator[Path]:
    """Files and links below `base`, sorted, without what is ignored or never taken."""
    for folder, folders, names in os.walk(base, onerror=_raise):
        here = Path(folder)
        kept = []
        for name in sorted(folders):
            path = here / name
            if path.is_symlink():
                names.append(name)
            elif name not in _FOLDERS and not ignored(path, is_folder=True):
                kept.append(name)
        folders[:] = kept
        for name in sorted(names):
            if not _SECRET_NAMES.fullmatch(name) and not ignored(here / name, is_folder=False):
                yield here / name


def _entry(root: Path, path: Path, target: str, warnings: list[str]) -> Entry:
    relative = path.relative_to(root).as_posix()
    target = _target(target, relative)
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return tar.symlink(target, _link_target(root, path, relative))
        if not stat.S_ISREG(status.st_mode):
            raise ProjectError(f"{relative} is neither a file nor a folder", hint="take it out of [image] files")
        _refuse_secrets(path, relative, warnings)
    except OSError as error:
        raise _unreadable(relative, error) from error
    mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    return Entry(target, Kind.FILE, mode, status.st_size, content=_Reader(path))


def _link_target(root: Path, path: Path, relative: str) -> str:
    target = path.readlink()
    inside = Path(os.path.normpath(path.parent / target)).is_relative_to(os.path.normpath(root))
    if target.is_absolute() or not inside:
        raise ProjectError(f"{relative} is a link that leaves the project", hint="put the file itself there")
    return target.as_posix()


def _refuse_secrets(path: Path, relative: str, warnings: list[str]) -> None:
    if _SECRET_NAMES.fullmatch(path.name):
        raise ProjectError(
            f"{relative} holds credentials by its name, and would be readable for everybody who has the image",
            hint="hand secrets over when the container starts; take the file out of [image] files",
        )
    with path.open("rb") as file:
        head = file.read(_LOOK_AT)
    if _PRIVATE_KEY.search(head):
        raise ProjectError(
            f"{relative} holds a private key", hint="hand keys over when the container starts; keep them out of files"
        )
    for what, pattern in _SUSPICIOUS:
        if found := pattern.search(head):
            line = head.count(b"\n", 0, found.start()) + 1
            warnings.append(f"{relative}:{line} looks like {what}, and goes into the image")
            return


def looks_like_a_secret(key: str, value: str) -> str | None:
    """What a setting's value looks like, by its own form or by the name it has; None for most."""
    for what, pattern in (("a private key", _PRIVATE_KEY), *_SUSPICIOUS):
        if pattern.search(value.encode()):
            return what
    return "a password" if len(value) >= 8 and _SECRET_KEYS.search(key) and "/" not in value else None


def excluded(root: Path) -> Callable[[Path], bool]:
    """Whether `collect` leaves a file below `root`, there or not, out of the folders that it is in."""
    ignored = _Ignore(root)

    def is_out(path: Path) -> bool:
        above = [folder for folder in path.parents if folder != root and folder.is_relative_to(root)]
        names = any(folder.name in _FOLDERS for folder in above) or _SECRET_NAMES.fullmatch(path.name) is not None
        return names or ignored(path, is_folder=False) or any(ignored(one, is_folder=True) for one in above)

    return is_out


class _Ignore:
    """What `.dockerignore` leaves out, and `.gitignore` files up to the repository's root."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._specs: dict[Path, GitIgnoreSpec | None] = {}
        self._docker = _spec(self._root / ".dockerignore", _anchored)
        self._top = next(
            (folder for folder in (self._root, *self._root.parents) if (folder / ".git").exists()), self._root
        )

    def __call__(self, path: Path, *, is_folder: bool) -> bool:
        path = path.absolute()
        slash = "/" if is_folder else ""
        if self._docker is not None and self._docker.match_file(path.relative_to(self._root).as_posix() + slash):
            return True
        # the nearest file that has an opinion decides (gitignore(5))
        for folder in path.parents:
            if folder not in self._specs:
                self._specs[folder] = _spec(folder / ".gitignore")
            spec = self._specs[folder]
            if spec is not None:
                verdict = spec.check_file(path.relative_to(folder).as_posix() + slash).include
                if verdict is not None:
                    return verdict
            if folder == self._top:
                break
        return False


def _spec(file: Path, rewrite: Callable[[str], str] = str) -> GitIgnoreSpec | None:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines([rewrite(line) for line in lines])


def _anchored(line: str) -> str:
    """A line of `.dockerignore` for git's matcher: Docker's patterns are all relative to the root."""
    stripped = line.strip()
    if not stripped or stripped.startswith("#"):
        return ""
    negated = stripped.startswith("!")
    pattern = stripped.lstrip("!").strip().lstrip("/")
    return ("!" if negated else "") + "/" + pattern
