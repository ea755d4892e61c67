"""Which lines are to blame: on made contradictions, without a resolver."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement

from builder.errors import ResolutionError
from builder.lock.pins import Pin, Resolution
from builder.lock.requirement_lines import Asked
from builder.pipeline.packages_conflicts import Line, align, culprits


def line(text: str, place: str = "a/requirements.in:1", machines: tuple[str, ...] = ()) -> Line:
    file, _, number = place.partition(":")
    return Line(Asked(Requirement(text), file, int(number), False), machines)


@settings(max_examples=40)
@given(st.integers(1, 40), st.data())
def test_culprits_do_not_fit_and_any_part_of_them_does(count: int, data: st.DataObject) -> None:
    items = list(range(count))
    forbidden = data.draw(st.lists(st.sets(st.sampled_from(items), min_size=1, max_size=4), min_size=1, max_size=5))
    asked = 0

    def fits(some: Sequence[int]) -> bool:
        nonlocal asked
        asked += 1
        return not any(one <= set(some) for one in forbidden)

    found = culprits(items, fits)
    assert found == sorted(found)
    assert not fits(found)
    for one in found:
        assert fits([other for other in found if other != one])
    assert asked <= 2 * (len(found) + 1) * (count.bit_length() + 2)


def test_nothing_is_to_blame_where_there_is_nothing() -> None:
    assert culprits([], lambda some: False) == []


def solver(*forbidden: set[str]):  # type: ignore[no-untyped-def]
    """Fails where all lines of one of these sets are asked for; else pins every name."""

    def solve(lines: Sequence[Line]) -> Resolution:
        texts = {str(one.asked.requirement) for one in lines}
        for one in forbidden:
            if one <= texts:
                raise ResolutionError("no\nthe resolver says: no")
        names = sorted({one.asked.name for one in lines})
        return Resolution(tuple(Pin(name, "1", ()) for name in names), {}, {})

    return solve


def test_every_contradiction_is_found_and_the_rest_fits() -> None:
    lines = [
        line("numpy"), line("pandas<2"), line("pandas>=2", "b/requirements.in:4"), line("lone>9"),
        line("one==1"), line("two==2", "b/requirements.in:5"),
    ]  # fmt: skip
    found = align(lines, solver({"pandas<2", "pandas>=2"}, {"lone>9"}, {"one==1", "two==2"}))
    assert [pin.name for pin in found.resolution.pins] == ["numpy"]
    assert sorted(one.names for one in found.conflicts) == [("lone",), ("one", "two"), ("pandas",)]
    [plain] = [one for one in found.conflicts if one.names == ("pandas",)]
    assert plain.told == (
        "pandas: a/requirements.in:1 asks for pandas<2; b/requirements.in:4 asks for pandas>=2"
    )  # nothing of the resolver's: the two lines say it all
    [lone] = [one for one in found.conflicts if one.names == ("lone",)]
    assert lone.told == "lone: no\nthe resolver says: no"


def test_lines_that_only_help_do_not_mislead() -> None:
    """Without the line that admits a pre-release the other can't be had at all."""

    def solve(lines: Sequence[Line]) -> Resolution:
        texts = {str(one.asked.requirement) for one in lines}
        if texts == {"alpha>=2rc1", "alpha", "beta"} or (texts and "alpha>=2rc1" not in texts):
            raise ResolutionError("no")
        return Resolution((), {}, {})

    found = align([line("alpha"), line("alpha>=2rc1"), line("beta")], solve)
    assert {name for one in found.conflicts for name in one.names} == {"alpha", "beta"}


@pytest.mark.parametrize(
    ("text", "machines", "expected"),
    [
        ("numpy>=1", (), "numpy>=1"),
        ("numpy>=1", ("x86_64",), 'numpy>=1; platform_machine == "x86_64"'),
        (
            'numpy; python_version < "3.12" or extra == "x"', ("x86_64", "aarch64"),
            'numpy; (python_version < "3.12" or extra == "x") and '
            '(platform_machine == "x86_64" or platform_machine == "aarch64")',
        ),
    ],
)  # fmt: skip
def test_a_line_is_for_its_projects_machines_alone(text: str, machines: tuple[str, ...], expected: str) -> None:
    one = line(text, machines=machines)
    assert str(one.marked.requirement) == str(Requirement(expected))
    assert str(one.asked.requirement) == str(Requirement(text))
