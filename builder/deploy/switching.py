"""A stage's container is replaced by a release's, and stays what it was when the new one isn't healthy.

The name says what a container is: the stage's (``NAME``), not judged yet (``NAME-next``), replaced (``NAME-previous``).
Renaming is the moment that counts, so whoever comes after an interruption finds out what was meant.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from builder.content import Digest
from builder.deploy import health
from builder.deploy.containers import (
    NEXT,
    PREVIOUS,
    Found,
    Wanted,
    containers_of,
    create,
    fits,
    name_taken,
    remove,
    settle,
)
from builder.deploy.docker import image_in, load
from builder.deploy.engine import Engine, connect, engine_errors
from builder.deploy.health import Times, last_words, probe_of
from builder.deploy.lease import Operator, alone
from builder.deploy.secrets import Mask, resolve
from builder.errors import StoreError
from builder.progress import SILENT, Progress
from builder.registry.store import Store
from builder.stagekeys import Deploy

__all__ = ["Deployed", "Running", "deploy", "engine_of", "running"]


@dataclass(frozen=True, slots=True)
class Deployed:
    """What came of it. When not `healthy`, `why` says what was wrong and what is so now, with the log's last lines.

    `container` is the id of what runs now (of the old one after a failure; empty when there is none), `previous` that
    of the one that was replaced and is kept stopped. `steps` are names and seconds.
    """

    healthy: bool
    why: str
    container: str
    previous: str | None
    steps: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Running:
    """What runs in a stage: the release's version and digest as the container's labels say, `image` its id."""

    container: str
    name: str
    version: str
    digest: Digest
    since: str


def engine_of(deploy: Deploy, environ: Mapping[str, str]) -> Engine:
    """The engine that the stage names, or the one that `environ` leads to; raises StoreError when none answers."""
    return connect(environ if deploy.engine is None else {**environ, "DOCKER_HOST": deploy.engine})


def running(engine: Engine, project: str, stage: str) -> Running | None:
    """What runs in the stage now, whoever started it; None when nothing does. Raises StoreError."""
    found = [one for one in containers_of(engine, project, stage) if one.running and one.label("role") == "service"]
    if not found:
        return None
    # while somebody deploys there may be two: the one that is judged already counts
    best = min(found, key=lambda one: (one.place != "", one.place != NEXT))
    with engine_errors(engine):
        since = str(engine.api.inspect_container(best.id)["State"]["StartedAt"])
    return Running(best.id, best.name, best.label("version"), Digest(best.label("digest")), since)


def deploy(
    engine: Engine,
    store: Store,
    reference: Digest,
    stage: str,
    project: str,
    version: str,
    deploy: Deploy,
    *,
    environ: Mapping[str, str],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    progress: Progress = SILENT,
    operator: Operator | None = None,
) -> Deployed:
    """Make the release at `reference` (an index or image of `store`) what runs in the stage.

    The image is brought into the engine, started, and replaces what ran before when it is healthy; otherwise, and
    when this is interrupted by an exception, the old container runs when this returns. Running again after an abort
    cleans up; a release that runs already stays. Secrets come from `environ` and files of this machine.

    Raises UsageError for a missing secret, StoreError when the store or the engine fails, VerificationError for a
    damaged image, RefusedError when somebody else deploys to the stage or has a container with its name.
    """
    values = resolve(deploy.secrets, environ)
    steps = _Steps(clock, progress)
    image = image_in(store, reference, engine.platform)
    with steps.step("image"):
        identity = load(engine, store, image, [f"{project}:{version}"], progress)
    wanted = Wanted(project, stage, version, reference, identity, deploy, {**deploy.env, **values})
    switch = _Switch(engine, wanted, Times(clock, sleep), Mask(values.values()), steps)
    # twice the health check (alone, and with the ports), and generously for the engine's own work
    lease = 2 * deploy.health.within + deploy.health.watch + 2 * deploy.drain + 120
    with alone(engine, identity, project, stage, lease=lease, operator=operator or Operator.here()):
        return switch.run()


@dataclass(slots=True)
class _Steps:
    clock: Callable[[], float]
    progress: Progress
    done: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str, label: str = "") -> Iterator[None]:
        """Time a step; with a `label` it is shown."""
        began = self.clock()
        try:
            if label:
                with self.progress.task(label):
                    yield
            else:
                yield
        finally:
            self.done.append((name, self.clock() - began))


class _UnhealthyError(Exception):
    """The new container is not what it should be; holds why, with its last words."""


@dataclass(slots=True)
class _Switch:
    engine: Engine
    wanted: Wanted
    times: Times
    mask: Mask
    steps: _Steps

    @property
    def _alone(self) -> bool:
        """Whether the new container can run only when the old one doesn't: they would want the same ports."""
        return bool(self.wanted.deploy.published) or self.wanted.deploy.network == "host"

    def run(self) -> Deployed:
        """Everything that happens under the lock."""
        with self.steps.step("look"):
            old = self._tidied()
            stays = old is not None and old.running and self._stays(old)
        if old is not None and stays:
            previous = self._at(PREVIOUS)
            why = f"{self.wanted.version} runs already and is healthy"
            return self._result(True, why, old.id, previous.id if previous else None)
        self._check_name(old)
        began = old if old is not None and old.running else None
        try:
            if began is not None and self._alone and self.wanted.deploy.network != "host":
                self._try()
            return self._replaced(old, began)
        except _UnhealthyError as unhealthy:
            return self._result(False, str(unhealthy), began.id if began else "", None)

    def _result(self, healthy: bool, why: str, container: str, previous: str | None) -> Deployed:
        return Deployed(healthy, why, container, previous, tuple(self.steps.done))

    def _at(self, place: str) -> Found | None:
        found = containers_of(self.engine, self.wanted.project, self.wanted.stage)
        return next((one for one in found if one.place == place), None)

    def _tidied(self) -> Found | None:
        """The stage's container, after what an aborted run left was cleaned up."""
        found = containers_of(self.engine, self.wanted.project, self.wanted.stage)
        for trial in [one for one in found if one.place == "trial"]:
            remove(self.engine, trial.id)
        current, following, previous = (
            next((one for one in found if one.place == place), None) for place in ("", NEXT, PREVIOUS)
        )
        if following is not None and current is None and previous is not None:
            # between the two renames: it was found healthy already
            self._rename(following.id, following.base)
            current = following
        elif following is not None:
            remove(self.engine, following.id)
        if following is not None and current is not None and not current.running:
            self._start(current.id)
        if previous is not None and previous.running and current is not None:
            self._stop(previous.id)
            settle(self.engine, previous.id, "no")
        return self._at("")

    def _stays(self, old: Found) -> bool:
        """Whether the container is what is wanted, and healthy."""
        if old.name != self.wanted.name or not fits(self.engine, old, self.wanted):
            return False
        probe = probe_of(self.engine, old.id, self.wanted.deploy, self.times, settled=True)
        return health.is_healthy(self.engine, old.id, probe, self.times)

    def _check_name(self, old: Found | None) -> None:
        """Nobody else's container may have the name that ours is going to get."""
        from docker.errors import NotFound

        if old is not None and old.name == self.wanted.name:
            return
        with engine_errors(self.engine):
            try:
                self.engine.api.inspect_container(self.wanted.name)
            except NotFound:
                return
        raise name_taken(self.engine, self.wanted.name)

    def _try(self) -> None:
        """Start the new release beside the old one, without its ports: most of what can be wrong shows here."""
        with self.steps.step("try", f"trying {self.wanted.version} beside what runs"):
            trial = create(self.engine, self.wanted, trial=True)
            try:
                self._start_new(trial)
                self._wait(trial)
            except _UnhealthyError as unhealthy:
                raise _UnhealthyError(f"{unhealthy}\nWhat ran before was not touched.") from None
            finally:
                with suppress(StoreError):  # the next run removes it
                    remove(self.engine, trial)

    def _replaced(self, old: Found | None, began: Found | None) -> Deployed:
        if old is None and (stale := self._at(PREVIOUS)) is not None:
            # else an abort could not be told from one between the two renames
            remove(self.engine, stale.id)
        new = create(self.engine, self.wanted, trial=False)
        try:
            if began is not None and self._alone:
                with self.steps.step("stop", f"stopping {began.label('version')}"):
                    self._stop(began.id)
            with self.steps.step("start", f"starting {self.wanted.version}"):
                self._start_new(new)
                self._wait(new)
            with self.steps.step("watch", f"watching {self.wanted.version}"):
                self._watch(new)
        except _UnhealthyError as unhealthy:
            raise _UnhealthyError(f"{unhealthy}\n{self._back(new, began)}") from None
        except BaseException:
            with suppress(StoreError):  # an engine that is gone; the next run does it
                self._back(new, began)
            raise
        return self._committed(new, old, began)

    def _committed(self, new: str, old: Found | None, began: Found | None) -> Deployed:
        settle(self.engine, new, self.wanted.deploy.restart)
        if old is not None:
            if (stale := self._at(PREVIOUS)) is not None:
                remove(self.engine, stale.id)
            self._rename(old.id, old.base + PREVIOUS)
        self._rename(new, self.wanted.name)
        if old is not None:
            with self.steps.step("drain"):
                if began is not None and not self._alone:
                    self._stop(old.id)
                # it wants the ports too: an engine that starts again must not start it
                settle(self.engine, old.id, "no")
        return self._result(True, f"{self.wanted.version} is healthy", new, old.id if old else None)

    def _back(self, new: str, began: Found | None) -> str:
        """Remove the new container and have the old one run; what to say about it."""
        remove(self.engine, new)
        if began is None:
            return "Nothing ran before, and nothing runs now."
        with self.steps.step("back", f"going back to {began.label('version')}"):
            try:
                self._start(began.id)
            except StoreError as error:
                return f"{began.label('version')}, which ran before, could not be started again: {error}"
        return f"{began.label('version')} runs again."

    def _start(self, container: str) -> None:
        with engine_errors(self.engine):
            self.engine.api.start(container)  # of one that runs, nothing

    def _stop(self, container: str) -> None:
        with engine_errors(self.engine):
            self.engine.api.stop(container, timeout=self.wanted.deploy.drain)

    def _rename(self, container: str, name: str) -> None:
        with engine_errors(self.engine):
            self.engine.api.rename(container, name)

    def _start_new(self, container: str) -> None:
        """Start; what the engine refuses (a port that is taken, a command that isn't there) is the release's fault."""
        from docker.errors import APIError

        with engine_errors(self.engine):
            try:
                self.engine.api.start(container)
            except APIError as error:
                said = str(error.explanation or error)
                raise _UnhealthyError(self.mask(f"{self.wanted.version} can't be started: {said}")) from None

    def _wait(self, container: str) -> None:
        probe = probe_of(self.engine, container, self.wanted.deploy, self.times)
        why = health.wait(self.engine, container, probe, self.wanted.deploy.health, self.times)
        self._judge(container, why)

    def _watch(self, container: str) -> None:
        probe = probe_of(self.engine, container, self.wanted.deploy, self.times, settled=True)
        why = health.watch(self.engine, container, probe, self.wanted.deploy.health, self.times)
        self._judge(container, why)

    def _judge(self, container: str, why: str | None) -> None:
        if why is None:
            return
        words = last_words(self.engine, container, self.mask)
        log = f"\nThe last lines of its log:\n{words}" if words else "\nIts log is empty."
        raise _UnhealthyError(self.mask(f"{self.wanted.version} is not healthy: {why}") + log)
