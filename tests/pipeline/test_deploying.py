"""Stages that run: promoted to a real engine, taken back when they aren't well, rolled back without a project."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.deploy.engine import Engine, connect
from builder.deploy.switching import running
from builder.errors import RefusedError
from builder.pipeline.context import Context
from builder.releases.stages import stages_of
from tests.support.registry import RegistryServer
from tests.support.releases import Yard, layout_yard, registry_yard
from tests.support.services import put_python, put_release

pytestmark = pytest.mark.engine


class Site(Yard):
    """A yard whose production stage runs in an engine."""

    engine: Engine
    layer: Any
    name: str

    def ship(self, version: str, **faults: object) -> None:
        """A release of the test server."""
        image = put_release(self.store, self.layer, version, **faults)
        self.release(version, image=image)

    @property
    def runs(self) -> str | None:
        found = running(self.engine, "demo", self.name)
        return None if found is None else found.version


@pytest.fixture(params=["layout", "registry"])
def site(request: pytest.FixtureRequest, tmp_path: Path, engine: str) -> Iterator[Site]:
    """A store of each kind, and a stage of its own in the engine."""
    environ = {"DOCKER_HOST": engine, "HOME": str(tmp_path), "SERVICE_PASSWORD": "Countess", "PATH": os.environ["PATH"]}
    stage = f"s{uuid.uuid4().hex[:10]}"
    health = {"path": "/health", "port": 8080, "within": 30, "watch": 0.3, "interval": 0.1}
    deploy = {"target": "docker", "drain": 3, "health": health, "secrets": {"PASSWORD": "env:SERVICE_PASSWORD"}}
    if request.param == "layout":
        yards: Any = None
        yard = layout_yard(tmp_path)
    else:
        server: RegistryServer = request.getfixturevalue("registry")
        yards = registry_yard(tmp_path, server.host, f"deployed/{uuid.uuid4().hex[:12]}")
        yard = yards.__enter__()
    made = Site(yard.target, Context(yard.context.cache, environ), yard.clock, {stage: {"deploy": deploy}})
    made.engine, made.name, made.layer = connect(environ), stage, put_python(yard.store)
    try:
        yield made
    finally:
        api = made.engine.api
        for one in api.containers(all=True, filters={"name": f"demo-{stage}"}):
            api.remove_container(one["Id"], force=True)
        made.engine.close()
        if yards is not None:
            yards.__exit__(None, None, None)


def test_promoted_taken_back_and_rolled_back(site: Site) -> None:
    stage = site.name
    site.ship("1.0")
    site.ship("1.1")
    site.ship("1.2", DIES_AT_ONCE=1)
    assert site.promote("1.0", stage).healthy and site.runs == "1.0"
    assert site.promote("1.1", stage).healthy and site.runs == "1.1"

    with pytest.raises(RefusedError, match=r"1\.2 did not become healthy") as caught:
        site.promote("1.2", stage)
    assert "the model can't be opened" in caught.value.message
    assert f"{stage} is back on 1.1, which is healthy" in caught.value.message
    assert "Countess" not in str(caught.value)
    assert site.runs == "1.1" and site.has(stage) == site.store.resolve("1.1")

    moved = site.rollback(stage)
    assert moved.proposal.record.version == "1.0" and moved.healthy and site.runs == "1.0"
    states = [(one.entry.event.kind, one.version, one.state) for one in stages_of(site.journal())[stage].moves]
    assert states == [
        ("promote", "1.0", "healthy"), ("promote", "1.1", "healthy"), ("promote", "1.2", "unhealthy"),
        ("return", "1.1", "healthy"), ("rollback", "1.0", "healthy"),
    ]  # fmt: skip


def test_a_secret_that_is_not_there_is_found_before_anything_moves(site: Site) -> None:
    site.ship("1.0")
    del site.context.environ["SERVICE_PASSWORD"]  # type: ignore[attr-defined]
    with pytest.raises(RefusedError, match="SERVICE_PASSWORD"):
        site.promote("1.0", site.name)
    assert site.has(site.name) is None and site.runs is None


def test_from_an_empty_folder(site: Site, tmp_path: Path) -> None:
    """What somebody does at night: no project, no checkout, only the name of the store."""
    site.ship("1.0")
    site.ship("1.1")
    site.promote("1.0", site.name)
    site.promote("1.1", site.name)
    (tmp_path / "nothing").mkdir()
    environ = {**os.environ, **site.context.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    environ |= {"LOCKSHIP_CACHE": str(tmp_path / "fresh")}
    done = subprocess.run(
        [sys.executable, "-m", "builder", "rollback", site.name, "--repository", site.target.name, "--yes"],
        cwd=tmp_path / "nothing", env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{site.name} has 1.0 now, and it is healthy" in done.stderr
    assert site.runs == "1.0"
