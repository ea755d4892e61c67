"""What every command keeps: exit codes, one JSON document, stdout for results and stderr for the rest."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.support.world import Finished, World

pytestmark = pytest.mark.apt


@pytest.fixture
def ready(here: World) -> World:
    """A locked project."""
    here.wheel("alpha")
    here.write("code/__init__.py", "")
    here.project("alpha\n", image='files = ["code/"]')
    done = here.run("lock")
    assert done.code == 0, done
    return here


def test_the_way_through(ready: World) -> None:
    """lock, plan, build, verify: results on stdout, the rest on stderr."""
    assert ready.run("lock").out == "nothing to do: the lock fits its inputs\n"
    assert ready.run("lock", "--check").code == 0
    planned = ready.run("plan", "--json").json
    built = ready.run("build")
    assert built.out == planned["digest"] + "\n"
    assert "demo:1.0" in built.err
    again = ready.run("build", "--json").json
    assert (again["digest"], again["written"]) == (planned["digest"], [])
    assert ready.run("verify", "--json").json["digest"] == planned["digest"]


def test_what_changed_is_a_table(ready: World) -> None:
    ready.wheel("alpha", "2.0")
    shown = ready.run("lock", "--upgrade-package", "alpha").out
    assert any(line.split() == ["wheel", "alpha", "1.0", "2.0"] for line in shown.splitlines()), shown
    assert " debs, 1 wheel, " in shown


def test_plan_tells_what_building_would_change(ready: World) -> None:
    ready.run("build")
    ready.write("code/__init__.py", "x = 1\n")
    ready.wheel("alpha", "2.0")
    ready.run("lock", "-P", "alpha")
    shown = ready.run("plan").out
    assert "code/__init__.py" in shown
    assert "1.0 → 2.0" in shown


@pytest.mark.parametrize("command", ["lock", "plan", "build", "verify"])
def test_every_command_finds_the_project_from_below(ready: World, command: str) -> None:
    done = ready.run(command, cwd=ready.root / "code")
    assert done.code == 0, done


def case(name: str, code: int, *words: str) -> object:
    return pytest.param(name, code, words, id=name)


CASES = [
    case("no project", 2, "build", "-C", "../empty"),
    case("no such folder", 2, "build", "-C", "nowhere"),
    case("unknown command", 2, "bulid"),
    case("unknown option", 2, "build", "--fast"),
    case("unknown platform", 2, "build", "--platform", "windows/amd64"),
    case("malformed project", 2, "plan"),
    case("unknown key", 2, "plan"),
    case("not utf-8", 2, "plan"),
    case("check and upgrade", 2, "lock", "--check", "--upgrade"),
    case("no registry to pull from", 2, "pull"),
    case("no version of that name", 5, "load", "9.9"),
    case("not a bundle", 6, "import", "bundle", "lockship.toml"),
    case("no lock", 3, "plan"),
    case("stale lock", 3, "lock", "--check"),
    case("edited lock", 3, "build"),
    case("newer lock", 3, "build"),
    case("no such requirement", 3, "lock"),
    case("conflicting constraints", 3, "lock"),
    case("read-only cache", 5, "lock"),
    case("damaged store", 6, "verify"),
    case("existing project", 7, "init"),
]


def prepare(world: World, name: str) -> None:
    """Put the project into the state that `name` says."""
    toml = world.root / "lockship.toml"
    lock = world.root / "lockship.lock"
    match name:
        case "no project":
            (world.folder / "empty").mkdir()
        case "malformed project":
            toml.write_text("name = \n")
        case "unknown key":
            toml.write_text(toml.read_text().replace("platforms", "platform", 1))
        case "not utf-8":
            toml.write_bytes(b'name = "\xe4"\n')
        case "no lock":
            lock.unlink()
        case "stale lock":
            world.write("requirements.in", "alpha<2\n")
        case "edited lock":
            lock.write_text(lock.read_text().replace("3.11.2", "3.11.9"))
        case "newer lock":
            lock.write_text(lock.read_text().replace("format = 1", "format = 2", 1))
        case "no such requirement":
            world.write("requirements.in", "alpha\nno-such-package-anywhere\n")
        case "conflicting constraints":
            world.wheel("alpha", "2.0")
            world.write("packages.txt", "# the team's list\nalpha==2.0\n")
            world.write("requirements.in", "alpha==1.0\n")
            toml.write_text(toml.read_text().replace("[image]", 'constraints = ["packages.txt"]\n\n[image]', 1))
        case "read-only cache":
            world.environ["LOCKSHIP_CACHE"] = "/proc/lockship"
            world.write("requirements.in", "alpha<2\n")
        case "damaged store":
            world.run("build")
            world.write("code/__init__.py", "changed = True\n")


@pytest.mark.parametrize(("name", "code", "words"), CASES)
def test_exit_codes_and_json_of_failures(ready: World, name: str, code: int, words: tuple[str, ...]) -> None:
    prepare(ready, name)
    plain = ready.run(*words)
    assert plain.code == code, plain
    assert plain.out == ""
    assert plain.err.startswith("error: ") or "\nerror: " in plain.err, plain
    assert "Traceback" not in plain.err
    found = ready.run(*words, "--json")
    assert found.code == code, found
    document = json.loads(found.out)
    assert document["schema"] == "dev.lockship.error/v1"
    assert (document["ok"], document["exit_code"]) == (False, code)
    assert document["error"]["message"]
    assert document["error"]["hint"], "says what to do next"
    assert ready.leftovers() == []


def test_a_conflict_names_both_sides(ready: World) -> None:
    prepare(ready, "conflicting constraints")
    shown = ready.run("lock").err
    assert "requirements.in:1" in shown
    assert "packages.txt:2" in shown


def test_an_unknown_key_is_shown_with_its_line(ready: World) -> None:
    prepare(ready, "unknown key")
    error = ready.run("plan", "--json").json["error"]
    assert error["message"] == "unknown key 'image.platform'"
    assert error["hint"] == "did you mean 'platforms'?"
    lines = (ready.root / "lockship.toml").read_text().splitlines()
    assert lines[error["line"] - 1].startswith("platform ")


@pytest.mark.parametrize(("words", "instead"), [(("load",), "lockship load registry"), (("run",), "run --image reg")])
def test_without_a_project_an_image_can_be_named(ready: World, words: tuple[str, ...], instead: str) -> None:
    prepare(ready, "no project")
    done = ready.run(*words, cwd=ready.folder / "empty")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: there is no project here\n")
    assert instead in done.err


@pytest.mark.parametrize("port", ["99999:80", "80:0", "http", "1:2:3", "-1:2", "\u0664:80", ":"])
def test_a_port_is_a_number_that_ports_have(ready: World, port: str) -> None:
    done = ready.run("run", "-p", port)
    assert done.code == 2, done
    assert "from 1 to 65535" in done.err


def test_no_engine_is_an_error_that_says_how_to_get_one(ready: World) -> None:
    for words in (("load",), ("run", "--", "--help")):
        done = ready.run(*words, environ={"DOCKER_HOST": "unix:///nowhere/docker.sock"})
        assert done.code == 5, done
        assert "/nowhere/docker.sock" in done.err
        assert "start" in done.err


def _ended(stopped: Finished) -> bool:
    """Whether a command that got Ctrl-C ended as it should: done, interrupted, or not yet begun, in Python's words."""
    starting = ("Fatal Python error: init", "Could not import runpy")
    return stopped.code in (0, 130, -2) or (stopped.code == 1 and stopped.err.startswith(starting))


def _is_our_traceback(shown: str) -> bool:
    """Whether `main` had begun: before it, while Python is still starting, the word is Python's."""
    return "Traceback" in shown and ", in main" in shown


@pytest.mark.parametrize("after", [0.05, 0.15, 0.3, 0.8, 1.5, 2.5])
def test_interrupting_a_lock_leaves_nothing_half_written(here: World, after: float) -> None:
    for number in range(30):
        here.wheel(f"package{number}", files={f"package{number}.py": bytes(range(256)) * 2000})
    here.project("".join(f"package{number}\n" for number in range(30)))
    stopped = here.interrupt("lock", after=after)
    assert _ended(stopped), stopped
    assert not _is_our_traceback(stopped.err), stopped
    if stopped.code == 130:
        assert "interrupted" in stopped.err
    assert here.leftovers() == []
    assert (here.root / "lockship.lock").exists() == (here.root / "requirements.lock").exists()
    again = here.run("lock")
    assert again.code == 0, again
    assert here.run("lock", "--check").code == 0


@pytest.mark.parametrize("after", [0.3, 0.6, 1.0])
def test_interrupting_a_build_leaves_no_tag_that_is_not_whole(ready: World, after: float) -> None:
    import shutil

    shutil.rmtree(ready.cache.root)
    stopped = ready.interrupt("build", after=after)
    assert _ended(stopped), stopped
    assert not _is_our_traceback(stopped.err), stopped
    assert ready.leftovers() == []
    # a signal may come just behind the last step: a tag may be there, but only on what is whole (verified below)
    assert ready.store.tags() or stopped.code != 0
    assert ready.run("build").code == 0
    assert ready.run("verify").code == 0


@pytest.mark.parametrize("after", [0.4, 0.8, 1.2])
def test_a_cancelled_job_cleans_up_too(ready: World, after: float) -> None:
    import shutil

    shutil.rmtree(ready.cache.root)
    stopped = ready.interrupt("build", after=after, by=signal.SIGTERM)
    assert stopped.code in (0, 143, -15), stopped
    assert "Traceback" not in stopped.err
    # a signal in the middle of cleaning up may leave a folder of the system's own temporary one
    assert [name for name in ready.leftovers() if not name.startswith("tmp/")] == []
    assert not list(ready.cache.root.glob(".passing.*"))
    assert ready.run("build").code == 0


def test_credentials_reach_no_file_and_no_message(here: World) -> None:
    here.wheel("alpha")
    here.index.login = "somebody:s3cr3t-w0rd"
    here.project("alpha\n")
    environ = {"PIP_INDEX_URL": here.index.with_login("somebody:s3cr3t-w0rd")}
    done = here.run("lock", environ=environ)
    assert done.code == 0, done
    wrong = here.run("lock", "--upgrade", environ={"PIP_INDEX_URL": here.index.with_login("somebody:wr0ng-w0rd")})
    assert wrong.code != 0
    shown = done.out + done.err + wrong.out + wrong.err
    written = [path.read_bytes() for path in here.root.rglob("*") if path.is_file()]
    kept = [path.read_bytes() for path in Path(here.environ["LOCKSHIP_CACHE"]).rglob("*") if path.is_file()]
    for secret in (b"s3cr3t-w0rd", b"wr0ng-w0rd"):
        assert secret not in shown.encode()
        assert not any(secret in data for data in (*written, *kept))


def test_init_then_lock_then_plan(here: World) -> None:
    """What `init` writes works as it stands."""
    here.wheel("alpha")
    here.write("requirements.in", "alpha\n")
    here.write("demo/__main__.py", "print('hello')\n")
    here.write("demo/__init__.py", "")
    (here.root / "lockship.toml").unlink(missing_ok=True)
    done = here.run("init")
    assert done.code == 0, done
    text = (here.root / "lockship.toml").read_text()
    assert "#" in text
    source = f'\n[[image.sources]]\nuri = "{here.debs.uri}"\nkeyring = "keys.gpg"\n'
    head, mark, rest = text.partition("[python]\n")
    (here.root / "lockship.toml").write_text(head + mark + "bytecode = false\n" + rest + source)
    assert here.run("lock").code == 0
    assert here.run("plan").code == 0
