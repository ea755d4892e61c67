"""`--all` and `--affected`: many projects, one summary, one exit code."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.registry import RegistryServer
from tests.support.repositories import Yard

pytestmark = pytest.mark.apt

ORDER = ["features", "fraud", "report", "churn"]


def summary(err: str) -> dict[str, list[str]]:
    """The rows of the table on stderr, by the project."""
    lines = err.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("project "))
    return {line.split()[0]: line.split()[1:] for line in lines[start + 1 : -1]}


def by_name(document: Any) -> dict[str, Any]:
    """The projects of a document."""
    return {project["name"]: project for project in document["projects"]}


def test_all_are_built_in_order_and_each_digest_is_its_own_builds(yard: Yard) -> None:
    done = yard.run("build", "--all")
    assert done.code == 0, done
    digests = dict(line.split() for line in done.out.splitlines())
    assert list(digests) == ORDER
    rows = summary(done.err)
    assert list(rows) == ORDER
    assert all(row[:2] == ["1.0", "built"] and float(row[3]) >= 0 for row in rows.values()), rows
    assert "4 projects: 4 done" in done.err
    for name, digest in digests.items():
        assert digest.startswith(rows[name][2])
    for name, digest in (*digests.items(),)[2:]:
        alone = yard.run("build", "-C", name)
        assert alone.out == f"{digest}\n"
        assert "every layer was there" in alone.err
    again = yard.run("build", "--all")
    assert again.out == done.out
    assert {row[1:3] == ["was", "there"] for row in summary(again.err).values()} == {True}


def test_depends_on_does_not_change_the_image(yard: Yard) -> None:
    before = yard.run("build", "-C", "churn").out
    file = yard.root / "churn" / "lockship.toml"
    file.write_text(file.read_text().replace('depends-on = ["../features"]\n', ""))
    (yard.root / ".git").rename(yard.root / "git")  # what is committed is told by the image too
    without = yard.run("build", "-C", "churn").out
    yard.append("churn/code/main.py", "# more\n")
    file.write_text(file.read_text().replace("version", 'depends-on = ["../features"]\nversion', 1))
    more = yard.run("build", "-C", "churn").out
    (yard.root / "churn/code/main.py").write_text("print('churn')\n")
    assert yard.run("build", "-C", "churn").out == without != more
    assert before not in (without, more)


def test_a_layer_is_made_once_and_stored_once(yard: Yard) -> None:
    yard.forget("alpha", "beta", "gamma")
    asked = len(yard.world.index.requests)
    done = yard.run("build", "--all")
    assert done.code == 0, done
    wheels = [one.path for one in yard.world.index.requests[asked:] if one.path.endswith(".whl")]
    assert sorted(Path(path).name.partition("-")[0] for path in wheels) == ["alpha", "beta", "gamma"]
    layers = [{path.name: path.stat().st_ino for path in _blobs(yard, name)} for name in ORDER]
    shared = set.intersection(
        *({name for name in files if (yard.cache / "blobs/sha256" / name).exists()} for files in layers)
    )
    assert len(shared) >= 10  # the base's packages
    for name in shared:
        assert len({files[name] for files in layers}) == 1


def _blobs(yard: Yard, name: str) -> list[Path]:
    return sorted((yard.root / name / ".lockship/store/blobs/sha256").iterdir())


def test_failures_are_told_dependents_skipped_and_the_rest_goes_on(yard: Yard) -> None:
    yard.append("features/requirements.in", "beta\n")
    done = yard.run("build", "--all", "--json")
    assert done.code == 3, done
    document = done.json
    assert (document["schema"], document["ok"], document["exit_code"]) == ("dev.lockship.build-all/v1", False, 3)
    found = by_name(document)
    assert {name: one["result"] for name, one in found.items()} == {
        "features": "failed", "fraud": "done", "report": "done", "churn": "skipped",
    }  # fmt: skip
    assert found["features"]["error"]["kind"] == "StaleLockError"
    assert found["features"]["error"]["hint"]
    assert found["churn"]["skipped"] == "it depends on features, which failed"
    assert found["fraud"]["digest"] == str(yard.store("fraud").resolve("1.0"))
    assert yard.store("churn").resolve("1.0") is None
    assert "error: features: features/lockship.lock: the lock is stale: requirements.in" in done.err
    assert "4 projects: 2 done, 1 failed, 1 skipped" in done.err
    assert summary(done.err)["features"][:4] == ["1.0", "failed", "(exit", "3)"]


def test_why_a_project_outside_can_not_be_built_upon_is_told(yard: Yard) -> None:
    yard.append("features/lockship.toml", "\n[colour]\n")
    done = yard.run("build", "--all", "churn")
    assert done.code == 1
    assert "error: ../features: features/lockship.toml" in done.err and "unknown key 'colour'" in done.err
    assert "churn: skipped, it depends on ../features, which failed" in done.err


def test_failures_of_several_kinds_exit_with_1(yard: Yard) -> None:
    yard.append("features/requirements.in", "beta\n")
    yard.append("report/lockship.toml", "\n[colour]\n")
    done = yard.run("build", "--all")
    assert done.code == 1
    assert [line.split()[0] for line in done.out.splitlines()] == ["fraud"]
    assert "error: report: report/lockship.toml" in done.err and "unknown key 'colour'" in done.err


def test_failures_of_one_kind_exit_with_their_code(yard: Yard) -> None:
    yard.append("report/lockship.toml", "\n[colour]\n")
    yard.append("fraud/lockship.toml", "\n[colour]\n")
    assert yard.run("build", "--all", "--quiet").code == 2


def test_a_layer_that_can_not_be_made_fails_only_who_needs_it(yard: Yard) -> None:
    """gamma's wheel is gone from the index, and nothing of any wheel is in the cache."""
    yard.forget("alpha", "beta", "gamma")
    wheel = next(yard.world.index.folder.rglob("gamma-*.whl"))
    away = wheel.rename(yard.root / "gamma.away")
    try:
        done = yard.run("build", "--all", "--json")
    finally:
        away.rename(wheel)
    found = by_name(done.json)
    assert {name: one["result"] for name, one in found.items()} == dict.fromkeys(ORDER, "done") | {"fraud": "failed"}
    assert "gamma" in found["fraud"]["error"]["message"]
    assert done.code == found["fraud"]["error"].get("exit_code", done.code) != 0
    assert yard.run("build", "--all").code == 0


def test_a_store_that_is_none_fails_its_project_alone(yard: Yard) -> None:
    store = yard.root / "fraud" / ".lockship" / "store"
    store.mkdir(parents=True)
    (store / "something").write_text("else")
    done = yard.run("build", "--all")
    assert done.code == 5 and "error: fraud: " in done.err and "is not an OCI image layout" in done.err
    assert [line.split()[0] for line in done.out.splitlines()] == ["features", "report", "churn"]


def test_a_bug_in_one_project_stops_no_other(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("builder.pipeline.many.building._Neighbours.beside", broken)
    done = yard.run("push", "--all", "--json")
    assert done.code == 1
    found = by_name(done.json)
    assert {name: one["result"] for name, one in found.items()} == dict.fromkeys(ORDER, "failed") | {"churn": "skipped"}
    assert "ZeroDivisionError: of all things" in found["fraud"]["error"]["message"]
    assert "Traceback" not in done.err


def test_a_damaged_layer_of_the_cache_is_made_again_once(yard: Yard) -> None:
    lock = (yard.root / "fraud" / "lockship.lock").read_text()
    line = next(line for line in lock.splitlines() if '"gamma"' in line and "diff_id" in line)
    digest = line.split('digest = "sha256:')[1][:64]
    blob = yard.cache / "blobs" / "sha256" / digest
    blob.unlink()
    blob.write_bytes(b"damaged")
    done = yard.run("build", "--all")
    assert done.code == 0, done
    assert done.err.count("was damaged") == 1
    assert "1 layer made for 4 projects" in done.err


def test_only_what_is_affected(yard: Yard) -> None:
    yard.append("features/code/main.py", "# more\n")
    done = yard.run("build", "--affected", "--since", "HEAD", "--json")
    assert done.code == 0, done
    found = by_name(done.json)
    assert {name: one["affected"] for name, one in found.items()} == {
        "features": "features/code/main.py changed", "churn": "it depends on features",
    }  # fmt: skip
    assert done.json["since"] == yard.git("rev-parse", "HEAD")
    assert "2 of 4 projects affected, compared with HEAD" in done.err
    yard.git("checkout", "-q", ".")
    nothing = yard.run("build", "--affected", "--since", "HEAD")
    assert (nothing.code, nothing.out) == (0, "")
    assert "nothing to do" in nothing.err


def test_the_team_list_touches_all_that_use_it(yard: Yard) -> None:
    yard.append("packages.txt", "beta<9\n")
    done = yard.run("build", "--affected", "--since", "HEAD", "--json")
    assert done.code == 3  # and their locks are stale, each and every one
    assert set(by_name(done.json)) == {"features", "fraud", "churn"}


def test_a_circle_is_refused_before_anything_runs(yard: Yard) -> None:
    file = yard.root / "features" / "lockship.toml"
    file.write_text('depends-on = ["../churn"]\n' + file.read_text())
    done = yard.run("build", "--all", "--json")
    assert done.code == 2
    error = done.json["error"]
    assert "circle: churn → features → churn" in error["message"]
    assert (error["file"], error["line"]) == (str(yard.root / "churn" / "lockship.toml"), 3)
    assert not list(yard.root.glob("*/.lockship"))


def test_a_folder_of_them(yard: Yard) -> None:
    (yard.root / "team").mkdir()
    shutil.copytree(yard.root / "report", yard.root / "team" / "report")
    shutil.rmtree(yard.root / "report")
    done = yard.run("build", "--all", "team")
    assert done.code == 0, done
    assert [line.split()[0] for line in done.out.splitlines()] == ["report"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("build", "--since", "HEAD"), "--affected"),
        (("build", "features"), "--all"),
        (("build", "--all", "-C", "features"), "-C"),
        (("push", "--all", "--repository", "localhost/x"), "--repository"),
        (("release", "--all", "--repository", "localhost/x"), "--repository"),
        (("build", "--all", "nowhere"), "no such folder"),
        (("build", "--all", "--scheduler", "tcp://127.0.0.1:9"), "--push"),
        (("build", "--all", "--platform", "linux/arm64"), "not among the project's platforms"),
        (("build", "--affected", "--since", "nowhere"), "no such commit"),
    ],
)
def test_what_makes_no_sense(yard: Yard, words: tuple[str, ...], expected: str) -> None:
    done = yard.run(*words)
    assert done.code == 2 and expected in done.err, done


def test_interrupted_it_says_what_was_done(yard: Yard) -> None:
    """A pipe at the place of a project's file of code: its build waits for ever."""
    code = yard.root / "fraud" / "code" / "main.py"
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW, "build", "--all"],
        cwd=yard.root, env={**yard.environ, "READY": str(yard.root / "ready")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True,
    )  # fmt: skip
    while not (yard.root / "ready").exists() and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == "" and code.exists()
    assert summary(err.replace("interrupted\n", ""))["features"][1] == "built"
    assert summary(err.replace("interrupted\n", ""))["report"][:2] == ["not", "begun"]
    assert "4 projects: 1 done, 3 not begun" in err
    assert yard.store("features").resolve("1.0") is not None
    assert yard.run("build", "--all").code == 0


# the command line; before the second image is put together it says so and waits
_SLOW = """
import os, sys, time, pathlib
from builder.cli.app import main
from builder.pipeline.many import building
inner = building.build_prepared
def slow(prepared, *arguments, **options):
    if prepared.project.name == "fraud":
        pathlib.Path(os.environ["READY"]).touch()
        time.sleep(60)
    return inner(prepared, *arguments, **options)
building.build_prepared = slow
main()
"""


# registries


def with_registry(yard: Yard, registry: RegistryServer, group: str) -> None:
    """Give each project a repository, and commit that."""
    for name in ORDER:
        yard.append(f"{name}/lockship.toml", f'\n[store]\nrepository = "{registry.host}/{group}/{name}"\n')
    yard.commit()


@pytest.fixture
def group(tmp_path: Path) -> str:
    """A part of the registry of the test's own."""
    return f"many/{abs(hash(str(tmp_path)))}"


def test_all_are_pushed_and_share_layers(yard: Yard, registry: RegistryServer, group: str) -> None:
    with_registry(yard, registry, group)
    done = yard.run("push", "--all", "--json")
    assert done.code == 0, done
    found = by_name(done.json)
    assert list(found) == ORDER
    for name, one in found.items():
        link = f"storage/docker/registry/v2/repositories/{group}/{name}/_manifests/tags/1.0/current/link"
        assert (registry.folder / link).read_text() == one["digest"]
    assert found["features"]["mounted"] == 0
    # its own code, and what is different in the frame; the rest comes from the others
    assert all(found[name]["mounted"] >= 10 and found[name]["sent"] <= 3 for name in ORDER[1:]), found
    again = yard.run("push", "--all")
    assert again.code == 0 and {row[1:3] == ["was", "there"] for row in summary(again.err).values()} == {True}


def test_a_version_that_is_taken_fails_alone(yard: Yard, registry: RegistryServer, group: str) -> None:
    with_registry(yard, registry, group)
    assert yard.run("push", "-C", "fraud").code == 0
    yard.append("fraud/code/main.py", "# more\n")
    done = yard.run("build", "--all", "--push")
    assert done.code == 7
    assert [line.split()[0] for line in done.out.splitlines()] == ["features", "report", "churn"]


def test_all_are_released(yard: Yard, registry: RegistryServer, group: str) -> None:
    with_registry(yard, registry, group)
    done = yard.run("release", "--all", "--allow", "unpushed", "--json")
    assert done.code == 0, done
    found = by_name(done.json)
    assert [one["what"] for one in found.values()] == ["released"] * 4
    shown = yard.run("history", "-C", "churn")
    assert shown.code == 0 and "release" in shown.out
    yard.append("report/code/main.py", "# dirty\n")
    again = yard.run("release", "--affected", "--since", "HEAD", "--allow", "unpushed")
    assert again.code == 7 and again.out == ""
    assert list(summary(again.err)) == ["report"]
    assert "error: report: " in again.err
