"""From the command line's words to the values that the pipeline takes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cache import Cache, cache_root
from builder.cli.terminal import Terminal
from builder.content import Platform
from builder.errors import ProjectError
from builder.pipeline.context import Context

if TYPE_CHECKING:
    from builder.project import Project

__all__ = ["context", "open_project", "optional_project", "platforms"]


def context(terminal: Terminal) -> Context:
    """This machine."""
    return Context(Cache(cache_root(os.environ)), dict(os.environ), terminal)


def open_project(path: Path) -> Project:
    """The project at `path`, or in the nearest folder above it."""
    from builder.project import find_project, load_project

    return load_project(find_project(path))


def optional_project(path: Path) -> Project | None:
    """As `open_project`; None where nobody named a project and none is near."""
    from builder.project import find_project, load_project

    try:
        file = find_project(path)
    except ProjectError:
        if path != Path():
            raise
        return None
    return load_project(file)


def platforms(names: Sequence[str]) -> tuple[Platform, ...] | None:
    """The named platforms, or None for all."""
    return tuple(Platform.parse(name) for name in names) or None
