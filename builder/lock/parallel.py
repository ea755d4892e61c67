"""Several downloads at once, in threads that end promptly when one fails or somebody presses Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from builder.lock.web import Stop, StoppedError

__all__ = ["THREADS", "each"]

THREADS: Final = 8
_PATIENCE: Final = 3.0  # seconds that threads get to clean up after themselves

T = TypeVar("T")
R = TypeVar("R")


def each(items: Sequence[T], work: Callable[[T], R], stop: Stop, *, threads: int = THREADS) -> list[R]:
    """``[work(item) for item in items]``, `threads` at a time.

    The first exception ends the others through `stop` and is raised when they have cleaned up.
    """
    results: dict[int, R] = {}
    failures: list[BaseException] = []
    waiting = iter(enumerate(items))
    lock = threading.Lock()

    def loop() -> None:
        while True:
            with lock:
                number, item = next(waiting, (-1, None))
            if number < 0 or item is None:
                return
            try:
                stop.check()
                results[number] = work(item)
            except StoppedError:
                return
            except BaseException as error:
                with lock:
                    failures.append(error)
                stop.set()
                return

    # daemons: a server that doesn't answer must not keep the process alive
    crew = [threading.Thread(target=loop, name="lockship-fetch", daemon=True) for _ in range(min(threads, len(items)))]
    for thread in crew:
        thread.start()
    try:
        for thread in crew:
            # in slices, so that a signal is seen at once
            while thread.is_alive() and not failures:
                thread.join(0.2)
    finally:
        if failures or any(thread.is_alive() for thread in crew):
            stop.set()
            for thread in crew:
                thread.join(_PATIENCE)
    if failures:
        raise failures[0]
    return [results[number] for number in range(len(items))]
