"""Is everything ready? This machine, the project and its registry, check by check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from builder.errors import LockshipError
from builder.pipeline.context import Context
from builder.pipeline.doctor import cache, host
from builder.pipeline.doctor import project as projects
from builder.pipeline.doctor.base import check_base
from builder.pipeline.doctor.checks import Check, Report, of_error, skipped
from builder.pipeline.doctor.registry import Clocks, registry_checks
from builder.pipeline.stores import repository_of, shared_repositories
from builder.project import Project
from builder.registry.reference import Repository, parse_repository

__all__ = ["Check", "Clocks", "Report", "doctor"]

_FETCHED = "delete what is damaged, and it is fetched or made anew"
_BUILT = "delete what is damaged, and build or pull again"


def doctor(
    start: Path,
    context: Context,
    *,
    named: bool = False,
    registry: str | None = None,
    deep: bool = False,
    clocks: Clocks | None = None,
) -> Report:
    """Look at this machine, the project at or above `start`, and its registry, or the repository `registry` instead.

    Nothing is changed by looking, but that the cache's folder is made. Where the folder was `named`, it has to have a
    project. With `deep`, every blob in the cache and in the project's store is hashed. Raises UsageError when
    `registry` is not the name of a repository; whatever else is wrong is a check that failed.
    """
    clocks = clocks or Clocks()
    chosen = parse_repository(registry) if registry else None
    project, file = projects.find(start, named=named)
    checks = [
        *_host(project, context, clocks.wall(), deep=deep),
        file,
        *_project(project, context, deep=deep),
        *_registry(project, file, chosen, context, clocks),
        *_base(project, context, clocks),
    ]
    return Report(tuple(checks))


def _host(project: Project | None, context: Context, now: float, *, deep: bool) -> Iterator[Check]:
    yield host.check_lockship()
    found = cache.survey(context.cache, now)
    yield cache.check_cache(context.cache, found)
    optional: Sequence[Callable[[cache.Survey], Check | None]] = (cache.check_left, cache.check_entries)
    yield from (check for look in optional if (check := look(found)) is not None)
    if deep:
        yield cache.check_damage("host", "cache bytes", found.blobs, context.progress, _FETCHED)
    folders = {"cache": context.cache.root}
    if project is not None:
        folders["project's store"] = project.root / ".lockship"
    yield from map(host.check_disk, host.disks(folders))
    yield host.check_uv(context.environ)
    yield host.check_apt(project, context.environ)
    yield host.check_git(project, context.environ)
    yield host.check_docker(context.environ)


def _project(project: Project | None, context: Context, *, deep: bool) -> Iterator[Check]:
    if project is None:
        return
    yield projects.check_lock(project)
    yield projects.check_store(project)
    if deep:
        blobs = projects.layout_blobs(project)
        yield cache.check_damage("project", "store bytes", blobs, context.progress, _BUILT)


def _registry(
    project: Project | None, file: Check, chosen: Repository | None, context: Context, clocks: Clocks
) -> Iterator[Check]:
    if chosen is None and (project is None or project.store.repository is None):
        if project is not None:
            why = "the project names none; --registry looks at one"
        else:
            why = "the project's file says which" if file.state == "failed" else "no project and no --registry"
        yield skipped("registry", "connection", why)
        return
    if project is None:
        assert chosen is not None
        yield from registry_checks(chosen, (), context.environ, (), clocks)
        return
    repository = chosen or repository_of(project)
    shared: tuple[Repository, ...] = ()
    try:
        shared = _shared(project, repository, strict=chosen is None)
    except LockshipError as error:
        yield of_error("registry", "shared", error)
    yield from registry_checks(repository, shared, context.environ, project.store.plain_http, clocks)


def _base(project: Project | None, context: Context, clocks: Clocks) -> Iterator[Check]:
    if project is not None and (check := check_base(project, context, clocks)) is not None:
        yield check


def _shared(project: Project, repository: Repository, *, strict: bool) -> tuple[Repository, ...]:
    """What the project shares layers with; for another registry than its own, what of that is there."""
    if strict:
        return shared_repositories(project, repository)
    found = map(parse_repository, project.store.shared)
    return tuple(one for one in found if one.host == repository.host and one != repository)
