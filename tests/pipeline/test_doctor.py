"""What the doctor finds: each ill has its check, its hint and its exit code; a healthy machine has none."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from builder.cache import Cache
from builder.errors import UsageError
from builder.lock.sources import Repository as AptSource
from builder.network import Network
from builder.pipeline import Context, build, lock
from builder.pipeline.doctor import Check, Clocks, Report, doctor, host
from builder.pipeline.doctor.cache import ABANDONED, survey
from builder.pipeline.doctor.registry import check_certificate, check_transport
from builder.registry.endpoint import PLAIN_HTTP, Endpoint
from builder.registry.probe import Greeting
from tests.support.proxy import Call, Fault, always, answer, at, cut, either, fault_proxy, matching, no_mounts
from tests.support.registry import PASSWORD, USER, RegistryServer, serve_registry, write_login
from tests.support.world import REPOSITORY, Finished, World

pytestmark = pytest.mark.slow

NO_ENGINE = "unix:///nowhere/docker.sock"
NAMES = ["connection", "encryption", "server", "clock", "credentials", "pull", "push", "mounts", "referrers"]


@pytest.fixture
def machine(tmp_path: Path) -> Context:
    """A machine with an empty cache, and without an engine or any credentials."""
    environ = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "DOCKER_HOST": NO_ENGINE}
    environ["GIT_CEILING_DIRECTORIES"] = str(tmp_path)
    return Context(Cache(tmp_path / "cache"), environ)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that is in no project."""
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


def within(context: Context, **more: str) -> Context:
    return Context(context.cache, {**context.environ, **more}, context.progress)


def found(report: Report, name: str) -> Check:
    """The one check of that name."""
    (check,) = (check for check in report.checks if check.name == name)
    return check


def states(report: Report, group: str) -> dict[str, str]:
    return {check.name: check.state for check in report.checks if check.group == group}


def run(context: Context, folder: Path, *words: str, environ: Mapping[str, str] | None = None) -> Finished:
    """The command line, in a process of its own."""
    own = {"LOCKSHIP_CACHE": str(context.cache.root), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-m", "builder", "doctor", *words],
        cwd=folder,
        env={**context.environ, **own, **(environ or {})},
        capture_output=True,
        check=False,
    )
    return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())


# outside of projects


def test_outside_a_project(machine: Context, outside: Path) -> None:
    report = doctor(outside, machine)
    assert report.exit_code == 0
    assert states(report, "project") == {"file": "skipped"}
    assert states(report, "registry") == {"connection": "skipped"}
    assert states(report, "host")["cache"] == "ok"
    assert "--registry" in found(report, "connection").found


def test_a_folder_that_was_named_has_a_project(machine: Context, outside: Path) -> None:
    report = doctor(outside, machine, named=True)
    assert report.exit_code == 2
    assert found(report, "file").state == "failed"
    assert "lockship init" in (found(report, "file").hint or "")
    assert states(report, "host")["cache"] == "ok", "the machine is looked at all the same"


def test_the_command_outside_a_project(machine: Context, outside: Path) -> None:
    done = run(machine, outside)
    assert done.code == 0, done
    assert done.err == ""
    lines = done.out.splitlines()
    assert lines[0].split()[:3] == ["host", "lockship", "ok"]
    assert [line.split()[0] for line in lines if not line.startswith(" ")][-4:-1] == ["host", "project", "registry"]
    assert lines[-1].startswith("nothing failed, ")
    columns = {
        line.index(state) for line in lines[:-1] for state in (" ok ", " warning ", " skipped ") if state in line
    }
    assert len(columns) == 1, done.out


def test_a_registry_that_has_no_such_name(machine: Context, outside: Path) -> None:
    with pytest.raises(UsageError, match="not a repository"):
        doctor(outside, machine, registry="https://registry.example.com/a")
    done = run(machine, outside, "--registry", "https://registry.example.com/a", "--json")
    assert (done.code, done.json["schema"]) == (2, "dev.lockship.error/v1")


def test_json_is_one_document_with_every_check(machine: Context, outside: Path) -> None:
    done = run(machine, outside, "--registry", "127.0.0.1:9/a/b", "--json")
    assert done.code == 5
    document = done.json
    assert document["schema"] == "dev.lockship.doctor/v1"
    assert (document["ok"], document["exit_code"]) == (False, 5)
    assert set(document["checks"][0]) == {"group", "name", "state", "found", "hint", "details"}
    registry = {one["name"]: one for one in document["checks"] if one["group"] == "registry"}
    assert list(registry) == NAMES
    assert registry["connection"]["state"] == "failed"
    assert {one["state"] for name, one in registry.items() if name != "connection"} == {"skipped"}
    assert run(machine, outside, "--json").json["ok"] is True


# the host


def test_no_engine_is_a_warning(machine: Context, outside: Path) -> None:
    check = found(doctor(outside, machine), "docker")
    assert check.state == "warning"
    assert "/nowhere/docker.sock" in check.found
    assert "(DOCKER_HOST)" in check.found
    assert "only load and run need an engine" in (check.hint or "")


def test_an_engine_of_a_context(machine: Context, tmp_path: Path) -> None:
    key = hashlib.sha256(b"far").hexdigest()
    meta = tmp_path / "config/contexts/meta" / key / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": "far", "Endpoints": {"docker": {"Host": "unix:///far/docker.sock"}}}))
    environ = {"PATH": "/usr/bin", "HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path / "config")}
    check = host.check_docker(environ | {"DOCKER_CONTEXT": "far"})
    assert "unix:///far/docker.sock (DOCKER_CONTEXT: far)" in check.found
    (tmp_path / "config/config.json").write_text('{"currentContext": "far"}')
    assert "unix:///far/docker.sock (the current docker context)" in host.check_docker(environ).found
    gone = host.check_docker(environ | {"DOCKER_CONTEXT": "gone"})
    assert (gone.state, "gone" in gone.found) == ("warning", True)


def test_an_engine_on_another_machine(machine: Context) -> None:
    check = host.check_docker({**machine.environ, "DOCKER_HOST": "tcp://ada:s3cr3t@127.0.0.1:9"})
    assert check.state == "warning"
    assert "tcp://127.0.0.1:9" in check.found
    assert "s3cr3t" not in repr(check)


@pytest.mark.engine
def test_an_engine_that_answers(engine: str) -> None:
    check = host.check_docker({**os.environ, "DOCKER_HOST": engine})
    assert check.state == "ok"
    assert check.found.startswith("engine ")
    assert "linux/" in check.found


@pytest.mark.parametrize(
    ("free", "state"), [(50 * 10**9, "ok"), (2 * 10**9, "ok"), (1_999_999_999, "warning"), (99_999_999, "failed")]
)
def test_room_on_the_disk(free: int, state: str) -> None:
    check = host.check_disk(host.Disk(Path("/home"), "cache", free, 10**12))
    assert check.state == state
    assert "1.0 TB" in check.found
    assert (check.hint is None) == (state == "ok")
    assert check.hint is None or ("/home" in check.hint and "LOCKSHIP_CACHE" in check.hint)
    assert check.exit_code == 5


def test_one_disk_is_named_once(tmp_path: Path) -> None:
    (one,) = host.disks({"cache": tmp_path / "not/there/yet", "project's store": tmp_path})
    assert one.holds == "cache and project's store"
    assert one.folder == tmp_path
    assert 0 < one.free <= one.total


def test_uv_is_found(machine: Context) -> None:
    check = host.check_uv(machine.environ)
    assert check.state == "ok"
    assert check.found[0].isdigit()


def test_a_machine_without_git(machine: Context, tmp_path: Path) -> None:
    check = host.check_git(None, {"PATH": str(tmp_path)})
    assert check.state == "warning"
    assert check.hint == "install git"


def test_a_machine_without_apt(tmp_path: Path) -> None:
    check = host.check_apt(None, {"PATH": str(tmp_path)})
    assert check.state == "warning"
    assert check.found == "there is no apt-get"
    assert "need no apt" in (check.hint or "")


def source(signed_by: str = "") -> AptSource:
    return AptSource(("https://ada:s3cr3t@deb.example.com/debian/",), ("bookworm",), ("main",), signed_by)


def test_keys_of_archives(tmp_path: Path) -> None:
    keyring = tmp_path / "keyring.gpg"
    gone = host.missing_keys([source(str(keyring))], ())
    assert gone is not None
    assert "keyring.gpg of https://deb.example.com/debian is not there" in gone[0]
    keyring.write_bytes(b"keys")
    assert host.missing_keys([source(str(keyring)), source("0123456789ABCDEF")], ()) is None
    folder = tmp_path / "trusted.gpg.d"
    folder.mkdir()
    none = host.missing_keys([source()], (tmp_path / "trusted.gpg", folder))
    assert none is not None
    assert "no keys for https://deb.example.com/debian" in none[0]
    (folder / "debian.asc").write_bytes(b"keys")
    assert host.missing_keys([source()], (tmp_path / "trusted.gpg", folder)) is None


# the cache


def put(cache: Cache, data: bytes) -> Path:
    with cache.writer() as writer:
        writer.write(data)
        path = cache.blob(writer.commit())
    assert path is not None
    return path


def test_what_is_in_the_cache(machine: Context, outside: Path) -> None:
    put(machine.cache, b"x" * 1000)
    put(machine.cache, b"y" * 2000)
    check = found(doctor(outside, machine), "cache")
    assert check.state == "ok"
    assert check.found == f"{machine.cache.root}: 2 blobs, 3.0 kB in all"


def test_a_cache_that_cannot_be_written(machine: Context, outside: Path) -> None:
    machine.cache.root.write_text("a file in the way")
    report = doctor(outside, machine)
    check = found(report, "cache")
    assert (check.state, report.exit_code) == ("failed", 5)
    assert str(machine.cache.root) in check.found
    assert "LOCKSHIP_CACHE" in (check.hint or "")


def test_what_killed_runs_left_behind(machine: Context, outside: Path) -> None:
    cache = machine.cache
    put(cache, b"whole")
    tree = cache.root / "pythons" / ("a" * 64)
    tree.mkdir(parents=True)
    (tree / ".aaaaaaaaaaaa.txt").write_text("part of a tree, and not temporary")
    half = cache.root / "blobs/sha256/.blob.x1.tmp"
    half.write_bytes(b"1" * 100)
    folder = cache.root / ".passing.x2.tmp"
    folder.mkdir()
    (folder / "inner").write_bytes(b"2" * 200)
    unpacked = cache.root / "pythons/.bbbbbbbbbbbb.x3"
    unpacked.mkdir()
    (unpacked / "file").write_bytes(b"3" * 300)
    uv = cache.root / "uv/.lock"
    uv.parent.mkdir()
    uv.write_bytes(b"of another program")
    (cache.root / "uv/.tmpabcdefghi.x").write_bytes(b"of another program, too")
    now = time.time()
    assert survey(cache, now).left == (), "their runs may be alive"
    report = doctor(outside, machine, clocks=Clocks(wall=lambda: now + ABANDONED + 10))
    check = found(report, "leftovers")
    assert (check.state, report.exit_code) == ("warning", 0)
    assert check.found == f"3 temporary files of killed runs in {cache.root}: 600 B"
    assert set(check.details) == {str(half), str(folder), str(unpacked)}
    # what the hint says is right
    subprocess.run(["sh", "-c", (check.hint or "").partition(": ")[2]], check=True)
    assert survey(cache, now + 2 * ABANDONED).left == ()
    assert len(survey(cache, now).blobs) == 1
    assert (tree / ".aaaaaaaaaaaa.txt").exists()


def test_entries_that_nobody_can_use(machine: Context, outside: Path) -> None:
    cache = machine.cache
    put(cache, b"whole")
    (cache.root / "blobs/sha256/notes.txt").write_text("mine")
    cache.put_record("b" * 64, {"fine": True})
    (cache.root / "keys" / ("c" * 64)).write_text("{")
    check = found(doctor(outside, machine), "cache entries")
    assert check.state == "warning"
    assert check.found.startswith("2 entries of the cache can't be used: ")
    assert [Path(line.partition(": ")[0]).name for line in check.details] == ["notes.txt", "c" * 64]


def test_a_damaged_blob_is_found_by_looking_deep(machine: Context, outside: Path) -> None:
    whole = put(machine.cache, b"whole")
    wrong = put(machine.cache, b"to be damaged")
    wrong.chmod(0o644)
    wrong.write_bytes(b"to be DAMAGED")
    assert doctor(outside, machine).exit_code == 0, "nobody looked"
    report = doctor(outside, machine, deep=True)
    check = found(report, "cache bytes")
    assert (check.state, report.exit_code) == ("failed", 5)
    assert check.found == f"1 of 2 blobs damaged: {wrong.name[:12]}"
    assert check.details == (str(wrong),)
    assert wrong.exists(), "looking changes nothing"
    done = run(machine, outside, "--deep")
    assert done.code == 5
    assert f"rm -f {wrong}" in done.out
    subprocess.run(["sh", "-c", (check.hint or "").rpartition(": ")[2]], check=True)
    assert (wrong.exists(), whole.exists()) == (False, True)
    assert doctor(outside, machine, deep=True).exit_code == 0


def test_many_damaged_blobs(machine: Context, outside: Path) -> None:
    for number in range(5):
        path = put(machine.cache, b"whole %d" % number)
        path.chmod(0o644)
        path.write_bytes(b"broken")
    check = found(doctor(outside, machine, deep=True), "cache bytes")
    assert check.found.startswith("5 of 5 blobs damaged: ")
    assert check.found.endswith(" and 2 more")
    assert len(check.details) == 5
    first, second = (check.hint or "").splitlines()
    assert first.count(str(machine.cache.root)) == 3
    assert second == "and so on: --json lists all 5"
    shown = run(machine, outside, "--deep").out
    assert any(line.strip() == second for line in shown.splitlines())


# the project


def write_project(folder: Path, version: str = '"1.0"', base: str = "debian:bookworm", store: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    text = f'name = "demo"\nversion = {version}\n[image]\nbase = "{base}"\n[store]\n{store}\n'
    (folder / "lockship.toml").write_text(text)
    return folder


def test_a_project_file_that_is_wrong(machine: Context, outside: Path) -> None:
    write_project(outside, store='repositroy = "registry.example.com/a"')
    report = doctor(outside, machine)
    check = found(report, "file")
    assert (check.state, report.exit_code) == ("failed", 2)
    assert "lockship.toml:6" in check.found
    assert "'repository'" in (check.hint or "")
    assert states(report, "project") == {"file": "failed"}
    assert found(report, "connection").found == "the project's file says which"


def test_a_project_without_a_lock_or_a_registry(machine: Context, outside: Path) -> None:
    write_project(outside)
    report = doctor(outside, machine)
    assert report.exit_code == 3
    assert states(report, "project") == {"file": "ok", "lock": "failed", "store": "ok"}
    assert found(report, "lock").hint == "run `lockship lock`"
    assert "nothing was built yet" in found(report, "store").found
    assert found(report, "connection").state == "skipped"


def test_the_gravest_failure_does_not_hide_the_first_to_be_mended(machine: Context, outside: Path) -> None:
    write_project(outside, store='repository = "127.0.0.1:9/a/b"')
    report = doctor(outside, machine)
    assert {check.exit_code for check in report.checks if check.state == "failed"} == {3, 5}
    assert report.exit_code == 3


@pytest.mark.apt
def test_a_project_that_is_ready(here: World, registry: RegistryServer) -> None:
    here.wheel("alpha")
    repository = f"{registry.host}/doctor/ready"
    lock(here.project("alpha\n", rest=f'[store]\nrepository = "{repository}"\n'), here.context)
    build(here.load(), here.context)
    done = here.run("doctor", "--json", environ={"DOCKER_HOST": NO_ENGINE})
    assert done.code == 0, done
    checks = {one["name"]: one for one in done.json["checks"]}
    odd = {name: one["state"] for name, one in checks.items() if one["state"] != "ok"}
    assert odd == {"docker": "warning", "git": "warning", "mounts": "skipped"}, done.out
    assert checks["lock"]["found"].startswith("fits its inputs: linux/amd64 ")
    assert checks["store"]["found"].endswith(": 1 tag (1.0), all whole")
    assert checks["apt"]["found"] == f"bookworm from {here.debs.uri}"
    assert "is in no git repository" in checks["git"]["found"]
    deep = here.run("doctor", "--deep", "--json", environ={"DOCKER_HOST": NO_ENGINE}).json["checks"]
    assert {one["state"] for one in deep if one["name"] in ("cache bytes", "store bytes")} == {"ok"}


@pytest.mark.apt
def test_a_stale_lock(here: World) -> None:
    here.wheel("alpha")
    lock(here.project("alpha\n"), here.context)
    here.write("requirements.in", "alpha<2\n")
    done = here.run("doctor")
    assert done.code == 3, done
    assert "the lock is stale: requirements.in changed" in done.out
    assert "run `lockship lock`" in done.out
    assert done.out.splitlines()[-1].startswith("1 failed")


@pytest.mark.apt
def test_a_store_with_a_hole(here: World) -> None:
    here.wheel("alpha")
    lock(here.project("alpha\n"), here.context)
    layer = build(here.load(), here.context).plan.images[0].layers[0]
    path = here.store.path(layer.digest)
    assert path is not None
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[::-1])
    report = doctor(here.root, here.context)
    assert found(report, "store").state == "ok", "bytes are not read"
    deep = doctor(here.root, here.context, deep=True)
    assert (found(deep, "store bytes").state, deep.exit_code) == ("failed", 5)
    assert found(deep, "cache bytes").state == "ok"
    path.unlink()
    report = doctor(here.root, here.context)
    assert found(report, "store").state == "failed"
    assert layer.digest in found(report, "store").found
    (here.root / ".lockship/store/index.json").write_text("{")
    assert "index.json is damaged" in found(doctor(here.root, here.context), "store").found


@pytest.mark.apt
def test_apt_sources(here: World) -> None:
    project = here.project()
    assert host.check_apt(project, here.environ).state == "ok"
    (here.root / "keys.gpg").unlink()
    check = host.check_apt(project, here.environ)
    assert (check.state, check.exit_code) == ("failed", 2)
    assert "keys.gpg" in check.found
    toml = here.root / "lockship.toml"
    toml.write_text(toml.read_text().replace("debian:bookworm", "registry.example.com/base:1"))
    check = host.check_apt(here.load(), here.environ)
    assert (check.state, check.found) == ("skipped", "not needed: the base is registry.example.com/base:1")


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def test_git_checkouts(machine: Context, tmp_path: Path) -> None:
    environ = {**os.environ, **machine.environ}
    folder = write_project(tmp_path / "project", version="{ git = true }")
    project = doctor_project(folder)
    check = host.check_git(project, environ)
    assert (check.state, check.exit_code) == ("failed", 2)
    assert "not a git repository" in check.found
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    assert "no tag leads to this commit" in host.check_git(project, environ).found
    git(folder, "tag", "v1.2.0")
    check = host.check_git(project, environ)
    assert check.state == "ok"
    assert check.found.startswith("main at ")
    assert check.found.endswith("; version 1.2.0, clean")
    (folder / "new.txt").write_text("not committed")
    check = host.check_git(project, environ)
    assert check.state == "warning"
    assert "not committed" in check.found
    git(folder, "add", ".")
    git(folder, "commit", "-m", "second")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--depth=1", "--no-tags", f"file://{folder}", str(clone))
    check = host.check_git(doctor_project(clone), environ)
    assert (check.state, check.exit_code) == ("failed", 2)
    assert "shallow clone" in check.found
    assert "fetch-depth: 0" in (check.hint or "")


def doctor_project(folder: Path) -> Any:
    from builder.project import load_project

    return load_project(folder / "lockship.toml")


# registries


def test_a_registry_for_anybody(machine: Context, outside: Path, registry: RegistryServer) -> None:
    report = doctor(outside, machine, registry=f"{registry.host}/doctor/open")
    assert report.exit_code == 0
    assert states(report, "registry") == dict.fromkeys(NAMES, "ok") | {"mounts": "skipped"}
    assert found(report, "credentials").found == "none: anonymous; the registry asks for none"
    assert found(report, "encryption").found == "plain HTTP, which never leaves this machine"
    assert "under a tag" in found(report, "referrers").found
    assert found(report, "mounts").found.startswith("unknown")


@pytest.fixture(params=["basic", "token"])
def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RegistryServer]:
    with serve_registry(tmp_path / "registry", request.param) as server:
        yield server


def test_the_credentials_that_are_used(machine: Context, outside: Path, guarded: RegistryServer) -> None:
    name = f"{guarded.host}/a/b"
    report = doctor(outside, within(machine, **guarded.environ()), registry=name)
    assert report.exit_code == 0
    assert found(report, "credentials").found == f"from {guarded.authfile}"
    given = {"LOCKSHIP_REGISTRY_USERNAME": USER, "LOCKSHIP_REGISTRY_PASSWORD": PASSWORD}
    report = doctor(outside, within(machine, **given), registry=name)
    assert report.exit_code == 0
    assert found(report, "credentials").found == "from LOCKSHIP_REGISTRY_USERNAME"


def test_a_wrong_password(machine: Context, outside: Path, guarded: RegistryServer) -> None:
    write_login(guarded.docker_config, guarded.host, USER, "not-the-word")
    report = doctor(outside, within(machine, **guarded.environ()), registry=f"{guarded.host}/a/b")
    assert report.exit_code == 5
    wrong = {name: state for name, state in states(report, "registry").items() if state != "ok"}
    assert wrong == {"pull": "failed", "push": "failed", "mounts": "skipped", "referrers": "skipped"}
    for name in ("pull", "push"):
        assert str(guarded.authfile) in (found(report, name).hint or "")
    assert "not-the-word" not in repr(report)


def test_nobody_has_logged_in(machine: Context, outside: Path, guarded: RegistryServer) -> None:
    report = doctor(outside, machine, registry=f"{guarded.host}/a/b")
    assert found(report, "credentials").found == "none: anonymous"
    assert found(report, "pull").state == "failed"
    assert f"docker login {guarded.host}" in (found(report, "pull").hint or "")


def test_a_token_that_is_for_reading_only(machine: Context, outside: Path, tmp_path: Path) -> None:
    with serve_registry(tmp_path / "registry", "token") as server:
        assert server.tokens is not None
        server.tokens.allowed = lambda user, repository, actions: actions & {"pull"}
        report = doctor(outside, within(machine, **server.environ()), registry=f"{server.host}/a/b")
    assert report.exit_code == 5
    assert (found(report, "pull").state, found(report, "push").state) == ("ok", "failed")
    assert "may they pull and push there" in (found(report, "push").hint or "")
    assert found(report, "mounts").found == "needs leave to push"


def test_credentials_that_cannot_be_read(machine: Context, outside: Path, guarded: RegistryServer) -> None:
    guarded.authfile.write_text("{")
    report = doctor(outside, within(machine, **guarded.environ()), registry=f"{guarded.host}/a/b")
    check = found(report, "credentials")
    assert (check.state, report.exit_code) == ("failed", 5)
    assert str(guarded.authfile) in check.found
    assert found(report, "pull").state == "skipped"


def test_a_registry_that_is_down(machine: Context, outside: Path) -> None:
    report = doctor(outside, machine, registry="127.0.0.1:9/a/b")
    assert report.exit_code == 5
    assert "connection refused" in found(report, "connection").found
    assert list(states(report, "registry").values()) == ["failed"] + ["skipped"] * (len(NAMES) - 1)


def test_a_name_that_nobody_knows(machine: Context, outside: Path) -> None:
    report = doctor(outside, machine, registry="registry.invalid/a/b")
    assert "nobody knows the name registry.invalid" in found(report, "connection").found


def test_something_else_than_a_registry(machine: Context, outside: Path, registry: RegistryServer) -> None:
    headers = {"Content-Type": "text/html", "Docker-Distribution-Api-Version": None}
    page = always(Fault(status=200, headers=headers, body=b"<html>Welcome!</html>"))
    with fault_proxy(registry.host, page) as proxy:
        report = doctor(outside, machine, registry=f"{proxy.host}/a/b")
    check = found(report, "server")
    assert (check.state, report.exit_code) == ("failed", 5)
    assert "(200, text/html)" in check.found
    assert "web page" in (check.hint or "")
    assert found(report, "pull").state == "skipped"


def test_a_private_ca(machine: Context, outside: Path, tmp_path: Path) -> None:
    with serve_registry(tmp_path / "registry", tls=True) as server:
        report = doctor(outside, machine, registry=f"{server.host}/a/b")
        check = found(report, "encryption")
        assert (check.state, report.exit_code) == ("failed", 5)
        assert "SSL_CERT_FILE" in (check.hint or "")
        assert found(report, "pull").state == "skipped"
        trusted = doctor(outside, within(machine, **server.environ()), registry=f"{server.host}/a/b")
    assert trusted.exit_code == 0
    assert found(trusted, "encryption").found.startswith("TLS 1.")


def test_what_a_registry_lacks_or_has(machine: Context, outside: Path, registry: RegistryServer) -> None:
    push_image(registry, "doctor/abilities")
    faults = either(no_mounts(), matching("POST", "uploads", Fault(headers={"OCI-Chunk-Min-Length": "5000000"})))
    with fault_proxy(registry.host, faults, referrers=True) as proxy:
        report = doctor(outside, machine, registry=f"{proxy.host}/doctor/abilities")
    assert report.exit_code == 0
    assert found(report, "mounts").state == "warning"
    assert "202 Accepted" in found(report, "mounts").found
    assert found(report, "referrers").found == "the registry lists them"
    assert "parts of 5.0 MB at least" in found(report, "push").found
    assert found(report, "pull").found.endswith(": can be read, 1 tag")
    report = doctor(outside, machine, registry=f"{registry.host}/doctor/abilities")
    assert found(report, "mounts").found == "supported: tried with a blob of doctor/abilities"


@pytest.mark.parametrize(("ahead", "state"), [(0, "ok"), (50, "ok"), (90, "warning"), (-3600, "warning")])
def test_clocks(machine: Context, outside: Path, registry: RegistryServer, ahead: int, state: str) -> None:
    fault = Fault(headers={"Date": formatdate(time.time() + ahead, usegmt=True)})
    with fault_proxy(registry.host, always(fault)) as proxy:
        report = doctor(outside, machine, registry=f"{proxy.host}/a/b")
    check = found(report, "clock")
    assert (check.state, report.exit_code) == (state, 0)
    if state == "warning":
        assert ("behind" in check.found) == (ahead > 0)
        assert "set the clock" in (check.hint or "")


def test_repositories_that_share_layers(machine: Context, outside: Path, registry: RegistryServer) -> None:
    push_image(registry, "doctor/first")
    push_image(registry, "doctor/second")
    shared = f'shared = ["{registry.host}/doctor/second", "{registry.host}/doctor/none"]'
    write_project(outside, store=f'repository = "{registry.host}/doctor/first"\n{shared}')
    report = doctor(outside, machine)
    one, other = (check for check in report.checks if check.name == "shared")
    assert (one.state, one.found) == ("ok", f"{registry.host}/doctor/second: can be read, 1 tag")
    assert (other.state, other.hint) == ("warning", "is its name in [store] shared right?")
    assert found(report, "mounts").found == "supported: tried with a blob of doctor/second"


def test_shared_repositories_are_on_the_same_registry(
    machine: Context, outside: Path, registry: RegistryServer
) -> None:
    shared = 'shared = ["elsewhere.example.com/a"]'
    write_project(outside, store=f'repository = "{registry.host}/doctor/alone"\n{shared}')
    report = doctor(outside, machine)
    check = found(report, "shared")
    assert (check.state, check.exit_code) == ("failed", 2)
    assert found(report, "push").state == "ok"
    other = doctor(outside, machine, registry=f"{registry.host}/doctor/other")
    assert "shared" not in states(other, "registry"), "those of the project are not of that registry"


def test_a_project_that_is_looked_at_with_another_registry(
    machine: Context, outside: Path, registry: RegistryServer
) -> None:
    write_project(outside, store='repository = "127.0.0.1:9/a/b"')
    report = doctor(outside, machine, registry=f"{registry.host}/doctor/other")
    assert states(report, "registry") == dict.fromkeys(NAMES, "ok") | {"mounts": "skipped"}


def test_the_registry_of_the_base(machine: Context, outside: Path, guarded: RegistryServer) -> None:
    base = f"{guarded.host}/bases/python:1"
    write_project(outside, base=base, store='repository = "127.0.0.1:9/a/b"')
    login = within(machine, **guarded.environ())
    check = found(doctor(outside, login), "base")
    assert (check.state, check.found) == ("warning", f"{base} is not there")
    assert "only locking" in (check.hint or "")
    push_image(guarded, "bases/python")
    check = found(doctor(outside, login), "base")
    assert check.state == "ok"
    assert "can be read: sha256:" in check.found
    # the password of the project's own registry is not for this one
    given = {"LOCKSHIP_REGISTRY_USERNAME": USER, "LOCKSHIP_REGISTRY_PASSWORD": PASSWORD}
    check = found(doctor(outside, within(machine, **given)), "base")
    assert check.state == "warning"
    assert PASSWORD not in repr(check)
    assert f"LOCKSHIP_REGISTRY={guarded.host}" in (check.hint or "")
    given["LOCKSHIP_REGISTRY"] = guarded.host
    assert found(doctor(outside, within(machine, **given)), "base").state == "ok"
    pinned = write_project(outside, base=f"{guarded.host}/bases/python@sha256:{'0' * 64}")
    assert found(doctor(pinned, login), "base").found.endswith("is not there")


def test_a_base_that_nobody_serves(machine: Context, outside: Path) -> None:
    write_project(outside, base="127.0.0.1:9/bases/python:1")
    check = found(doctor(outside, machine), "base")
    assert check.state == "warning"
    assert "connection refused" in check.found


def test_plain_http_that_nobody_allowed(machine: Context, outside: Path, registry: RegistryServer) -> None:
    # another way to write 127.0.0.1, which doesn't look like this machine
    name = registry.host.replace("127.0.0.1", "127.1")
    report = doctor(outside, machine, registry=f"{name}/a/b")
    check = found(report, "encryption")
    assert (check.state, report.exit_code) == ("failed", 5)
    assert "does not speak TLS" in check.found
    assert f'plain-http = ["{name}"]' in (check.hint or "")
    allowed = within(machine, LOCKSHIP_PLAIN_HTTP=name)
    check = found(doctor(outside, allowed, registry=f"{name}/a/b"), "encryption")
    assert (check.state, check.found) == ("warning", "plain HTTP, allowed by LOCKSHIP_PLAIN_HTTP")


@pytest.mark.slow
def test_whatever_breaks_there_is_a_report(machine: Context, outside: Path, registry: RegistryServer) -> None:
    push_image(registry, "doctor/broken")
    with fault_proxy(registry.host) as proxy:
        name = f"{proxy.host}/doctor/broken"
        assert doctor(outside, machine, registry=name).exit_code == 0
        requests = len(proxy.log)
        assert requests > 6
        for number in range(requests):
            proxy.clear()
            proxy.faults = at(number, cut("sent"))
            report = doctor(outside, machine, registry=name)
            assert list(states(report, "registry")) == NAMES
            assert report.exit_code == 0, "asked once more"
        for fault in (
            cut("before"),
            cut("down"),
            answer(500),
            answer(200, {}, b"[[]]"),
            answer(301, {"Location": "/"}),
        ):
            proxy.faults = matching("GET POST HEAD", "doctor/broken", fault)
            report = doctor(outside, machine, registry=name)
            assert list(states(report, "registry")) == NAMES
            assert report.exit_code == 5


def test_variables_that_contradict_each_other(machine: Context, outside: Path, guarded: RegistryServer) -> None:
    given = within(machine, LOCKSHIP_REGISTRY_USERNAME=USER)
    report = doctor(outside, given, registry=f"{guarded.host}/a/b")
    check = found(report, "credentials")
    assert (check.state, report.exit_code) == ("failed", 5)
    assert "LOCKSHIP_REGISTRY_PASSWORD is empty or missing" in check.found


GREETING = Greeting("http://registry.lab:5000", 200, "application/json", True)


def test_who_allowed_plain_http() -> None:
    endpoint = Endpoint("registry.lab:5000", ("registry.lab:5000",))
    named = check_transport(GREETING, endpoint, ("registry.lab:5000",))
    assert (named.state, named.found) == ("warning", "plain HTTP, allowed by plain-http in [store]")
    assert check_transport(GREETING, endpoint, ()).found == f"plain HTTP, allowed by {PLAIN_HTTP}"


def test_a_certificate_that_ends_soon() -> None:
    greeting = Greeting("https://r.example.com", 200, "", True, tls="TLSv1.3", until=1_700_000_000.0)
    check = check_certificate(greeting, 1_700_000_000.0 - 5 * 86400)
    assert check is not None
    assert "2023-11-14" in check.found
    assert check_certificate(greeting, 1_700_000_000.0 - 50 * 86400) is None


def test_a_proxy_that_does_not_answer(machine: Context, outside: Path) -> None:
    behind = within(machine, HTTPS_PROXY="http://ada:pr0xy-w0rd@127.0.0.1:9")
    report = doctor(outside, behind, registry="registry.example.com/a/b")
    assert "the proxy 127.0.0.1:9: connection refused" in found(report, "connection").found
    assert "pr0xy-w0rd" not in repr(report)


def test_no_secret_is_ever_shown(machine: Context, outside: Path, tmp_path: Path) -> None:
    """Whatever goes right or wrong: passwords, tokens and what they are encoded as stay out of every output."""
    import base64

    encoded = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    shown = ""
    with serve_registry(tmp_path / "registry", "token") as server:
        tokens = server.tokens
        assert tokens is not None
        reflecting = Fault(
            status=403, headers={"Content-Type": "application/json"}, body=_reflection(PASSWORD, encoded)
        )
        push_image(server, "a/b")
        some = matching("POST GET", "uploads|tags", reflecting)
        mounting = matching("POST", "mount=", reflecting)
        for faults in (None, always(reflecting), some, mounting, _mirror):
            with fault_proxy(server.host, faults) as proxy:
                write_login(server.docker_config, proxy.host, USER, PASSWORD)
                name = f"{proxy.host}/a/b"
                shown += repr(doctor(outside, within(machine, **server.environ()), registry=name))
                if faults is _mirror:
                    done = run(machine, outside, "--registry", name, "--json", environ=server.environ())
                    assert done.code == 5
                    shown += done.out + done.err
        issued = list(tokens.issued)
    assert issued, "tokens were asked for"
    assert "403" in shown
    for secret in (PASSWORD, encoded, *issued):
        assert secret not in shown
        assert secret[:30] not in shown, "not even its beginning"


def _mirror(call: Call) -> Fault | None:
    """A registry that says what it was shown."""
    header = call.headers.get("authorization", "")
    return answer(403, {"Content-Type": "application/json"}, _reflection(header)) if header else None


def _reflection(*secrets: str) -> bytes:
    """A registry that says what it was told."""
    return json.dumps({"errors": [{"code": "DENIED", "message": f"you sent {one}"} for one in secrets]}).encode()


def push_image(server: RegistryServer, name: str) -> None:
    """An image, tagged 1."""
    from builder.registry.client import Registry
    from builder.registry.credentials import find_credential
    from builder.registry.reference import Repository
    from tests.support.images import small_image

    repository = Repository(server.host, name)
    with Registry(repository, Network(), lambda: find_credential(repository, server.environ()), push=True) as store:
        image = small_image(store, "doctor")
        store.put_manifest(image.descriptor, image.data, tag="1")
