"""Reading a folder forgivingly: what can't be read, or can't be named in a project file, is not there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

__all__ = ["names_in", "sayable", "subfolders", "table", "text"]

_MAX_TEXT: Final = 1 << 20  # bytes; no file that a person writes by hand is larger


def text(path: Path) -> str:
    """The beginning of a text file, or nothing."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(_MAX_TEXT).decode("utf-8-sig", "replace")
    except OSError:
        return ""


def table(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The table under `key`, empty when there is none."""
    value = document.get(key)
    return value if isinstance(value, Mapping) else {}


def sayable(name: str) -> bool:
    """Whether a project file should name this path: it is printable and plain, and neither hidden nor an option."""
    return name.isprintable() and "\\" not in name and not name.startswith((".", "-", "~"))


def names_in(folder: Path) -> list[str]:
    """The sayable names in `folder`, sorted."""
    try:
        return sorted(path.name for path in folder.iterdir() if sayable(path.name))
    except OSError:
        return []


def subfolders(folder: Path) -> list[str]:
    """The folders among them; links may lead anywhere and don't count."""
    return [name for name in names_in(folder) if not (folder / name).is_symlink() and (folder / name).is_dir()]
