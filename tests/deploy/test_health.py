"""What counts as healthy, with containers of a real engine."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from builder.deploy.docker import Engine
from builder.deploy.health import Probe, Times, is_healthy, last_words, probe_of, wait, watch
from builder.deploy.secrets import Mask
from builder.stagekeys import Deploy

pytestmark = pytest.mark.engine


class Clock:
    """Time that passes only in pauses, and a little with each look at it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def times(self, then: Callable[[], object] = lambda: None) -> Times:
        def clock() -> float:
            self.now += 0.001
            return self.now

        def sleep(seconds: float) -> None:
            self.pauses.append(seconds)
            self.now += seconds
            then()

        return Times(clock, sleep)


Start = Callable[..., str]


@pytest.fixture
def start(docker_engine: Engine, shell: str) -> Iterator[Start]:
    """Run a script of the shell in a container without a network; its id."""
    made: list[str] = []
    api = docker_engine.api

    def begin(script: str, **more: Any) -> str:
        limits = {key: more.pop(key) for key in ("mem_limit", "memswap_limit", "restart_policy") if key in more}
        host = api.create_host_config(network_mode="none", **limits)
        name = f"test-health-{uuid.uuid4().hex[:8]}"
        made.append(api.create_container(shell, ["sh", "-c", script], name=name, host_config=host, **more)["Id"])
        api.start(made[-1])
        return made[-1]

    yield begin
    for container in made:
        api.remove_container(container, force=True)


def keys(**health: Any) -> Deploy:
    return Deploy.model_validate({"target": "docker", "health": {"within": 5, "watch": 5, "interval": 1} | health})


FOREVER = "trap 'exit 0' TERM; while :; do sleep 1; done"


def waited(engine: Engine, container: str, deploy: Deploy, clock: Clock, probe: Probe | None = None) -> str | None:
    times = clock.times()
    return wait(engine, container, probe or probe_of(engine, container, deploy, times), deploy.health, times)


def test_without_anything_it_must_keep_running(docker_engine: Engine, start: Start) -> None:
    clock = Clock()
    assert waited(docker_engine, start(FOREVER), keys(), clock) is None
    assert 3 <= clock.now < 5
    # it is looked at often in the beginning, and then once in an interval
    assert clock.pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1, 1]


def test_it_runs_too_short(docker_engine: Engine, start: Start) -> None:
    why = waited(docker_engine, start(FOREVER), keys(within=1), Clock())
    assert why is not None
    assert why.startswith("not healthy within 1 s: it has run for ")


@pytest.mark.parametrize(
    ("script", "why"), [("exit 7", "it ended with exit status 7"), ("exit 0", "it ended with exit status 0")]
)
def test_it_ends(docker_engine: Engine, start: Start, script: str, why: str) -> None:
    container = start(script)
    docker_engine.api.wait(container)
    assert waited(docker_engine, container, keys(), Clock()) == why


def test_a_container_that_the_engine_started_again(docker_engine: Engine, start: Start) -> None:
    container = start("exit 7", restart_policy={"Name": "on-failure", "MaximumRetryCount": 1})
    docker_engine.api.wait(container)
    for _ in range(600):
        if docker_engine.api.inspect_container(container)["RestartCount"]:
            break
    why = waited(docker_engine, container, keys(), Clock())
    assert why == "it ended, and the engine started it again"


def test_it_was_removed(docker_engine: Engine) -> None:
    assert waited(docker_engine, "none-of-that-name", keys(), Clock()) == "it was removed by somebody"


def test_a_command(docker_engine: Engine, start: Start) -> None:
    container = start(FOREVER)
    assert waited(docker_engine, container, keys(command=["sh", "-c", "exit 0"]), Clock()) is None
    why = waited(docker_engine, container, keys(command=["sh", "-c", "echo not yet; exit 4"]), Clock())
    assert why == "not healthy within 5 s: sh returns 4: not yet"


def test_a_command_that_is_not_there_is_not_waited_for(docker_engine: Engine, start: Start) -> None:
    clock = Clock()
    why = waited(docker_engine, start(FOREVER), keys(command=["no-such-program"]), clock)
    assert why is not None
    assert why.startswith("no-such-program can't be executed in the container")
    assert clock.pauses == [0.5]  # once more, and that is all


@pytest.mark.slow
def test_a_command_that_hangs_runs_once(docker_engine: Engine, start: Start) -> None:
    container = start(FOREVER)
    clock = Clock()
    why = waited(docker_engine, container, keys(command=["sh", "-c", "exec sleep 77"]), clock)
    assert why == "not healthy within 5 s: sh does not end"
    assert len(clock.pauses) > 2
    processes = [" ".join(row) for row in docker_engine.api.top(container)["Processes"]]
    assert len([row for row in processes if "sleep 77" in row]) == 1


def test_a_path_needs_a_python_in_the_image(docker_engine: Engine, start: Start) -> None:
    clock = Clock()
    why = waited(docker_engine, start(FOREVER), keys(path="/health", port=80), clock)
    assert why == "the image has no python3 to ask it for its health with: say health.command = […] instead"
    assert clock.pauses == [0.5]


def test_one_that_ends_under_the_question(docker_engine: Engine, start: Start) -> None:
    """It runs when it is looked at; by the time it is asked there is nothing left to execute anything in."""
    container = start(FOREVER)
    clock = Clock()
    times = clock.times(lambda: docker_engine.api.kill(container))
    deploy = keys(path="/health", port=80)
    why = wait(docker_engine, container, probe_of(docker_engine, container, deploy, times), deploy.health, times)
    assert why == "it ended with exit status 137"
    assert clock.pauses == [0.5]


def test_the_images_own_check(docker_engine: Engine, start: Start) -> None:
    second = 1_000_000_000
    check = {"test": ["CMD-SHELL", "echo seen; exit $(cat /dev/shm/state)"], "interval": second // 5, "retries": 1}
    container = start(f"echo 1 > /dev/shm/state; {FOREVER}", healthcheck=check)
    api = docker_engine.api

    def reaches(status: str) -> None:
        for _ in range(3000):
            if api.inspect_container(container)["State"]["Health"]["Status"] == status:
                return
        pytest.fail(f"never {status}")

    reaches("unhealthy")
    probe = probe_of(docker_engine, container, keys(), Clock().times())
    assert not is_healthy(docker_engine, container, probe, Clock().times())
    why = waited(docker_engine, container, keys(), Clock())
    assert why == "not healthy within 5 s: the image's health check says unhealthy: seen"
    api.exec_start(api.exec_create(container, ["sh", "-c", "echo 0 > /dev/shm/state"])["Id"])
    reaches("healthy")
    assert waited(docker_engine, container, keys(), Clock()) is None


def test_watching(docker_engine: Engine, start: Start) -> None:
    container = start(FOREVER)
    clock = Clock()
    answers = iter([None, "sick", "sick", None, None, None, None, None])
    assert watch(docker_engine, container, lambda _: next(answers), keys().health, clock.times()) is None
    assert clock.now >= 5
    # the last look must be a good one
    answers = iter([None, None, None, None, "sick", "sick", "sick"])
    why = watch(docker_engine, container, lambda _: next(answers), keys().health, Clock().times())
    assert why == "it was healthy, and then it wasn't any more: sick"


def test_it_dies_while_it_is_watched(docker_engine: Engine, start: Start) -> None:
    container = start(FOREVER)
    times = Clock().times(lambda: docker_engine.api.stop(container, timeout=20))
    why = watch(docker_engine, container, lambda _: None, keys().health, times)
    assert why == "it was healthy, and then it ended with exit status 0"


def test_its_last_words(docker_engine: Engine, start: Start) -> None:
    secret = "hunter2-" + "x" * 30
    script = f"i=0; while [ $i -lt 500 ]; do echo line $i {secret}; i=$((i+1)); done; printf '\\033[31mred\\033[0m'"
    container = start(script)
    docker_engine.api.wait(container)
    words = last_words(docker_engine, container, Mask([secret]))
    assert words.endswith("line 499 ****\n[31mred[0m")
    assert len(words.splitlines()) <= 21
    assert "hunter2" not in words
    long = start("i=0; while [ $i -lt 500 ]; do printf %s aaaaaaaaaa; i=$((i+1)); done")
    docker_engine.api.wait(long)
    assert len(last_words(docker_engine, long, Mask([]))) == 2001
    assert last_words(docker_engine, "none-of-that-name", Mask([])) == ""
