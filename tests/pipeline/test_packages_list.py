"""packages.txt: how it is written, and how a changed one is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import ProjectError
from builder.lock.pins import Pin
from builder.pipeline.packages_list import Entry, PackageList, entries_of, origin, read_lines

LIST = PackageList(
    entries=(Entry("zlib-ng", "1.0"), Entry("numpy", "2.3.1"), Entry("numpy", "1.26.4", 'python_version == "3.9"')),
    projects=("churn", "fraud"),
    again="lockship packages align -o team.txt",
    left_out=(("pandas", "churn/requirements.in:1 asks for pandas<2; fraud/requirements.in:3 asks for pandas>=2"),),
)


def test_the_file_is_sorted_and_says_where_it_is_from() -> None:
    head, checksum, *rest = LIST.render().splitlines()
    assert head == "# Written by `lockship packages align`: run it again, don't edit this file."
    assert checksum.startswith("# checksum sha256:")
    assert rest == [
        "# Made anew by `lockship packages align -o team.txt`, in this folder, from the requirements of:",
        "#   churn",
        "#   fraud",
        "# Left out, because projects contradict each other:",
        "#   pandas: churn/requirements.in:1 asks for pandas<2; fraud/requirements.in:3 asks for pandas>=2",
        'numpy==1.26.4 ; python_version == "3.9"',
        "numpy==2.3.1",
        "zlib-ng==1.0",
    ]
    asked = [(str(one.requirement), one.constraint) for one in read_lines(LIST.render().encode(), "packages.txt")]
    assert asked == [('numpy==1.26.4; python_version == "3.9"', True), ("numpy==2.3.1", True), ("zlib-ng==1.0", True)]


@given(st.data())
def test_any_change_of_a_line_is_seen(data: st.DataObject) -> None:
    text = LIST.render()
    assert origin(text) == "ours"
    lines = text.splitlines(keepends=True)
    number = data.draw(st.integers(1, len(lines) - 1))
    change = data.draw(st.sampled_from(["", "# why\n", "flask<3\n", lines[number][:-1] + " \n"]))
    assert origin("".join([*lines[:number], change, *lines[number + 1 :]])) == "edited"


@pytest.mark.parametrize(
    "text", ["", "numpy==2.3.1\n", "\ufeff" + LIST.render(), "# the team's list\n" + LIST.render()]
)
def test_what_somebody_else_wrote(text: str) -> None:
    assert origin(text) == "foreign"


@pytest.mark.parametrize("end", ["\n", "\r", "\x85", "\u2028", "\x0c"])
def test_a_folder_name_adds_no_requirement(end: str) -> None:
    made = PackageList((), (f"a{end}evil==1",), f"again{end}evil==1", ((f"x{end}evil==1", f"y{end}evil==1"),))
    assert read_lines(made.render().encode(), "packages.txt") == ()


def test_a_folder_whose_name_is_no_text_is_in_the_list_all_the_same() -> None:
    made = PackageList((Entry("six", "1.17"),), ("a\udcff",), "again a\udcff")
    assert "#   a\ufffd\n" in made.render()
    assert origin(made.render()) == "ours"


def test_what_pythons_agree_on_needs_no_marker() -> None:
    def pin(name: str, version: str, marker: str = "") -> Pin:
        return Pin(name, version, (), ("extra",), marker)

    either = 'platform_machine == "x86_64" or platform_machine == "aarch64"'
    old = [pin("six", "1.17"), pin("numpy", "1.26"), pin("only", "1", either), pin("both", "1", either)]
    new = [pin("six", "1.17"), pin("numpy", "2.3"), pin("both", "1", either)]
    assert [one.line for one in entries_of({"3.9": old, "3.13": new})] == [
        f"both==1 ; {either}",
        'numpy==1.26 ; python_version == "3.9"',
        'numpy==2.3 ; python_version == "3.13"',
        f'only==1 ; python_version == "3.9" and ({either})',
        "six==1.17",
    ]
    assert [one.line for one in entries_of({"3.9": old[:2]})] == ["numpy==1.26", "six==1.17"]


def test_a_line_that_is_not_understood_is_named() -> None:
    with pytest.raises(ProjectError, match="not a requirement") as caught:
        read_lines(b"# ours\nnumpy==2\n<<<<<<< HEAD\n", "packages.txt")
    assert (caught.value.file, caught.value.line) == ("packages.txt", 3)
