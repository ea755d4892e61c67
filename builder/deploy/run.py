"""Running an image in an engine as if it were a program of this machine: streams, signals and exit status pass."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from builder.deploy.attach import Feed, Pump, hang_up
from builder.deploy.engine import Engine, engine_errors
from builder.deploy.terminal import raw_terminal, window_size
from builder.errors import StoreError

__all__ = ["CANNOT_RUN", "NOT_FOUND", "Streams", "run"]

# What shells and ``docker run`` return when the command can't be started.
CANNOT_RUN: Final = 126
NOT_FOUND: Final = 127

_FORWARDED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A program that is process 1 of its container and handles no SIGTERM never gets one: after that many, kill it.
_PATIENCE: Final = 3


@dataclass(frozen=True)
class Streams:
    """Where a container's output goes and its input comes from; `stdin` None is an empty input.

    With `tty` the container has a terminal: both outputs are one, and `stdin` is put into raw mode.
    """

    stdout: BinaryIO = field(default_factory=lambda: sys.stdout.buffer)
    stderr: BinaryIO = field(default_factory=lambda: sys.stderr.buffer)
    stdin: BinaryIO | None = None
    tty: bool = False


def run(
    engine: Engine,
    image: str,
    command: Sequence[str] | None = None,
    *,
    streams: Streams,
    env: Mapping[str, str] | None = None,
    volumes: Sequence[str] = (),
    ports: Mapping[int, int] | None = None,
    network: str | None = None,
) -> int:
    """Run `image` to its end and remove the container; the exit status of its command.

    `command` replaces the image's own; `volumes` are ``/here:/there`` or ``/here:/there:ro``; `ports` maps ports of
    the container to ports of this machine. A command that isn't in the image gives `NOT_FOUND`, one that can't be
    executed `CANNOT_RUN`, both with a line on `streams.stderr`. SIGINT, SIGTERM and SIGHUP go to the command.
    Raises StoreError when the engine fails, BrokenPipeError when nobody reads the output any more.
    """
    with engine_errors(engine):
        container = _create(engine, image, command, streams, env or {}, volumes, ports or {}, network)
    try:
        return _attached(engine, container, streams)
    finally:
        with suppress(StoreError), engine_errors(engine):
            engine.api.remove_container(container, force=True, v=True)


def _create(
    engine: Engine,
    image: str,
    command: Sequence[str] | None,
    streams: Streams,
    env: Mapping[str, str],
    volumes: Sequence[str],
    ports: Mapping[int, int],
    network: str | None,
) -> str:
    from docker.errors import ImageNotFound

    api = engine.api
    host = api.create_host_config(
        binds=list(volumes), port_bindings={f"{inside}/tcp": outside for inside, outside in ports.items()},
        network_mode=network,
    )  # fmt: skip
    configuration = api.create_container_config(
        image,
        list(command) if command is not None else None,
        environment=dict(env),
        tty=streams.tty,
        stdin_open=streams.stdin is not None,
        ports=[(inside, "tcp") for inside in ports],
        labels={"dev.lockship.run": "1"},
        host_config=host,
    )
    # the engine closes the command's input when our connection for it ends
    configuration["StdinOnce"] = streams.stdin is not None
    try:
        return str(api.create_container_from_config(configuration)["Id"])
    except ImageNotFound as error:
        raise StoreError(
            f"the engine at {engine.host} has no image {image}", hint="`lockship load` it first"
        ) from error


def _attached(engine: Engine, container: str, streams: Streams) -> int:
    with ExitStack() as stack:
        with engine_errors(engine):
            # attached before the start: nothing that the command says is missed
            output = engine.api.attach(container, stdout=True, stderr=True, stream=True, demux=True)
            stack.callback(hang_up, output)
            if streams.stdin is not None:
                inlet = engine.api.attach_socket(container, params={"stdin": 1, "stream": 1})
                feed = stack.enter_context(Feed(streams.stdin, inlet))
        stack.enter_context(raw_terminal(streams.stdin if streams.tty else None))
        stack.enter_context(_forwarding(engine, container, streams))
        if (status := _start(engine, container, streams)) is not None:
            return status
        if streams.stdin is not None:
            feed.start()
        pump = Pump(output, streams.stdout, streams.stderr)
        pump.start()
        pump.join()
        if pump.failure is not None:
            raise pump.failure
        with engine_errors(engine):
            return int(engine.api.wait(container, timeout=None)["StatusCode"])


def _start(engine: Engine, container: str, streams: Streams) -> int | None:
    """None when the command runs, else the status of a command that doesn't."""
    from docker.errors import APIError

    with engine_errors(engine):
        try:
            engine.api.start(container)
        except APIError as error:
            said = str(error.explanation or error)
            found = re.search(r'exec:\s*\\?"([^"\\]*)\\?"', said)
            name = repr(found[1]) if found else "the command"
            if "not found" in said or "no such file or directory" in said:
                _say(streams, f"{name} is not in the image, or not on its PATH")
                return NOT_FOUND
            if "permission denied" in said or "exec format error" in said or "is a directory" in said:
                _say(streams, f"{name} can't be executed in the image")
                return CANNOT_RUN
            raise
    if streams.tty:
        _fit(engine, container, streams)
    return None


def _fit(engine: Engine, container: str, streams: Streams) -> None:
    """Make the container's terminal as large as ours."""
    size = window_size(streams.stdout)
    if size is not None:
        with suppress(StoreError), engine_errors(engine):  # the command may be done already
            engine.api.resize(container, *size)


def _say(streams: Streams, message: str) -> None:
    streams.stderr.write(f"error: {message}\n".encode())
    streams.stderr.flush()


@contextmanager
def _forwarding(engine: Engine, container: str, streams: Streams) -> Iterator[None]:
    """Signals that we get go to the command. In a terminal Ctrl-C is a byte like others and raises none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # handlers of Python's run in the main thread, which sleeps on when the kernel gives a signal to another one; what
    # is written here reaches us whoever got it. Nor could a handler ask the engine: it may meet a lock that the
    # interrupted code holds
    inlet, outlet = os.pipe()
    os.set_blocking(outlet, False)

    def forward() -> None:
        count = 0
        while numbers := os.read(inlet, 1024):
            for number in numbers:
                if number == signal.SIGWINCH:
                    _fit(engine, container, streams)
                if number not in _FORWARDED:
                    continue
                count += 1
                name = "SIGKILL" if count >= _PATIENCE else signal.Signals(number).name
                with suppress(StoreError), engine_errors(engine):
                    engine.api.kill(container, name)

    worker = threading.Thread(target=forward, daemon=True)
    worker.start()
    wanted = [*_FORWARDED, *([signal.SIGWINCH] if streams.tty else [])]
    other = signal.set_wakeup_fd(outlet, warn_on_full_buffer=False)
    # what is ignored (nohup) stays ignored
    before = {
        number: signal.signal(number, lambda *_: None)
        for number in wanted
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(other)
        os.close(outlet)
        worker.join()
        os.close(inlet)
