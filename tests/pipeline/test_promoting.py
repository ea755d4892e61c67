"""Stages: promoted and rolled back in a folder and in a real registry; what is refused; what cuts it off."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.content import Digest
from builder.errors import RefusedError, StoreError, UsageError, VerificationError
from builder.pipeline.promoting import carry_out
from builder.releases.stages import stages_of
from tests.support.registry import RegistryServer
from tests.support.releases import Yard, layout_yard, registry_yard

pytestmark = pytest.mark.slow


@pytest.fixture(params=["layout", "registry"])
def yard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Yard]:
    """A store of each kind."""
    if request.param == "layout":
        yield layout_yard(tmp_path)
        return
    server: RegistryServer = request.getfixturevalue("registry")
    with registry_yard(tmp_path, server.host, f"stages/{uuid.uuid4().hex[:12]}") as made:
        yield made


def test_promoted_and_rolled_back(yard: Yard) -> None:
    first, second = yard.release("1.0"), yard.release("1.1")
    yard.promote("1.0")
    yard.promote("1.1")
    assert yard.has() == second.digest
    moved = yard.rollback()
    assert yard.has() == first.digest and moved.proposal.record.version == "1.0"
    kinds = [(one.event.kind, one.event.version) for one in yard.journal().entries if one.event.kind != "moved"]
    assert kinds == [
        ("release", "1.0"),
        ("release", "1.1"),
        ("promote", "1.0"),
        ("promote", "1.1"),
        ("rollback", "1.0"),
    ]
    assert stages_of(yard.journal())["production"].pending == ()


def test_a_release_that_was_left_is_not_gone_back_to(yard: Yard) -> None:
    for version in ("1.0", "1.1", "1.2"):
        yard.release(version)
        yard.promote(version)
    assert yard.rollback().proposal.record.version == "1.1"
    assert yard.rollback().proposal.record.version == "1.0"
    with pytest.raises(RefusedError, match="nothing to roll back to") as caught:
        yard.rollback()
    assert "1.2" in str(caught.value.hint)
    assert yard.rollback(version="1.2").proposal.record.version == "1.2"


def test_a_version_that_is_not_there(yard: Yard) -> None:
    yard.release("1.0")
    yard.promote("1.0")
    with pytest.raises(StoreError, match=r"no release '9\.9': production stays as it is") as caught:
        yard.rollback(version="9.9")
    assert "1.0" in str(caught.value.hint)
    assert yard.rollback(version="1.0").entry is None


def test_an_image_is_no_release(yard: Yard) -> None:
    record = yard.release("1.0")
    found = yard.store.manifest(record.digest)
    assert found is not None
    yard.store.put_manifest(found.descriptor, found.data, tag="2.0")
    with pytest.raises(StoreError, match="is an image, but no release"):
        yard.promote("2.0")


def test_a_stage_that_nobody_declared(yard: Yard) -> None:
    yard.release("1.0")
    with pytest.raises(UsageError, match="no stage 'prodution'") as caught:
        yard.promote("1.0", "prodution")
    assert "production, staging" in str(caught.value.hint)


def test_twice_is_once(yard: Yard) -> None:
    yard.release("1.0")
    yard.promote("1.0")
    before = len(yard.journal().entries)
    assert yard.promote("1.0").entry is None
    assert len(yard.journal().entries) == before


def test_after_another_stage(yard: Yard) -> None:
    yard.stages = {"staging": {}, "production": {"after": "staging"}}
    yard.release("1.0")
    with pytest.raises(RefusedError, match="never healthy in staging"):
        yard.promote("1.0")
    assert yard.has() is None
    yard.promote("1.0", "staging")
    yard.promote("1.0")


def test_parity_is_asked_for(yard: Yard) -> None:
    yard.stages = {"production": {"parity": True}}
    yard.release("1.0", models=({"name": "churn", "file": "churn.onnx", "passed": False},))
    yard.release("1.1", models=({"name": "churn", "file": "churn.onnx", "passed": True},))
    with pytest.raises(RefusedError, match="churn has not passed parity"):
        yard.promote("1.0")
    yard.promote("1.1")


def test_an_image_that_lost_a_layer_is_found_before_anything_moves(yard: Yard) -> None:
    old, new = yard.release("1.0"), yard.release("1.1")
    yard.promote("1.0")
    found = yard.store.manifest(new.digest)
    assert found is not None
    child = yard.store.manifest(Digest(json.loads(found.data)["manifests"][0]["digest"]))
    assert child is not None
    yard.store.delete(Digest(json.loads(child.data)["layers"][0]["digest"]))
    with pytest.raises(VerificationError, match="is not whole"):
        yard.promote("1.1")
    assert yard.has() == old.digest


def test_a_stage_that_changed_since_somebody_looked(yard: Yard) -> None:
    for version in ("1.0", "1.1", "1.2"):
        yard.release(version)
    yard.promote("1.0")
    seen = yard.propose("promote", "production", "1.1")
    yard.promote("1.2")
    with pytest.raises(RefusedError, match="changed while this was prepared"):
        carry_out(yard.target, yard.context, seen, yard.machine("grace"))
    assert yard.has() == yard.store.resolve("1.2")
    assert [move.state for move in stages_of(yard.journal())["production"].moves] == ["moved", "moved", "abandoned"]


def test_what_was_cut_off_is_read_off_the_tag(yard: Yard) -> None:
    old, new = yard.release("1.0"), yard.release("1.1")
    yard.promote("1.0")
    from builder.pipeline.claiming import Claims
    from builder.pipeline.promoting import _event

    proposal = yard.propose("promote", "production", "1.1")
    machine = yard.machine("grace", pid=2**22 + 1)  # no process has that number
    claims = Claims(yard.target, "production", machine.actor, yard.clock, machine.sleep, machine.jitter)
    claims.begin(_event(proposal, machine))  # and then it was killed, before the tag moved
    assert yard.has() == old.digest
    yard.promote("1.1")
    assert yard.has() == new.digest
    states = [(move.version, move.state) for move in stages_of(yard.journal())["production"].moves]
    assert states == [("1.0", "moved"), ("1.1", "abandoned"), ("1.1", "moved")]


def test_somebody_who_is_alive_is_waited_for(yard: Yard) -> None:
    yard.release("1.0")
    yard.release("1.1")
    yard.promote("1.0")
    from builder.pipeline.claiming import Claims
    from builder.pipeline.identity import Actor
    from builder.pipeline.promoting import Machine, _event

    elsewhere = Machine(Actor("grace", "", "elsewhere", 1), yard.clock, lambda seconds: None, lambda: 0.5)
    proposal = yard.propose("promote", "production", "1.1")
    claims = Claims(yard.target, "production", elsewhere.actor, yard.clock, elsewhere.sleep, elsewhere.jitter)
    claims.begin(_event(proposal, elsewhere))
    with pytest.raises(RefusedError, match=r"grace is at production right now: promote of 1\.1"):
        yard.promote("1.1")
    yard.promote("1.1", take_over=True)
    yard.clock.now += 100_000  # by then nobody believes that it is still at it
    yard.rollback()
