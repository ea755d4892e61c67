"""The store that releases live in: a project's registry or layout, or one that is named, without any project."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from builder.content import Digest
from builder.errors import UsageError
from builder.parallel import Stop
from builder.pipeline.context import Context
from builder.pipeline.stores import open_registry, open_store
from builder.registry.layout import Layout
from builder.registry.reference import Repository, parse_repository
from builder.registry.store import Store
from builder.releases.chronicle import Memory

if TYPE_CHECKING:
    from builder.project import Project

__all__ = ["LAYOUT", "Target", "opened_target"]

LAYOUT: Final = "oci:"
"""What a folder's path stands behind, as in skopeo."""


@dataclass(frozen=True, slots=True)
class Target:
    """An open store; `name` is what people call it, `repository` is None for a folder."""

    store: Store
    name: str
    repository: Repository | None
    memory: Memory

    @property
    def option(self) -> str:
        """How to name this store on a command line anywhere else."""
        return f"--repository {self.name}"

    def signed_as(self, name: str) -> str:
        """What signatures call the repository: as docker writes it, or the project `name` where it is a folder."""
        from builder.releases.signing import docker_reference

        return name if self.repository is None else docker_reference(self.repository)


@contextmanager
def opened_target(
    where: str | None, project: Project | None, context: Context, *, push: bool = False, stop: Stop | None = None
) -> Iterator[Target]:
    """The store `where` (``registry.example.com/ml/churn`` or ``oci:FOLDER``), or else the project's.

    Raises UsageError when there is neither a name nor a project.
    """
    if where is None and project is None:
        raise UsageError(
            "there is no project here, and no store is named",
            hint="name one: --repository registry.example.com/ml/churn, or --repository oci:FOLDER",
        )
    if where is None and project is not None and project.store.repository is None:
        store = open_store(project)
        yield Target(store, f"{LAYOUT}{store.root}", None, _memory(context, str(store.root)))
        return
    if where is not None and where.startswith(LAYOUT):
        folder = Path(where.removeprefix(LAYOUT)).absolute()
        if not (folder / "oci-layout").is_file():
            raise UsageError(f"{folder} is not an OCI image layout", hint="name the folder that holds oci-layout")
        name = project.name if project is not None else None
        yield Target(Layout(folder, name=name), f"{LAYOUT}{folder}", None, _memory(context, str(folder)))
        return
    text = where or (project.store.repository if project is not None else None)
    assert text is not None
    repository = parse_repository(text)
    plain_http = project.store.plain_http if project is not None else ()
    with open_registry(repository, context, plain_http=plain_http, push=push, stop=stop) as registry:
        yield Target(registry, str(repository), repository, _memory(context, str(repository)))


def _memory(context: Context, name: str) -> Memory:
    return Memory(context.cache.root / "journals" / f"{Digest.of(name.encode()).hex[:24]}.jsonl")
