"""A project to a registry: what is there stays, what a neighbour has is mounted, the rest is sent; the tag last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from builder.content import Digest, Platform
from builder.errors import RefusedError
from builder.layers.recipe import Layer
from builder.parallel import Stop
from builder.pipeline.building import build_prepared
from builder.pipeline.context import Context
from builder.pipeline.models import artifacts, tag_models
from builder.pipeline.planning import Prepared, prepare
from builder.pipeline.stores import open_registry, open_store, repository_of, shared_repositories
from builder.project import Project
from builder.registry.reference import Reference, Repository, parse_repository

__all__ = ["Pushed", "push"]


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did: the release's reference by digest, the layers that had to be sent, and bytes in all.

    `mounted` counts layers that the registry took from other repositories; `there` says that the tag named this very
    release already, so that nothing was done.
    """

    reference: Reference
    prepared: Prepared
    sent: tuple[Layer, ...] = ()
    mounted: int = 0
    bytes_sent: int = 0
    there: bool = False

    @property
    def digest(self) -> Digest:
        """The index's digest."""
        return self.prepared.plan.descriptor.digest


def push(
    project: Project, context: Context, platforms: Sequence[Platform] | None = None, *, repository: str | None = None
) -> Pushed:
    """Bring what `plan` plans into the project's registry, or into `repository`, under the version's tag.

    What the registry lacks is sent from the project's layout or the cache, or made for it; nothing else is downloaded
    or made. A push that is interrupted leaves no tag, and the next one goes on. Raises RefusedError when the version
    is taken by another digest, StoreError when the registry can't be reached or refuses.
    """
    target = parse_repository(repository) if repository else repository_of(project)
    shared = shared_repositories(project, target)
    prepared = prepare(project, context, platforms)
    version = prepared.plan.facts.version
    reference = Reference(target, version, prepared.plan.descriptor.digest)
    stop = Stop()
    with open_registry(target, context, plain_http=project.store.plain_http, push=True, stop=stop) as registry:
        if (found := registry.resolve(version)) == reference.digest:
            tag_models(artifacts(prepared), registry)  # the push before may have been cut off there
            return Pushed(reference, prepared, there=True)
        if found is not None:
            raise _taken(target, version, found, prepared)
        built = build_prepared(
            prepared, context, registry, move=False, near=open_store(project), shared=shared, stop=stop
        )
        return Pushed(reference, prepared, built.written, registry.mounted, registry.sent)


def _taken(target: Repository, version: str, found: Digest, prepared: Prepared) -> RefusedError:
    return RefusedError(
        f"{target}:{version} is there already: it is {found}, this is {prepared.plan.descriptor.digest}",
        hint="a pushed version never changes: give this one a version of its own; `lockship pull` and "
        "`lockship plan` show what differs",
    )
