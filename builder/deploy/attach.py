"""Bytes between our streams and a container's, each direction in a thread of its own."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO, Final, Self

__all__ = ["Feed", "Pump", "hang_up"]

_PIECE: Final = 1 << 16  # bytes


def hang_up(connection: Any) -> None:
    """Close what the docker package's attach calls return: the response behind it is what holds the socket."""
    response = getattr(connection, "_response", None)
    with suppress(OSError, ValueError):  # closed already
        (connection if response is None else response).close()


def _shut(connection: Any) -> None:
    with suppress(OSError, AttributeError):
        getattr(connection, "_sock", connection).shutdown(socket.SHUT_RDWR)


class Pump(threading.Thread):
    """Copies a container's output, so that the main thread stays free for signals.

    `output` gives pairs of stdout and stderr pieces, one of them None. What went wrong is in `failure` at the end.
    """

    def __init__(self, output: Any, stdout: BinaryIO, stderr: BinaryIO) -> None:
        super().__init__(daemon=True)
        self._output = output
        self._targets = (stdout, stderr)
        self.failure: Exception | None = None

    def run(self) -> None:
        """Copy until the command's outputs are closed, or ours."""
        try:
            for pieces in self._output:
                for data, target in zip(pieces, self._targets, strict=True):
                    if data:
                        target.write(data)
                        target.flush()
        except Exception as error:
            self.failure = error


class Feed(threading.Thread):
    """Copies `source` to a container's input, and closes that at the end.

    Leaving the context stops it, whether it waits for keys that nobody presses or for a command that doesn't read.
    """

    def __init__(self, source: BinaryIO, connection: Any) -> None:
        super().__init__(daemon=True)
        self._source = source
        self._connection = connection
        self._wake, self._waker = os.pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._waker, b"x")
        _shut(self._connection)
        if self.ident is not None:
            self.join()
        hang_up(self._connection)
        os.close(self._wake)
        os.close(self._waker)

    def run(self) -> None:
        """Copy to the end of `source`."""
        target = getattr(self._connection, "_sock", self._connection)
        with suppress(OSError, ValueError):  # a command that doesn't read to the end is in its right
            for piece in self._pieces():
                target.sendall(piece)
        _shut(self._connection)

    def _pieces(self) -> Iterator[bytes]:
        try:
            descriptor = self._source.fileno()
        except (OSError, AttributeError):  # bytes in memory
            while piece := self._source.read(_PIECE):
                yield piece
            return
        # not through the stream's buffer: a read that blocks holds its lock, and Python can't end while it is held
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        waiting.register(self._wake, select.POLLIN)
        while True:
            if any(ready == self._wake for ready, _ in waiting.poll()):
                return
            if not (piece := os.read(descriptor, _PIECE)):
                return
            yield piece
