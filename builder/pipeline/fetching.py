"""Artifacts that the cache lacks, from where this machine gets packages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from builder.content import Digest, Platform
from builder.lock import debian, indexes
from builder.lock.fetch import fetch_wheels
from builder.lock.pins import Artifact
from builder.pipeline.context import Context
from builder.project import Project

__all__ = ["fetch_missing_conda", "fetch_missing_debs", "fetch_missing_jars", "fetch_missing_wheels"]


def fetch_missing_debs(
    project: Project,
    context: Context,
    platform: Platform,
    debs: Iterable[Artifact],
    locations: Mapping[Digest, str] | None = None,
) -> None:
    """Those of `debs` that the cache lacks; `locations` say where some were just seen."""
    debian.fetch_debs(
        [one for one in debs if context.cache.blob(one.digest) is None],
        project.image,
        platform,
        context.cache,
        root=project.root,
        environ=context.environ,
        progress=context.progress,
        locations=locations,
    )


def fetch_missing_conda(project: Project, context: Context, packages: Iterable[Artifact]) -> None:
    """Those of the conda `packages` that the cache lacks, from where conda-lock.yml says that they are."""
    lacking = [one for one in packages if context.cache.blob(one.digest) is None]
    if lacking:
        from builder.lock.conda_fetch import fetch_conda

        fetch_conda(
            lacking,
            project=project,
            indexes=indexes.from_environment(context.environ),
            cache=context.cache,
            progress=context.progress,
        )


def fetch_missing_jars(project: Project, context: Context, jars: Iterable[Artifact]) -> None:
    """Those of `jars` that the cache lacks, from `[java] repositories` and Maven Central, or their mirrors."""
    lacking = [one for one in jars if context.cache.blob(one.digest) is None]
    if lacking:
        from builder.lock.maven_fetch import fetch_jars
        from builder.lock.maven_settings import read_settings, repositories_of

        settings = read_settings(context.environ)
        named = repositories_of(project.java.repositories if project.java else ())
        fetch_jars(
            lacking,
            list(dict.fromkeys(settings.reached(one) for one in named)),
            network=indexes.from_environment(context.environ).network,
            cache=context.cache,
            progress=context.progress,
        )


def fetch_missing_wheels(project: Project, context: Context, wheels: Iterable[Artifact]) -> None:
    """Those of `wheels` that the cache lacks, from the indexes that this machine knows."""
    lacking = [one for one in wheels if context.cache.blob(one.digest) is None]
    if lacking:
        fetch_wheels(
            lacking,
            indexes=indexes.from_environment(context.environ),
            cache=context.cache,
            progress=context.progress,
            project=project,
            environ=context.environ,
        )
