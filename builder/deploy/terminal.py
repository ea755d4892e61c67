"""The terminal that somebody sits at, handed over to a container."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

__all__ = ["raw_terminal", "window_size"]


@contextmanager
def raw_terminal(stream: BinaryIO | None) -> Iterator[None]:
    """Keys go through as they are pressed; the terminal is as it was when the context ends."""
    if stream is None or sys.platform == "win32" or not stream.isatty():
        yield
        return
    import termios
    import tty

    descriptor = stream.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def window_size(stream: BinaryIO) -> tuple[int, int] | None:
    """Rows and columns, or None when `stream` is no terminal."""
    with suppress(OSError, ValueError):
        size = os.get_terminal_size(stream.fileno())
        return size.lines, size.columns
    return None
