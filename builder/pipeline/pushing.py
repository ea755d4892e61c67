"""A project to a registry: what is there stays, what a neighbour has is mounted, the rest is sent; the tag last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from builder.content import Digest, Platform
from builder.errors import RefusedError
from builder.layers.recipe import Layer
from builder.parallel import Stop, each_alone
from builder.pipeline.building import build_prepared
from builder.pipeline.context import Context
from builder.pipeline.makers import LOCAL, Makers, makers_at
from builder.pipeline.models import artifacts, tag_models
from builder.pipeline.planning import Prepared, prepare
from builder.pipeline.stores import open_registry, open_store, repository_of, shared_repositories
from builder.project import Project
from builder.registry.reference import Reference, Repository, parse_repository

__all__ = ["Pushed", "push", "push_all_prepared"]

_AT_ONCE: Final = 16  # projects: each of them mostly waits for the cluster


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
    project: Project,
    context: Context,
    platforms: Sequence[Platform] | None = None,
    *,
    repository: str | None = None,
    scheduler: str | None = None,
) -> Pushed:
    """Bring what `plan` plans into the project's registry, or into `repository`, under the version's tag.

    What the registry lacks is sent from the project's layout or the cache, or made for it; nothing else is downloaded
    or made. With `scheduler`, the address of a Dask scheduler, the cluster makes and sends it. A push that is
    interrupted leaves no tag, and the next one goes on. Raises RefusedError when the version is taken by another
    digest, StoreError when the registry (or the scheduler) can't be reached or refuses.
    """
    target = parse_repository(repository) if repository else repository_of(project)
    shared = shared_repositories(project, target)
    prepared = prepare(project, context, platforms)
    with makers_at(scheduler, context) as makers:
        return _push(prepared, context, target, shared, makers, Stop())


def _push(
    prepared: Prepared, context: Context, target: Repository, shared: Sequence[Repository], makers: Makers, stop: Stop
) -> Pushed:
    project, version = prepared.project, prepared.plan.facts.version
    reference = Reference(target, version, prepared.plan.descriptor.digest)
    with open_registry(target, context, plain_http=project.store.plain_http, push=True, stop=stop) as registry:
        if (found := registry.resolve(version)) == reference.digest:
            tag_models(artifacts(prepared), registry)  # the push before may have been cut off there
            return Pushed(reference, prepared, there=True)
        if found is not None:
            raise _taken(target, version, found, prepared)
        # from a cluster, bytes go to the registry straight from where they are made
        near = open_store(project) if makers is LOCAL else None
        built = build_prepared(
            prepared, context, registry, move=False, near=near, shared=shared, stop=stop, makers=makers
        )
        return Pushed(reference, prepared, built.written, registry.mounted, registry.sent + built.sent_by_others)


def push_all_prepared(plans: Sequence[Prepared], context: Context, makers: Makers) -> list[Pushed | Exception]:
    """Push several projects at once, each to its own registry: for each what became of it, in the order of `plans`.

    `makers`, a cluster, get the layers of all of them together, and make once what they have in common; what one
    project fails at doesn't stop the others. Ctrl-C stops all of them.
    """
    stops = [Stop() for _ in plans]

    def one(plan: tuple[Prepared, Stop]) -> Pushed:
        prepared, stop = plan
        target = repository_of(prepared.project)
        return _push(prepared, context, target, shared_repositories(prepared.project, target), makers, stop)

    return each_alone(list(zip(plans, stops, strict=True)), one, stops, threads=_AT_ONCE)


def _taken(target: Repository, version: str, found: Digest, prepared: Prepared) -> RefusedError:
    return RefusedError(
        f"{target}:{version} is there already: it is {found}, this is {prepared.plan.descriptor.digest}",
        hint="a pushed version never changes: give this one a version of its own; `lockship pull` and "
        "`lockship plan` show what differs",
    )
