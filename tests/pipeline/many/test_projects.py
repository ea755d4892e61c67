"""The order of projects that depend on each other, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import ProjectError
from builder.pipeline.many.projects import survey
from tests.support.repositories import Grounds


@pytest.fixture
def grounds(tmp_path: Path) -> Grounds:
    """An empty repository."""
    return Grounds(tmp_path / "repo")


def names(grounds: Grounds) -> list[str]:
    """In their order."""
    return [member.name for member in survey(grounds.root, grounds.environ).members]


def test_each_comes_after_what_it_depends_on(grounds: Grounds) -> None:
    grounds.project("api", 'depends-on = ["../model"]\n')
    grounds.project("batch", 'depends-on = ["../model/", "../shared/features"]\n')
    grounds.project("model", 'depends-on = ["../shared/features"]\n')
    grounds.project("shared/features")
    grounds.project("zoo")
    order = names(grounds)
    assert order == ["features", "zoo", "model", "api", "batch"]


def test_a_circle_is_refused_with_every_place(grounds: Grounds) -> None:
    grounds.project("a", 'depends-on = ["../b"]\n')
    grounds.project("b", 'depends-on = [\n    "../c",\n]\n')
    grounds.project("c", 'depends-on = ["../x", "../a"]\n')
    grounds.project("x")
    with pytest.raises(ProjectError) as caught:
        survey(grounds.root, grounds.environ)
    error = caught.value
    assert "circle: a → b → c → a" in error.message
    assert "a/lockship.toml:3, b/lockship.toml:4, c/lockship.toml:3" in error.message
    assert (error.file, error.line) == (str(grounds.root / "a" / "lockship.toml"), 3)
    assert error.hint is not None and error.exit_code == 2


def test_a_project_that_depends_on_itself(grounds: Grounds) -> None:
    grounds.project("a", 'depends-on = ["."]\n')
    with pytest.raises(ProjectError, match="circle: a → a"):
        survey(grounds.root, grounds.environ)


def test_a_circle_through_a_project_outside(grounds: Grounds) -> None:
    grounds.project("in/a", 'depends-on = ["../../out"]\n')
    grounds.project("out", 'depends-on = ["../in/a"]\n')
    with pytest.raises(ProjectError, match=r"circle: a → out → a \(a/lockship.toml:3, ../out/lockship.toml:3\)"):
        survey(grounds.root / "in", grounds.environ)


def test_what_is_depended_on_outside_is_read_and_no_member(grounds: Grounds) -> None:
    grounds.project("in/a", 'depends-on = ["../../out"]\n')
    grounds.project("out")
    found = survey(grounds.root / "in", grounds.environ)
    assert [member.name for member in found.members] == ["a"]
    assert [member.name for member in found.outside] == ["out"]


def test_one_name_for_two_projects_names_both_files(grounds: Grounds) -> None:
    grounds.project("a", name="same")
    grounds.project("b", name="same")
    with pytest.raises(ProjectError, match=r"has the name 'same', and so has a/lockship.toml") as caught:
        survey(grounds.root, grounds.environ)
    assert caught.value.file == str(grounds.root / "b" / "lockship.toml")


def test_one_place_in_a_registry_for_two_projects(grounds: Grounds) -> None:
    grounds.project("a", '[store]\nrepository = "r.example.com/ml/x"\n')
    grounds.project("b", '[store]\nrepository = "r.example.com/ml/x"\n')
    with pytest.raises(ProjectError, match=r"r.example.com/ml/x and the version 1.0, and so has a/lockship.toml"):
        survey(grounds.root, grounds.environ)


def test_what_can_not_be_read_is_a_member_with_the_error(grounds: Grounds) -> None:
    grounds.project("a", "colour = 1\n")
    grounds.project("b", 'depends-on = ["../nowhere"]\n')
    grounds.project("c", 'depends-on = ["../a"]\n')
    found = {member.name: member for member in survey(grounds.root, grounds.environ).members}
    assert list(found) == ["a", "b", "c"]
    assert found["a"].error is not None and "colour" in found["a"].error.message
    error = found["b"].error
    assert error is not None and "../nowhere is no project" in error.message and error.line == 3
    assert found["c"].error is None


def test_a_link_to_a_project_is_that_project(grounds: Grounds) -> None:
    grounds.project("b/real")
    (grounds.root / "alias").symlink_to("b/real")
    grounds.project("a", 'depends-on = ["../alias"]\n')
    assert names(grounds) == ["real", "a"]


def test_no_project_at_all(grounds: Grounds) -> None:
    with pytest.raises(ProjectError, match="no project in"):
        survey(grounds.root, grounds.environ)


@pytest.mark.parametrize("path", ["/abs", "~/x", "a\\\\b", ""])
def test_depends_on_takes_relative_paths_alone(grounds: Grounds, path: str) -> None:
    grounds.project("a", f'depends-on = ["{path}"]\n')
    (member,) = survey(grounds.root, grounds.environ).members
    assert member.error is not None and "path to its folder" in member.error.message


def test_a_long_chain(grounds: Grounds) -> None:
    for number in range(60):
        needs = f'depends-on = ["../p{number + 1:02}"]\n' if number < 59 else ""
        grounds.project(f"p{number:02}", needs)
    assert names(grounds) == [f"p{number:02}" for number in reversed(range(60))]
