"""The dependencies that a pyproject.toml declares (PyPA "pyproject.toml specification", the [project] table)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from builder.content import Digest, canonical_json
from builder.errors import ProjectError
from builder.lock.requirement_lines import Asked, decoded, requirement_of

__all__ = ["PyprojectSource", "read_pyproject"]

Place = tuple[Path | str, int | None]


@dataclass(frozen=True, slots=True)
class PyprojectSource:
    """The dependencies that a pyproject.toml declares, extras expanded: `file` relative to the project."""

    file: str
    requirements: tuple[str, ...]


def read_pyproject(
    raw: bytes, file: str, extras: Sequence[str], place: Place
) -> tuple[PyprojectSource, Digest, list[Asked]]:
    """The source, the digest of what counts (name, dependencies, extras), and each requirement with its line.

    `place` is where the project names the file. Raises ProjectError for what can't be read without building.
    """
    text = decoded(raw, file)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise ProjectError(f"not valid TOML: {error}", file=file, line=int(line[1]) if line else None) from error
    table = _project_table(document, file, extras)
    requirements = tuple(_expand_extras(table, extras, file, place))
    asked = [requirement_of(requirement, file, _line_with(text, requirement), False) for requirement in requirements]
    return PyprojectSource(file, requirements), Digest.of(canonical_json(table)), asked


def _project_table(document: Mapping[str, Any], file: str, extras: Sequence[str]) -> dict[str, Any]:
    """What of a pyproject.toml decides the lock (PyPA "pyproject.toml specification", the [project] table)."""
    project = document.get("project")
    if not isinstance(project, dict):
        raise ProjectError(
            "has no [project] table", file=file, hint="declare dependencies there, or name a requirements file instead"
        )
    dynamic = set(project.get("dynamic", ())) & (
        {"dependencies", "optional-dependencies"} if extras else {"dependencies"}
    )
    if dynamic:
        raise ProjectError(
            f"[project] {' and '.join(sorted(dynamic))} are dynamic: only the package's own build knows them",
            file=file,
            hint="declare them in [project], or name the requirements file they come from",
        )
    dependencies = project.get("dependencies", [])
    optional = project.get("optional-dependencies", {})
    lists = [dependencies, *(optional.values() if isinstance(optional, dict) else [None])]
    if not all(isinstance(part, list) and all(isinstance(item, str) for item in part) for part in lists):
        raise ProjectError("[project] dependencies are not lists of strings", file=file)
    return {"name": str(project.get("name", "")), "dependencies": dependencies, "optional-dependencies": optional}


def _expand_extras(table: Mapping[str, Any], extras: Sequence[str], file: str, place: Place) -> Iterator[str]:
    """The dependencies with those of `extras`; an extra that names the project itself (``churn[plot]``) is followed."""
    own = canonicalize_name(table["name"])
    optional = {canonicalize_name(name): items for name, items in table["optional-dependencies"].items()}
    yielded: set[str] = set()
    waiting = [canonicalize_name(extra) for extra in extras]
    followed: set[str] = set()
    lists = [table["dependencies"]]
    while lists or waiting:
        if not lists:
            extra = waiting.pop(0)
            if extra in followed:
                continue
            followed.add(extra)
            if extra not in optional:
                known = ", ".join(sorted(optional)) or "none"
                raise ProjectError(
                    f"{file} has no extra {extra!r}", hint=f"its extras: {known}", file=place[0], line=place[1]
                )
            lists.append(optional[extra])
        for item in lists.pop():
            match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*\[([^\]]*)\]", item)
            if match and own and canonicalize_name(match[1]) == own:
                waiting.extend(canonicalize_name(part.strip()) for part in match[2].split(","))
            elif item not in yielded:
                yielded.add(item)
                yield item


def _line_with(text: str, requirement: str) -> int:
    for number, line in enumerate(text.splitlines(), 1):
        if f'"{requirement}"' in line or f"'{requirement}'" in line:
            return number
    return 1
