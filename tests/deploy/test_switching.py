"""Releases that replace each other in a real engine, and everything that can go wrong with that."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.content import Digest
from builder.deploy import switching
from builder.deploy.containers import containers_of
from builder.deploy.docker import Engine, Streams, run
from builder.deploy.lease import Operator
from builder.deploy.switching import Deployed, engine_of, running
from builder.errors import LockshipError, RefusedError, StoreError, UsageError
from builder.layers import tar
from builder.layers.recipe import Layer
from builder.registry.layout import Layout
from builder.stagekeys import Deploy
from tests.registry.conftest import open_registry
from tests.support.layers import put_layer
from tests.support.registry import RegistryServer
from tests.support.services import put_python, put_release
from tests.support.thorough import every

pytestmark = pytest.mark.engine

# of a process that is no more, on this machine
DEAD = dataclasses.replace(Operator.here(), began="1")


@dataclasses.dataclass
class Stage:
    """A stage of its own in the engine, with what is needed to deploy to it."""

    engine: Engine
    store: Any
    layer: Layer
    project: str
    port: int

    def release(self, version: str, **faults: object) -> Digest:
        return put_release(self.store, self.layer, version, **faults)

    def keys(self, **changes: Any) -> Deploy:
        health = {"path": "/health", "within": 30, "watch": 0.3, "interval": 0.1} | changes.pop("health", {})
        keys = {"target": "docker", "ports": [f"127.0.0.1:{self.port}:8080"], "drain": 3, "health": health} | changes
        return Deploy.model_validate({key: value for key, value in keys.items() if value is not None})

    def deploy(self, digest: Digest, version: str, deploy: Deploy | None = None, **more: Any) -> Deployed:
        more = {"environ": {}, "engine": self.engine} | more
        return switching.deploy(
            more.pop("engine"), self.store, digest, "prod", self.project, version, deploy or self.keys(), **more
        )

    def ships(self, version: str, deploy: Deploy | None = None, **more: Any) -> Deployed:
        """A release without faults, deployed."""
        result = self.deploy(self.release(version), version, deploy, **more)
        assert result.healthy, result.why
        return result

    def states(self) -> dict[str, str]:
        """The versions of the stage's containers, by what is behind the name; in capitals those that run."""
        found = containers_of(self.engine, self.project, "prod")
        names = {one.name.removeprefix(f"{self.project}-prod"): one for one in found}
        return {name: f"{one.label('version')} {'runs' if one.running else 'stopped'}" for name, one in names.items()}

    @property
    def now(self) -> str:
        found = running(self.engine, self.project, "prod")
        return "" if found is None else found.version


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, Layer]:
    store = Layout(tmp_path_factory.mktemp("service") / "store")
    return store, put_python(store)


@pytest.fixture
def stage(docker_engine: Engine, python: tuple[Layout, Layer]) -> Iterator[Stage]:
    """A stage that nobody else has; nothing of it is left."""
    project = f"test-{uuid.uuid4().hex[:10]}"
    made = Stage(docker_engine, *python, project, 20_000 + uuid.uuid4().int % 10_000)
    yield made
    api = docker_engine.api
    for one in api.containers(all=True, filters={"name": project}):
        api.remove_container(one["Id"], force=True)
    for image in api.images(project):
        api.remove_image(image["Id"], force=True)


def environment(engine: Engine, container: str) -> list[str]:
    return list(engine.api.inspect_container(container)["Config"]["Env"])


def test_a_first_release_and_the_next(stage: Stage) -> None:
    first = stage.ships("1.0")
    assert (first.previous, stage.states()) == (None, {"": "1.0 runs"})
    second = stage.ships("1.1")
    assert stage.states() == {"": "1.1 runs", "-previous": "1.0 stopped"}
    assert second.previous == first.container
    third = stage.ships("1.2")
    assert third.previous == second.container
    assert stage.states() == {"": "1.2 runs", "-previous": "1.1 stopped"}
    assert [name for name, _ in third.steps] == ["image", "look", "try", "stop", "start", "watch", "drain"]
    log = stage.engine.api.logs(second.container).decode()
    assert log.endswith("good bye\n"), "it was asked to stop, not killed"


def test_what_runs_is_found_by_labels(stage: Stage) -> None:
    assert running(stage.engine, stage.project, "prod") is None
    digest = stage.release("1.0")
    result = stage.deploy(digest, "1.0")
    found = running(stage.engine, stage.project, "prod")
    assert found is not None
    assert (found.container, found.version, found.digest) == (result.container, "1.0", digest)
    assert running(stage.engine, stage.project, "staging") is None


def test_a_release_that_runs_stays(stage: Stage) -> None:
    digest = stage.release("1.0")
    first = stage.deploy(digest, "1.0")
    again = stage.deploy(digest, "1.0")
    assert again.healthy
    assert again.container == first.container
    assert "runs already" in again.why
    # how often it is looked at is nothing that the container is made of
    other = stage.deploy(digest, "1.0", stage.keys(health={"within": 99}))
    assert other.container == first.container
    changed = stage.deploy(digest, "1.0", stage.keys(env={"LOG": "debug"}))
    assert changed.container != first.container
    assert "LOG=debug" in environment(stage.engine, changed.container)


def test_it_gets_what_the_stage_says(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of-a-file\n")
    secrets = {"PASSWORD": "env:PROD_PASSWORD", "TOKEN": f"file:{tmp_path}/token"}
    keys = stage.keys(
        name=f"{stage.project}-own", env={"LOG": "info"}, secrets=secrets, memory="64m", cpus=0.5, restart="on-failure"
    )
    result = stage.ships("1.0", keys, environ={"PROD_PASSWORD": "hunter2-x"})
    inspected = stage.engine.api.inspect_container(result.container)
    assert inspected["Name"] == f"/{stage.project}-own"
    assert {"LOG=info", "PASSWORD=hunter2-x", "TOKEN=of-a-file", "RELEASE=1.0"} <= set(inspected["Config"]["Env"])
    host = inspected["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["RestartPolicy"]["Name"]) == (64 << 20, 500_000_000, "on-failure")
    assert host["PortBindings"] == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(stage.port)}]}
    assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])
    labels = inspected["Config"]["Labels"]
    assert labels["dev.lockship.version"] == "1.0"
    assert "hunter2" not in json.dumps(labels)
    same = stage.deploy(Digest(labels["dev.lockship.digest"]), "1.0", keys, environ={"PROD_PASSWORD": "hunter2-x"})
    assert same.container == result.container
    rotated = stage.deploy(Digest(labels["dev.lockship.digest"]), "1.0", keys, environ={"PROD_PASSWORD": "new"})
    assert rotated.container != result.container


def test_the_port_answers(stage: Stage) -> None:
    """Asked from a container in the engine's own network: the engine may be on another machine."""
    image = stage.engine.api.inspect_container(stage.ships("1.0").container)["Image"]
    ask = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{stage.port}/', timeout=20).read())"
    streams = Streams(io.BytesIO(), io.BytesIO())
    assert run(stage.engine, image, ["python3", "-c", ask], streams=streams, network="host") == 0
    assert isinstance(streams.stdout, io.BytesIO)
    assert streams.stdout.getvalue() == b"b'1.0'\n"


def test_another_name_replaces_the_old_one(stage: Stage) -> None:
    stage.ships("1.0")
    stage.ships("1.1", stage.keys(name=f"{stage.project}-other"))
    assert stage.states() == {"-previous": "1.0 stopped"} | {f"{stage.project}-other": "1.1 runs"}


def test_without_ports_the_old_one_runs_until_the_new_one_is_judged(stage: Stage) -> None:
    keys = stage.keys(ports=None, health={"port": 8080})
    stage.ships("1.0", keys)
    seen: list[dict[str, str]] = []

    def sleep(_: float) -> None:
        seen.append(stage.states())

    clock = iter(number / 10 for number in range(10**6))
    result = stage.ships("1.1", keys, sleep=sleep, clock=lambda: next(clock))
    assert {"": "1.0 runs", "-next": "1.1 runs"} in seen
    assert all(one[""] == "1.0 runs" for one in seen)
    assert [name for name, _ in result.steps] == ["image", "look", "start", "watch", "drain"]
    assert stage.states() == {"": "1.1 runs", "-previous": "1.0 stopped"}


def test_a_release_in_a_registry(stage: Stage, registry: RegistryServer) -> None:
    """The engine is given the image; it needs no way to the registry."""
    with open_registry(registry, stage.project) as store:
        layer = put_layer(store, "system", [tar.file("app/only.here", uuid.uuid4().bytes)], ("only", "1"))
        store.write_blob(stage.layer.descriptor, stage.store.read_blob(stage.layer.descriptor.digest))
        digest = put_release(store, stage.layer, "1.0", more=[layer])
        result = dataclasses.replace(stage, store=store).deploy(digest, "1.0")
    assert result.healthy, result.why
    assert stage.states() == {"": "1.0 runs"}


def test_a_damaged_image_is_not_started(stage: Stage) -> None:
    stage.ships("1.0")
    layer = put_layer(stage.store, "system", [tar.file("app/only.here", uuid.uuid4().bytes)], ("only", "1"))
    digest = put_release(stage.store, stage.layer, "1.1", more=[layer])
    blob = stage.store.root / "blobs" / "sha256" / layer.descriptor.digest.hex
    blob.chmod(0o644)
    blob.write_bytes(bytes(reversed(blob.read_bytes())))
    with pytest.raises(LockshipError):
        stage.deploy(digest, "1.1")
    assert stage.states() == {"": "1.0 runs"}


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"DIES_AT_ONCE": 1}, "it ended with exit status 1"),
        ({"SICK": 1}, "not healthy within 5 s: /health on port 8080 answers 503"),
        ({"DIES_AT": 2}, "it was healthy, and then it ended with exit status 1"),
        ({"SICK_FROM": 2}, "it was healthy, and then it wasn't any more: /health on port 8080 answers 503"),
        ({"LISTENS": "127.0.0.1"}, "gives no answer: Connection refused (does it listen on 127.0.0.1 only?)"),
    ],
)
def test_a_release_with_a_fault_changes_nothing(stage: Stage, faults: dict[str, object], words: str, old: bool) -> None:
    """It dies at once, never gets healthy, or was healthy and then dies or isn't any more."""
    first = stage.ships("1.0") if old else None
    within = 5 if "SICK" in faults or "LISTENS" in faults else 60
    result = stage.deploy(stage.release("1.1", **faults), "1.1", stage.keys(health={"within": within, "watch": 2}))
    assert not result.healthy
    assert words in result.why
    assert "release 1.1 starts" in result.why
    if first is None:
        assert (result.container, stage.states()) == ("", {})
        assert result.why.endswith("Nothing ran before, and nothing runs now.")
    else:
        assert (result.container, stage.states()) == (first.container, {"": "1.0 runs"})
        assert result.why.endswith(("What ran before was not touched.", "1.0 runs again."))


def test_it_may_take_a_while_to_be_healthy(stage: Stage) -> None:
    result = stage.deploy(stage.release("1.0", READY_AT=4), "1.0")
    assert result.healthy, result.why


def test_somebody_else_has_the_port(stage: Stage) -> None:
    other = Stage(stage.engine, stage.store, stage.layer, f"{stage.project}-x", stage.port)
    other.ships("9.0")
    first = stage.ships("1.0", stage.keys(ports=[f"127.0.0.1:{stage.port + 1}:8080"]))
    result = stage.deploy(stage.release("1.1"), "1.1")
    assert not result.healthy
    assert "1.1 can't be started" in result.why
    assert str(stage.port) in result.why
    assert result.why.endswith("1.0 runs again.")
    assert (result.container, stage.states(), other.now) == (first.container, {"": "1.0 runs"}, "9.0")


def test_somebody_else_has_the_name(stage: Stage) -> None:
    digest = stage.release("1.0")
    image = stage.deploy(digest, "1.0").container
    name = f"{stage.project}-theirs"
    stage.engine.api.create_container(stage.engine.api.inspect_container(image)["Image"], name=name)
    with pytest.raises(RefusedError, match=f"has another container that is called {name}"):
        stage.deploy(digest, "1.0", stage.keys(name=name))
    assert stage.states()[""] == "1.0 runs"


def test_a_missing_secret_stops_it_before_anything_happens(stage: Stage) -> None:
    keys = stage.keys(secrets={"PASSWORD": "env:PROD_PASSWORD"})
    with pytest.raises(UsageError, match="env:PROD_PASSWORD is not set"):
        stage.deploy(stage.release("1.0"), "1.0", keys)
    assert stage.states() == {}


def test_the_log_is_shown_without_secrets(stage: Stage) -> None:
    keys = stage.keys(secrets={"PASSWORD": "env:PROD_PASSWORD"})
    digest = stage.release("1.0", DIES_AT_ONCE=1, SAYS="PASSWORD")
    result = stage.deploy(digest, "1.0", keys, environ={"PROD_PASSWORD": "hunter2\nsecond line"})
    assert "the model can't be opened" in result.why
    assert "hunter2" not in result.why
    assert "second line" not in result.why
    assert "****" in result.why


def test_a_container_that_somebody_stopped_is_not_started_again(stage: Stage) -> None:
    first = stage.ships("1.0")
    stage.engine.api.stop(first.container, timeout=0)
    result = stage.deploy(stage.release("1.1", DIES_AT_ONCE=1), "1.1")
    assert (result.healthy, result.container, stage.states()) == (False, "", {"": "1.0 stopped"})


class Killed(BaseException):
    """The process is gone: whatever it tries to do afterwards fails as well."""


class _Dying:
    """An engine's client whose process is killed before its call number `last`."""

    def __init__(self, api: Any, last: int) -> None:
        object.__setattr__(self, "_state", [api, last])

    def __getattr__(self, name: str) -> Any:
        api, _ = self._state
        value = getattr(api, name)
        if not callable(value) or name.startswith("create_container_config") or name == "create_host_config":
            return value

        def call(*args: Any, **more: Any) -> Any:
            self._state[1] -= 1
            if self._state[1] < 0:
                raise Killed
            return value(*args, **more)

        return call

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._state[0], name, value)


@pytest.mark.slow
@pytest.mark.parametrize("ports", [True, False])
def test_killed_before_each_call_and_run_again(stage: Stage, ports: bool) -> None:
    own = {} if ports else {"ports": None, "health": {"port": 8080}}
    keys = stage.keys(health={"watch": 0.1, "interval": 0.1} | own.pop("health", {}), drain=1, **own)
    releases = {version: stage.release(version) for version in ("1.0", "1.1")}
    stage.deploy(releases["1.0"], "1.0", keys)
    current, following = "1.0", "1.1"
    for last in range(0, 200, every(7)):
        dying = dataclasses.replace(stage.engine, api=_Dying(stage.engine.api, last))
        try:
            stage.deploy(releases[following], following, keys, engine=dying, operator=DEAD)
            break
        except Killed:
            pass
        again = stage.deploy(releases[following], following, keys)
        assert again.healthy, (last, again.why)
        states = stage.states()
        assert states == {"": f"{following} runs", "-previous": f"{current} stopped"}, last
        current, following = following, current
    else:
        pytest.fail("it never came to an end")
    assert last > 15


@pytest.mark.slow
def test_killed_and_then_another_release_with_a_fault(stage: Stage) -> None:
    """Whatever was going on, what was healthy last runs in the end."""
    first, second, bad = stage.release("1.0"), stage.release("1.1"), stage.release("1.2", DIES_AT_ONCE=1)
    keys = stage.keys(health={"watch": 0.1})
    stage.deploy(first, "1.0", keys)
    for last in range(0, 200, every(7)):
        dying = dataclasses.replace(stage.engine, api=_Dying(stage.engine.api, last))
        try:
            stage.deploy(second, "1.1", keys, engine=dying, operator=DEAD)
            break
        except Killed:
            pass
        assert not stage.deploy(bad, "1.2", keys).healthy
        now = stage.now
        assert now in ("1.0", "1.1"), last
        assert set(stage.states()) <= {"", "-previous"}, last
        if now == "1.1":  # it was far enough
            stage.deploy(first, "1.0", keys)
    assert last > 15


@pytest.mark.parametrize("fault", [KeyboardInterrupt, pytest.param(StoreError("gone"), marks=pytest.mark.slow)])
def test_interrupted_in_each_pause(stage: Stage, fault: Any) -> None:
    """An exception is no kill: the old container runs when it arrives at the caller."""
    first = stage.ships("1.0")
    digest = stage.release("1.1", READY_AT=2)
    for pause in range(0, 100, every(7)):
        left = [pause]

        def sleep(_: float, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise fault

        try:
            stage.deploy(digest, "1.1", sleep=sleep, clock=_ticks())
            break
        except (KeyboardInterrupt, LockshipError):
            assert stage.states() == {"": "1.0 runs"}, pause
            assert stage.engine.api.inspect_container(first.container)["State"]["Running"]
    assert stage.now == "1.1"
    assert pause > 2


def _ticks() -> Callable[[], float]:
    ticks = iter(number / 50 for number in range(10**6))
    return lambda: next(ticks)


def test_two_operators_at_once(stage: Stage) -> None:
    stage.ships("1.0")
    digests = {version: stage.release(version) for version in ("1.1", "1.2")}
    inside, go_on = threading.Event(), threading.Event()
    results: list[Deployed] = []

    def sleep(_: float) -> None:
        inside.set()
        go_on.wait(60)

    def first() -> None:
        results.append(stage.deploy(digests["1.1"], "1.1", engine=engine_of(Deploy(), _host(stage)), sleep=sleep))

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(60)
    with pytest.raises(RefusedError, match="prod is being deployed to by process") as caught:
        stage.deploy(digests["1.2"], "1.2")
    assert f"docker rm lockship.{stage.project}.prod.lock" in str(caught.value.hint)
    go_on.set()
    thread.join()
    assert results[0].healthy, results[0].why
    assert stage.states() == {"": "1.1 runs", "-previous": "1.0 stopped"}
    assert stage.deploy(digests["1.2"], "1.2").healthy


def _host(stage: Stage) -> dict[str, str]:
    host = stage.engine.host
    return {"DOCKER_HOST": host.replace("http+unix://", "unix://")}


def test_a_process_that_was_killed_holds_no_lock(stage: Stage) -> None:
    """A real process that is gone in the middle; the next one doesn't wait for its lease."""
    stage.ships("1.0")
    digest = stage.release("1.1")
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from builder.content import Digest\n"
        "from builder.deploy.docker import connect\n"
        "from builder.deploy.switching import deploy\n"
        "from builder.registry.layout import Layout\n"
        "from builder.stagekeys import Deploy\n"
        "host, store, digest, project, keys = sys.argv[1:]\n"
        "deploy(connect({'DOCKER_HOST': host}), Layout(Path(store)), Digest(digest), 'prod', project, '1.1',\n"
        "       Deploy.model_validate_json(keys), environ={}, sleep=lambda _: os._exit(9))\n"
    )
    root = Path(__file__).parent.parent.parent
    arguments = [_host(stage)["DOCKER_HOST"], str(stage.store.root), str(digest), stage.project]
    run = subprocess.run(
        [sys.executable, "-c", script, *arguments, stage.keys().model_dump_json(by_alias=True)],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 9, run.stderr
    assert stage.engine.api.containers(all=True, filters={"name": f"lockship.{stage.project}.prod.lock"})
    result = stage.deploy(digest, "1.1")
    assert result.healthy, result.why
    assert stage.states() == {"": "1.1 runs", "-previous": "1.0 stopped"}


def test_a_lock_of_another_machine_ends_by_itself(stage: Stage) -> None:
    elsewhere = Operator("elsewhere", "pid:[1]", 7, "1")
    stage.ships("1.0")
    digest = stage.release("1.1")
    for lease, free in ((60, False), (0, True)):
        labels = {"dev.lockship.lock": str(elsewhere), "dev.lockship.lease": str(lease)}
        name = f"lockship.{stage.project}.prod.lock"
        made = stage.engine.api.create_container(f"{stage.project}:1.0", ["x"], name=name, labels=labels)
        if free:
            assert stage.deploy(digest, "1.1").healthy
        else:
            with pytest.raises(RefusedError, match="by process 7 on elsewhere"):
                stage.deploy(digest, "1.1")
            stage.engine.api.remove_container(made["Id"])


def test_an_engine_that_nobody_answers_for(tmp_path: Path) -> None:
    keys = Deploy.model_validate({"target": "docker", "engine": f"unix://{tmp_path}/none.sock"})
    with pytest.raises(StoreError, match="no Docker engine answers at"):
        engine_of(keys, {})
