"""`lockship show`, `diff` and `why`."""

from __future__ import annotations

from pathlib import Path

from builder.cli.setup import context, optional_project
from builder.cli.terminal import Terminal
from builder.errors import UsageError
from builder.pipeline.differing import apart
from builder.pipeline.explaining import why as explain
from builder.pipeline.explaining import why_plan
from builder.pipeline.naming import version_of
from builder.pipeline.showing import show as read
from builder.pipeline.targets import opened_target
from builder.project import Project

__all__ = ["diff", "show", "why"]


def show(terminal: Terminal, path: Path, repository: str | None, version: str | None) -> None:
    """The page of a release."""
    machine = context(terminal)
    project = _project(path, repository)
    if version is None:
        if project is None:
            raise UsageError("name a version", hint="lockship show 1.4.0 --repository registry.example.com/ml/churn")
        version = version_of(project, machine)
    with opened_target(repository, project, machine) as target:
        found = read(target, version)
    terminal.result("show", found.to_json(), "\n".join(found.lines()))


def diff(terminal: Terminal, path: Path, repository: str | None, old: str, new: str) -> None:
    """Two releases."""
    machine = context(terminal)
    with opened_target(repository, _project(path, repository), machine) as target:
        found = apart(target, old, new)
    terminal.result("diff", found.to_json(), "\n".join(found.lines()))


def why(terminal: Terminal, path: Path, repository: str | None, version: str | None, against: str | None) -> None:
    """Causes."""
    machine = context(terminal)
    project = _project(path, repository)
    with opened_target(repository, project, machine) as target:
        if version is not None:
            found = explain(target, version, against)
        elif project is None:
            raise UsageError("name a version", hint="without one, the project's sources are compared")
        else:
            found = why_plan(target, project, machine, against or version_of(project, machine))
    terminal.result("why", found.to_json(), "\n".join(found.lines()))


def _project(path: Path, repository: str | None) -> Project | None:
    """The project here, unless a store was named and no project."""
    return None if repository is not None and path == Path() else optional_project(path)
