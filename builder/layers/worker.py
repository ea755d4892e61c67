"""A process that makes layers: jobs come in on stdin, layers and errors go out on stdout, pickled and framed.

A process of our own rather than `multiprocessing`: a worker of that runs the caller's main module again, which is wrong
for a library, and a fork of a process with threads may hang.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import sys
import tempfile
import traceback
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

from builder.errors import LockshipError, StoreError
from builder.layers.bytecode import Interpreter
from builder.layers.make import make
from builder.layers.recipe import Layer, Recipe

__all__ = ["Answer", "Job", "receive", "send", "serve"]

_FRAME: Final = struct.Struct("<Q")

# A recipe, the cache's folder, and the interpreter for byte code; None ends the worker.
Job = tuple[Recipe, Path, Interpreter | None]
Answer = Layer | LockshipError


def send(pipe: BinaryIO, value: Job | Answer | None) -> None:
    """Write one value."""
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    pipe.write(_FRAME.pack(len(data)) + data)
    pipe.flush()


def receive(pipe: BinaryIO) -> object:
    """Read one value; raises EOFError when the other side is gone. Only ever from a process of our own."""
    head = pipe.read(_FRAME.size)
    if len(head) < _FRAME.size:
        raise EOFError
    (size,) = _FRAME.unpack(head)
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return pickle.loads(data)  # noqa: S301


def serve() -> None:
    """Work until stdin ends."""
    # Ctrl-C reaches every process of the terminal; the parent alone decides what it means
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that prints may get between the frames
    while True:
        try:
            job = receive(sys.stdin.buffer)
        except EOFError:
            return
        assert isinstance(job, tuple)
        recipe, root, interpreter = job
        try:
            send(answers, make(recipe, root, interpreter))
        except LockshipError as error:
            send(answers, error)
        except MemoryError:
            send(
                answers,
                StoreError(f"out of memory while making {recipe.title}", hint="close other programs, or add swap"),
            )
        except Exception as error:
            send(answers, _bug(error, recipe))


def _stop(*_: object) -> NoReturn:
    """Leave through the `finally` clauses: they take half-written blobs with them."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def _bug(error: Exception, recipe: Recipe) -> LockshipError:
    """What nobody foresaw: told by the parent, with the traceback in a file."""
    with tempfile.NamedTemporaryFile("w", prefix="lockship-", suffix=".log", delete=False) as log:
        traceback.print_exception(error, file=log)
    return LockshipError(
        f"{type(error).__name__} while making {recipe.title}: {error}",
        hint=f"a bug in lockship; the details are in {log.name}",
    )
