"""A Dask scheduler as makers of layers: errands are handed out, outcomes awaited, what nobody wants is called off."""

from __future__ import annotations

import pickle
import queue
import re
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from builder import __version__
from builder.content import Digest
from builder.errors import LockshipError, StoreError, UsageError
from builder.layers.encode import FORMAT
from builder.layers.recipe import Layer
from builder.models.artifact import ModelArtifact
from builder.parallel import Stop, each
from builder.pipeline.cluster.connecting import connect, first_line, put_away, quiet, unlike
from builder.pipeline.cluster.errands import LayerErrand, SealErrand, Target, layer_errand, locations_of, seal_errand
from builder.pipeline.cluster.sharing import Bringing, Sharing
from builder.pipeline.cluster.worker import Outcome, carry_out
from builder.pipeline.makers import Build, Made
from builder.progress import Progress
from builder.registry.client import Registry
from builder.words import plural

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["Cluster", "open_cluster"]

_ADDRESS: Final = re.compile(r"(tcp|tls)://[^\s/]+:\d{1,5}")
_CONNECT: Final = 10.0  # seconds until a scheduler that doesn't answer counts as unreachable
_LOOK: Final = 5.0  # seconds between two questions whether it still answers
_ANSWER: Final = 20.0  # seconds that it may take to answer
_NO_WORKERS: Final = 300.0  # seconds without a single worker: clusters that grow on demand need some


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
    with quiet():
        client = connect(address, timeout)
        cluster = Cluster(client, address, progress, patience)
        try:
            cluster.check()
            yield cluster
        finally:
            cluster.close()


class Cluster:
    """A connected scheduler. Implements `builder.pipeline.makers.Makers`; safe for several threads.

    A layer that several projects of one registry lack is made by one task: for the others it is mounted.
    """

    def __init__(self, client: Client, address: str, progress: Progress, patience: float) -> None:
        self._client = client
        self._address = address
        self._progress = progress
        self._patience = patience
        self._lock = threading.Lock()
        self._sharing = Sharing()
        self._given_up = False
        self._gone = False
        self._begun: list[Future] = []
        self._seen = float("-inf")  # when there was a worker
        self._told: set[str] = set()

    def check(self) -> None:
        """Raises StoreError unless scheduler and workers have the same `distributed` as this machine."""
        versions = self._ask(self._client._get_versions)
        if wrong := unlike(versions):
            raise StoreError(
                f"{self._address}: {wrong}: they may not understand each other",
                hint="install the same version of distributed for workers, scheduler and this machine",
            )
        self._progress.note(f"{self._address}: {plural(len(versions['workers']), 'worker')}")

    def close(self) -> None:
        """Call off what is still under way, and say good-bye."""
        self._call_off(self._begun)
        put_away(self._client)

    def _call_off(self, futures: Iterable[Future]) -> None:
        with suppress(Exception):  # a scheduler that is gone has nothing to call off
            left = [future for future in futures if not future.done()]
            if left:
                self._client.cancel(left)

    # what makers do

    def make(self, build: Build, layers: Sequence[Layer]) -> Made:
        """One task per layer, the largest first, or that of another project with the same registry; see `Makers.make`.

        What fails for another project is tried for this one: it may be the failure of that one's repository only.
        """
        largest_first = sorted(layers, key=lambda layer: -layer.size)
        sent, failed, alone = self._bring(build, largest_first, {})
        if failed:
            again = [layer for layer in largest_first if layer.digest in failed]
            more, failed, refused = self._bring(build, again, failed)
            sent |= more
            alone += refused
        alone += [layer for layer in largest_first if layer.digest in failed]
        if alone:
            sent |= self._bring(build, alone, None)[0]
        return Made(sent=sent)

    def _bring(
        self, build: Build, layers: Sequence[Layer], failed: Mapping[Digest, Bringing] | None
    ) -> tuple[dict[Digest, int], dict[Digest, Bringing], list[Layer]]:
        """Have `layers` in the store: the bytes sent for each, the tasks of others that failed, what isn't mounted.

        With None for `failed` the tasks are nobody else's.
        """
        repository = self._target(build).repository
        if failed is None:
            begun = self._begin(build, layers)
            tasks, own = {digest: Bringing(repository, future) for digest, future in begun.items()}, set(begun)
        else:
            tasks, own = self._sharing.join(layers, repository, lambda some: self._begin(build, some), failed)
        futures = {tasks[layer.digest].future: layer.title for layer in layers}
        bearable = {task.future for digest, task in tasks.items() if digest not in own}
        label = f"{build.prepared.plan.facts.name}: making layers on the cluster"
        try:
            came = self._gather(futures, build.stop, label, bearable)
        finally:
            self._call_off(self._sharing.leave(tasks))
        outcomes = {digest: came[task.future] for digest, task in tasks.items()}
        sent = {digest: one.sent for digest, one in outcomes.items() if digest in own and isinstance(one, Outcome)}
        others = [one for one in layers if one.digest not in own and isinstance(outcomes[one.digest], Outcome)]

        def mount(layer: Layer) -> bool:
            return build.store.adopt(layer.descriptor, (tasks[layer.digest].repository,))

        mounted = each(others, mount, build.stop, threads=build.store.parallel)
        sent |= {layer.digest: 0 for layer, there in zip(others, mounted, strict=True) if there}
        left = {digest: task for digest, task in tasks.items() if isinstance(outcomes[digest], LockshipError)}
        return sent, left, [layer for layer, there in zip(others, mounted, strict=True) if not there]

    def _begin(self, build: Build, layers: Sequence[Layer]) -> dict[Digest, Future]:
        """A task for each of `layers`."""
        prepared, target = build.prepared, self._target(build)
        seen = locations_of(prepared, layers, build.context)
        errands = [layer_errand(prepared, layer, target, seen) for layer in layers]
        return {one.layer.digest: self._submit(one, f"make-{one.layer.title[:60]}") for one in errands}

    def finish(self, build: Build, models: Sequence[ModelArtifact], *, move: bool) -> int:
        """One task for the project; see `Makers.finish`."""
        assert not move, "a registry's tags stay where they are"
        errand = seal_errand(build.prepared, tuple(models), replace(self._target(build), shared=()))
        name = build.prepared.plan.facts.name
        future = self._submit(errand, f"finish-{name}")
        try:
            outcome = self._gather({future: name}, build.stop, f"finishing {name}")[future]
        except BaseException:
            self._call_off([future])  # a version gets no tag after its project was said to have failed
            raise
        assert isinstance(outcome, Outcome)
        return outcome.sent

    def _target(self, build: Build) -> Target:
        if not isinstance(build.store, Registry):
            raise UsageError(
                "a cluster's workers can't write into a layout: it is a folder of this machine",
                hint="name a registry: `lockship push --scheduler …`, or `lockship build --push --scheduler …`",
            )
        return Target(build.store.repository, tuple(build.shared), build.prepared.project.store.plain_http)

    def _submit(self, errand: LayerErrand | SealErrand, name: str) -> Future:
        size = errand.layer.size if isinstance(errand, LayerErrand) else 1 << 62  # what finishes a project goes first
        payload = pickle.dumps(errand, pickle.HIGHEST_PROTOCOL)
        with self._telling_of_loss():
            future = self._client.submit(
                carry_out,
                __version__,
                FORMAT,
                payload,
                key=f"{re.sub(r'[^A-Za-z0-9.]+', '-', name)}-{uuid.uuid4().hex}",
                pure=False,
                priority=size,
            )
        self._begun.append(future)
        return future

    # waiting

    def _gather(
        self, futures: Mapping[Future, str], stop: Stop, label: str, bearable: Set[Future] = frozenset()
    ) -> dict[Future, Outcome | LockshipError]:
        """What became of all `futures`, which have titles; raises what the first one that fails raises.

        What a worker meets at a `bearable` one is not raised but returned.
        """
        done: queue.SimpleQueue[Future] = queue.SimpleQueue()
        for future in futures:
            future.add_done_callback(done.put)
        found: dict[Future, Outcome | LockshipError] = {}
        lost: list[Future] = []
        began = looked = time.monotonic()
        if self._given_up:
            self._look(began)
        with self._progress.task(label, len(futures), unit="tasks") as task:
            while len(found) < len(futures):
                try:
                    future = done.get(timeout=0.1)
                except queue.Empty:
                    stop.check()
                    if time.monotonic() - looked > _LOOK:
                        self._look(began)
                        looked = time.monotonic()
                    while lost:
                        done.put(lost.pop())
                    continue
                if (outcome := self._outcome(future, futures[future])) is None:
                    lost.append(future)
                    continue
                if isinstance(outcome, LockshipError) and future not in bearable:
                    raise outcome
                found[future] = outcome
                task.advance(1)
        for text in (text for one in found.values() if isinstance(one, Outcome) for text in one.warnings):
            self._warn(text)
        return found

    def _warn(self, text: str) -> None:
        """Once: several layers of one package say the same."""
        with self._lock:
            known = text in self._told
            self._told.add(text)
        if not known:
            self._progress.warn(text)

    def _outcome(self, future: Future, title: str) -> Outcome | LockshipError | None:
        """What a task that was done came to, or met; None when the worker that knew it died: another does it again.

        Raises what is nobody's in particular: the cluster's own failures.
        """
        from distributed import KilledWorker

        if future.status in ("lost", "pending"):
            return None
        if future.status == "cancelled":
            raise self._lost()
        with self._telling_of_loss():
            error = None if future.status == "finished" else self._client.sync(future._exception)
            if error is None:
                try:
                    outcome = self._client.sync(future._result, callback_timeout=_ANSWER)
                except TimeoutError:
                    self._ask(self._client.scheduler.ncores)  # raises when it is the scheduler that doesn't answer
                    return None
                assert isinstance(outcome, Outcome)
                return outcome
        if isinstance(error, LockshipError):
            return error
        if isinstance(error, KilledWorker):
            raise StoreError(
                f"{title}: {error.allowed_failures + 1} workers died over it, the last one {error.last_worker.address}",
                hint="were they out of memory? their logs say; it is tried as often as the scheduler's "
                "distributed.scheduler.allowed-failures has it",
            )
        if _is_strange(error):
            raise StoreError(
                f"{self._address}: the cluster doesn't understand the work: {first_line(error)}",
                hint=f"install lockship[dask] {__version__} on the scheduler's machine and on all workers",
            )
        raise error

    def _look(self, began: float) -> None:
        """Raises StoreError when the scheduler no longer answers, or no worker came in all that time."""
        if self._ask(self._client.scheduler.ncores):
            self._seen, self._given_up = time.monotonic(), False
        elif self._given_up or time.monotonic() - max(began, self._seen) > self._patience:
            self._given_up = True  # others needn't wait as long
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
        if self._gone:
            raise self._lost()
        try:
            yield
        except (OSError, TimeoutError, RuntimeError) as error:  # Dask's own are among these
            raise self._lost() from error

    def _lost(self) -> StoreError:
        self._gone = True  # for whoever comes next, too
        return StoreError(
            f"{self._address}: the connection to the Dask scheduler was lost",
            hint="what workers sent until then stays in the registry, without a tag; when the scheduler is back, run "
            "the same command again",
        )


def _is_strange(error: BaseException) -> bool:
    """Whether the scheduler or a worker couldn't even read the task: it has no lockship, or one with other modules."""
    if isinstance(error, ModuleNotFoundError):
        return "'builder" in str(error)
    if isinstance(error, AttributeError):
        return "Can't get attribute" in str(error)
    return isinstance(error, RuntimeError) and "deserializ" in str(error).lower()
