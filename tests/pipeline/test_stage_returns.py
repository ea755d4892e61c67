"""Stages that run, whose store fails or who are cut off on the way back. Deployments go as the tests say here: engines
have tests of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.errors import LockshipError
from builder.pipeline.deploying import Outcome
from builder.pipeline.recounting import recount
from builder.pipeline.targets import Target
from builder.releases.stages import stages_of
from tests.support.folders import Writes
from tests.support.releases import Yard, layout_yard

Deployments = Callable[[Callable[[str], bool]], list[str]]

RUNS = {"production": {"deploy": {"target": "kubernetes"}}}


@pytest.fixture
def deployments(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployments]:
    """Deployments that go as `well(version)` says; the versions, in order."""

    def install(well: Callable[[str], bool]) -> list[str]:
        done: list[str] = []

        def deploy(target: Target, context: Any, record: Any, *rest: Any) -> Outcome:
            done.append(record.version)
            return Outcome(well(record.version), "" if well(record.version) else "it dies")

        monkeypatch.setattr("builder.pipeline.deploying.deploy_release", deploy)
        return done

    yield install


def running_yard(tmp_path: Path) -> Yard:
    made = layout_yard(tmp_path)
    made.stages = RUNS
    for version in ("1.0", "1.1", "1.2"):
        made.release(version)
    return made


def states(yard: Yard) -> list[tuple[str, str, str]]:
    return [(one.entry.event.kind, one.version, one.state) for one in stages_of(yard.journal())["production"].moves]


def test_taken_back(tmp_path: Path, deployments: Deployments) -> None:
    made = running_yard(tmp_path)
    done = deployments(lambda version: version != "1.1")
    made.promote("1.0")
    with pytest.raises(LockshipError, match="did not become healthy in production: it dies\n  production is back on"):
        made.promote("1.1")
    assert done == ["1.0", "1.1", "1.0"]
    assert made.has() == made.store.resolve("1.0")
    assert states(made) == [
        ("promote", "1.0", "healthy"), ("promote", "1.1", "unhealthy"), ("return", "1.0", "healthy"),
    ]  # fmt: skip
    made.promote("1.2")
    assert made.rollback().proposal.record.version == "1.0"


@pytest.mark.parametrize("number", range(6))
def test_a_store_that_fails_while_a_stage_is_taken_back(
    tmp_path: Path, deployments: Deployments, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Both are said: that the release was not well, and that the way back failed. The next rollback finds it."""
    made = running_yard(tmp_path)
    deployments(lambda version: True)
    made.promote("1.0")
    counter = Writes(tmp_path / "store", monkeypatch)

    def well(version: str) -> bool:
        if version == "1.1":
            counter.count, counter.fails = 0, number
        return version != "1.1"

    deployments(well)
    with pytest.raises(LockshipError, match="did not become healthy in production: it dies") as caught:
        made.promote("1.1")
    assert "could not be taken back" in caught.value.message and "lockship rollback production" in caught.value.message
    counter.fails = 1 << 30
    done = deployments(lambda version: True)
    assert recount(made.target, "production").problems == ()
    assert made.rollback().proposal.record.version == "1.0"
    assert done == ["1.0"]
    assert made.has() == made.store.resolve("1.0")
    assert stages_of(made.journal())["production"].pending == ()


def test_a_rollback_that_was_cut_off_while_it_was_deployed(tmp_path: Path, deployments: Deployments) -> None:
    """The tag moved, and whether it runs nobody knows: the same command deploys it, and goes no further back."""
    made = running_yard(tmp_path)
    deployments(lambda version: True)
    for version in ("1.0", "1.1", "1.2"):
        made.promote(version)

    def killed(version: str) -> bool:
        raise KeyboardInterrupt

    deployments(killed)
    with pytest.raises(KeyboardInterrupt):
        made.rollback()
    assert made.has() == made.store.resolve("1.1")
    done = deployments(lambda version: True)
    assert made.rollback().proposal.record.version == "1.1"
    assert done == ["1.1"]
    assert made.rollback().proposal.record.version == "1.0"
