"""What a worker does: fetch, make, verify, send. With its own cache, its own network settings, its own logins."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Final

from builder import __version__
from builder.cache import Cache, cache_root
from builder.content import Digest
from builder.errors import StoreError, VerificationError
from builder.layers.encode import FORMAT
from builder.parallel import Stop, each
from builder.pipeline.cluster.errands import LayerErrand, SealErrand, Target
from builder.pipeline.context import Context
from builder.pipeline.stores import open_registry
from builder.progress import SILENT, Task
from builder.registry.client import Registry

__all__ = ["Outcome", "carry_out"]

_PERIOD: Final = 0.2  # seconds between two looks whether the work is still wanted


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an errand came to: the blob or manifest that the registry has now, and the bytes that were sent for it."""

    digest: Digest
    sent: int
    warnings: tuple[str, ...] = ()


def carry_out(version: str, layer_format: int, payload: bytes) -> Outcome:
    """Do the pickled errand `payload` of a lockship of that `version` and format of layers.

    Raises StoreError where this worker's lockship is another one, and whatever LockshipError the errand meets.
    """
    if (version, layer_format) != (__version__, FORMAT):
        raise StoreError(
            f"the worker {_address()} has lockship {__version__} (layers of format {FORMAT}), the work comes from "
            f"{version} (format {layer_format})",
            hint="install the same lockship on all workers",
        )
    errand = pickle.loads(payload)  # noqa: S301  (from the scheduler, which could run anything here anyway)
    notes = _Notes()
    context = Context(Cache(cache_root(os.environ)), dict(os.environ), notes)
    try:
        with _wanted() as stop:
            if isinstance(errand, SealErrand):
                return _seal(errand, context, stop)
            assert isinstance(errand, LayerErrand)
            sent = _deliver(errand, context, stop)
            return Outcome(errand.layer.digest, sent, tuple(dict.fromkeys(notes.warnings)))
    except MemoryError as error:
        title = errand.layer.title if isinstance(errand, LayerErrand) else errand.plan.facts.name
        raise StoreError(
            f"the worker {_address()} is out of memory: {title}", hint="give workers more memory, or fewer threads"
        ) from error


def _deliver(errand: LayerErrand, context: Context, stop: Stop) -> int:
    """The layer into its repository, unless it is there; the bytes that were sent."""
    layer = errand.layer
    with _opened(errand.target, context, stop) as registry:
        if registry.adopt(layer.descriptor, (*errand.sources.values(), *errand.target.shared)):
            return 0
        stop.check()
        with errand.laid_out(context.cache) as here:
            from builder.pipeline.remaking import make_missing  # heavy, and not for what is there

            make_missing(here, context, [layer], errand.locations)
        stop.check()  # making can't be stopped midway, but nothing of it leaves any more
        path = context.cache.checked(layer.digest)
        if path is None:
            raise StoreError(f"{layer.title} vanished from the worker's cache {context.cache.root}", hint="run again")
        registry.add_file(layer.descriptor, path)
        return registry.sent


def _seal(errand: SealErrand, context: Context, stop: Stop) -> Outcome:
    """Everything below is there: so put the rest on top."""
    from builder.pipeline.sealing import seal

    plan = errand.plan
    layers = {layer.digest: layer for image in plan.images for layer in image.layers}
    needed = [layer.descriptor for layer in layers.values()]
    needed += [one for model in errand.models for one in model.layers]
    with _opened(errand.target, context, stop) as registry:
        there = each(needed, lambda one: registry.adopt(one, errand.target.shared), stop, threads=registry.parallel)
        for descriptor, found in zip(needed, there, strict=True):
            if not found:
                title = layers[descriptor.digest].title if descriptor.digest in layers else str(descriptor.digest)
                raise VerificationError(
                    f"{errand.target.repository} lost {title} ({descriptor.digest}) while the rest was made",
                    hint="does somebody clean it up? run the same command again",
                )
        seal(plan, errand.models, registry, stop, move=False)
        return Outcome(plan.descriptor.digest, registry.sent)


def _opened(target: Target, context: Context, stop: Stop) -> Registry:
    return open_registry(target.repository, context, plain_http=target.plain_http, push=True, stop=stop)


def _address() -> str:
    from distributed import get_worker

    return str(get_worker().address)


@contextmanager
def _wanted() -> Iterator[Stop]:
    """What is set as soon as nobody waits for this task any more: Dask itself can't end a task that runs."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    stop, over = Stop(), threading.Event()

    def watch() -> None:
        while not over.wait(_PERIOD):
            task = worker.state.tasks.get(key)
            if task is None or task.state == "cancelled":
                stop.set()
                return

    threading.Thread(target=watch, name="lockship-wanted", daemon=True).start()
    try:
        yield stop
    finally:
        over.set()


@dataclass
class _Notes:
    """Implements `builder.progress.Progress`: warnings go back with the outcome."""

    warnings: list[str] = field(default_factory=list)

    def task(self, label: str, total: int | None = None, *, unit: str = "bytes") -> AbstractContextManager[Task]:
        return SILENT.task(label, total, unit=unit)

    def note(self, message: str) -> None:
        pass

    def warn(self, message: str) -> None:
        self.warnings.append(message)
