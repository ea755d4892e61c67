"""What people call an image: in full, or inside a project by its version alone."""

from __future__ import annotations

from builder import git
from builder.content import Digest
from builder.errors import LockshipError, ProjectError, UsageError
from builder.pipeline.context import Context
from builder.project import GitVersion, Project
from builder.registry.reference import Reference, is_tag, parse_reference, parse_repository

__all__ = ["is_short", "named", "version_of"]

_EXAMPLE = "registry.example.com/ml/churn:1.4.0"


def is_short(text: str) -> bool:
    """Whether `text` is a version or a digest alone, which only a project knows what to make of."""
    return is_tag(text) or text.removeprefix("@").startswith("sha256:")


def version_of(project: Project, context: Context) -> str:
    """The project's version, found out where it says that git knows it."""
    if isinstance(project.version, GitVersion):
        return git.describe(project.root, context.environ)
    return project.version


def named(text: str | None, project: Project | None, context: Context) -> Reference:
    """The reference that `text` is: in full, or a version (or digest) in the repository of `project`.

    None is the project's own version. Raises UsageError for anything else, ProjectError for a project that names no
    repository.
    """
    if text is not None and not is_short(text):
        return parse_reference(text)
    if project is None:
        what = "name an image" if text is None else f"{text!r} is a version alone, and there is no project here"
        raise UsageError(what, hint=f"write it in full, as in {_EXAMPLE}, or go into a project's folder")
    if project.store.repository is None:
        raise ProjectError(
            "the project names no registry",
            hint=f"write repository under [store], or name the image in full, as in {_EXAMPLE}",
            file=project.file,
        )
    repository = parse_repository(project.store.repository)
    if text is None:
        return Reference(repository, version_of(project, context))
    if is_tag(text):
        return Reference(repository, text)
    return Reference(repository, digest=parse_digest(text))


def parse_digest(text: str) -> Digest:
    """``sha256:…`` or ``@sha256:…``; raises UsageError for anything else."""
    try:
        return Digest(text.removeprefix("@"))
    except LockshipError as error:
        raise UsageError(f"{error.message}", hint="sha256: and 64 hex digits are expected") from error
