"""Whose signatures count: the keys that a project file, the command line or the environment name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from builder.pipeline.context import Context
from builder.pipeline.preflight import Trust

if TYPE_CHECKING:
    from builder.project import Project

__all__ = ["trust_of"]

_VARIABLE: Final = "LOCKSHIP_PUBLIC_KEY"


def trust_of(project: Project | None, context: Context, file: Path | None = None) -> Trust:
    """The keys that count, the nearest word first: `file`, the variable LOCKSHIP_PUBLIC_KEY (PEM), the project file.

    Raises UsageError or VerificationError for what is no public key.
    """
    from builder.releases.keys import parse_public, read_public

    approvers = None
    if project is not None and project.stages:
        files = {name: path for stage in project.stages.values() for name, path in stage.approvers.items()}
        approvers = {name: read_public(project.path(path)).pem for name, path in files.items()}
    if file is not None:
        return Trust(read_public(file).pem, approvers, str(file))
    if text := context.environ.get(_VARIABLE):
        return Trust(parse_public(text.encode(), _VARIABLE).pem, approvers, _VARIABLE)
    if project is not None and project.signing is not None:
        path = project.path(project.signing.key)
        return Trust(read_public(path).pem, approvers, project.signing.key)
    return Trust(None, approvers)
