"""Whether a container is healthy: asked from inside it, so that it works on every engine and asks no other one."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from builder.deploy.containers import address_of
from builder.deploy.engine import Engine, engine_errors
from builder.deploy.secrets import Mask
from builder.errors import StoreError
from builder.stagekeys import Deploy, Health

__all__ = ["Probe", "Times", "is_healthy", "last_words", "probe_of", "wait", "watch"]

_PATIENCE: Final = 5.0  # seconds for one answer
_FIRST_PAUSE: Final = 0.05  # seconds; pauses grow from here to the interval
_SETTLES: Final = 0.5  # seconds in which an engine notices that a container ended
_FAILURES: Final = 3  # looks in a row after which a container that was healthy isn't any more
_LINES: Final = 20  # of the log that are shown
_CHARACTERS: Final = 2000

# Run by the Python of the image: what it prints is what was answered, or why nothing was.
_ASK: Final = """\
import signal, socket, sys
host, port, path, limit = sys.argv[1:]
signal.alarm(int(float(limit)) + 1)
try:
    connection = socket.create_connection((host, int(port)), float(limit))
    connection.sendall(f"GET {path} HTTP/1.1\\r\\nHost: localhost:{port}\\r\\nUser-Agent: lockship\\r\\n"
                       "Accept: */*\\r\\nConnection: close\\r\\n\\r\\n".encode())
    print(connection.makefile("rb").readline(200).decode("latin-1").strip() or "nothing")
except OSError as error:
    print(error.strerror or error)
    sys.exit(1)
"""


@dataclass(frozen=True, slots=True)
class Times:
    """How time passes: `clock` gives seconds that never go back, `sleep` waits so many."""

    clock: Callable[[], float]
    sleep: Callable[[float], None]


Probe = Callable[[Mapping[str, Any]], str | None]
"""One look at a container that runs, given what the engine says of it: None when healthy, else what is wrong."""


class _HopelessError(Exception):
    """No waiting will make the container healthy."""


def probe_of(engine: Engine, container: str, deploy: Deploy, times: Times, *, settled: bool = False) -> Probe:
    """How `deploy` tells a healthy container; `settled` when it ran for long already."""
    health = deploy.health
    if health.path is not None and deploy.health_port is not None:
        return _Http(engine, container, health.path, deploy.health_port)
    if health.command:
        return _Command(engine, container, health.command)
    return _Own(times, 0.0 if settled else 3 * health.interval)


@dataclass(frozen=True, slots=True)
class _Http:
    engine: Engine
    container: str
    path: str
    port: int

    def __call__(self, inspected: Mapping[str, Any]) -> str | None:
        target = [address_of(inspected), str(self.port), self.path, f"{_PATIENCE:g}"]
        asked = f"{self.path} on port {self.port}"
        try:
            status, output = _execute(self.engine, self.container, ["python3", "-I", "-S", "-c", _ASK, *target])
        except _SlowError:
            return f"{asked} gives no answer in {_PATIENCE:g} s"
        if status in (126, 127):
            raise _HopelessError(
                "the image has no python3 to ask it for its health with: say health.command = […] instead"
            )
        if status != 0:
            loopback = " (does it listen on 127.0.0.1 only?)" if "refused" in output else ""
            return f"{asked} gives no answer: {output or 'it takes too long'}{loopback}"
        code = re.fullmatch(r"HTTP/\S+ (\d{3}).*", output)
        if code is None:
            return f"{asked} is not answered by HTTP: {output[:80]!r}"
        return None if code[1][0] in "23" else f"{asked} answers {code[1]}"


class _Command:
    """A command in the container. One that hangs is not started again beside itself."""

    def __init__(self, engine: Engine, container: str, command: tuple[str, ...]) -> None:
        self._engine = engine
        self._container = container
        self._command = command
        self._hanging: str | None = None

    def __call__(self, inspected: Mapping[str, Any]) -> str | None:
        name = self._command[0]
        if self._hanging is not None:
            with engine_errors(self._engine):
                known = self._engine.api.exec_inspect(self._hanging)
            if known.get("Running"):
                return f"{name} does not end"
            self._hanging = None
            return None if known.get("ExitCode") == 0 else f"{name} returns {known.get('ExitCode')}"
        try:
            status, output = _execute(self._engine, self._container, list(self._command))
        except _SlowError as slow:
            self._hanging = slow.execution
            return f"{name} takes longer than {_PATIENCE:g} s"
        if status in (126, 127):
            raise _HopelessError(f"{name} can't be executed in the container: {output}")
        said = f": {output}" if output else ""
        return None if status == 0 else f"{name} returns {status}{said}"


class _Own:
    """The image's own HEALTHCHECK; without one, that the container kept running for some `seconds`."""

    def __init__(self, times: Times, seconds: float) -> None:
        self._times = times
        self._seconds = seconds
        self._since: float | None = None

    def __call__(self, inspected: Mapping[str, Any]) -> str | None:
        if (own := inspected["State"].get("Health")) and own.get("Status") not in (None, "none"):
            if own["Status"] == "healthy":
                return None
            log = own.get("Log") or []
            said = _plain(str(log[-1].get("Output", ""))).strip()[-200:] if log else ""
            return f"the image's health check says {own['Status']}" + (f": {said}" if said else "")
        now = self._times.clock()
        self._since = now if self._since is None else self._since
        return None if now - self._since >= self._seconds else f"it has run for {now - self._since:.1f} s only"


class _SlowError(Exception):
    """A command in the container that did not end in time."""

    def __init__(self, execution: str) -> None:
        super().__init__(execution)
        self.execution = execution


def _execute(engine: Engine, container: str, command: list[str]) -> tuple[int, str]:
    """Run `command` in the container: its status and the end of its output; 127 when it can't be run at all."""
    from docker.errors import APIError

    with engine_errors(engine):
        try:
            execution = engine.api.exec_create(container, command)["Id"]
            output = _Output(engine.api, execution).read()
        except APIError as error:
            said = str(error.explanation or error)
            if error.status_code == 409 or "is not running" in said:  # it ended between our look and this
                return 1, "the container is not running"
            if "exec failed" in said or "executable file not found" in said:
                return 127, said
            raise
        status = engine.api.exec_inspect(execution).get("ExitCode")
    return (1 if status is None else int(status)), _plain(output.decode("utf-8", "replace")).strip()[-200:]


class _Output(threading.Thread):
    """What a command in a container prints, read in a thread: the docker package knows no limit for it."""

    def __init__(self, api: Any, execution: str) -> None:
        super().__init__(daemon=True)
        self._api = api
        self._execution = execution
        self._data = b""
        self._failure: BaseException | None = None

    def run(self) -> None:
        """Read to the end of the command, which may be that of the container."""
        try:
            self._data = self._api.exec_start(self._execution)
        except BaseException as error:
            self._failure = error

    def read(self) -> bytes:
        """All of it; raises _SlowError when the command is still running after a while."""
        self.start()
        self.join(_PATIENCE + 2)  # a little more than what the command has for itself
        if self.is_alive():
            raise _SlowError(self._execution)
        if self._failure is not None:
            raise self._failure
        return self._data


def wait(engine: Engine, container: str, probe: Probe, health: Health, times: Times) -> str | None:
    """Wait until the container is healthy: None, or why it isn't `health.within` seconds later (or never can be)."""
    deadline = times.clock() + health.within
    pause = min(_FIRST_PAUSE, health.interval)
    while True:
        alive, why = _look(engine, container, probe, times)
        if why is None or not alive:
            return why
        left = deadline - times.clock()
        if left <= 0:
            return f"not healthy within {health.within:g} s: {why}"
        times.sleep(min(pause, left))
        pause = min(pause * 2, health.interval)


def is_healthy(engine: Engine, container: str, probe: Probe, times: Times) -> bool:
    """One look at a container that may have been restarted before."""
    return _look(engine, container, probe, times, restarted=True)[1] is None


def watch(engine: Engine, container: str, probe: Probe, health: Health, times: Times) -> str | None:
    """Look at a healthy container for `health.watch` seconds: None when it stays so, else what happened."""
    deadline = times.clock() + health.watch
    failures = 0
    while failures or times.clock() < deadline:
        times.sleep(min(health.interval, max(deadline - times.clock(), _FIRST_PAUSE)))
        alive, why = _look(engine, container, probe, times)
        if not alive:
            return f"it was healthy, and then {why}"
        failures = 0 if why is None else failures + 1
        if failures == _FAILURES:
            return f"it was healthy, and then it wasn't any more: {why}"
    return None


def _look(
    engine: Engine, container: str, probe: Probe, times: Times, *, restarted: bool = False
) -> tuple[bool, str | None]:
    """Whether it lives, and what is wrong."""
    try:
        return _glance(engine, container, probe, restarted)
    except _HopelessError:
        # in a container that is just ending nothing can be executed either, and engines hear of its end a little later
        times.sleep(_SETTLES)
    try:
        return _glance(engine, container, probe, restarted)
    except _HopelessError as hopeless:
        return False, str(hopeless)


def _glance(engine: Engine, container: str, probe: Probe, restarted: bool) -> tuple[bool, str | None]:
    from docker.errors import NotFound

    with engine_errors(engine):
        try:
            inspected = engine.api.inspect_container(container)
        except NotFound:
            return False, "it was removed by somebody"
    if (end := _end(inspected, restarted)) is not None:
        return False, end
    return True, probe(inspected)


def _end(inspected: Mapping[str, Any], restarted: bool) -> str | None:
    """How the container ended; None when it never did, or (with `restarted`) runs again."""
    state = inspected["State"]
    restarts = 0 if restarted else int(inspected.get("RestartCount") or 0)
    if state.get("Running") and not restarts:
        return None
    if state.get("OOMKilled"):
        return "it was killed: it needs more memory than it may have"
    if restarts:  # the status is that of the new start
        return "it ended, and the engine started it again"
    return f"it ended with exit status {state.get('ExitCode')}"


def last_words(engine: Engine, container: str, mask: Mask) -> str:
    """The last lines of the container's log, without secrets; empty when there are none."""
    with suppress(StoreError), engine_errors(engine):
        raw = engine.api.logs(container, stdout=True, stderr=True, tail=_LINES)
        # masked before it is cut: half a secret is one too
        lines = mask(_plain(raw.decode("utf-8", "replace"))).strip()
        return lines if len(lines) <= _CHARACTERS else "…" + lines[-_CHARACTERS:]
    return ""


def _plain(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(one for one in text.replace("\r\n", "\n") if one in "\n\t" or one.isprintable())
