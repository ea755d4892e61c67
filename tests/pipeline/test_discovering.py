"""Which project files a folder holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import ProjectError
from builder.pipeline.discovering import discover, project_files, project_in
from tests.support.repositories import Grounds


@pytest.fixture
def grounds(tmp_path: Path) -> Grounds:
    """An empty repository."""
    return Grounds(tmp_path / "repo")


def found(grounds: Grounds, root: Path | None = None) -> list[str]:
    """Paths from the repository's root."""
    files = discover(root or grounds.root, grounds.environ)
    return [file.relative_to(grounds.root).as_posix() for file in files]


def test_one_file_a_folder_sorted_by_folder() -> None:
    listing = [
        "b/pyproject.toml",
        "a/z/lockship.toml",
        "b/lockship.toml",
        "lockship.toml",
        "a/other.toml",
        "a-b/lockship.toml",
    ]
    assert project_files(listing, lambda path: True) == [
        "lockship.toml", "a/z/lockship.toml", "a-b/lockship.toml", "b/lockship.toml",
    ]  # fmt: skip


@pytest.mark.parametrize("folder", [".git", ".lockship", ".venv", "node_modules"])
def test_folders_of_tools_hold_no_projects(folder: str) -> None:
    assert project_files([f"a/{folder}/x/lockship.toml", "a/lockship.toml"], lambda path: True) == ["a/lockship.toml"]


def test_tracked_and_new_projects_but_no_ignored_ones(grounds: Grounds) -> None:
    grounds.project("tracked")
    grounds.write({".gitignore": "/build/\n*.bak/\n"})
    grounds.commit()
    grounds.project("new")
    grounds.project("build/copy")
    grounds.project("old.bak")
    assert found(grounds) == ["new/lockship.toml", "tracked/lockship.toml"]


def test_one_that_was_deleted_is_none(grounds: Grounds) -> None:
    file = grounds.project("gone")
    grounds.commit()
    file.unlink()
    assert found(grounds) == []


def test_a_pyproject_counts_with_our_table_alone(grounds: Grounds) -> None:
    grounds.write({
        "a/pyproject.toml": '[tool.lockship]\nname = "a"\n',
        "b/pyproject.toml": "[tool.ruff]\n",
        "c/pyproject.toml": "not = [toml",
        "d/pyproject.toml": "tool = 1\n",
        "e/pyproject.toml": '[project]\nname = "e\n[tool.lockship]\n',
    })  # fmt: skip
    assert found(grounds) == ["a/pyproject.toml", "e/pyproject.toml"], "one that got broken is not left out silently"
    assert project_in(grounds.root / "a") == grounds.root / "a" / "pyproject.toml"
    assert project_in(grounds.root / "b") is None


def test_from_a_folder_inside_the_repository(grounds: Grounds) -> None:
    grounds.project("services/a")
    grounds.project("other")
    assert found(grounds, grounds.root / "services") == ["services/a/lockship.toml"]


def test_names_that_git_would_quote(grounds: Grounds) -> None:
    grounds.project("größe\n x", name="x")
    assert found(grounds) == ["größe\n x/lockship.toml"]


def test_another_repository_inside_is_not_looked_into(grounds: Grounds) -> None:
    grounds.project("own")
    Grounds(grounds.root / "theirs").project("x")
    assert found(grounds) == ["own/lockship.toml"]


def test_without_git_all_folders_are_looked_into_and_repositories_asked(tmp_path: Path) -> None:
    one = Grounds(tmp_path / "all" / "one")
    one.project("kept")
    one.project("ignored")
    one.write({".gitignore": "ignored/\n"})
    plain = tmp_path / "all" / "plain"
    for folder in (plain, plain / "node_modules" / "x", plain / "odd"):
        folder.mkdir(parents=True)
        (folder / "lockship.toml").write_text("")
    (plain / "odd" / ".git").write_text("")  # no repository, whatever it is
    files = discover(tmp_path / "all", {**one.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path)})
    assert [file.relative_to(tmp_path / "all").as_posix() for file in files] == [
        "one/kept/lockship.toml", "plain/lockship.toml", "plain/odd/lockship.toml",
    ]  # fmt: skip


def test_where_there_is_no_git_at_all(grounds: Grounds) -> None:
    grounds.project("a")
    assert len(discover(grounds.root, {"PATH": str(grounds.root)})) == 1


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="no such folder"):
        discover(tmp_path / "nowhere", {})
