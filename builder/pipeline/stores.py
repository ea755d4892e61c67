"""Where images go: the project's own layout, and registries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from builder.errors import ProjectError
from builder.parallel import Stop
from builder.pipeline.context import Context
from builder.registry.layout import Layout
from builder.registry.reference import Repository, parse_repository

if TYPE_CHECKING:
    from builder.project import Project
    from builder.registry.client import Registry

__all__ = ["open_base", "open_registry", "open_store", "repository_of", "shared_repositories"]


def open_store(project: Project) -> Layout:
    """The project's own layout, `.lockship/store`."""
    return Layout(project.root / ".lockship" / "store", name=project.name)


def open_registry(
    repository: Repository,
    context: Context,
    *,
    plain_http: Sequence[str] = (),
    push: bool = False,
    stop: Stop | None = None,
    own: str | None = None,
) -> Registry:
    """`repository` over HTTP, with this machine's proxies, certificates and credentials; a context manager.

    Nothing is sent before it is asked something. `plain_http` are hosts that may be spoken to without TLS. `own` is
    the host that the variables LOCKSHIP_REGISTRY_* are meant for, where it isn't the repository's: a base image's
    registry is not told the password of the project's.
    """
    from builder.registry.client import Registry
    from builder.registry.credentials import find_credential
    from builder.registry.endpoint import network_of

    return Registry(
        repository,
        network_of(context.environ, plain_http),
        lambda: find_credential(repository, context.environ, own=repository.host if own is None else own),
        push=push,
        plain_http=plain_http,
        stop=stop,
        note=context.progress.note,
    )


def open_base(repository: Repository, project: Project, context: Context, *, stop: Stop | None = None) -> Registry:
    """The repository of a base image; a context manager. The project's own password is for its own registry alone."""
    own = parse_repository(project.store.repository).host if project.store.repository else ""
    return open_registry(repository, context, plain_http=project.store.plain_http, stop=stop, own=own)


def repository_of(project: Project) -> Repository:
    """The project's repository; raises ProjectError when it names none."""
    if project.store.repository is None:
        raise ProjectError(
            "the project names no registry",
            hint='write repository = "registry.example.com/ml/churn" under [store], or give --repository',
            file=project.file,
        )
    return parse_repository(project.store.repository)


def shared_repositories(project: Project, repository: Repository) -> tuple[Repository, ...]:
    """`[store] shared`, from which `repository` may take layers.

    Raises ProjectError for one on another host: registries mount blobs within themselves alone.
    """
    found = tuple(parse_repository(one) for one in project.store.shared)
    for one in found:
        if one.host != repository.host:
            raise ProjectError(
                f"[store] shared: {one} is not on {repository.host}",
                hint="a registry takes layers from its own repositories only; name some of those",
                file=project.file,
            )
    return tuple(one for one in found if one != repository)
