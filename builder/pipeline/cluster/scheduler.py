"""A Dask scheduler as makers of layers: errands are handed out, outcomes awaited, what nobody wants is called off."""

from __future__ import annotations

import logging
import pickle
import queue
import re
import socket
import threading
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from builder import __version__
from builder.content import Digest
from builder.errors import LockshipError, StoreError, UsageError
from builder.layers.encode import FORMAT
from builder.layers.recipe import Layer
from builder.models.artifact import ModelArtifact
from builder.parallel import Stop
from builder.pipeline.cluster.errands import LayerErrand, SealErrand, Target, layer_errand, locations_of, seal_errand
from builder.pipeline.cluster.worker import Outcome, carry_out
from builder.pipeline.context import Context
from builder.pipeline.makers import Made
from builder.pipeline.planning import Prepared
from builder.progress import Progress
from builder.registry.client import Registry
from builder.registry.reference import Repository
from builder.registry.store import Store
from builder.words import plural

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["Cluster", "open_cluster"]

_ADDRESS: Final = re.compile(r"(tcp|tls)://[^\s/]+:\d{1,5}")
_CONNECT: Final = 10.0  # seconds until a scheduler that doesn't answer counts as unreachable
_LOOK: Final = 5.0  # seconds between two questions whether it still answers
_ANSWER: Final = 20.0  # seconds that it may take to answer
_NO_WORKERS: Final = 300.0  # seconds without a single worker: clusters that grow on demand need some
_RETRY: Final = 0.25  # seconds until a scheduler that isn't there is tried again
_GREETING: Final = 1 << 20  # bytes that Dask's first words are surely shorter than
_CLOSE: Final = 2.0  # seconds to say good-bye


@contextmanager
def open_cluster(
    address: str, progress: Progress, *, timeout: float = _CONNECT, patience: float = _NO_WORKERS
) -> Iterator[Cluster]:
    """The cluster whose scheduler is at `address`; what is still under way when the context ends is called off.

    `timeout` is how long the scheduler, `patience` how long a first worker may take, in seconds. Raises UsageError for
    what is no address, StoreError without the `dask` extra, when nobody answers or when the versions don't go together.
    """
    if not _ADDRESS.fullmatch(address):
        raise UsageError(
            f"--scheduler {address}: not the address of a Dask scheduler",
            hint="write it as the scheduler prints it, such as tcp://scheduler.example.com:8786 (or tls://…)",
        )
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise StoreError(
            "a Dask cluster needs Dask on this machine, too", hint="pip install 'lockship[dask]'"
        ) from error
    with _quiet():
        client = _connect(address, timeout)
        cluster = Cluster(client, address, progress, patience)
        try:
            cluster.check()
            yield cluster
        finally:
            cluster.close()


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask's own words about lost connections: ours say it, with what to do next."""
    logger = logging.getLogger("distributed")
    loggers = [logger, *(logging.getLogger(f"distributed.{name}") for name in ("client", "core", "comm", "batched"))]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)


def _connect(address: str, timeout: float) -> Client:
    import dask
    from dask.utils import parse_timedelta
    from distributed import Client
    from distributed.versions import VersionMismatchWarning

    configured = dask.config.get("distributed.comm.timeouts.connect", None)
    seconds = min(timeout, parse_timedelta(configured)) if configured else timeout
    _greeted(address, seconds)
    client = Client.__new__(Client)  # in two steps: one that couldn't connect is ours to put away
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=VersionMismatchWarning)  # `check` has the last word on versions
            client.__init__(address, timeout=seconds, set_as_default=False)
    except Exception as error:
        _put_away(client)
        raise _unanswered(address, _first_line(error)) from error
    return client


def _greeted(address: str, seconds: float) -> None:
    """Raises StoreError unless somebody listens who speaks first and with a small frame, as Dask does.

    Its own client waits forever for one who says nothing, and takes the words of others for sizes.
    """
    scheme, _, place = address.partition("://")
    host, _, port = place.rpartition(":")
    end = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=seconds) as one:
                if scheme == "tls":
                    return  # who it is, the certificates say
                one.settimeout(max(0.1, end - time.monotonic()))
                head = one.recv(8, socket.MSG_WAITALL)
                if len(head) == 8 and int.from_bytes(head, "little") < _GREETING:
                    return
                raise _unanswered(address, "who listens there speaks another language")
        except TimeoutError as error:
            raise _unanswered(address, f"nothing came within {seconds:.0f} seconds") from error
        except (OSError, OverflowError) as error:
            if time.monotonic() + _RETRY > end or isinstance(error, socket.gaierror | OverflowError):
                raise _unanswered(address, getattr(error, "strerror", None) or str(error)) from error
            time.sleep(_RETRY)  # it may just be starting


def _unanswered(address: str, reason: str) -> StoreError:
    return StoreError(
        f"{address}: no Dask scheduler answers: {reason}",
        hint="is that its address, is it running, and may this machine reach it? certificates for tls:// are "
        "those of Dask's own configuration (distributed.comm.tls)",
    )


def _put_away(client: Client) -> None:
    """End a client's thread, whether it was ever connected or not."""
    with suppress(Exception):
        client.close(timeout=_CLOSE)
    client.status = "closed"  # or it would try once more when it is collected
    with suppress(Exception):
        client._loop_runner.stop()


def unlike(versions: Mapping[str, Any]) -> str | None:
    """What is wrong with the versions that `Client.get_versions` found, or None: all speak one `distributed`."""

    def of(one: Any) -> str:
        packages = one.get("packages", {}) if isinstance(one, dict) else {}
        return str(packages.get("distributed"))

    ours = of(versions.get("client"))
    others = {"the scheduler": of(versions.get("scheduler"))}
    others |= {f"the worker {name}": of(one) for name, one in sorted(versions.get("workers", {}).items())}
    return next(
        (f"{who} has distributed {has}, this machine {ours}" for who, has in others.items() if has != ours), None
    )


class Cluster:
    """A connected scheduler. Implements `builder.pipeline.makers.Makers`; safe for several threads.

    A layer that several projects lack is made once: for the others it is mounted, or sent from where it was made.
    """

    def __init__(self, client: Client, address: str, progress: Progress, patience: float) -> None:
        self._client = client
        self._address = address
        self._progress = progress
        self._patience = patience
        self._lock = threading.Lock()
        self._layers: dict[Digest, dict[Repository, Future]] = {}
        self._begun: list[Future] = []
        self._seen_worker = False
        self._told: set[str] = set()

    def check(self) -> None:
        """Raises StoreError unless scheduler and workers have the same `distributed` as this machine."""
        versions = self._ask(self._client._get_versions)
        if wrong := unlike(versions):
            raise StoreError(
                f"{self._address}: {wrong}: they may not understand each other",
                hint="install the same version of distributed for workers, scheduler and this machine",
            )
        self._seen_worker = bool(versions["workers"])
        self._progress.note(f"{self._address}: {plural(len(versions['workers']), 'worker')}")

    def close(self) -> None:
        """Call off what is still under way, and say good-bye."""
        with suppress(Exception):  # a scheduler that is gone has nothing to call off
            left = [future for future in self._begun if not future.done()]
            if left:
                self._client.cancel(left)
        _put_away(self._client)

    # what makers do

    def make(
        self,
        prepared: Prepared,
        context: Context,
        layers: Sequence[Layer],
        store: Store,
        shared: Sequence[Repository],
        stop: Stop,
    ) -> Made:
        """One task per layer, the largest first; see `Makers.make`."""
        target = self._target(prepared, store, shared)
        seen = locations_of(prepared, layers, context)
        largest_first = sorted(layers, key=lambda layer: -layer.size)
        errands = [layer_errand(prepared, layer, target, seen) for layer in largest_first]
        futures = {self._layer(errand): errand.layer.title for errand in errands}
        outcomes = self._gather(futures, stop, "making layers on the cluster")
        return Made(sent={one.digest: one.sent for one in outcomes})

    def finish(
        self, prepared: Prepared, models: Sequence[ModelArtifact], store: Store, stop: Stop, *, move: bool
    ) -> int:
        """One task for the project; see `Makers.finish`."""
        assert not move, "a registry's tags stay where they are"
        errand = seal_errand(prepared, tuple(models), self._target(prepared, store, ()))
        name = prepared.plan.facts.name
        (outcome,) = self._gather({self._submit(errand, f"finish-{name}"): name}, stop, f"finishing {name}")
        return outcome.sent

    def _target(self, prepared: Prepared, store: Store, shared: Sequence[Repository]) -> Target:
        if not isinstance(store, Registry):
            raise UsageError(
                "a cluster's workers can't write into a layout: it is a folder of this machine",
                hint="name a registry: `lockship push --scheduler …`, or `lockship build --push --scheduler …`",
            )
        return Target(store.repository, tuple(shared), prepared.project.store.plain_http)

    def _layer(self, errand: LayerErrand) -> Future:
        """The task that brings a layer to its repository; behind the one that makes it for another, if there is one."""
        with self._lock:
            known = self._layers.setdefault(errand.layer.digest, {})
            repository = errand.target.repository
            if repository not in known:
                first = next(iter(known.items()), None)
                known[repository] = self._submit(
                    errand if first is None else _borrowing(errand, first[0]),
                    f"make-{errand.layer.title[:60]}",
                    after=None if first is None else first[1],
                )
            return known[repository]

    def _submit(self, errand: LayerErrand | SealErrand, name: str, after: Future | None = None) -> Future:
        size = errand.layer.size if isinstance(errand, LayerErrand) else 1 << 62  # what finishes a project goes first
        payload = pickle.dumps(errand, pickle.HIGHEST_PROTOCOL)
        with self._telling_of_loss():
            future = self._client.submit(
                carry_out,
                __version__,
                FORMAT,
                payload,
                *(() if after is None else (after,)),
                key=f"{re.sub(r'[^A-Za-z0-9.]+', '-', name)}-{uuid.uuid4().hex}",
                pure=False,
                priority=size,
            )
        self._begun.append(future)
        return future

    # waiting

    def _gather(self, futures: Mapping[Future, str], stop: Stop, label: str) -> list[Outcome]:
        """The outcomes of all `futures`, which have titles; raises what the first one that fails raises."""
        done: queue.SimpleQueue[Future] = queue.SimpleQueue()
        for future in futures:
            future.add_done_callback(done.put)
        outcomes: list[Outcome] = []
        began = looked = time.monotonic()
        with self._progress.task(label, len(futures), unit="tasks") as task:
            while len(outcomes) < len(futures):
                try:
                    future = done.get(timeout=0.1)
                except queue.Empty:
                    stop.check()
                    if time.monotonic() - looked > _LOOK:
                        self._look(began)
                        looked = time.monotonic()
                    continue
                outcomes.append(self._outcome(future, futures[future]))
                task.advance(1)
        for text in (warning for one in outcomes for warning in one.warnings):
            self._warn(text)
        return outcomes

    def _warn(self, text: str) -> None:
        """Once: several layers of one package say the same."""
        with self._lock:
            known = text in self._told
            self._told.add(text)
        if not known:
            self._progress.warn(text)

    def _outcome(self, future: Future, title: str) -> Outcome:
        from distributed import KilledWorker

        if future.status in ("cancelled", "lost"):
            raise self._lost()
        with self._telling_of_loss():
            error = None if future.status == "finished" else self._client.sync(future._exception)
            if error is None:
                outcome = self._client.sync(future._result, callback_timeout=_ANSWER)
                assert isinstance(outcome, Outcome)
                return outcome
        if isinstance(error, LockshipError):
            raise error
        if isinstance(error, KilledWorker):
            raise StoreError(
                f"{title}: {error.allowed_failures + 1} workers died over it, the last one {error.last_worker.address}",
                hint="were they out of memory? their logs say; it is tried as often as the scheduler's "
                "distributed.scheduler.allowed-failures has it",
            )
        if _is_strange(error):
            raise StoreError(
                f"{self._address}: the cluster doesn't understand the work: {_first_line(error)}",
                hint=f"install lockship[dask] {__version__} on the scheduler's machine and on all workers",
            )
        raise error

    def _look(self, began: float) -> None:
        """Raises StoreError when the scheduler no longer answers, or no worker came in all that time."""
        if self._ask(self._client.scheduler.ncores):
            self._seen_worker = True
        elif time.monotonic() - began > self._patience:
            raise StoreError(
                f"{self._address} has no worker, and none came in {self._patience:.0f} seconds",
                hint="start some: dask worker SCHEDULER --nthreads 1",
            )
        elif "no worker" not in self._told:
            self._told.add("no worker")
            self._progress.note(f"{self._address} has no worker; waiting for one")

    def _ask(self, question: Any) -> Any:
        with self._telling_of_loss():
            return self._client.sync(question, callback_timeout=_ANSWER)

    @contextmanager
    def _telling_of_loss(self) -> Iterator[None]:
        try:
            yield
        except (OSError, TimeoutError, RuntimeError) as error:  # Dask's own are among these
            raise self._lost() from error

    def _lost(self) -> StoreError:
        return StoreError(
            f"{self._address}: the connection to the Dask scheduler was lost",
            hint="what workers sent until then stays in the registry, without a tag; when the scheduler is back, run "
            "the same command again",
        )


def _borrowing(errand: LayerErrand, other: Repository) -> LayerErrand:
    """The same errand, with the repository that gets the layer first among those that may lend it."""
    from dataclasses import replace

    if other.host != errand.target.repository.host:
        return errand
    return replace(errand, target=replace(errand.target, shared=(other, *errand.target.shared)))


def _is_strange(error: BaseException) -> bool:
    """Whether the scheduler or a worker couldn't even read the task: it has no lockship, or one with other modules."""
    if isinstance(error, ModuleNotFoundError):
        return "'builder" in str(error)
    if isinstance(error, AttributeError):
        return "Can't get attribute" in str(error)
    return isinstance(error, RuntimeError) and "deserializ" in str(error).lower()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
