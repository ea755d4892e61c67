"""Several transfers at once, in threads that end promptly when one fails or somebody presses Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    import httpx

__all__ = ["THREADS", "Stop", "StoppedError", "each", "each_alone"]

THREADS: Final = 8
_PATIENCE: Final = 3.0  # seconds that threads get to clean up after themselves

T = TypeVar("T")
R = TypeVar("R")


class StoppedError(Exception):
    """Somebody else failed or pressed Ctrl-C: this work is no longer wanted."""


class Stop:
    """Tells threads that their work is no longer wanted, and wakes those that wait for a server."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[Any] = set()

    def set(self) -> None:
        """From now on every wait ends and every check raises StoppedError."""
        import socket

        self._event.set()
        with self._lock:
            for one in self._sockets:
                with suppress(OSError, AttributeError, ValueError):
                    one.shutdown(socket.SHUT_RDWR)

    def check(self) -> None:
        """Raise StoppedError when `set` was called."""
        if self._event.is_set():
            raise StoppedError

    def wait(self, seconds: float) -> None:
        """Sleep, unless told to stop."""
        self._event.wait(seconds)
        self.check()

    @contextmanager
    def watching(self, response: httpx.Response) -> Iterator[None]:
        """While the context lasts, `set` cuts the connection that `response` comes through."""
        stream = response.extensions.get("network_stream")
        one = stream.get_extra_info("socket") if stream is not None else None
        with self._lock:
            self._sockets.add(one)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._sockets.discard(one)


def each(items: Sequence[T], work: Callable[[T], R], stop: Stop, *, threads: int = THREADS) -> list[R]:
    """``[work(item) for item in items]``, `threads` at a time.

    The first exception ends the others through `stop` and is raised when they have cleaned up. Raises StoppedError
    when somebody else set `stop` before all was done.
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
            threading.Thread(target=crew, name="lockship-transfer", daemon=True).start()
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
    if len(results) < len(items):
        raise StoppedError
    return [results[number] for number in range(len(items))]


def each_alone(
    items: Sequence[T], work: Callable[[T], R], stops: Sequence[Stop], *, threads: int = THREADS
) -> list[R | Exception]:
    """``[work(item) for item in items]``, or for each what it raised, a bug of ours too: no other one ends by it.

    Each item heeds its own one of `stops`. Ctrl-C sets all of them.
    """
    whole = _Stops(stops)

    def one(item: T) -> R | Exception:
        try:
            return work(item)
        except StoppedError as error:
            whole.check()
            return error  # it was this one alone that was stopped
        except Exception as error:
            return error

    return each(items, one, whole, threads=threads)


class _Stops(Stop):
    """Stops several at once."""

    def __init__(self, stops: Sequence[Stop]) -> None:
        super().__init__()
        self._stops = stops

    def set(self) -> None:
        super().set()
        for one in self._stops:
            one.set()
