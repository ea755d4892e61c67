"""Layers that many projects lack: made together, and what can't be made is found out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from builder.cache import Cache
from builder.errors import ArtifactError, StoreError
from builder.layers.recipe import Layer
from builder.pipeline.context import Context
from builder.pipeline.many.supplying import Supply, Wish, supply
from builder.pipeline.planning import Prepared, prepare
from builder.pipeline.remaking import make_missing
from builder.project import load_project
from tests.support.repositories import Yard

pytestmark = pytest.mark.apt

NAMES = ("churn", "features", "fraud")
WHEELS = ("alpha", "beta", "gamma")


class Maker:
    """Makes layers, but for some; `calls` says what it was asked for."""

    def __init__(self, *bad: str, error: Callable[[str], Exception] = ArtifactError) -> None:
        self.bad = bad
        self.error = error
        self.calls: list[list[str]] = []

    def __call__(self, prepared: Prepared, context: Context, layers: Sequence[Layer]) -> None:
        names = [name for layer in layers for name, _ in layer.holds]
        self.calls.append(sorted(names))
        if wrong := sorted(set(names) & set(self.bad)):
            raise self.error(f"{wrong[0]} can't be made")
        make_missing(prepared, context, layers)


def context(yard: Yard) -> Context:
    """The test's machine."""
    return Context(Cache(yard.cache), yard.environ)


def run(yard: Yard, maker: Maker) -> tuple[Supply, list[Wish]]:
    """Forget all wheels, and supply the projects."""
    yard.forget(*WHEELS)
    plans = [prepare(load_project(yard.root / name / "lockship.toml"), context(yard)) for name in NAMES]
    wishes = [Wish.of(one, yard.store(one.project.name)) for one in plans]
    return supply(wishes, context(yard), maker), wishes


def test_what_several_lack_is_asked_for_once_and_together(yard: Yard) -> None:
    maker = Maker()
    found, wishes = run(yard, maker)
    assert maker.calls == [["alpha", "beta", "gamma"]]
    assert (found.made, found.failures) == (3, {})
    for one in wishes:
        assert found.fill(one) >= 10
        assert Wish.of(one.prepared, one.store).lacking == ()


def test_who_needs_what_can_not_be_made_is_told(yard: Yard) -> None:
    maker = Maker("gamma")
    found, (churn, features, fraud) = run(yard, maker)
    assert found.made == 2
    for one in (churn, features):
        found.fill(one)
    with pytest.raises(ArtifactError, match="gamma can't be made"):
        found.fill(fraud)


def test_a_bug_is_the_failure_of_those_alone_that_meet_it(yard: Yard) -> None:
    found, (churn, features, fraud) = run(yard, Maker("gamma", error=ValueError))
    for one in (churn, features):
        found.fill(one)
    with pytest.raises(ValueError, match="gamma can't be made"):
        found.fill(fraud)


def test_a_store_that_is_down_is_not_asked_for_each_layer(yard: Yard) -> None:
    maker = Maker("alpha", "beta", "gamma", error=StoreError)
    found, _ = run(yard, maker)
    assert len(maker.calls) == 3
    assert len(found.failures) == 3


def test_projects_with_other_places_try_for_themselves(yard: Yard) -> None:
    requirements = yard.root / "fraud" / "requirements.in"
    requirements.write_text(f"--extra-index-url {yard.world.index.simple}\nalpha\ngamma\n")
    assert yard.run("lock", "-C", "fraud").code == 0
    maker = Maker("alpha")
    found, (churn, _, fraud) = run(yard, maker)
    assert ["alpha", "beta"] in maker.calls
    assert ["alpha", "gamma"] in maker.calls  # it may well get what the others didn't
    assert len(found.failures) == 2
    for one in (churn, fraud):
        with pytest.raises(ArtifactError):
            found.fill(one)


def test_what_the_stores_have_is_not_made(yard: Yard) -> None:
    assert yard.run("build", "--all").code == 0
    maker = Maker()
    run(yard, maker)
    assert maker.calls == []
