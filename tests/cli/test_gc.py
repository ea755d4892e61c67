"""`lockship gc` as people and scripts meet it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.cli.app import invoke
from builder.pipeline.collecting import plan_collection, policy_of
from builder.pipeline.piling import clean_cache, piles_of, slower_steps
from builder.project import Retention, load_project
from builder.releases.chronicle import append
from builder.releases.events import Event
from builder.releases.holdings import Policy
from tests.support.releases import Yard, layout_yard, stamp

REPOSITORY = Path(__file__).parents[2]
DAY = 86_400


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Yard:
    """Four releases of last year in a folder, the first of them in production."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = layout_yard(tmp_path)
    made.clock.now = time.time() - 300 * DAY
    for number in range(4):
        made.release(f"1.{number}")
    made.promote("1.0")
    return made


def call(yard: Yard, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    code = invoke(["gc", "--repository", yard.target.name, *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_it_shows_and_changes_nothing(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    before = yard.store.tag_names()
    code, out, err = call(yard, capsys, "--keep", "2")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert ["1.1"] in [line[:1] for line in lines]
    assert "production has it" in out and "one of the newest 2" in out
    assert f"lockship gc --apply --repository {yard.target.name}" in err
    assert yard.store.tag_names() == before


def test_the_defaults_keep_all_of_them(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(yard, capsys)
    assert code == 0 and "kept: the newest 10, and all for 90 days (the defaults)" in out
    assert "goes: no release" in out and "nothing to delete" in err


def test_nobody_is_there_to_say_yes(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(yard, capsys, "--keep", "2", "--apply")
    assert code == 2 and "add --yes" in err and "goes:" in err
    assert yard.store.resolve("1.1") is not None


def test_applied_as_a_script_does_it(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(yard, capsys, "--keep", "2", "--apply", "--yes", "--json")
    document = json.loads(out)
    assert code == 0 and document["schema"] == "dev.lockship.gc/v1"
    assert document["applied"] and document["done"]["versions"] == ["1.1"]
    assert document["done"]["bytes_young"] > 0  # made a moment ago: a build might count on them
    assert {one["name"] for one in document["stays"] if one["kind"] == "release"} == {"1.0", "1.2", "1.3"}
    assert yard.store.resolve("1.1") is None and yard.store.resolve("1.2") is not None
    code, out, _ = call(yard, capsys, "--keep", "2", "--json")
    assert json.loads(out)["goes"] == []


def on_a_terminal(words: Sequence[str], answer: bytes) -> int:
    """The exit code of lockship, which finds a terminal where somebody types `answer`."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, "-m", "builder", *words], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environ,
    ) as process:  # fmt: skip
        os.close(theirs)
        os.write(ours, answer)
        _, err = process.communicate()
    os.close(ours)
    assert b"delete 1 release (1.1)?" in err, err
    return process.returncode


def test_on_a_terminal_it_asks(yard: Yard) -> None:
    words = ("gc", "--repository", yard.target.name, "--keep", "2", "--apply")
    assert on_a_terminal(words, b"n\n") == 7
    assert yard.store.resolve("1.1") is not None
    assert on_a_terminal(words, b"y\n") == 0
    assert yard.store.resolve("1.1") is None


def test_a_layout_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["gc", "--repository", f"oci:{tmp_path}"]) == 2
    assert "not an OCI image layout" in capsys.readouterr().err


def test_what_the_project_file_says_counts(yard: Yard, tmp_path: Path) -> None:
    text = 'name = "demo"\nversion = "1.0"\n[image]\nbase = "debian:bookworm"\n[retention]\nkeep = 4\nkeep-days = 9\n'
    (tmp_path / "lockship.toml").write_text(text)
    project = load_project(tmp_path / "lockship.toml")
    assert project.retention == Retention.model_validate({"keep": 4, "keep-days": 9})
    assert policy_of(yard.target, project) == (Policy(4, 9), "[retention] of the project file")
    assert policy_of(yard.target, project, keep_days=1)[0] == Policy(4, 1)


def test_data_that_no_release_names(yard: Yard, tmp_path: Path) -> None:
    data = '[data]\ntraining = "train.csv"\nformer = "old.csv"\n'
    (tmp_path / "lockship.toml").write_text(
        f'name = "demo"\nversion = "1.0"\n[image]\nbase = "debian:bookworm"\n{data}'
    )
    project = load_project(tmp_path / "lockship.toml")
    yard.release("2.0", data=({"name": "training", "digest": "sha256:" + "a" * 64},))
    found = plan_collection(yard.target, Policy(), yard.clock)
    piles = piles_of(yard.target, yard.context.cache, found.facts.journal, found.decision, project, time.time())
    assert piles.unused == ("former",)


def test_what_killed_processes_left(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with cache.writer() as writer:
        writer.write(b"good")
        kept = writer.commit()
    blobs = tmp_path / "cache/blobs/sha256"
    old, young = blobs / ".blob.0123456789ab.tmp", blobs / ".blob.ba9876543210.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    folder = tmp_path / "cache/pythons/.0123456789ab.0123456789ab.tmp"
    folder.mkdir(parents=True)
    (folder / "python").write_bytes(b"x" * 100)
    busy = tmp_path / "cache/pythons/.ba9876543210.0123456789ab.tmp"
    busy.mkdir()
    (busy / "python").write_bytes(b"written right now")
    past = time.time() - 2 * DAY
    for path in (old, folder / "python", folder, busy):
        os.utime(path, (past, past))
    gone = clean_cache(cache, time.time())
    assert (gone.count, gone.size) == (2, 104)
    assert not old.exists() and not folder.exists()
    assert young.exists() and busy.exists() and cache.blob(kept) is not None


@pytest.mark.parametrize(
    ("seconds", "grew"),
    [
        ([10] * 5 + [16] * 5, [("build", 10, 16)]),
        ([10] * 5 + [14] * 5, []),  # not by half
        ([1.0] * 5 + [1.9] * 5, []),  # by less than a second
        ([10] * 5 + [16] * 4, []),  # too few to say
        ([10] * 5 + [16, 16, 16, 10, 900], [("build", 10, 16)]),  # one runaway is none
        ([99] * 5 + [10] * 5 + [16] * 5, [("build", 10, 16)]),
    ],
)
def test_steps_that_got_slower(tmp_path: Path, seconds: list[float], grew: list[tuple[str, float, float]]) -> None:
    yard = layout_yard(tmp_path)
    for number, one in enumerate(seconds):
        notes = {"steps": {"build": one, "push": "unknown", "attest": 0.5}}
        event = Event("release", stamp(yard.clock), "ada", version=f"1.{number}", notes=notes)
        append(yard.store, yard.journal(), event)
    assert [(one.step, one.before, one.now) for one in slower_steps(yard.journal())] == grew
