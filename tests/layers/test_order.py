"""The layer budget: one package, one layer, and bundles that move as little as possible."""

from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from builder.content import Digest
from builder.layers.order import (
    BASE_LAYERS,
    CONDA_LAYERS,
    JAR_LAYERS,
    MAX_LAYERS,
    PIP_LAYERS,
    WHEEL_LAYERS,
    bundle,
    largest_first,
)
from builder.layers.recipe import Layer, Part, Recipe

LIMIT = 20


def parts(sizes: dict[str, int], versions: dict[str, str] | None = None) -> list[tuple[Part, int]]:
    return [
        (
            Part(
                "wheel",
                name,
                (versions or {}).get(name, "1"),
                Digest.of(f"{name}{(versions or {}).get(name)}".encode()),
            ),
            size,
        )
        for name, size in sizes.items()
    ]


def keys(recipes: tuple[Recipe, ...]) -> set[str]:
    return {recipe.key for recipe in recipes}


named = st.dictionaries(st.from_regex(r"[a-z]{1,6}[0-9]{0,2}", fullmatch=True), st.integers(1, 10**8), max_size=80)


@given(named)
def test_every_part_is_in_one_layer_and_the_budget_holds(sizes: dict[str, int]) -> None:
    recipes = bundle(parts(sizes), LIMIT)
    names = [part.name for recipe in recipes for part in recipe.parts]
    assert sorted(names) == sorted(sizes)
    assert len(recipes) <= LIMIT
    if len(sizes) <= LIMIT:
        assert all(len(recipe.parts) == 1 for recipe in recipes)


@given(named, st.randoms())
def test_the_order_of_input_does_not_matter(sizes: dict[str, int], random: object) -> None:
    shuffled = parts(sizes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert bundle(shuffled, LIMIT) == bundle(parts(sizes), LIMIT)


@given(named.filter(bool), st.data())
def test_a_moved_pin_moves_one_layer(sizes: dict[str, int], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(sizes)))
    before = keys(bundle(parts(sizes), LIMIT))
    after = keys(bundle(parts(sizes, {name: "2"}), LIMIT))
    assert len(before - after) == 1
    assert len(after - before) == 1


def test_a_little_growth_does_not_trade_places() -> None:
    sizes = {f"package{number}": 1000 + number for number in range(60)}
    before = bundle(parts(sizes), LIMIT)
    grown = bundle(parts({**sizes, "package3": 1019}), LIMIT)
    assert keys(before) == keys(grown)


def test_the_largest_stay_alone() -> None:
    sizes = {f"small{number}": 10 for number in range(100)} | {"huge": 10**9, "big": 10**8}
    alone = {recipe.parts[0].name for recipe in bundle(parts(sizes), LIMIT) if len(recipe.parts) == 1}
    assert {"huge", "big"} <= alone


def layer(name: str, version: str, size: int) -> Layer:
    digest = Digest.of(f"{name}{version}".encode())
    return Layer("wheel", digest, size, digest, ((name, version),))


@given(named, st.randoms(use_true_random=False))
def test_what_stands_above_a_layer_is_not_much_larger(sizes: dict[str, int], shuffle: random.Random) -> None:
    layers = [layer(name, "1", size) for name, size in sizes.items()]
    stack = largest_first(layers)
    assert all(above.size < 2 * below.size for below, above in itertools.pairwise(stack))
    shuffle.shuffle(layers)
    assert largest_first(layers) == stack


def test_a_package_that_grows_a_little_stays_in_its_place() -> None:
    before = [layer("scipy", "1", 40_000_000), layer("click", "8.1", 90_000), layer("idna", "3.9", 70_000)]
    after = [layer("idna", "3.10", 95_000), *before[:2]]
    assert [one.holds[0][0] for one in largest_first(before)] == ["scipy", "click", "idna"]
    assert [one.holds[0][0] for one in largest_first(after)] == ["scipy", "click", "idna"]


def test_jars_beside_packages_fit_into_the_budget() -> None:
    """The smallest limit still leaves a package a layer of its own."""
    assert WHEEL_LAYERS - JAR_LAYERS + JAR_LAYERS + BASE_LAYERS < MAX_LAYERS
    for limit in (WHEEL_LAYERS - JAR_LAYERS, CONDA_LAYERS - JAR_LAYERS, PIP_LAYERS, JAR_LAYERS):
        recipes = bundle(parts({f"p{number}": 2**number for number in range(60)}), limit)
        assert len(recipes) == limit
        assert any(len(recipe.parts) == 1 for recipe in recipes)
