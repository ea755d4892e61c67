"""Many layers at once: a few worker processes, largest layer first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, Self

from builder.cache import Cache
from builder.errors import LockError, LockshipError
from builder.layers.bytecode import Interpreter
from builder.layers.make import known, make
from builder.layers.recipe import Layer, Recipe
from builder.layers.worker import Job, receive, send
from builder.progress import Progress, Task

__all__ = ["make_all", "workers"]

_PATIENCE: Final = 10.0  # seconds that a child gets to clean up after itself


def workers() -> int:
    """How many processes fit this machine: the processors that this one may use."""
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
    groups = _groups(todo.values(), cache)
    with progress.task("making layers", len(todo), unit="layers") as task:
        if len(groups) == 1 or workers() == 1:
            for recipe in (recipe for group in groups for recipe in group):
                done[recipe.key] = make(recipe, cache.root, interpreter)
                task.advance(1)
        else:
            done.update(_in_parallel(groups, cache, interpreter, task))
    return done


def _groups(recipes: Iterable[Recipe], cache: Cache) -> list[list[Recipe]]:
    """One package's layers for all platforms together (they share byte code), the largest package first."""
    groups: dict[tuple[tuple[str, str], ...], list[Recipe]] = {}
    for recipe in recipes:
        groups.setdefault(tuple((part.kind, part.name) for part in recipe.parts), []).append(recipe)
    return sorted(groups.values(), key=lambda group: sum(_weight(one, cache) for one in group), reverse=True)


def _in_parallel(
    groups: Iterable[list[Recipe]], cache: Cache, interpreter: Interpreter | None, task: Task
) -> Mapping[str, Layer]:
    queue = deque(groups)  # its popleft is atomic
    done: dict[str, Layer] = {}
    running: list[_Worker] = []

    def work() -> None:
        with _Worker() as worker:
            running.append(worker)
            while queue:
                try:
                    group = queue.popleft()
                except IndexError:
                    return
                for recipe in group:
                    try:
                        done[recipe.key] = worker.run((recipe, cache.root, interpreter))
                    except BaseException:
                        queue.clear()  # the first failure ends the rest
                        raise
                    task.advance(1)

    count = min(workers(), len(queue))
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(work) for _ in range(count)]
        try:
            for future in futures:
                future.result()
        except BaseException:
            queue.clear()
            for worker in running:
                worker.stop()
            raise
    return done


class _Worker:
    """A child that makes one layer after another."""

    def __enter__(self) -> Self:
        # a session of its own: Ctrl-C at any moment is for this process to deal with, which ends the child then;
        # the child looks for modules where this process does, however that came to be
        program = f"import sys; sys.path[:] = {sys.path!r}; from builder.layers.worker import serve; serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        for pipe in (self._process.stdin, self._process.stdout):  # the end of its input ends it too
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:  # the signal came where Python lets no exception out
            self._process.kill()
            self._process.wait()

    def run(self, job: Job) -> Layer:
        """Make one layer; raises what making it raised."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            send(self._process.stdin, job)  # type: ignore[arg-type]
            answer = receive(self._process.stdout)  # type: ignore[arg-type]
        except (EOFError, OSError) as error:
            raise LockError(
                f"a worker process died while making {job[0].title}",
                hint="was it out of memory? run the command again",
            ) from error
        if isinstance(answer, LockshipError):
            raise answer
        assert isinstance(answer, Layer)
        return answer

    def stop(self) -> None:
        """End the child now; its half-written blob goes with it."""
        with suppress(OSError):
            self._process.terminate()


def _weight(recipe: Recipe, cache: Cache) -> int:
    """Roughly how long it takes: the bytes that go in."""
    paths = (cache.blob(part.artifact) for part in recipe.parts if part.artifact)
    return sum(path.stat().st_size for path in paths if path is not None)
