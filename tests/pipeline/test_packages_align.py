"""One list for several projects: real uv, a real index over HTTP, tiny wheels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from builder.cache import Cache
from builder.errors import LockError, ProjectError, RefusedError, ResolutionError, StoreError, UsageError
from builder.pipeline.context import Context
from builder.pipeline.packages_align import AlignReport, align_packages
from builder.pipeline.packages_list import origin
from builder.project import load_project
from tests.lock.python_projects import Remembering, environment
from tests.support.index import Index, serve_index
from tests.support.teams import member, written_lock
from tests.support.wheels import make_sdist, make_wheel

pytestmark = pytest.mark.slow


class Team:
    """A folder of projects, an index, and this machine."""

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder, self.index = folder / "team", index
        self.folder.mkdir()
        self.context = Context(Cache(folder / "cache"), environment(PIP_INDEX_URL=index.simple))

    def wheels(self, **versions: str) -> None:
        for name, numbers in versions.items():
            for version in numbers.split():
                self.wheel(name, version)

    def wheel(self, name: str, version: str, **options: Any) -> None:
        make_wheel(self.index.folder, name, version, {f"{name}/__init__.py": b""}, **options)

    def projects(self, **requirements: str) -> None:
        for name, text in requirements.items():
            member(self.folder / name, text)

    def align(self, output: Path | None = None, **options: bool) -> AlignReport:
        return align_packages(self.folder, output, self.context, **options)

    def written(self) -> list[str]:
        text = (self.folder / "packages.txt").read_text()
        assert origin(text) == "ours"
        assert str(self.folder) not in text
        assert self.index.url not in text
        return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    with serve_index(tmp_path / "index") as index:
        yield Team(tmp_path, index)


def test_the_newest_versions_that_satisfy_all(team: Team) -> None:
    team.wheels(beta="1.0 1.1 2.0", gamma="1.0 3.0", delta="1.0 1.5")
    team.wheel("alpha", "1.0", requires=["beta<2"])
    team.wheel("alpha", "2.0", requires=["beta>=2"])
    team.projects(churn="alpha<2\ngamma\n", fraud="beta\ndelta\n")
    (team.folder / "fraud/limits.txt").write_text("delta<1.5\n")
    member(team.folder / "fraud", "beta\ndelta\n", python='constraints = ["limits.txt"]')
    report = team.align()
    assert team.written() == ["alpha==1.0", "beta==1.1", "delta==1.0", "gamma==3.0"]
    assert report.written
    assert report.following == ()
    assert [(one.path, one.table, one.line) for one in report.proposals] == [
        ("churn", "[python]", 'constraints = ["../packages.txt"]'),
        ("fraud", "[python]", 'constraints = ["limits.txt", "../packages.txt"]'),
    ]


def test_again_is_the_same_and_the_list_does_not_bind_itself(team: Team) -> None:
    """Projects that name the list would else never get anything newer."""
    team.wheels(alpha="1.0")
    member(team.folder / "churn", "alpha\n", python='constraints = ["../packages.txt"]')  # before there is one
    team.projects(fraud="alpha\n")
    assert team.align().written
    member(team.folder / "fraud", "-c ../packages.txt\nalpha\n")
    report = team.align()
    assert (report.written, report.following, report.proposals) == (False, ("churn", "fraud"), ())
    team.wheels(alpha="1.1")
    assert team.align().written
    assert team.written() == ["alpha==1.1"]


def test_every_contradiction_is_named_with_both_lines(team: Team) -> None:
    team.wheels(alpha="1.0 2.0", beta="1.0 2.0", gamma="1.0")
    team.wheel("delta", "1.0", requires=["beta<2"])
    team.projects(churn="# ours\nalpha<2\nbeta>=2\n", fraud="gamma\nalpha>=2\n", other="delta\n", lone="missing\n")
    with pytest.raises(ResolutionError) as caught:
        team.align()
    said = caught.value.message
    assert "alpha: churn/requirements.in:2 asks for alpha<2; fraud/requirements.in:2 asks for alpha>=2" in said
    assert "churn/requirements.in:3 asks for beta>=2; other/requirements.in:1 asks for delta" in said
    assert "missing: lone/requirements.in:1 asks for missing, which doesn't exist" in said
    assert "--partial" in (caught.value.hint or "")
    assert (caught.value.exit_code, Path(caught.value.file or "").parent.parent) == (3, team.folder)
    assert not (team.folder / "packages.txt").exists()


def test_partial_leaves_out_what_contradicts_and_what_hangs_on_it(team: Team) -> None:
    """`alpha` is left out; `beta` 2 too, though nobody contradicts it: churn's alpha can't live with it."""
    team.wheels(beta="1.0 2.0", gamma="1.0")
    team.wheel("alpha", "1.0", requires=["beta<2"])
    team.wheel("alpha", "2.0", requires=["beta"])
    team.projects(churn="alpha<2\ngamma\n", fraud="alpha>=2\nbeta\n")
    report = team.align(partial=True)
    assert team.written() == ["gamma==1.0"]
    assert dict(report.made.left_out) == {
        "alpha": "churn/requirements.in:1 asks for alpha<2; fraud/requirements.in:1 asks for alpha>=2",
        "beta": "churn can't have beta==2.0",
    }
    text = (team.folder / "packages.txt").read_text()
    assert "#   alpha: churn/requirements.in:1 asks for alpha<2; fraud/requirements.in:1 asks for alpha>=2" in text
    assert "`lockship packages align --partial`" in text


def test_a_warning_is_given_once_however_often_the_resolver_is_asked(team: Team, tmp_path: Path) -> None:
    team.wheels(alpha="1.0 2.0")
    team.projects(churn="alpha<2\n", fraud="alpha>=2\n")
    progress = Remembering()
    environ = {**team.context.environ, "PIP_FIND_LINKS": str(tmp_path / "gone")}
    with pytest.raises(ResolutionError, match="alpha<2"):
        align_packages(team.folder, None, Context(team.context.cache, environ, progress))
    assert len(progress.warnings) == 1


def test_partial_with_a_project_that_can_not_be_resolved_at_all(team: Team) -> None:
    team.wheels(alpha="1.0")
    team.projects(churn="alpha\n", fraud="alpha>=9\n")
    with pytest.raises(ResolutionError, match="fraud can't be resolved by itself") as caught:
        team.align(partial=True)
    assert caught.value.hint == "run `lockship lock` there: it says why"


def test_partial_asks_each_project_for_its_own_platforms(team: Team) -> None:
    team.wheels(alpha="1.0 2.0")
    team.wheel("beta", "1.0", tag="cp311-cp311-manylinux_2_17_x86_64")
    team.projects(small="alpha<2\nbeta\n")
    member(team.folder / "wide", "alpha>=2\n", platforms=["linux/amd64", "linux/arm64"])
    team.align(partial=True)
    assert team.written() == ['beta==1.0 ; platform_machine == "x86_64"']


def test_each_python_gets_its_own_versions(team: Team) -> None:
    team.wheels(alpha="1.0")
    team.wheel("beta", "1.0", tag="cp311-cp311-manylinux_2_17_x86_64")
    team.wheel("beta", "2.0", tag="cp313-cp313-manylinux_2_17_x86_64")
    member(team.folder / "old", "alpha\nbeta\n")
    member(team.folder / "new", "alpha\nbeta\n", version="3.13")
    team.align()
    assert team.written() == [
        "alpha==1.0", 'beta==1.0 ; python_version == "3.11"', 'beta==2.0 ; python_version == "3.13"',
    ]  # fmt: skip


def test_a_platform_that_one_project_is_for_does_not_bind_the_others(team: Team) -> None:
    team.wheels(alpha="1.0")
    team.wheel("beta", "2.0", tag="cp311-cp311-manylinux_2_17_x86_64")
    team.wheel("gamma", "1.0", tag="cp311-cp311-manylinux_2_17_aarch64")
    team.wheel("gamma", "1.0", tag="cp311-cp311-manylinux_2_17_x86_64")
    member(team.folder / "small", "alpha\nbeta\n")
    member(team.folder / "wide", "alpha\ngamma\n", platforms=["linux/amd64", "linux/arm64"])
    team.align()
    assert team.written() == ["alpha==1.0", 'beta==2.0 ; platform_machine == "x86_64"', "gamma==1.0"]


def test_the_oldest_base_decides_which_wheels_fit(team: Team) -> None:
    team.wheel("alpha", "1.0", tag="cp311-cp311-manylinux_2_17_x86_64")
    team.wheel("alpha", "2.0", tag="cp311-cp311-manylinux_2_38_x86_64")
    newer = member(team.folder / "newer", "alpha\n")
    newer = newer.model_copy(update={"image": newer.image.model_copy(update={"base": "debian:trixie"})})
    text = (newer.root / "lockship.toml").read_text().replace("[image]\n", '[image]\nbase = "debian:trixie"\n')
    (newer.root / "lockship.toml").write_text(text)
    team.align()
    assert team.written() == ["alpha==2.0"]
    member(team.folder / "older", "alpha\n")
    team.align()
    assert team.written() == ["alpha==1.0"]


def test_a_base_that_nothing_is_known_of_needs_a_lock_of_somebody(team: Team) -> None:
    team.wheels(alpha="1.0")
    for name in ("one", "two"):
        project = member(team.folder / name, "alpha\n")
        text = (project.root / "lockship.toml").read_text()
        project.file.write_text(text.replace("[image]\n", '[image]\nbase = "registry.lab/python:3.11"\n'))
    with pytest.raises(LockError, match=r"one has no lock, and what registry\.lab/python:3\.11 holds") as caught:
        team.align()
    assert caught.value.hint == "run `lockship lock` there first"
    project = load_project(team.folder / "two/lockship.toml")
    written_lock(
        project, {"alpha": "1.0"}, glibc="2.28"
    )  # of a base that is put together: only its versions count here
    assert team.align().written


@pytest.mark.parametrize(
    ("text", "words"),
    [("numpy==1.0\n", "was not written by"), (None, "was changed by hand")],
)
def test_a_list_of_somebody_else_is_not_replaced(team: Team, text: str | None, words: str) -> None:
    team.wheels(alpha="1.0 2.0")
    team.projects(churn="alpha\n")
    shared = team.folder / "packages.txt"
    if text is None:
        team.align()
        text = shared.read_text().replace("alpha==2.0", "alpha==1.0  # until the summer")
    shared.write_text(text)
    asked = len(team.index.requests)
    with pytest.raises(RefusedError, match=words) as caught:
        team.align()
    assert "--force" in (caught.value.hint or "")
    assert shared.read_text() == text
    assert len(team.index.requests) == asked  # said before anything is resolved
    team.align(force=True)
    assert team.written() == ["alpha==2.0"]


def test_a_list_elsewhere(team: Team, tmp_path: Path) -> None:
    team.wheels(alpha="1.0")
    team.projects(churn="alpha\n")
    shared = tmp_path / "shared" / "team.txt"
    with pytest.raises(ProjectError, match="no such folder") as caught:
        team.align(shared)
    assert "--output" in (caught.value.hint or "")
    shared.parent.mkdir()
    report = team.align(shared)
    assert report.proposals[0].line == 'constraints = ["../../shared/team.txt"]'
    assert "`lockship packages align FOLDER -o team.txt`" in shared.read_text()
    assert team.folder.name + "/" not in shared.read_text()
    above = tmp_path / "team.txt"
    team.align(above)
    assert "`lockship packages align team -o team.txt`" in above.read_text()
    with pytest.raises(UsageError, match="is a folder"):
        team.align(team.folder)


@pytest.mark.parametrize(
    ("options", "words"),
    [("--no-index\n", "--no-index"), ("--pre\n", "--pre"), ("--index-url https://other.lab/simple\n", "--index-url")],
)
def test_projects_that_ask_indexes_differently_have_no_list(team: Team, options: str, words: str) -> None:
    team.wheels(alpha="1.0")
    team.projects(churn="alpha\n", fraud=f"{options}alpha\n")
    with pytest.raises(ResolutionError, match=words) as caught:
        team.align()
    assert "churn and fraud" in caught.value.message


def test_what_has_no_requirements_is_named(team: Team) -> None:
    team.wheels(alpha="1.0")
    team.projects(churn="alpha\n", bare="")
    assert team.align().skipped == ("bare",)
    (team.folder / "churn/lockship.toml").unlink()
    with pytest.raises(ProjectError, match=r"no project in .* has requirements"):
        team.align()


def test_a_project_that_can_not_be_read_stops_it(team: Team) -> None:
    team.wheels(alpha="1.0")
    team.projects(churn="alpha\n", fraud="alpha\n-r gone.in\n")
    with pytest.raises(ProjectError, match=r"gone\.in does not exist") as caught:
        team.align()
    assert caught.value.line == 2
    (team.folder / "fraud/lockship.toml").write_text('name = "demo"\nversion = "1"\n[python]\nreqirements = []\n')
    with pytest.raises(ProjectError, match="reqirements"):
        team.align()


def test_an_index_that_is_down_is_no_contradiction(team: Team) -> None:
    team.projects(churn="alpha\n")
    environ: Mapping[str, str] = environment(PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0")
    with pytest.raises(StoreError, match="cannot be reached"):
        align_packages(team.folder, None, Context(team.context.cache, environ), partial=True)


def test_packages_that_may_be_built_may_be_in_the_list(team: Team) -> None:
    make_sdist(team.index.folder, "alpha", "1.0")
    member(team.folder / "churn", "alpha\n", python='allow-build = ["alpha"]')
    team.align()
    assert team.written() == ["alpha==1.0"]


def test_pyproject_and_links(team: Team, tmp_path: Path) -> None:
    make_wheel(tmp_path / "own", "inner", "1.0", {"inner.py": b""})
    team.wheels(alpha="1.0")
    project = team.folder / "churn"
    project.mkdir()
    (project / "wheels").symlink_to(tmp_path / "own")
    (project / "pyproject.toml").write_text(
        '[project]\nname = "churn"\nversion = "1"\ndependencies = ["alpha"]\n[project.optional-dependencies]\n'
        'more = ["inner"]\n[tool.lockship.python]\nrequirements = ["pyproject.toml[more]", "links.in"]\n'
    )
    (project / "links.in").write_text("--find-links wheels\n")
    report = team.align()
    assert team.written() == ["alpha==1.0", "inner==1.0"]
    assert report.proposals[0].table == "[tool.lockship.python]"
