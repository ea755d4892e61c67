"""What projects use, from their locks, and whether they follow their list. Offline."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.errors import LockError, ProjectError, UsageError
from builder.lock.file import LOCK_FILE
from builder.pipeline.packages import gather
from builder.pipeline.packages_check import check_packages
from builder.pipeline.packages_use import survey, uses_of
from tests.support.teams import member, written_lock


def test_locks_come_to_a_survey(tmp_path: Path) -> None:
    for path, wheels, debs in (
        ("churn", {"numpy": "2.0", "six": "1.0"}, {"libc6": "2.36-9"}),
        ("teams/fraud", {"numpy": "1.9"}, {"libc6": "2.36-10"}),
    ):
        written_lock(member(tmp_path / path, "numpy\n", platforms=["linux/amd64", "linux/arm64"]), wheels, debs=debs)
    members, left_out = gather(tmp_path, os.environ)
    assert ([one.path for one in members], left_out) == (["churn", "teams/fraud"], ())
    found = survey(use for one in members for use in uses_of(one.path, one.lock))
    assert [
        (
            one.kind,
            one.name,
            [(used.version, used.projects) for used in one.versions],
            one.apart,
            one.stored,
            one.with_one,
        )
        for one in found.packages
    ] == [
        ("deb", "libc6", [("2.36-10", ("teams/fraud",)), ("2.36-9", ("churn",))], "build", 100, 50),
        ("wheel", "numpy", [("2.0", ("churn",)), ("1.9", ("teams/fraud",))], "major", 100, 50),
        ("wheel", "six", [("1.0", ("churn",))], "", 30, 30),
    ]
    assert (found.layers, found.stored, found.with_one) == (5, 230, 130)


def test_what_has_no_lock_that_fits_is_left_out_and_named(tmp_path: Path) -> None:
    written_lock(member(tmp_path / "good", "alpha\n"), {"alpha": "1.0"})
    member(tmp_path / "none", "alpha\n")
    stale = member(tmp_path / "stale", "alpha\n")
    written_lock(stale, {"alpha": "1.0"})
    (stale.root / "requirements.in").write_text("alpha<2\n")
    damaged = member(tmp_path / "damaged", "alpha\n")
    (damaged.root / LOCK_FILE).write_bytes(b"\xff\xfe")
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong/lockship.toml").write_text("name = \n")
    (tmp_path / "folder").mkdir()
    written_lock(member(tmp_path / "folder", "alpha\n"), {"alpha": "1.0"})
    (tmp_path / "folder" / LOCK_FILE).unlink()
    (tmp_path / "folder" / LOCK_FILE).mkdir()
    members, left_out = gather(tmp_path, os.environ)
    assert [one.path for one in members] == ["good"]
    assert {one.path: one.why.partition(":")[0] for one in left_out} == {
        "damaged": "is damaged",
        "folder": "cannot be read",
        "none": "the project has no lock",
        "stale": "the lock is stale",
        "wrong": "not valid TOML",
    }
    assert all("lockship lock" in one.hint for one in left_out if one.path != "wrong")


@pytest.mark.parametrize("path", ["empty", "nowhere"])
def test_no_projects(tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ProjectError, match=path) as caught:
        gather(tmp_path / path, os.environ)
    assert caught.value.hint


def test_who_follows_the_list(tmp_path: Path) -> None:
    naming = 'constraints = ["../packages.txt"]'
    (tmp_path / "packages.txt").write_text(
        'numpy==2.0 ; platform_machine == "x86_64"\nnumpy==1 ; sys_platform == "win32"\n'
    )
    written_lock(member(tmp_path / "a", "numpy\n", python=naming), {"numpy": "2.0", "six": "1.0"})
    included = member(tmp_path / "b", "-c ../packages.txt\nnumpy\n")
    written_lock(included, {"numpy": "2.0"})
    (tmp_path / "c").mkdir()
    member(tmp_path / "c", "")
    good = check_packages(tmp_path, None, os.environ)
    assert (good.projects, good.skipped) == (("a", "b"), ("c",))
    written_lock(member(tmp_path / "d", "numpy\n"), {"numpy": "1.0"})
    written_lock(member(tmp_path / "e", "numpy\n", python=naming), {"numpy": "1.0"})
    member(tmp_path / "f", "numpy\n", python=naming)
    with pytest.raises(LockError) as caught:
        check_packages(tmp_path, None, os.environ)
    assert caught.value.message.splitlines() == [
        "3 of 5 projects don't follow the list:",
        "  d: doesn't name packages.txt as constraints, numpy 1.0 is not numpy==2.0",
        "  e: numpy 1.0 is not numpy==2.0",
        "  f: the project has no lock",
    ]
    assert (caught.value.exit_code, caught.value.file) == (3, str(tmp_path / "packages.txt"))


def test_a_list_that_moved_makes_locks_stale(tmp_path: Path) -> None:
    shared = tmp_path / "packages.txt"
    shared.write_text("numpy==2.0\n")
    written_lock(member(tmp_path / "a", "numpy\n", python='constraints = ["../packages.txt"]'), {"numpy": "2.0"})
    shared.write_text("numpy==2.1\n")
    with pytest.raises(LockError, match=r"a: the lock is stale: \.\./packages\.txt changed"):
        check_packages(tmp_path, None, os.environ)


def test_a_list_that_can_not_be_read(tmp_path: Path) -> None:
    written_lock(member(tmp_path / "a", "numpy\n"), {"numpy": "2.0"})
    with pytest.raises(ProjectError, match="no such list") as caught:
        check_packages(tmp_path, None, os.environ)
    assert "lockship packages align" in (caught.value.hint or "")
    (tmp_path / "packages.txt").write_text("numpy==2.0\n<<<<<<< HEAD\n")
    with pytest.raises(ProjectError, match="not a requirement") as caught:
        check_packages(tmp_path, None, os.environ)
    assert caught.value.line == 2
    with pytest.raises(UsageError, match="is a folder"):
        check_packages(tmp_path, tmp_path / "a", os.environ)
