"""Which projects a folder holds: every project file below it that belongs to the sources."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from builder import git
from builder.errors import ProjectError
from builder.project import PROJECT_FILE

__all__ = ["SKIPPED", "discover", "discover_some", "project_files", "project_in", "settled"]

_NAMES: Final = (PROJECT_FILE, "pyproject.toml")
_TABLE: Final = re.compile(rb"^[ \t]*\[+[ \t]*tool[ \t]*\.[ \t]*lockship\b", re.MULTILINE)
SKIPPED: Final = frozenset({".git", ".lockship", ".venv", "node_modules"})
"""Folders of these names hold no projects, whatever lies in them."""


def discover(root: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The project files at and below `root`, sorted by folder; empty when there are none.

    Each is the ``lockship.toml`` of its folder, or a ``pyproject.toml`` with ``[tool.lockship]``, and starts with
    `root` as given. What git ignores, and what lies in another repository inside of this one (a submodule), is not
    looked at; where there is no git, all folders are but those of `SKIPPED`. Nothing of the files is validated.

    Raises ProjectError when `root` is no folder, or git refuses to read its repository.
    """
    if not root.is_dir():
        raise ProjectError(f"no such folder: {root}", hint="name the folder that the projects are in")
    known = git.sources(root, _NAMES, environ)
    listing: Iterable[str] = _walk(root, environ) if known is None else known
    return tuple(root / path for path in project_files(listing, lambda path: _is_project(root / path)))


def settled(path: Path) -> Path:
    """`path` from the root of the file system on; ``..`` behind a link leads to where the system says."""
    return path.resolve() if ".." in path.parts else path.absolute()


def discover_some(root: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """As `discover` below ``settled(root)``; raises ProjectError when there are none."""
    found = discover(settled(root), environ)
    if not found:
        raise ProjectError(
            f"no project in {root} or below",
            hint="name the folder that holds the projects, each with its lockship.toml; what git ignores doesn't count",
        )
    return found


def project_files(listing: Iterable[str], is_project: Callable[[str], bool]) -> list[str]:
    """Of `listing`, relative paths (posix), the project files, one a folder, sorted by folder.

    `is_project` tells of a path that is called like one whether it is there and is one.
    """
    found: dict[PurePosixPath, str] = {}
    for text in sorted(set(listing)):  # lockship.toml stands before pyproject.toml, as `find_project` has it
        path = PurePosixPath(text)
        fits = path.name in _NAMES and SKIPPED.isdisjoint(path.parts)
        if fits and path.parent not in found and is_project(text):
            found[path.parent] = text
    return [found[folder] for folder in sorted(found)]


def project_in(folder: Path) -> Path | None:
    """The project file that lies in `folder` itself, or None."""
    return next((folder / name for name in _NAMES if _is_project(folder / name)), None)


def _is_project(file: Path) -> bool:
    """A lockship.toml is one whatever it says: reading it tells what is wrong with it.

    So is a pyproject.toml that is no TOML and has our table by its text: it must not be left out without a word.
    """
    if file.name == PROJECT_FILE:
        return file.is_file()
    try:
        raw = file.read_bytes()
        document = tomllib.loads(raw.decode("utf-8"))
    except OSError:
        return False
    except ValueError:
        return _TABLE.search(raw) is not None
    tool = document.get("tool")
    return isinstance(tool, dict) and isinstance(tool.get("lockship"), dict)


def _walk(root: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """The files below `root`, which is in no repository; a repository below it is asked itself."""
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        listing = git.sources(here, _NAMES, environ) if here != root and _is_checkout(here) else None
        if listing is not None:
            folders.clear()
            yield from ((here.relative_to(root) / path).as_posix() for path in listing)
            continue
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        yield from ((here.relative_to(root) / name).as_posix() for name in names if name in _NAMES)


def _is_checkout(folder: Path) -> bool:
    """Whether `folder` is the top of a checkout; a file ``.git`` may be anything (gitrepository-layout(5))."""
    mark = folder / ".git"
    if mark.is_dir():
        return (mark / "HEAD").exists()
    try:
        return mark.read_bytes()[:8] == b"gitdir: "
    except OSError:
        return False
