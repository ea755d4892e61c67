from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from builder.errors import ProjectError
from builder.git import (
    Checkout,
    changed_files,
    checkout,
    commit_of,
    default_branch,
    describe,
    ignored_files,
    is_shallow,
    last_commit,
    merge_base,
    source_url,
    sources,
    top_folder,
)
from tests.support.require import need


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir()
    return {"PATH": os.environ["PATH"], "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}


@pytest.fixture
def repository(tmp_path: Path, environ: dict[str, str]) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, environ, "init", "-q", "-b", "main")
    (folder / "code.py").write_text("print(1)\n")
    git(folder, environ, "add", ".")
    commit(folder, environ)
    return folder


def git(folder: Path, environ: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, env=environ, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder: Path, environ: dict[str, str]) -> str:
    who = {f"GIT_{role}_{what}": "a@b.example" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    when = {"GIT_AUTHOR_DATE": "1700000001 +0100", "GIT_COMMITTER_DATE": "1700000002 +0100"}
    git(folder, environ | who | when, "commit", "-q", "--allow-empty", "-m", "x")
    return git(folder, environ, "rev-parse", "HEAD")


def test_a_clean_checkout(repository: Path, environ: dict[str, str]) -> None:
    git(repository, environ, "remote", "add", "origin", "https://me:secret@Example.com/org/repo.git")
    head = git(repository, environ, "rev-parse", "HEAD")
    assert checkout(repository, environ) == Checkout(head, 1700000002, "main", "https://example.com/org/repo", False)


def test_a_folder_without_repository(tmp_path: Path, environ: dict[str, str]) -> None:
    assert checkout(tmp_path, environ) is None


def test_no_git_at_all(repository: Path, environ: dict[str, str]) -> None:
    assert checkout(repository, environ | {"PATH": str(repository)}) is None
    with pytest.raises(ProjectError, match="needs git"):
        describe(repository, environ | {"PATH": str(repository)})


def test_before_the_first_commit(tmp_path: Path, environ: dict[str, str]) -> None:
    git(tmp_path, environ, "init", "-q", "-b", "main")
    assert checkout(tmp_path, environ) == Checkout(None, None, "main", None, False)


def test_detached_head_has_no_branch(repository: Path, environ: dict[str, str]) -> None:
    git(repository, environ, "checkout", "-q", "--detach")
    facts = checkout(repository, environ)
    assert facts is not None
    assert facts.branch is None


@pytest.mark.parametrize("what", ["modified", "untracked", "staged", "deleted"])
def test_dirty_in_every_way(repository: Path, environ: dict[str, str], what: str) -> None:
    if what == "modified":
        (repository / "code.py").write_text("print(2)\n")
    elif what == "deleted":
        (repository / "code.py").unlink()
    else:
        (repository / "new file\n.py").write_text("")
        if what == "staged":
            git(repository, environ, "add", ".")
    facts = checkout(repository, environ)
    assert facts is not None
    assert facts.dirty


def test_only_the_projects_own_folder_counts(repository: Path, environ: dict[str, str]) -> None:
    project = repository / "project"
    project.mkdir()
    (project / "a.py").write_text("")
    git(repository, environ, "add", ".")
    commit(repository, environ)
    (repository / "elsewhere.py").write_text("")
    (project / ".lockship" / "store").mkdir(parents=True)
    (project / ".lockship" / "store" / "index.json").write_text("{}")
    facts = checkout(project, environ)
    assert facts is not None
    assert not facts.dirty


def test_ignored_files_are_not_dirt(repository: Path, environ: dict[str, str]) -> None:
    (repository / ".gitignore").write_text("*.log\n")
    git(repository, environ, "add", ".")
    commit(repository, environ)
    (repository / "x.log").write_text("")
    facts = checkout(repository, environ)
    assert facts is not None
    assert not facts.dirty


def test_the_users_configuration_changes_nothing(repository: Path, environ: dict[str, str], tmp_path: Path) -> None:
    expected = checkout(repository, environ)
    ran = tmp_path / "ran"
    (Path(environ["HOME"]) / ".gitconfig").write_text(
        "[status]\n\tshowUntrackedFiles = no\n\tshort = true\n\trelativePaths = false\n"
        "[log]\n\tshowSignature = true\n\tdate = relative\n[color]\n\tui = always\n"
        f'[core]\n\tfsmonitor = "touch {ran}; false"\n\tpager = false\n[pager]\n\tlog = true\n'
        '[url "https://mirror.example/"]\n\tinsteadOf = https://example.com/\n'
    )
    assert checkout(repository, environ) == expected
    assert not ran.exists()
    (repository / "new.py").write_text("")
    facts = checkout(repository, environ)
    assert facts is not None
    assert facts.dirty


def test_variables_of_an_outer_git_change_nothing(repository: Path, environ: dict[str, str], tmp_path: Path) -> None:
    expected = checkout(repository, environ)
    outer = {"GIT_DIR": str(tmp_path / "nowhere"), "GIT_WORK_TREE": "/", "GIT_INDEX_FILE": "/x", "GIT_PREFIX": "y/"}
    assert checkout(repository, environ | outer | {"GIT_LITERAL_PATHSPECS": "1"}) == expected


def test_a_repository_of_another_user_is_an_error(repository: Path, environ: dict[str, str]) -> None:
    need("root", os.geteuid() == 0, "to give a folder to another user")
    os.chown(repository, 12345, 12345)
    os.chown(repository / ".git", 12345, 12345)
    with pytest.raises(ProjectError, match="belongs to another user") as caught:
        checkout(repository, environ)
    assert caught.value.hint is not None
    assert "safe.directory" in caught.value.hint
    trusted = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    assert checkout(repository, environ | trusted) is not None


def test_a_damaged_repository_is_an_error(repository: Path, environ: dict[str, str]) -> None:
    (repository / ".git" / "config").write_text("[core\n")
    with pytest.raises(ProjectError, match="git cannot read"):
        checkout(repository, environ)


@pytest.mark.parametrize(
    ("tag", "version"),
    [("v1.4.0", "1.4.0"), ("1.4.0", "1.4.0"), ("vanilla", "vanilla"), ("release/2024+a", "release-2024-a")],
)
def test_describe_on_a_tag(repository: Path, environ: dict[str, str], tag: str, version: str) -> None:
    git(repository, environ, "tag", tag)
    assert describe(repository, environ) == version


def test_describe_after_a_tag_doesnt_depend_on_configuration(repository: Path, environ: dict[str, str]) -> None:
    git(repository, environ, "tag", "v1.0")
    head = commit(repository, environ)
    git(repository, environ, "config", "core.abbrev", "40")
    assert describe(repository, environ) == f"1.0-1-g{head[:12]}"


def test_describe_without_a_tag(repository: Path, environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="no tag leads to this commit") as caught:
        describe(repository, environ)
    assert caught.value.exit_code == 2
    assert caught.value.hint is not None
    assert "fetch" in caught.value.hint
    with pytest.raises(ProjectError, match="not a git repository"):
        describe(tmp_path, environ)


@pytest.mark.parametrize(
    ("remote", "source"),
    [
        ("git@github.example:org/repo.git", "https://github.example/org/repo"),
        ("github.example:org/repo", "https://github.example/org/repo"),
        ("ssh://git@host.example:2222/org/repo.git/", "https://host.example/org/repo"),
        ("https://user:token@host.example/org/repo.git?x=1#y", "https://host.example/org/repo"),
        ("https://host.example:8443/a/b", "https://host.example:8443/a/b"),
        ("http://host.example/a", "http://host.example/a"),
        ("git://host.example/a.git", "https://host.example/a"),
        ("/srv/git/repo.git", None),
        ("../repo", None),
        ("file:///srv/git/repo.git", None),
        ("C:/repo", None),
        ("https://host.example", None),
        ("https://[broken/x", None),
        ("", None),
    ],
)
def test_source_url(remote: str, source: str | None) -> None:
    assert source_url(remote) == source


def test_where_a_checkout_starts(repository: Path, environ: dict[str, str], tmp_path: Path) -> None:
    inner = repository / "a b" / "c"
    inner.mkdir(parents=True)
    assert top_folder(inner, environ) == top_folder(repository, environ) == repository
    (tmp_path / "elsewhere").mkdir()
    assert top_folder(tmp_path / "elsewhere", environ) is None
    assert top_folder(repository, {**environ, "PATH": "/nowhere"}) is None


def test_the_branch_that_a_clone_came_from(repository: Path, environ: dict[str, str], tmp_path: Path) -> None:
    git(repository, environ, "branch", "-m", "trunk/one")
    git(tmp_path, environ, "clone", "-q", str(repository), "clone")
    assert default_branch(tmp_path / "clone", environ) == "trunk/one"
    assert default_branch(repository, environ) is None


def test_the_commit_that_a_file_comes_from(repository: Path, environ: dict[str, str]) -> None:
    first = git(repository, environ, "rev-parse", "HEAD")
    (repository / "model[1].skops").write_text("x")
    assert last_commit(repository, "model[1].skops", environ) is None
    git(repository, environ, "add", ".")
    second = commit(repository, environ)
    assert last_commit(repository, "model[1].skops", environ) == second
    assert last_commit(repository, "code.py", environ) == first
    assert last_commit(repository, None, environ) == first
    (repository / "code.py").write_text("print(2)\n")
    assert last_commit(repository, None, environ) is None
    assert last_commit(repository, "model[1].skops", environ) == second
    assert last_commit(repository.parent, "repo", environ) is None


def test_sources_are_tracked_or_new_and_not_ignored(repository: Path, environ: dict[str, str]) -> None:
    for name in ("a/x.toml", "b/x.toml", "out/x.toml", "a/y.toml"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text("")
    (repository / ".gitignore").write_text("out/\n")
    git(repository, environ, "add", "a")
    assert sources(repository, ("x.toml",), environ) == ("a/x.toml", "b/x.toml")
    assert sources(repository / "b", ("x.toml",), environ) == ("x.toml",)
    assert ignored_files(repository, ["a/x.toml", "b/x.toml", "out/x.toml"], environ) == {"out/x.toml"}


def test_sources_of_no_repository(tmp_path: Path, environ: dict[str, str]) -> None:
    assert sources(tmp_path, ("x.toml",), environ) is None
    assert sources(tmp_path, ("x.toml",), environ | {"PATH": str(tmp_path)}) is None


def test_what_changed_since_a_commit(repository: Path, environ: dict[str, str]) -> None:
    first = commit_of(repository, "HEAD", environ)
    assert first is not None
    (repository / "kept.txt").write_text("1")
    git(repository, environ, "add", ".")
    second = commit(repository, environ)
    (repository / "code.py").unlink()
    (repository / "new.txt").write_text("")
    assert changed_files(repository, first, environ) == ("code.py", "kept.txt", "new.txt")
    assert changed_files(repository, second, environ) == ("code.py", "new.txt")
    assert merge_base(repository, first, second, environ) == first
    assert commit_of(repository, "nowhere", environ) is None
    assert not is_shallow(repository, environ)
    with pytest.raises(ProjectError, match="cannot read this repository"):
        changed_files(repository, "0" * 40, environ)
