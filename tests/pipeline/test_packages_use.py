"""What versions are in use, how far apart, and what they cost: on made-up uses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.content import Digest, Platform
from builder.lock.file import Lock, LockedLayer, LockedPlatform
from builder.lock.pins import Artifact
from builder.pipeline.packages_use import Use, apart, newest_first, survey, uses_of


def use(
    name: str, version: str, project: str, size: int = 10, *, kind: str = "wheel", slot: str = "s", **more: bool
) -> Use:
    return Use(kind, name, version, project, slot, Digest.of(f"{name} {version} {slot}".encode()), size, **more)


def test_a_layer_in_common_is_stored_once() -> None:
    found = survey([use("numpy", "2.0", "a", 30), use("numpy", "2.0", "b", 30), use("six", "1.0", "a", 5)])
    assert (found.layers, found.stored, found.with_one) == (2, 35, 35)
    assert [(one.name, one.apart, one.versions[0].projects) for one in found.packages] == [
        ("numpy", "", ("a", "b")),
        ("six", "", ("a",)),
    ]


def test_drift_costs_and_comes_first() -> None:
    found = survey([
        use("big", "1.0", "a", 900), use("six", "1.10", "a", 4), use("six", "1.9", "b", 5),
        use("numpy", "2.0", "a", 30), use("numpy", "1.26", "b", 20), use("numpy", "1.26", "c", 20),
    ])  # fmt: skip
    assert [one.name for one in found.packages] == ["numpy", "six", "big"]
    numpy, six, _ = found.packages
    assert [(one.version, one.projects) for one in numpy.versions] == [("2.0", ("a",)), ("1.26", ("b", "c"))]
    assert (numpy.apart, numpy.stored, numpy.with_one) == ("major", 50, 30)
    assert (six.apart, six.stored, six.with_one) == ("minor", 9, 4)
    assert (found.stored, found.with_one) == (959, 934)


def test_the_newest_is_counted_for_each_python_and_platform() -> None:
    """Where nobody has the newest there, the newest that is there stands for it: its size isn't known yet."""
    found = survey([
        use("numpy", "2.0", "a", 30, slot="amd64"), use("numpy", "1.0", "b", 20, slot="amd64"),
        use("numpy", "1.0", "b", 21, slot="arm64"), use("numpy", "0.9", "c", 7, slot="arm64"),
    ])  # fmt: skip
    assert (found.packages[0].stored, found.packages[0].with_one) == (78, 51)


def test_layers_of_several_packages_count_in_the_whole_alone() -> None:
    pack = Digest.of(b"pack")
    uses = [Use("deb", name, version, "a", "s", pack, 50, alone=False) for name, version in (("x", "1"), ("y", "2"))]
    base = Use("base", "python:3.11", "", "b", "s", Digest.of(b"base"), 100, alone=False)
    found = survey([*uses, base])
    assert [(one.name, one.stored, one.with_one) for one in found.packages] == [("x", 0, 0), ("y", 0, 0)]
    assert (found.layers, found.stored, found.with_one) == (2, 150, 150)
    assert found.stored_by_kind == {"base": 100, "deb": 50}


def test_the_same_name_of_two_kinds_is_two_packages() -> None:
    found = survey([use("numpy", "2.0", "a"), use("numpy", "1.0", "b", kind="conda", slot="c")])
    assert [(one.name, one.kind, one.apart) for one in found.packages] == [
        ("numpy", "conda", ""), ("numpy", "wheel", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("newer", "older", "expected"),
    [
        ("2.0", "1.26.4", "major"),
        ("2.3.1", "2.2.6", "minor"),
        ("2.3.1", "2.3", "patch"),
        ("2.3.0", "2.3", "build"),
        ("2.3.0.1", "2.3.0", "build"),
        ("1.0.post1", "1.0", "build"),
        ("1!1.0", "1.0", "major"),
        ("2.36-9+deb12u10", "2.36-9+deb12u9", "build"),
        ("1:4.4.33-2", "1:4.4.27-1", "patch"),
        ("2024b", "2023c", "major"),
        ("1.0", "1.0", ""),
    ],
)
def test_how_far_versions_are_apart(newer: str, older: str, expected: str) -> None:
    assert apart(newer, older) == apart(older, newer) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("wheel", ("1!0.1", "10.0", "9.0", "9.0rc1", "9.0.dev1")),
        ("deb", ("1:0.1-1", "10.0-1", "9.0-1+deb12u1", "9.0-1", "9.0~rc1-1")),
        ("conda", ("9", "9e", "9d", "2.0.post1", "2.0", "2.0rc1", "2.0dev1", "2_beta")),
    ],
)
def test_newest_first(kind: str, expected: tuple[str, ...]) -> None:
    assert newest_first(kind, reversed(expected)) == expected


@pytest.mark.parametrize(
    ("kind", "expected"), [("jar", ("1.0.1", "1.0-1")), ("deb", ("1.00", "1.0")), ("wheel", ("1.0.0", "1.0"))]
)
def test_versions_that_count_as_one_have_an_order_too(kind: str, expected: tuple[str, ...]) -> None:
    assert newest_first(kind, expected) == newest_first(kind, reversed(expected)) == expected


def test_a_jar_is_the_same_for_every_python() -> None:
    def lock(version: str, python: str) -> Lock:
        digest = Digest.of(version.encode())
        jar = Artifact("jar", "com.acme:churn", version, f"churn-{version}.jar", digest, 7, folder="/app/lib")
        layer = LockedLayer("jar", "0" * 64, digest, 10, digest, (jar.name,))
        platform = LockedPlatform(Platform("linux", "amd64"), python, "2.36", python, (), (), (layer,), jars=(jar,))
        return Lock("debian:bookworm", {}, {}, {}, (platform,))

    found = survey([*uses_of("old", lock("1.0", "3.9.2")), *uses_of("new", lock("1.1", "3.13.5"))])
    assert (found.stored, found.with_one) == (20, 10)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.sampled_from("pqr"), st.sampled_from("st")), max_size=25
    )
)
def test_one_version_never_costs_more(drawn: list[tuple[str, int, str, str]]) -> None:
    uses = [use(name, f"1.{version}", project, 10 * version, slot=slot) for name, version, project, slot in drawn]
    found = survey(uses)
    assert 0 <= found.with_one <= found.stored == sum({one.layer: one.size for one in uses}.values())
    for one in found.packages:
        assert (one.with_one < one.stored) <= bool(one.apart)
        assert one.stored >= one.with_one > 0
