"""A plan to a store: whatever the store lacks is found or made, verified, and written; tags last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from builder.cache import Cache
from builder.content import Digest, Platform
from builder.errors import ArtifactError, VerificationError
from builder.image.index import Plan
from builder.layers.recipe import Layer
from builder.parallel import Stop, each
from builder.pipeline.context import Context
from builder.pipeline.makers import LOCAL, Build, Made, Makers
from builder.pipeline.models import artifacts, store_models
from builder.pipeline.planning import LocalLayer, Prepared, prepare
from builder.pipeline.stores import open_store
from builder.progress import Task
from builder.project import Project
from builder.registry.layout import Layout
from builder.registry.reference import Repository
from builder.registry.store import Store

__all__ = ["Built", "blob_of", "build", "build_prepared"]


@dataclass(frozen=True, slots=True)
class Built:
    """What a build left in the store: the plan, how many layers were written, and whether the tag moved.

    `previous` is the digest that the tag had before, when it was another one. `sent_by_others` are bytes that went
    into the store from other machines.
    """

    plan: Plan
    tag: str
    written: tuple[Layer, ...]
    previous: Digest | None
    warnings: tuple[str, ...] = ()
    sent_by_others: int = 0


def build(
    project: Project, context: Context, platforms: Sequence[Platform] | None = None, *, store: Store | None = None
) -> Built:
    """Build what `plan` plans; the index has the plan's digest, or the build fails with VerificationError.

    The store ends up with every blob, manifest and index, and the version's tag; a build that is interrupted leaves
    no tag that can't be pulled, and the next one goes on.
    """
    prepared = prepare(project, context, platforms)
    return build_prepared(prepared, context, store or open_store(project))


def build_prepared(
    prepared: Prepared,
    context: Context,
    store: Store,
    *,
    move: bool = True,
    near: Layout | None = None,
    shared: Sequence[Repository] = (),
    stop: Stop | None = None,
    makers: Makers = LOCAL,
) -> Built:
    """As `build`, from a plan that was made already.

    Unless `move`, a version's tag that is taken is refused with RefusedError. `near` may hold layers that were built
    before, `shared` are repositories that the store may take layers from, and `stop` is what its transfers heed.
    `makers` make what nobody has.
    """
    plan, tag = prepared.plan, prepared.plan.facts.version
    build = Build(prepared, context, store, shared, stop or Stop())
    previous = store.resolve(tag) if move else None  # otherwise it is nobody's, or refused in the end
    missing = _missing(build)
    sent = _write(build, missing, near, makers) if missing else {}
    models = artifacts(prepared)
    store_models(models, store, build.stop)
    finished = makers.finish(build, models, move=move)
    moved = previous if previous not in (None, plan.descriptor.digest) else None
    written = tuple(layer for layer in missing if sent.get(layer.digest) != 0)
    return Built(plan, tag, written, moved, prepared.warnings, sum(sent.values()) + finished)


def _missing(build: Build) -> list[Layer]:
    """Layers that the store lacks and can take from nowhere, each once, in the plan's order."""
    prepared, store, shared = build.prepared, build.store, build.shared
    layers = list({layer.digest: layer for image in prepared.plan.images for layer in image.layers}.values())

    def is_there(layer: Layer) -> bool:
        own = prepared.sources.get(layer.digest)
        return store.adopt(layer.descriptor, (own, *shared) if own else shared)

    there = each(layers, is_there, build.stop, threads=store.parallel)
    return [layer for layer, found in zip(layers, there, strict=True) if not found]


def _write(build: Build, missing: Sequence[Layer], near: Layout | None, makers: Makers) -> Mapping[Digest, int]:
    """Each layer from the project's files, from the layout nearby, or from `makers`; the bytes that those sent."""
    prepared, context, store = build.prepared, build.context, build.store
    made = [layer for layer in missing if layer.digest not in prepared.local]
    lacking = [layer for layer in made if near is None or not near.adopt(layer.descriptor)]
    done = makers.make(build, lacking) if lacking else Made()
    left = [layer for layer in missing if layer.digest not in done.sent]

    def write(layer: Layer) -> None:
        if (local := prepared.local.get(layer.digest)) is not None:
            _write_local(local, store, task)
        elif near is not None and layer.digest not in done.cached:
            store.write_blob(layer.descriptor, _Stored(near, layer.digest), task=task)
        else:
            path = context.cache.blob(layer.digest)
            assert path is not None
            store.add_file(layer.descriptor, path, task=task)

    largest_first = sorted(left, key=lambda layer: -layer.size)
    with context.progress.task("writing layers", sum(layer.size for layer in left)) as task:
        each(largest_first, write, build.stop, threads=store.parallel)
    return done.sent


def _write_local(local: LocalLayer, store: Store, task: Task) -> None:
    try:
        store.write_blob(local.layer.descriptor, local, task=task)
    except (VerificationError, ArtifactError) as error:
        raise _changed(local.layer) from error


def _changed(layer: Layer) -> VerificationError:
    return VerificationError(
        f"the files of layer {layer.title} changed while it was built", hint="run the same command again"
    )


@dataclass(frozen=True, slots=True)
class _Stored:
    """A layout's blob, as often as it is wanted; verified at its end."""

    layout: Layout
    digest: Digest

    def __iter__(self) -> Iterator[bytes]:
        return self.layout.read_blob(self.digest)


@contextmanager
def blob_of(prepared: Prepared, context: Context, layers: Sequence[Layer]) -> Iterator[dict[Digest, Path]]:
    """The files of `layers` for as long as the context lasts: made layers from the cache, the project's own anew."""
    with context.cache.passing() as passing:  # not among the blobs that others may be using or letting go
        for layer in layers:
            if layer.digest in prepared.local:
                _make_local(prepared, passing, layer)
        paths = {layer.digest: passing.blob(layer.digest) or context.cache.blob(layer.digest) for layer in layers}
        yield {digest: path for digest, path in paths.items() if path is not None}


def _make_local(prepared: Prepared, passing: Cache, layer: Layer) -> None:
    with passing.writer() as writer:
        try:
            prepared.local[layer.digest].write(writer)
            writer.commit(layer.digest)
        except (VerificationError, ArtifactError) as error:
            raise _changed(layer) from error
