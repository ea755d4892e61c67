"""Which of a folder's files are code, how it starts, and which file is the model."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from builder.init.reading import names_in, sayable, subfolders, text

__all__ = ["commands", "models", "modules", "packages", "r_scripts"]

# The likelier a file with this ending is the model that is shipped, the further to the front.
_MODELS: Final = (".onnx", ".skops", ".ubj", ".cbm", ".joblib", ".pkl", ".pickle", ".safetensors", ".keras", ".pt")
_NOT_CODE: Final = frozenset(
    {"tests", "test", "testing", "docs", "doc", "examples", "notebooks", "build", "dist", "venv", "env"}
    | {"node_modules", "site-packages", "__pycache__"}
)
_NOT_MODULES: Final = re.compile(r"(setup|conftest|noxfile|fabfile|tasks|test_.*|.*_test|train|.*_train|train_.*)\.py")
_NOT_R: Final = re.compile(r"(install|setup|test.*|.*_test|train|.*_train|train_.*)\.[Rr]")
_STARTS: Final = ("serve", "score", "predict", "app", "main", "run", "api", "cli")
_MAX_VISITED: Final = 20_000  # directory entries looked at for models, in folders that hold whole data sets


def packages(folder: Path) -> tuple[tuple[str, str | None], ...]:
    """Packages at the top and below ``src/``: (source, target)."""
    found: list[tuple[str, str | None]] = []
    for name in subfolders(folder):
        if name == "src":
            inner = [one for one in subfolders(folder / "src") if (folder / "src" / one / "__init__.py").is_file()]
            found += [(f"src/{one}/", f"/app/{one}") for one in inner]
        elif name.lower() not in _NOT_CODE and (folder / name / "__init__.py").is_file():
            found.append((f"{name}/", None))
    return tuple(found)


def modules(folder: Path) -> tuple[str, ...]:
    """Modules at the top that look like what runs in production."""
    return tuple(_files(folder, (".py",), _NOT_MODULES))


def r_scripts(folder: Path) -> tuple[str, ...]:
    """Scripts of R at the top that look like what runs in production, the likeliest first."""
    return tuple(sorted(_files(folder, (".R", ".r"), _NOT_R), key=_liking))


def _files(folder: Path, endings: tuple[str, ...], unwanted: re.Pattern[str]) -> list[str]:
    found = [name for name in names_in(folder) if name.endswith(endings) and not unwanted.fullmatch(name)]
    return [name for name in found if (folder / name).is_file() and not (folder / name).is_symlink()]


def commands(
    folder: Path,
    packages: Iterable[tuple[str, str | None]],
    modules: Iterable[str],
    scripts: Mapping[str, Any],
) -> list[tuple[str, ...]]:
    """Ways to start the code, the likeliest first; `scripts` is pyproject's ``[project.scripts]``."""
    mains = [Path(source).name for source, _ in packages if (folder / source / "__main__.py").is_file()]
    found: list[tuple[str, ...]] = [("python", "-m", name) for name in sorted(mains, key=_liking)]
    found += [("python", "-c", code) for target in scripts.values() if (code := _entry(target)) is not None]
    startable = [name for name in modules if "__name__" in text(folder / name)]
    return found + [("python", name) for name in sorted(startable, key=_liking)]


def _entry(target: object) -> str | None:
    """What the console script for ``package.module:function`` does.

    The project itself is not installed in the image, so neither are its scripts.
    """
    parts = re.fullmatch(r"([\w.]+)\s*:\s*(\w+)([\w.]*)", target) if isinstance(target, str) else None
    return parts and f"import sys; from {parts[1]} import {parts[2]}; sys.exit({parts[2]}{parts[3]}())"


def _liking(name: str) -> tuple[int, str]:
    return next((rank for rank, word in enumerate(_STARTS) if word in name.lower()), len(_STARTS)), name


def models(folder: Path) -> list[str]:
    """Model files, the likeliest first: by format, then by "model" in the name, then by size."""
    found = []
    for path in _walk(folder):
        if (ending := path.suffix.lower()) in _MODELS:
            rank = _MODELS.index(ending), "model" not in path.name.lower(), -path.stat().st_size
            found.append((rank, path.relative_to(folder).as_posix()))
    return [name for _, name in sorted(found)]


def _walk(folder: Path) -> Iterator[Path]:
    visited = 0
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if sayable(name) and name.lower() not in _NOT_CODE)
        visited += len(folders) + len(names)
        for name in sorted(names):
            path = Path(here, name)
            if sayable(name) and path.is_file() and not path.is_symlink():
                yield path
        if visited > _MAX_VISITED:
            return
