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
    if not items:
        return []
    results: dict[int, R] = {}
    failures: list[BaseException] = []
    waiting = iter(enumerate(items))
    lock = threading.Lock()
    running = min(threads, len(items))
    over = threading.Event()

    def loop() -> None:
        while True:
            stop.check()
            with lock:
                number, item = next(waiting, (-1, items[0]))
            if number < 0:
                return
            results[number] = work(item)

    def crew() -> None:
        nonlocal running
        try:
            loop()
        except StoppedError:
            pass
        except BaseException as error:
            with lock:
                failures.append(error)
            stop.set()
        finally:
            with lock:
                running -= 1
                last = running == 0
            if last:
                over.set()

    try:
        for _ in range(running):
            # daemons: a server that doesn't answer must not keep the process alive
            threading.Thread(target=crew, name="lockship-fetch", daemon=True).start()
        # an event and not join(): CPython takes a thread whose join() was interrupted for ended (bpo-45274);
        # in slices, so that a signal is seen at once
        while not over.wait(0.2) and not failures:
            pass
    finally:
        if not over.is_set():
            stop.set()
            over.wait(_PATIENCE)
    if failures:
        raise failures[0]
    return [results[number] for number in range(len(items))]
