"""A release from a registry into a layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.content import Platform
from builder.errors import UsageError
from builder.parallel import Stop
from builder.pipeline.context import Context
from builder.pipeline.copying import Copied, copy_contents, missing
from builder.pipeline.stores import open_registry, open_store
from builder.project import Project
from builder.registry.contents import contents_of
from builder.registry.layout import Layout
from builder.registry.reference import Reference, parse_repository

__all__ = ["Pulled", "layout_for", "pull"]


@dataclass(frozen=True, slots=True)
class Pulled:
    """What was pulled, where to, and how much of it was there."""

    reference: Reference
    folder: Path
    copied: Copied


def pull(
    reference: Reference,
    target: Layout,
    context: Context,
    *,
    platform: Platform | None = None,
    plain_http: Sequence[str] = (),
) -> Pulled:
    """Bring `reference` into `target`: every platform's image or only one, with everything that refers to it.

    What is there is not fetched; what an interrupted pull left is gone on with; nothing has a tag before all of it is
    there and verified. The layout's tag moves. Raises StoreError when the registry can't be reached or lacks
    something, VerificationError when it serves other bytes than it should.
    """
    stop = Stop()
    with open_registry(reference.repository, context, plain_http=plain_http, stop=stop) as registry:
        found = contents_of(registry, reference.selector, platform, stop=stop)
        if found is None:
            raise missing(registry, reference.selector, str(reference.repository))
        copied = copy_contents(registry, target, found, tag=reference.tag, progress=context.progress, stop=stop)
    return Pulled(reference, target.root, copied)


def layout_for(reference: Reference, project: Project | None, folder: Path | None) -> Layout:
    """Where `reference` belongs: in `folder`, else in the layout of `project`.

    Raises UsageError where there is neither, or when the project is another one.
    """
    if folder is not None:
        return Layout(folder, name=str(reference.repository))
    if project is None:
        raise UsageError(
            "there is no project here to pull into",
            hint=f"name a folder: lockship pull {reference} --to FOLDER",
        )
    own = project.store.repository
    if own is not None and parse_repository(own) != reference.repository:
        raise UsageError(
            f"{reference.repository} is not the repository of {project.name}, which is {own}",
            hint="its versions would take the place of the project's own: name another folder with --to",
        )
    return open_store(project)
