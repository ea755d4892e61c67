"""Which projects a change touches, by what their inputs really are; asked of real repositories."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from builder.errors import ProjectError, UsageError
from builder.pipeline.many.affected import Affected, affected
from builder.pipeline.many.projects import survey
from tests.support.repositories import Grounds

MODEL = """
[python]
requirements = ["requirements.in", "pyproject.toml[train]"]
constraints = ["../packages.txt"]
[image]
files = ["code/", "one.yaml"]
[model]
source = "model.skops"
sample = "data/holdout.csv"
[data]
training = ["data/*.csv", "raw/"]
[signing]
key = "cosign.pub"
[stages.production]
approvers = { ada = "keys/ada.pub" }
"""


@pytest.fixture
def grounds(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Grounds:
    """A repository with projects of several kinds, all committed; made once, and copied."""
    template = tmp_path_factory.getbasetemp() / "affected"
    if not template.exists():
        _fill(Grounds(tmp_path / "first"))
        (tmp_path / "first").rename(template)
    shutil.copytree(template, tmp_path / "repo")
    return Grounds(tmp_path / "repo", new=False)


def _fill(made: Grounds) -> None:
    made.project("model", MODEL)
    made.project("features", '[python]\nrequirements = ["../features/requirements.txt"]\n'.replace("../features/", ""))
    made.project("api", 'depends-on = ["../features"]\n[python]\nconstraints = ["../packages.txt"]\n')
    made.project("batch", 'depends-on = ["../api"]\n')
    made.project("snakes", '[python]\nconda = "environment.yml"\n')
    made.project("entry", '[model]\nentry = "train:fit"\n')
    made.write({
        ".gitignore": "*.log\n__pycache__/\n",
        "README.md": "", "packages.txt": "numpy<3\n",
        "model/requirements.in": "numpy\n-r more.in\n", "model/more.in": "-c ../limits.txt\n", "limits.txt": "",
        "model/pyproject.toml": '[project]\nname = "x"\nversion = "1"\noptional-dependencies = { train = ["x"] }\n',
        "model/code/__init__.py": "", "model/code/deep/x.py": "", "model/one.yaml": "", "model/notes.txt": "",
        "model/.dockerignore": "code/drafts\n", "model/model.skops": "", "model/data/holdout.csv": "",
        "model/raw/a/b.bin": "", "model/cosign.pub": "", "model/keys/ada.pub": "",
        "model/lockship.lock": "", "model/requirements.lock": "",
        "features/requirements.txt": "", "snakes/environment.yml": "", "snakes/conda-lock.yml": "",
        "entry/train.py": "", "entry/deep/helper.py": "", "entry/notes.txt": "",
    })  # fmt: skip
    made.commit()


def look(grounds: Grounds, since: str | None = "HEAD", root: str = "") -> Affected:
    """With the reasons by the project's file."""
    return affected(survey(grounds.root / root, grounds.environ), since, grounds.environ)


def touched(grounds: Grounds, since: str | None = "HEAD") -> set[str]:
    """The affected projects' folders."""
    return {file.parent.name for file in look(grounds, since).reasons}


CHANGES = [
    ("README.md", set()),
    ("packages.txt", {"model", "api", "batch"}),
    ("limits.txt", {"model"}),
    ("model/lockship.toml", {"model"}),
    ("model/requirements.in", {"model"}),
    ("model/more.in", {"model"}),
    ("model/pyproject.toml", {"model"}),
    ("model/lockship.lock", {"model"}),
    ("model/requirements.lock", {"model"}),
    ("model/one.yaml", {"model"}),
    ("model/code/deep/x.py", {"model"}),
    ("model/code/new/file.py", {"model"}),
    ("model/code/x.log", set()),
    ("model/code/drafts/x.py", set()),
    ("model/code/.env", set()),
    ("model/.dockerignore", {"model"}),
    ("model/notes.txt", set()),
    ("model/model.skops", {"model"}),
    ("model/model.onnx", {"model"}),
    ("model/data/holdout.csv", {"model"}),
    ("model/data/new.csv", {"model"}),
    ("model/data/new.txt", set()),
    ("model/data/deep/new.csv", set()),
    ("model/raw/a/new.bin", {"model"}),
    ("model/cosign.pub", {"model"}),
    ("model/keys/ada.pub", {"model"}),
    ("features/requirements.txt", {"features", "api", "batch"}),
    ("snakes/environment.yml", {"snakes"}),
    ("snakes/conda-lock.yml", {"snakes"}),
    ("entry/deep/helper.py", {"entry"}),
    ("entry/notes.txt", set()),
    ("other/requirements.txt", set()),
]


@pytest.mark.parametrize(("path", "expected"), CHANGES, ids=[path for path, _ in CHANGES])
def test_a_file_that_changed(grounds: Grounds, path: str, expected: set[str]) -> None:
    (grounds.root / path).parent.mkdir(parents=True, exist_ok=True)
    with (grounds.root / path).open("a") as file:
        file.write("# another line\n")
    assert touched(grounds) == expected


def test_what_was_committed_counts_since_the_commit_before(grounds: Grounds) -> None:
    grounds.write({"features/requirements.txt": "numpy\n", "model/code/deep/new.py": ""})
    grounds.commit()
    assert touched(grounds) == set()
    assert touched(grounds, "HEAD~1") == {"model", "features", "api", "batch"}


@pytest.mark.parametrize("path", ["packages.txt", "limits.txt", "model/more.in", "model/requirements.in"])
def test_a_deleted_input_counts(grounds: Grounds, path: str) -> None:
    (grounds.root / path).unlink()
    assert "model" in touched(grounds)


def test_a_deleted_or_moved_folder_counts(grounds: Grounds) -> None:
    grounds.git("mv", "model/code", "model/kode")
    assert touched(grounds) == {"model"}


def test_reasons_are_told(grounds: Grounds) -> None:
    grounds.write({"features/requirements.txt": "numpy\n", "model/lockship.toml": "name = 1\n"})
    found = {file.parent.name: why for file, why in look(grounds).reasons.items()}
    assert found == {
        "features": "features/requirements.txt changed",
        "api": "it depends on features",
        "batch": "it depends on api",
        "model": "it can't be read",
    }


def test_what_is_staged_counts_and_what_was_undone_does_not(grounds: Grounds) -> None:
    grounds.write({"model/one.yaml": "a: 1\n"})
    grounds.git("add", "-A")
    assert touched(grounds) == {"model"}
    grounds.write({"model/one.yaml": ""})
    assert touched(grounds) == set()


def test_a_file_that_was_only_touched_did_not_change(grounds: Grounds) -> None:
    os.utime(grounds.root / "model" / "one.yaml", (1, 1))
    assert touched(grounds) == set()


def test_a_link_counts_with_what_it_leads_to(grounds: Grounds) -> None:
    grounds.write({"shared/base.in": "numpy\n"})
    (grounds.root / "features" / "requirements.txt").unlink()
    (grounds.root / "features" / "requirements.txt").symlink_to("../shared/base.in")
    grounds.commit()
    grounds.write({"shared/base.in": "pandas\n"})
    assert touched(grounds) == {"features", "api", "batch"}


# what a project says, what there is, links by where they lead, and what changes: a text, or (->) a link
LINKED = {
    "a link in the middle": (
        '[python]\nconstraints = ["../team.txt"]\n', ["v1.txt", "v2.txt"],
        {"team.txt": "now.txt", "now.txt": "v1.txt"}, "now.txt", "->v2.txt",
    ),
    "a folder behind a link": (
        '[image]\nfiles = ["a/b"]\n', ["last/c/b/x.py"], {"last/a": "c"}, "last/c/b/x.py", "new",
    ),
    "an ignore file in between": (
        '[image]\nfiles = ["src/code"]\n', ["last/src/code/x.txt"], {}, "last/src/.gitignore", "*.txt",
    ),
    "data behind a link": ('[data]\ntraining = "now"\n', ["last/v1/x.csv"], {"last/now": "v1"}, "last/v1/x.csv", "new"),
    "a link among data": (
        '[data]\ntraining = "data"\n', ["last/v1/x.csv"], {"last/data/x.csv": "../v1/x.csv"}, "last/v1/x.csv", "new",
    ),
    "a link that a pattern finds": (
        '[data]\ntraining = "data/*.csv"\n', ["last/v1/x.csv"], {"last/data/x.csv": "../v1/x.csv"},
        "last/v1/x.csv", "new",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("says", "files", "links", "path", "change"), LINKED.values(), ids=LINKED.keys())
def test_what_leads_elsewhere(
    grounds: Grounds, says: str, files: list[str], links: dict[str, str], path: str, change: str
) -> None:
    grounds.project("last", says)
    grounds.write(dict.fromkeys(files, ""))
    for place, target in links.items():
        (grounds.root / place).parent.mkdir(exist_ok=True)
        (grounds.root / place).symlink_to(target)
    grounds.commit()
    assert touched(grounds) == set()
    (grounds.root / path).unlink(missing_ok=True)
    if change.startswith("->"):
        (grounds.root / path).symlink_to(change.removeprefix("->"))
    else:
        grounds.write({path: change})
    assert touched(grounds) == {"last"}


def test_an_ignore_file_counts_even_where_it_is_left_out_itself(grounds: Grounds) -> None:
    grounds.write({"model/.dockerignore": "**/.gitignore\n"})
    grounds.commit()
    grounds.write({"model/code/.gitignore": "*.py\n"})
    assert touched(grounds) == {"model"}


def test_what_lies_above_the_repository_is_no_ignore_file_of_its(grounds: Grounds, tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("")
    grounds.write({"lockship.toml": 'name = "top"\nversion = "1"\n[image]\nfiles = ["."]\n'})
    grounds.commit()
    assert look(grounds).unknown == ()
    grounds.write({".gitignore": "*.log\n"})
    assert "repo" in touched(grounds)


def test_links_that_lead_round_and_round(grounds: Grounds) -> None:
    grounds.project("last", '[python]\nconstraints = ["../one/x.txt", "../more/x.txt"]\n')
    for name, target in {"one": "other", "other": "one", "more": "more/more"}.items():
        (grounds.root / name).symlink_to(target)
    grounds.commit()
    assert look(grounds).reasons.popitem()[1].startswith("what it requires can't be read")  # type: ignore[attr-defined]


def test_local_packages_count(grounds: Grounds) -> None:
    grounds.write({"features/requirements.txt": "--find-links ../wheels\nours\n", "wheels/ours.whl": "1"})
    grounds.commit()
    grounds.write({"wheels/ours.whl": "2"})
    assert touched(grounds) == {"features", "api", "batch"}


@pytest.mark.parametrize(("where", "says"), [
    ("r.in", "--find-links file://{0}/own%20debs\n"),
    ("lockship.toml", "[[image.sources]]\nuri = 'file://{0}/own debs'\n"),
    ("lockship.toml", "[image]\nsnapshot = 'file://{0}/own debs'\n"),
])  # fmt: skip
def test_addresses_of_this_machine_count(grounds: Grounds, where: str, says: str) -> None:
    grounds.project("last", "[python]\nrequirements = ['r.in']\n")
    grounds.write({"last/r.in": "", "own debs/one": "1"})
    with (grounds.root / "last" / where).open("a") as file:
        file.write(says.format(grounds.root))
    grounds.commit()
    grounds.write({"own debs/one": "2"})
    assert touched(grounds) == {"last"}


def test_a_submodule_counts_for_what_lies_in_it(grounds: Grounds, tmp_path: Path) -> None:
    other = Grounds(tmp_path / "other")
    other.write({"limits.txt": ""})
    other.commit()
    grounds.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other.root), "sub")
    grounds.project("last", '[python]\nconstraints = ["../sub/limits.txt"]\n')
    grounds.commit()
    (grounds.root / "sub" / "limits.txt").write_text("numpy<2\n")
    assert touched(grounds) == {"last"}


def test_a_project_in_a_submodule_counts(grounds: Grounds, tmp_path: Path) -> None:
    other = Grounds(tmp_path / "other")
    other.project("lib", '[image]\nfiles = ["code"]\n')
    other.write({"lib/code/x.py": "", "lib/.dockerignore": "drafts\n"})
    other.commit()
    grounds.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other.root), "sub")
    grounds.project("last", 'depends-on = ["../sub/lib"]\n')
    grounds.commit()
    (grounds.root / "sub/lib/code/x.py").write_text("new\n")
    assert touched(grounds) == {"last"}


def test_names_that_are_not_utf_8(grounds: Grounds) -> None:
    folder = Path(os.fsdecode(os.fsencode(grounds.root) + b"/caf\xe9"))
    folder.mkdir()
    (folder / "lockship.toml").write_text('name = "last"\nversion = "1.0"\n')
    grounds.commit()
    (folder / "lockship.lock").write_text("new")
    (why,) = look(grounds).reasons.values()
    assert os.fsencode(why) == b"caf\xe9/lockship.lock changed"
    (folder / "lockship.lock").unlink()
    moved = grounds.root.rename(grounds.root.parent / folder.name)
    assert touched(Grounds(moved, new=False)) == set()


def test_inside_of_root_alone_with_what_lies_around_it(grounds: Grounds) -> None:
    grounds.write({"features/requirements.txt": "numpy\n", "model/one.yaml": "x"})
    found = look(grounds, root="api")
    assert {file.parent.name: why for file, why in found.reasons.items()} == {"api": "it depends on features"}


def test_through_a_project_outside_of_root_and_back(grounds: Grounds) -> None:
    grounds.project("in/core")
    grounds.project("in/app", 'depends-on = ["../../lib"]\n')
    grounds.project("lib", 'depends-on = ["../in/core"]\n')
    grounds.commit()
    grounds.write({"in/core/lockship.lock": "new"})
    found = look(grounds, root="in")
    assert {file.parent.name: why for file, why in found.reasons.items()} == {
        "core": "in/core/lockship.lock changed", "app": "it depends on lib",
    }  # fmt: skip


def test_ignored_inputs_are_named_and_do_not_count(grounds: Grounds) -> None:
    grounds.write({"model/.gitignore": "model.skops\nraw/\n*.onnx\n"})
    grounds.git("rm", "-q", "-r", "--cached", "model/model.skops", "model/raw")
    grounds.commit()
    grounds.write({"model/model.skops": "2", "model/model.onnx": "made"})
    found = look(grounds)
    assert found.reasons == {}
    (warning,) = found.unknown
    assert "git ignores model/model.skops (of model), model/raw (of model)" in warning


def test_ignored_inputs_are_named_beside_one_behind_a_link(grounds: Grounds) -> None:
    grounds.write({".gitignore": "*.skops\n", "real/limits.txt": ""})
    (grounds.root / "link").symlink_to("real")
    grounds.project("last", '[python]\nconstraints = ["../link/limits.txt"]\n[model]\nsource = "m.skops"\n')
    grounds.commit()
    grounds.write({"last/m.skops": ""})
    (warning,) = look(grounds).unknown
    assert "git ignores last/m.skops (of last)" in warning


def test_inputs_outside_of_the_repository_are_named(grounds: Grounds, tmp_path: Path) -> None:
    (tmp_path / "team.txt").write_text("")
    grounds.project("last", '[python]\nconstraints = ["../../team.txt"]\n')
    grounds.commit()
    (warning,) = look(grounds).unknown
    assert "another place has ../team.txt (of last)" in warning


def test_hostile_settings_change_nothing(grounds: Grounds, tmp_path: Path) -> None:
    for key, value in {
        "diff.external": "false", "diff.relative": "true", "diff.noprefix": "true", "diff.autoRefreshIndex": "false",
        "status.showUntrackedFiles": "no", "color.ui": "always", "core.fsmonitor": str(tmp_path / "run-me"),
    }.items():  # fmt: skip
        grounds.git("config", key, value)
    grounds.write({"model/code/ä new.py": ""})
    environ = {**grounds.environ, "GIT_DIR": "/nowhere", "GIT_EXTERNAL_DIFF": "false"}
    found = affected(survey(grounds.root, environ), "HEAD", environ)
    assert [file.parent.name for file in found.reasons] == ["model"]
    assert list(found.reasons.values()) == ["model/code/ä new.py changed"]


# what is compared with


def cloned(grounds: Grounds, folder: Path, *words: str) -> Grounds:
    """A clone, as CI and people make them."""
    subprocess.run(["git", "clone", "-q", *words, grounds.root.as_uri(), str(folder)], check=True)
    return Grounds(folder, new=False)


def test_a_branch_is_compared_with_where_it_left_the_default_one(grounds: Grounds, tmp_path: Path) -> None:
    start = grounds.git("rev-parse", "HEAD")
    clone = cloned(grounds, tmp_path / "clone")
    grounds.write({"snakes/environment.yml": "changed: upstream\n"})
    grounds.commit()
    clone.git("fetch", "-q")
    clone.git("switch", "-q", "-c", "topic")
    for name in ("one.yaml", "notes.txt"):
        clone.write({f"model/{name}": "changed\n"})
        clone.commit()
    found = look(clone, None)
    assert found.since.commit == start
    assert "where this branch left origin/main" in found.since.words
    assert [file.parent.name for file in found.reasons] == ["model"]


def test_a_clone_of_ci_that_does_not_know_the_default_branch(grounds: Grounds, tmp_path: Path) -> None:
    start = grounds.git("rev-parse", "HEAD")
    clone = cloned(grounds, tmp_path / "clone")
    clone.git("remote", "set-head", "origin", "--delete")
    clone.git("switch", "-q", "-c", "topic")
    for name in ("features", "snakes"):
        clone.write({f"{name}/lockship.lock": "new"})
        clone.commit()
    found = look(clone, None)
    assert (found.since.commit, len(found.reasons)) == (start, 4)
    assert "where this branch left origin/main" in found.since.words


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GITHUB_BASE_REF", "release"),
        ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "release"),
        ("SYSTEM_PULLREQUEST_TARGETBRANCH", "refs/heads/release"),
        ("CHANGE_TARGET", "release"),
    ],
)
def test_a_change_is_compared_with_the_branch_that_it_is_for(
    grounds: Grounds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    grounds.git("switch", "-q", "-c", "release")
    grounds.write({"snakes/environment.yml": "changed: for the release\n"})
    grounds.commit()
    grounds.git("switch", "-q", "main")
    clone = cloned(grounds, tmp_path / "clone")
    clone.git("switch", "-q", "-c", "topic", "origin/release")
    clone.write({"model/one.yaml": "changed\n"})
    clone.commit()
    assert touched(clone, None) == {"model", "snakes"}
    monkeypatch.setenv(variable, value)
    assert touched(clone, None) == {"model"}
    assert "where this branch left origin/release" in look(clone, None).since.words


def test_a_clone_that_has_only_the_change(grounds: Grounds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As GitLab's runners make them: HEAD stands on no branch, and none of origin's is there."""
    start = grounds.git("rev-parse", "HEAD")
    grounds.git("switch", "-q", "-c", "topic")
    for name in ("one.yaml", "notes.txt"):
        grounds.write({f"model/{name}": "changed\n"})
        grounds.commit()
    clone = Grounds(tmp_path / "clone")
    clone.git("remote", "add", "origin", grounds.root.as_uri())
    clone.git("fetch", "-q", "origin", "--refmap=", "+refs/heads/topic:refs/pipelines/1")
    clone.git("checkout", "-q", "--detach", "refs/pipelines/1")
    with pytest.raises(ProjectError, match="no origin/main or origin/master") as caught:
        look(clone, None)
    assert "git fetch origin main" in str(caught.value.hint)
    monkeypatch.setenv("CI_MERGE_REQUEST_DIFF_BASE_SHA", start)
    assert touched(clone, None) == {"model"}, "of both commits"
    assert look(clone, None).since.commit == start
    clone.git("fetch", "-q", "origin", "topic")
    monkeypatch.delenv("CI_MERGE_REQUEST_DIFF_BASE_SHA")
    with pytest.raises(ProjectError, match="no origin/main or origin/master"):
        look(clone, None)


def test_on_the_default_branch_the_last_commit_counts(grounds: Grounds, tmp_path: Path) -> None:
    before = grounds.git("rev-parse", "HEAD")
    grounds.write({"model/one.yaml": "changed\n"})
    grounds.commit()
    clone = cloned(grounds, tmp_path / "clone")
    found = look(clone, None)
    assert found.since.commit == before
    assert "origin/main has this commit already" in found.since.words
    assert [file.parent.name for file in found.reasons] == ["model"]


def test_without_an_origin_the_last_commit_counts(grounds: Grounds) -> None:
    grounds.write({"model/one.yaml": "changed\n"})
    grounds.commit()
    found = look(grounds, None)
    assert "there is no branch of origin" in found.since.words
    assert [file.parent.name for file in found.reasons] == ["model"]


def test_of_a_first_commit_and_before_it_all_is_new(grounds: Grounds, tmp_path: Path) -> None:
    assert len(look(grounds, None).reasons) == 6
    fresh = Grounds(tmp_path / "fresh")
    fresh.project("a")
    found = look(fresh, None)
    assert len(found.reasons) == 1 and found.since.commit is None


def test_a_shallow_clone_is_told_apart_from_a_first_commit(grounds: Grounds, tmp_path: Path) -> None:
    grounds.commit()
    clone = cloned(grounds, tmp_path / "clone", "--depth", "1")
    with pytest.raises(ProjectError, match="too little history") as caught:
        look(clone, None)
    assert caught.value.hint is not None and "fetch-depth: 0" in caught.value.hint


@pytest.mark.parametrize("name", ["nowhere", "--help", "HEAD:README.md", ""])
def test_no_such_commit(grounds: Grounds, name: str) -> None:
    with pytest.raises(UsageError, match="no such commit"):
        look(grounds, name)


def test_no_repository(tmp_path: Path) -> None:
    (tmp_path / "lockship.toml").write_text('name = "x"\nversion = "1"\n')
    environ = {"PATH": os.environ["PATH"], "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    with pytest.raises(ProjectError, match="in no git repository"):
        affected(survey(tmp_path, environ), None, environ)
