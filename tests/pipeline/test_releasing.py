"""`lockship release`: everything in one command, once, and refused when nobody could tell later what it was."""

from __future__ import annotations

import json
import subprocess
import uuid
import zipfile
from pathlib import Path
from typing import Any

import pytest

from builder.errors import ProjectError, RefusedError, StaleLockError, UsageError
from builder.pipeline import lock
from builder.pipeline.releasing import release
from builder.pipeline.targets import opened_target
from builder.registry.artifact import read_artifact
from builder.releases.chronicle import read_journal
from builder.releases.keys import create
from builder.releases.record import read_record
from builder.releases.signing import verify
from tests.support.registry import RegistryServer
from tests.support.world import World

pytestmark = pytest.mark.apt


def git(world: World, *words: str) -> str:
    """Run git in the project."""
    done = subprocess.run(["git", *words], cwd=world.root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(world: World) -> str:
    """Commit everything, and push it."""
    git(world, "add", "-A")
    git(world, "commit", "-q", "-m", "a change")
    git(world, "push", "-q", "-u", "origin", "main")
    return git(world, "rev-parse", "HEAD")


@pytest.fixture(params=["layout", "registry"])
def ready(request: pytest.FixtureRequest, here: World) -> World:
    """A locked project in a git repository with a remote; its releases go to a store of each kind."""
    here.wheel("alpha")
    here.write("code/__init__.py", "")
    here.write(".gitignore", ".lockship/\n")
    rest = "[stages.staging]\n[stages.production]\nafter = 'staging'\n"
    if request.param == "registry":
        server: RegistryServer = request.getfixturevalue("registry")
        rest += f'[store]\nrepository = "{server.host}/releases/{uuid.uuid4().hex[:12]}"\n'
    lock(here.project("alpha\n", image='files = ["code/"]', rest=rest), here.context)
    subprocess.run(["git", "init", "-q", "--bare", str(here.folder / "remote.git")], check=True)
    git(here, "init", "-q")
    git(here, "remote", "add", "origin", str(here.folder / "remote.git"))
    commit(here)
    return here


def journal_of(world: World) -> list[tuple[str, str | None]]:
    """Kinds and versions."""
    with opened_target(None, world.load(), world.context) as target:
        return [(one.event.kind, one.event.version) for one in read_journal(target.store).entries]


def test_a_release_says_what_made_it(ready: World) -> None:
    head = git(ready, "rev-parse", "HEAD")
    made = release(ready.load(), ready.context)
    record = made.record
    assert not made.there
    assert record.git is not None and (record.git.commit, record.git.branch) == (head, "main")
    assert record.by == "Ada Example <ada@example.com>"
    assert set(record.lock) == {"lockship.lock", "requirements.lock"}
    assert {"check", "plan", "build", "verify"} <= record.steps.keys()
    assert set(record.stages) == {"staging", "production"}
    with opened_target(None, ready.load(), ready.context) as target:
        read = read_record(target.store, "1.0")
        assert read is not None and read[0] == record
        page = read_artifact(target.store, "1.0.release", names=("release.md",))
        assert page is not None and f"commit {head} on main" in page.files["release.md"].decode()
        assert target.store.resolve("1.0") == record.digest
        kinds = {one.artifact_type for one in target.store.referrers(record.digest)}
    assert kinds >= {
        "application/vnd.lockship.release.v1", "application/vnd.lockship.lock.v1", "application/vnd.cyclonedx+json",
    }  # fmt: skip
    assert journal_of(ready) == [("release", "1.0")]


def test_again_is_nothing(ready: World) -> None:
    first = release(ready.load(), ready.context)
    second = release(ready.load(), ready.context)
    assert second.there and second.record == first.record
    assert journal_of(ready) == [("release", "1.0")]


def test_other_content_is_another_version(ready: World) -> None:
    release(ready.load(), ready.context)
    ready.write("code/__init__.py", "changed = True\n")
    commit(ready)
    with pytest.raises(RefusedError, match=r"has 1\.0 already"):
        release(ready.load(), ready.context)
    assert journal_of(ready) == [("release", "1.0")]


def test_what_nobody_could_get_again_is_refused(ready: World) -> None:
    ready.write("code/__init__.py", "changed = True\n")
    with pytest.raises(RefusedError, match="differ from the commit"):
        release(ready.load(), ready.context)
    git(ready, "commit", "-qam", "not pushed")
    with pytest.raises(RefusedError, match="no remote has the commit"):
        release(ready.load(), ready.context)
    assert journal_of(ready) == []
    ready.write("code/__init__.py", "changed = 2\n")
    made = release(ready.load(), ready.context, allow=["dirty", "unpushed"])
    assert made.record.git is not None and made.record.git.dirty and not made.record.git.pushed
    assert made.record.allowed == ("dirty", "unpushed")


def test_only_what_is_known_can_be_allowed(ready: World) -> None:
    with pytest.raises(UsageError, match="nothing to allow: everything") as caught:
        release(ready.load(), ready.context, allow=["everything"])
    assert "dirty, unpushed" in str(caught.value.hint)


def test_a_stale_lock_is_not_released(ready: World) -> None:
    ready.write("requirements.in", "alpha==1.0\n")
    commit(ready)
    with pytest.raises(StaleLockError):
        release(ready.load(), ready.context)
    assert journal_of(ready) == []


def test_a_version_may_not_be_a_stage(ready: World) -> None:
    file = ready.root / "lockship.toml"
    file.write_text(file.read_text().replace('version = "1.0"', 'version = "production"', 1))
    commit(ready)
    with pytest.raises(ProjectError, match="is a stage"):
        release(ready.load(), ready.context)


def test_signed_with_the_key_that_the_project_names(ready: World, tmp_path: Path) -> None:
    from builder.releases.keys import generate, read_private

    private, public, _ = create(tmp_path, "cosign", "secret")
    (ready.root / "cosign.pub").write_bytes(public.read_bytes())
    file = ready.root / "lockship.toml"
    file.write_text(file.read_text() + '[signing]\nkey = "cosign.pub"\n')
    commit(ready)
    with pytest.raises(RefusedError, match="no private key"):
        release(ready.load(), ready.context)
    with pytest.raises(RefusedError, match="not that of"):
        release(ready.load(), ready.context, key=generate())
    key = read_private(private, "secret", warn=pytest.fail)
    made = release(ready.load(), ready.context, key=key)
    assert made.record.signing is not None
    with opened_target(None, ready.load(), ready.context) as target:
        verify(target.store, made.record.digest, key.public)
        read = read_record(target.store, "1.0")
        assert read is not None
        verify(target.store, read[1].descriptor.digest, key.public)
    release(ready.load(), ready.context, key=key)


def test_data_and_schema_are_written_down(ready: World) -> None:
    import sqlite3

    with sqlite3.connect(ready.root / "live.db") as database:
        database.execute("create table customers (id integer primary key, age integer not null)")
    ready.write("data/train.csv", "age,label\n31,yes\n47,no\n")
    ready.write(".gitignore", ".lockship/\nlive.db\n")
    file = ready.root / "lockship.toml"
    file.write_text(file.read_text() + '[data]\ntraining = "data/*.csv"\n[database]\nurl = "env:DATABASE_URL"\n')
    commit(ready)
    ready.environ["DATABASE_URL"] = f"sqlite:///{ready.root / 'live.db'}"
    record = release(ready.load(), ready.context).record
    (data,) = record.data
    assert data["name"] == "training" and data["rows"] == 2
    assert record.database is not None
    tables: list[dict[str, Any]] = record.database["tables"]
    assert [table["name"] for table in tables] == ["customers"]

    with sqlite3.connect(ready.root / "live.db") as database:
        database.execute("alter table customers add column city text")
    ready.write("data/train.csv", "age,label\n31,yes\n47,no\n52,no\n")
    file.write_text(file.read_text().replace('version = "1.0"', 'version = "1.1"', 1))
    commit(ready)
    record = release(ready.load(), ready.context).record
    assert record.since == "1.0"
    assert any("customers.city" in line and line.startswith("created") for line in record.changes["database"])
    assert any("train.csv" in line or "training" in line for line in record.changes["data"])
    assert "## Changes of database since 1.0" in ready.run("show", "1.1").out


def test_the_command_line(ready: World) -> None:
    done = ready.run("release", "--json")
    assert done.code == 0, done
    document = done.json
    assert document["schema"] == "dev.lockship.release/v1" and document["release"]["version"] == "1.0"
    refused = ready.run("promote", "1.0", "production", "--yes")
    assert refused.code == 7 and "never healthy in staging" in refused.err
    assert ready.run("promote", "1.0", "staging").code == 2  # nobody is there to be asked
    assert ready.run("promote", "1.0", "staging", "--yes").code == 0
    assert ready.run("promote", "1.0", "production", "--yes").code == 0
    told = ready.run("history", "--json").json
    assert [(one["kind"], one.get("stage")) for one in told["entries"]] == [
        ("release", None), ("promote", "staging"), ("promote", "production"),
    ]  # fmt: skip
    text = ready.run("history", "production")
    assert "promote" in text.out and "production: 1.0" in text.out
    assert json.loads(ready.run("rollback", "production", "--yes", "--json").out)["exit_code"] == 7


def test_what_was_released_is_shown_compared_explained_and_checked(ready: World) -> None:
    assert ready.run("release").code == 0
    shown = ready.run("show", "1.0")
    assert shown.code == 0 and "# demo 1.0" in shown.out and "Runs in: no stage" in shown.out, shown
    good = ready.run("verify", "1.0")
    assert good.code == 0 and "BAD" not in good.err, good
    again = ready.run("verify", "1.0", "--rebuild")
    assert again.code == 0 and "the same digest" in again.err, again
    assert "1 entry, none missing" in ready.run("verify", "--journal").out

    ready.write("code/__init__.py", "changed = True\n")
    ready.write("code/more.py", "")
    file = ready.root / "lockship.toml"
    file.write_text(file.read_text().replace('version = "1.0"', 'version = "1.1"', 1))
    commit(ready)
    told = ready.run("why", "--against", "1.0")
    assert told.code == 0 and "code: " in told.out and "the project's files" in told.out, told
    assert ready.run("release").code == 0
    apart = ready.run("diff", "1.0", "1.1")
    assert apart.code == 0 and "app/code/more.py" in apart.out and "  commit " in apart.out, apart
    told = ready.run("why", "1.1")
    assert told.code == 0 and "it begins with: commit" in told.out and "app/code/more.py" in told.out, told
    stale = ready.run("verify", "1.0", "--rebuild")
    assert stale.code == 6 and "these sources give" in stale.err, stale
    assert ready.run("why", "9.9").code == 5


def test_a_package_is_the_release_in_one_file(ready: World) -> None:
    ready.write("data/train.csv", "age,label\n31,yes\n")
    file = ready.root / "lockship.toml"
    file.write_text(file.read_text() + '[data]\ntraining = "data/*.csv"\n')
    commit(ready)
    assert ready.run("release").code == 0
    where = ready.folder / "out.zip"
    first = ready.run("export", "package", "1.0", "-o", str(where), "--data")
    assert first.code == 0, first
    names = set(zipfile.ZipFile(where).namelist())
    assert {
        "release.json", "data.json", "lock/lockship.lock", "code/app/code/__init__.py", "data/training/data/train.csv",
        "SHA256SUMS",
    } <= names  # fmt: skip
    before = where.read_bytes()
    assert ready.run("export", "package", "1.0", "-o", str(where), "--data").code == 0
    assert where.read_bytes() == before
    assert ready.run("verify", "package", str(where)).code == 0
    subprocess.run(["unzip", "-q", str(where), "-d", str(ready.folder / "out")], check=True)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=ready.folder / "out", check=True)

    where.write_bytes(before.replace(b"31,yes", b"31,not"))
    bad = ready.run("verify", "package", str(where))
    assert bad.code == 6, bad
    ready.write("data/train.csv", "age,label\n32,yes\n")
    moved = ready.run("export", "package", "1.0", "-o", str(ready.folder / "other.zip"), "--data")
    assert moved.code == 7 and "no longer what the release was made from" in moved.err, moved
    assert not (ready.folder / "other.zip").exists()


def test_a_version_that_was_cleaned_up_is_still_what_it_was(ready: World) -> None:
    made = release(ready.load(), ready.context)
    with opened_target(None, ready.load(), ready.context, push=True) as target:
        read = read_record(target.store, "1.0")
        assert read is not None
        target.store.delete(read[1].descriptor.digest)
        target.store.delete(made.record.digest)
        assert target.store.resolve("1.0") is None
    ready.write("code/__init__.py", "changed = True\n")
    head = commit(ready)
    with pytest.raises(RefusedError, match=r"had 1\.0 before it was cleaned up"):
        release(ready.load(), ready.context)
    git(ready, "reset", "-q", "--hard", f"{head}~1")
    assert release(ready.load(), ready.context).record.digest == made.record.digest
