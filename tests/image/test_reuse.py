from __future__ import annotations

from pathlib import Path

import pytest

from builder.content import Platform
from builder.image.reuse import reuse
from builder.image.stored import read_release
from builder.layers import tar
from builder.layers.recipe import Layer
from builder.project import Project
from builder.registry.layout import Layout
from tests.support.images import plan_of, put_image
from tests.support.layers import layer_of, put_layer

PROJECT = Project(name="churn", version="1.0")


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "store")


def absent(kind: str, *holds: tuple[str, str]) -> Layer:
    return layer_of(kind, [tar.file("x", repr(holds).encode())], *holds)[0]


def test_reasons(store: Layout) -> None:
    kept = put_layer(store, "wheel", [tar.file("k", b"")], ("kept", "1"))
    old = [
        kept,
        put_layer(store, "wheel", [tar.file("a", b"")], ("numpy", "1")),
        put_layer(store, "wheel", [tar.file("b", b"")], ("a", "1"), ("b", "1")),
        put_layer(store, "wheel", [tar.file("s", b"")], ("same", "1")),
        put_layer(store, "code", [tar.file("c", b"")], ("c", "")),
    ]
    put_image(store, PROJECT, old, "1.0")
    new = [
        kept,
        absent("wheel", ("numpy", "2")),
        absent("wheel", ("a", "1"), ("b", "1")),
        absent("wheel", ("same", "1")),
        absent("wheel", ("came", "1")),
        absent("code", ("c", "")),
    ]
    uses = reuse(plan_of(PROJECT, new), store, read_release(store, "1.0"), cached=lambda layer: layer is new[1])
    assert [(use.state, use.reason) for use in uses] == [
        ("reused", "in the store"),
        ("cached", "numpy 1 → 2"),
        ("new", "other packages share its layer"),
        ("new", "the same version, other bytes"),
        ("new", "came is new"),
        ("new", "its files changed"),
    ]
    assert uses[0].to_json() == {
        "kind": "wheel",
        "title": "kept 1",
        "digest": kept.digest,
        "size": kept.size,
        "platforms": ["linux/amd64"],
        "state": "reused",
        "reason": "in the store",
    }


def test_the_first_build(store: Layout) -> None:
    [use] = reuse(plan_of(PROJECT, [absent("wheel", ("numpy", "2"))]), store, None)
    assert (use.state, use.reason) == ("new", "nothing to compare with")


def test_a_layer_of_two_platforms_is_there_once(store: Layout) -> None:
    shared, own = absent("code", ("c", "")), absent("wheel", ("numpy", "1"))
    amd64, arm64 = Platform("linux", "amd64"), Platform("linux", "arm64")
    uses = reuse(plan_of(PROJECT, {amd64: [own, shared], arm64: [shared]}), store, None)
    assert [use.platforms for use in uses] == [(amd64,), (amd64, arm64)]


def test_many_reasons_are_cut(store: Layout) -> None:
    put_image(store, PROJECT, [], "1.0")
    crowd = absent("wheel", *((f"p{number}", "1") for number in range(9)))
    [use] = reuse(plan_of(PROJECT, [crowd]), store, read_release(store, "1.0"))
    assert use.reason == "p0 is new, p1 is new, p2 is new and 6 more"
