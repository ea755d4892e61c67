"""Many layers at once: a pool of processes, largest first."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from builder.cache import Cache
from builder.errors import LockError
from builder.layers.bytecode import Interpreter
from builder.layers.make import known, make
from builder.layers.recipe import Layer, Recipe
from builder.progress import Progress

__all__ = ["make_all", "workers"]


def workers() -> int:
    """How many processes fit this machine: the processors this one may use."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def make_all(
    recipes: Iterable[Recipe], cache: Cache, interpreter: Interpreter | None, progress: Progress
) -> Mapping[str, Layer]:
    """The layers of `recipes` by key, with their blobs in the cache; what is there already is not made again.

    Raises the first LockshipError that a recipe meets; the others are then given up.
    """
    done: dict[str, Layer] = {}
    todo: dict[str, Recipe] = {}
    for recipe in recipes:
        layer = known(recipe, cache)
        if layer is not None and cache.blob(layer.digest) is not None:
            done[recipe.key] = layer
        else:
            todo[recipe.key] = recipe
    if not todo:
        return done
    ordered = sorted(todo.values(), key=lambda recipe: _weight(recipe, cache), reverse=True)
    with progress.task("layers", len(ordered), unit="layers") as task:
        if len(ordered) == 1 or workers() == 1:
            for recipe in ordered:
                done[recipe.key] = make(recipe, cache.root, interpreter)
                task.advance(1)
            return done
        # forkserver: this process may have threads, and a fork of it could deadlock in a child
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([make.__module__])
        with ProcessPoolExecutor(min(workers(), len(ordered)), mp_context=context, initializer=_quiet) as pool:
            futures = {pool.submit(make, recipe, cache.root, interpreter): recipe for recipe in ordered}
            for future in futures:
                future.add_done_callback(lambda _: task.advance(1))
            try:
                _collect(futures, done)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return done


def _collect(futures: Mapping[Future[Layer], Recipe], done: dict[str, Layer]) -> None:
    finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
    try:
        for future in finished:
            done[futures[future].key] = future.result()
    except BrokenProcessPool as error:
        raise LockError(
            "a worker process died while making layers", hint="was it out of memory? run the command again"
        ) from error


def _weight(recipe: Recipe, cache: Cache) -> int:
    """Roughly how long it takes: the bytes that go in."""
    paths: Sequence[object] = [cache.blob(part.artifact) for part in recipe.parts if part.artifact]
    return sum(path.stat().st_size for path in paths if hasattr(path, "stat"))


def _quiet() -> None:
    """Ctrl-C reaches every process of the terminal; the parent alone decides what it means."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
