"""A real Dask cluster of processes: a scheduler and two workers, each with a cache of its own and in its own place."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster, Security, WorkerPlugin

__all__ = ["Recorder", "Workers", "lone_scheduler", "recorder", "serve_cluster"]


class Surroundings(WorkerPlugin):  # type: ignore[misc]
    """A worker's machine: its variables, and a cache in a folder of its name. Those that start anew get it too."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self.environ, self.folder = dict(environ), folder

    def setup(self, worker: Any) -> None:
        os.environ.clear()
        os.environ.update(self.environ, LOCKSHIP_CACHE=str(self.folder / str(worker.name)))
        (self.folder / f"{worker.name}.pid").write_text(str(os.getpid()))


@dataclass
class Workers:
    """A running cluster; `scheduler` is the address, `folder` holds the caches of the test that runs."""

    cluster: LocalCluster
    client: Client
    folder: Path = Path()
    number: int = 2

    @property
    def scheduler(self) -> str:
        return str(self.cluster.scheduler_address)

    def live_in(self, folder: Path, environ: Mapping[str, str]) -> None:
        """From now on workers have these variables, and empty caches in `folder`."""
        folder.mkdir(parents=True)
        self.folder = folder
        self.client.wait_for_workers(self.number, timeout=60)
        self.client.register_plugin(Surroundings(environ, folder), name="surroundings")

    def caches(self) -> list[Path]:
        return [self.folder / str(name) for name in range(self.number)]

    def blobs(self) -> set[str]:
        """The digests (hex) that the workers' caches hold, of artifacts and layers."""
        found = (path.name for cache in self.caches() for path in cache.glob("blobs/sha256/*"))
        return {name for name in found if not name.startswith(".")}

    def at_work(self, seconds: float = 60) -> Path:
        """The cache of a worker that is writing a layer or an artifact at this moment, waited for."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for cache in self.caches():
                if any(cache.glob("blobs/sha256/.blob.*")):
                    return cache
            time.sleep(0.002)
        raise AssertionError("no worker began to write")

    def pid(self, cache: Path) -> int:
        """The process of the worker with that cache."""
        return int((self.folder / f"{cache.name}.pid").read_text())

    def wait_idle(self, seconds: float = 60) -> None:
        """Until no worker runs a task, not even one that nobody wants any more."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not any(self.client.run(_running).values()):
                return
            time.sleep(0.1)
        raise AssertionError("workers went on")


def _running(dask_worker: Any) -> int:
    return len(dask_worker.state.tasks) + dask_worker.state.executing_count


@contextmanager
def lone_scheduler(environ: Mapping[str, str]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A scheduler in a process of its own, without any worker: its address, and the process."""
    code = (
        "import asyncio\n"
        "from distributed import Scheduler\n"
        "async def serve():\n"
        "    async with Scheduler(host='127.0.0.1', port=0, dashboard_address='127.0.0.1:0') as made:\n"
        "        print(made.address, flush=True)\n"
        "        await made.finished()\n"
        "asyncio.run(serve())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd="/",  # only what PYTHONPATH and the environment have
        env=dict(environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def serve_cluster(number: int = 2, security: Security | None = None) -> Iterator[Workers]:
    """Workers of one thread each, under nannies that start them anew; over TLS with a `security`."""
    with (
        LocalCluster(
            n_workers=number,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            protocol="tls://" if security else None,
            security=security,
        ) as cluster,
        Client(cluster.scheduler_address, set_as_default=False, security=security) as client,
    ):
        yield Workers(cluster, client, number=number)


@dataclass
class Recorder:
    """A relay between a client and a scheduler that keeps every byte the client sends."""

    address: str = ""
    sent: bytearray = field(default_factory=bytearray)


@contextmanager
def recorder(scheduler: str) -> Iterator[Recorder]:
    """A relay in front of the scheduler at that address."""
    host, _, port = scheduler.removeprefix("tcp://").rpartition(":")
    made = Recorder()
    open_sockets: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        made.address = f"tcp://127.0.0.1:{server.getsockname()[1]}"

        def pump(source: socket.socket, sink: socket.socket, keep: bool) -> None:
            with suppress(OSError):
                while data := source.recv(65536):
                    if keep:
                        made.sent += data
                    sink.sendall(data)
            for one in (source, sink):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    near, _ = server.accept()
                    far = socket.create_connection((host, int(port)))
                    open_sockets.extend((near, far))
                    for ends in ((near, far, True), (far, near, False)):
                        threading.Thread(target=pump, args=ends, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield made
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
    for one in open_sockets:
        one.close()
