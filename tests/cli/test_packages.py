"""`lockship packages`: from drifting locks to a list, to layers that projects have in common."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.cli.app import invoke
from builder.errors import LockError
from builder.pipeline import lock
from builder.pipeline.packages import gather
from builder.pipeline.packages_check import check_packages
from builder.pipeline.packages_use import Survey, survey, uses_of
from builder.project import load_project
from tests.support.index import Index, serve_index
from tests.support.teams import member, written_lock
from tests.support.wheels import make_wheel
from tests.support.world import World

NAMING = 'constraints = ["../packages.txt"]'


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index with a package, and the folder ``team`` as the working directory."""
    (tmp_path / "team").mkdir()
    monkeypatch.chdir(tmp_path / "team")
    make_wheel(tmp_path / "index", "alpha", "1.0", {"alpha.py": b""})
    with serve_index(tmp_path / "index") as served:
        monkeypatch.setenv("PIP_INDEX_URL", served.simple)
        yield served


def documented(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = invoke([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def surveyed(team: Path) -> Survey:
    members, left_out = gather(team, {})
    assert not left_out
    return survey(use for one in members for use in uses_of(one.path, one.lock))


@pytest.mark.apt
def test_from_drift_to_common_layers(here: World) -> None:
    """Real locks: what drifts is shown, aligned, and stored once."""
    for name, version in (("alpha", "1.0"), ("beta", "1.0"), ("beta", "1.2")):
        here.wheel(name, version, {f"{name}.py": os.urandom(2000)})
    team = here.root / "team"
    for name, requirements in (("churn", "alpha\nbeta<1.1\n"), ("fraud", "alpha\nbeta\n")):
        here.project(requirements)
        shutil.copytree(here.root, team / name, ignore=shutil.ignore_patterns("team"))
        lock(load_project(team / name / "lockship.toml"), here.context)
    before = surveyed(team)
    shown = here.run("packages", "team")
    rows = [line.split() for line in shown.out.splitlines()]
    assert rows[0] == ["package", "version", "used", "by", "apart", "stored", "with", "one"]
    assert rows[1][:5] == ["beta", "wheel", "1.2", "fraud", "minor"]
    assert rows[2] == ["1.0", "churn"]
    assert rows[3][:5] == ["alpha", "wheel", "1.0", "churn,", "fraud"]
    assert "debs with one version each): 1 in several versions" in shown.out

    done = here.run("packages", "align", "team")
    assert "team/packages.txt: 2 packages of 2 projects, written" in done.out, done
    assert f"not named yet by churn, fraud: write under [python] in the project file\n  {NAMING}\n" in done.out
    with pytest.raises(
        LockError, match=r"fraud: doesn't name packages\.txt as constraints, beta 1\.2 is not beta==1\.0"
    ):
        check_packages(team, None, here.environ)

    layers = []
    for name in ("churn", "fraud"):
        file = team / name / "lockship.toml"
        file.write_text(file.read_text().replace("[python]\n", f"[python]\n{NAMING}\n"))
        layers.append([one.digest for one in lock(load_project(file), here.context).lock.platforms[0].layers])
    assert layers[0] == layers[1]
    assert check_packages(team, None, here.environ).projects == ("churn", "fraud")
    after = surveyed(team)
    assert after.stored == after.with_one < before.stored
    assert here.leftovers() == []


def test_projects_without_a_lock_are_named(index: Index, capsys: pytest.CaptureFixture[str]) -> None:
    written_lock(member(Path("good"), "alpha\n"), {"alpha": "1.0"})
    member(Path("none"), "alpha\n")
    assert invoke(["packages"]) == 0
    said = capsys.readouterr()
    assert said.err == "warning: left out: none: the project has no lock (run `lockship lock`)\n"
    assert said.out.splitlines()[0].split() == ["package", "version", "used", "by", "apart", "stored", "with", "one"]
    code, document = documented(capsys, "packages", ".")
    assert code == 0
    assert (document["schema"], document["projects"]) == ("dev.lockship.packages/v1", ["good"])
    assert document["left_out"] == [{"path": "none", "why": "the project has no lock", "hint": "run `lockship lock`"}]
    [package] = document["packages"]
    assert package["versions"] == [{"version": "1.0", "projects": ["good"]}]
    assert (document["layers"], document["stored"], document["with_one"]) == (1, 50, 50)


def test_aligning_says_what_it_wrote(index: Index, capsys: pytest.CaptureFixture[str]) -> None:
    member(Path("a"), "alpha\n", python=NAMING)
    member(Path("b"), "alpha\n")
    code, document = documented(capsys, "packages", "align")
    assert code == 0
    assert document["entries"] == [{"name": "alpha", "version": "1.0", "marker": ""}]
    assert (document["written"], document["following"]) == (True, ["a"])
    assert [one["line"] for one in document["proposals"]] == [NAMING]
    assert invoke(["packages", "align"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("packages.txt: 1 package of 2 projects, the same as before\nnamed as constraints by a\n")


FAILURES = [
    pytest.param(2, ("packages", "empty"), "no project in empty or below", id="no projects"),
    pytest.param(2, ("packages", "nowhere"), "no such folder", id="no folder"),
    pytest.param(3, ("packages",), "no project here has a lock that fits", id="no lock anywhere"),
    pytest.param(2, ("packages", "align", "--check", "--force"), "--check writes nothing", id="check and force"),
    pytest.param(2, ("packages", "align", "--check"), "there is no such list", id="nothing to check"),
    pytest.param(7, ("packages", "align", "-o", "own.txt"), "was not written by", id="somebody's list"),
    pytest.param(2, ("packages", "align", "-o", "one"), "is a folder", id="a folder as output"),
    pytest.param(3, ("packages", "align"), "alpha>=2", id="contradiction"),
]


@pytest.mark.parametrize(("code", "words", "message"), FAILURES)
def test_failures_have_their_codes_and_say_what_to_do(
    index: Index, capsys: pytest.CaptureFixture[str], code: int, words: tuple[str, ...], message: str
) -> None:
    Path("empty").mkdir()
    member(Path("one"), "alpha\n")
    member(Path("two"), "alpha>=2\n")
    Path("own.txt").write_text("alpha==1.0\n")
    found, document = documented(capsys, *words)
    assert (found, document["exit_code"]) == (code, code)
    assert message in document["error"]["message"]
    assert document["error"]["hint"]
    assert not Path("packages.txt").exists()
