"""Secrets stay where they were found: after every command everything that it said and wrote is searched for them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from builder.pipeline import lock
from tests.support.apt_repository import Key
from tests.support.proxy import Fault, Faults, answer, fault_proxy
from tests.support.registry import PASSWORD, USER, RegistryServer, serve_registry
from tests.support.world import Finished, World, world

pytestmark = [pytest.mark.apt, pytest.mark.slow]

IDENTITY = "identity-token-of-ada-0123456789"
BEARER = "bearer-token-of-ada-0123456789"
LOGIN = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
SECRETS = {
    PASSWORD,
    LOGIN,
    LOGIN.rstrip("="),
    base64.b64encode(PASSWORD.encode()).decode().rstrip("="),
    quote(PASSWORD, safe=""),
    quote(PASSWORD),
    quote_plus(PASSWORD),
    json.dumps(PASSWORD)[1:-1],
    repr(PASSWORD)[1:-1],
    IDENTITY,
    BEARER,
}

PUSH, PULL, DOCTOR = ("push", "--json"), ("pull", "--to", "pulled", "{}:1.0"), ("doctor", "--json")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, archive_key: Key) -> Iterator[World]:
    """A locked project, with an empty cache and a home of its own."""
    with world(tmp_path_factory.mktemp("secrets"), archive_key) as here:
        home = here.folder / "home"
        home.mkdir()
        here.environ |= {"HOME": str(home), "DOCKER_HOST": "unix:///nowhere/docker.sock"}
        here.wheel("alpha")
        here.write("code/__init__.py", "")
        lock(here.project("alpha\n", image='files = ["code/"]'), here.context)
        yield here


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, RegistryServer]]:
    """A registry with passwords, and one with tokens, which knows an identity token, too."""
    with ExitStack() as stack:
        basic = stack.enter_context(serve_registry(tmp_path_factory.mktemp("basic"), "basic"))
        token = stack.enter_context(serve_registry(tmp_path_factory.mktemp("token"), "token"))
        assert token.tokens is not None
        token.tokens.identities[IDENTITY] = USER
        yield {"basic": basic, "token": token}


def in_config(folder: Path, host: str) -> dict[str, str]:
    return _config(folder, {"auths": {host: {"auth": LOGIN}}})


def in_config_spelt_out(folder: Path, host: str) -> dict[str, str]:
    return _config(folder, {"auths": {host: {"username": USER, "password": PASSWORD}}})


def in_the_environment(folder: Path, host: str) -> dict[str, str]:
    return {"LOCKSHIP_REGISTRY_USERNAME": USER, "LOCKSHIP_REGISTRY_PASSWORD": PASSWORD}


def in_gitlabs_variable(folder: Path, host: str) -> dict[str, str]:
    return {"DOCKER_AUTH_CONFIG": json.dumps({"auths": {host: {"auth": LOGIN}}})}


def a_bearer_token(folder: Path, host: str) -> dict[str, str]:
    return {"LOCKSHIP_REGISTRY_TOKEN": BEARER}


def an_identity_token(folder: Path, host: str) -> dict[str, str]:
    return _config(folder, {"auths": {host: {"identitytoken": IDENTITY}}})


def a_helper(folder: Path, host: str) -> dict[str, str]:
    return _helper(folder, host, f"echo '{json.dumps({'Username': USER, 'Secret': PASSWORD})}'")


def a_helper_that_fails(folder: Path, host: str) -> dict[str, str]:
    return _helper(folder, host, f"echo 'not for {PASSWORD}' >&2; exit 3")


def a_helper_that_babbles(folder: Path, host: str) -> dict[str, str]:
    return _helper(folder, host, f"echo 'Username: {USER}, Secret: {PASSWORD}'")


def damaged(folder: Path, host: str) -> dict[str, str]:
    found = in_config(folder, host)
    (folder / "config.json").write_text(f'{{"auths": {{"{host}": {{"auth": "{LOGIN}", "password": "{PASSWORD}')
    return found


def not_base64(folder: Path, host: str) -> dict[str, str]:
    return _config(folder, {"auths": {host: {"auth": f"{USER}:{PASSWORD}"}}})


def _config(folder: Path, document: object) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(document))
    return {"DOCKER_CONFIG": str(folder)}


def _helper(folder: Path, host: str, script: str) -> dict[str, str]:
    found = _config(folder, {"credHelpers": {host: "tests"}})
    program = folder / "docker-credential-tests"
    program.write_text(f"#!/bin/sh\ncat >/dev/null\n{script}\n")
    program.chmod(0o755)
    return found | {"PATH": f"{folder}:{os.environ['PATH']}"}


Source = Callable[[Path, str], dict[str, str]]
GOOD: tuple[Source, ...] = (in_config, in_config_spelt_out, in_the_environment, in_gitlabs_variable, a_helper)
BAD: tuple[Source, ...] = (a_helper_that_fails, a_helper_that_babbles, damaged, not_base64)


def point_to(project: World, repository: str) -> None:
    """Let `repository` be the project's."""
    before = (project.root / "lockship.toml").read_text().partition("[store]")[0]
    project.write("lockship.toml", f'{before}[store]\nrepository = "{repository}"\n')


def search(project: World, done: Finished, more: set[str] | None = None) -> None:
    """Fail where a secret stands in what a command said, or in any file of the project, the cache, home and tmp."""
    wanted = {secret.encode() for secret in SECRETS | (more or set())}
    said = (done.out + done.err).encode("utf-8", "surrogateescape")
    assert not [secret for secret in wanted if secret in said], done
    for path in project.folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            assert not [secret for secret in wanted if secret in data], path
    assert not [secret for secret in wanted if any(secret in str(p).encode() for p in project.folder.rglob("*"))]


def test_the_search_finds(project: World) -> None:
    for secret in SECRETS:
        with pytest.raises(AssertionError):
            search(project, Finished(0, "", f"error: {secret}"))
    hidden = project.cache.root / "hidden"
    hidden.parent.mkdir(exist_ok=True)
    hidden.write_text(f"Authorization: Basic {LOGIN}")
    try:
        with pytest.raises(AssertionError):
            search(project, Finished(0, "", ""))
    finally:
        hidden.unlink()


def ask(project: World, repository: str, environ: Mapping[str, str], command: tuple[str, ...], *more: str) -> Finished:
    """Run a command about `repository`, the project's own, and search."""
    point_to(project, repository)
    done = project.run(*(word.format(repository) for word in command), environ=environ)
    search(project, done, set(more))
    return done


@pytest.mark.parametrize(
    ("kind", "source"),
    [*(("basic", one) for one in GOOD), ("token", in_config), ("token", a_helper), ("token", an_identity_token)],
)
def test_where_they_are_right(
    project: World, servers: Mapping[str, RegistryServer], tmp_path: Path, source: Source, kind: str
) -> None:
    server = servers[kind]
    repository = f"{server.host}/secrets/{source.__name__}".replace("_", "-")
    environ = source(tmp_path / "login", server.host)
    for command in (PUSH, PULL, DOCTOR):
        more = server.tokens.issued if server.tokens else []
        assert ask(project, repository, environ, command, *more).code == 0
    done = ask(project, repository, environ, ("load", "{}:1.0"))
    assert done.code == 5
    assert "no Docker engine" in done.err


@pytest.mark.parametrize("source", [*GOOD, a_bearer_token])
def test_a_registry_that_repeats_them(project: World, tmp_path: Path, source: Source) -> None:
    """It says no, and tells what it was sent."""
    said = BEARER if source is a_bearer_token else f"{USER}:{PASSWORD}, Authorization: Basic {LOGIN}"
    body = json.dumps({"errors": [{"code": "DENIED", "message": said, "detail": {"password": said}}]}).encode()
    challenge = {"WWW-Authenticate": 'Basic realm="tests"', "Content-Type": "application/json"}
    with fault_proxy("127.0.0.1:9") as proxy:
        environ = source(tmp_path / "login", proxy.host)
        for status, command in ((401, PUSH), (401, DOCTOR), (401, PULL), (403, PUSH), (400, PULL)):
            proxy.faults = _once_asked(answer(status, {}, body), answer(401, challenge))
            proxy.clear()
            assert ask(project, f"{proxy.host}/secrets/no", environ, command).code == 5
            sent = [one.headers.get("authorization", "") for one in proxy.log]
            assert any(LOGIN in one or BEARER in one for one in sent), "a test of nothing"


def _once_asked(refusal: Fault, challenge: Fault) -> Faults:
    """Ask for a login first; refuse whoever has sent one."""
    return lambda call: refusal if "authorization" in call.headers else challenge


@pytest.mark.parametrize("source", BAD)
def test_places_that_are_damaged(
    project: World, servers: Mapping[str, RegistryServer], tmp_path: Path, source: Source
) -> None:
    host = servers["basic"].host
    environ = source(tmp_path / "login", host)
    for command in (PUSH, DOCTOR):
        assert ask(project, f"{host}/secrets/damaged", environ, command).code == 5


@pytest.mark.parametrize(
    "mistake",
    [
        "{login}@{host}/secrets/x",
        "https://{login}@{host}/secrets/x",
        "{login}@{host}/secrets/x@sha256:0123",
        "{login}@{host}/secrets/x:1.0",
        "{login}@{host}/Secrets",
        "ada:p@{password}@{host}/secrets/x",
        "{login}@",
    ],
)
def test_a_login_written_before_the_host(project: World, servers: Mapping[str, RegistryServer], mistake: str) -> None:
    host = servers["basic"].host
    wrong = mistake.format(login=f"{USER}:{PASSWORD}", password=PASSWORD, host=host)
    point_to(project, f"{host}/secrets/right")
    for words in (
        ("push", "--repository", wrong, "--json"),
        ("pull", wrong, "--to", "pulled"),
        ("doctor", "--registry", wrong),
    ):
        done = project.run(*words)
        search(project, done)
        assert done.code == 2, done
        assert "Traceback" not in done.err
    before = (project.root / "lockship.toml").read_text()
    places = (
        ("push", before.partition("[store]")[0] + f'[store]\nrepository = "{wrong}"\n'),
        ("push", before + f'shared = ["{wrong}"]\n'),
        ("lock", before.replace('base = "debian:bookworm"', f'base = "{wrong}"')),
    )
    try:
        for command, text in places:
            project.write("lockship.toml", text)
            done = project.run(command, "--json")
            project.write("lockship.toml", before)
            search(project, done)
            assert done.code == 2, done
    finally:
        project.write("lockship.toml", before)


BUG = """
import httpx
import builder.registry.session as session
from builder.cli import main

send = httpx.Client.send


def broken(self, request, **more):
    if "authorization" in request.headers:
        raise RuntimeError(repr([self, request, request.headers, more]))
    return send(self, request, **more)


def failed(self, call):
    try:
        return once(self, call)
    except RuntimeError as error:
        raise ValueError(repr([vars(self), call])) from error


once = session.Session.once
session.Session.once = failed
httpx.Client.send = broken
main()
"""


@pytest.mark.parametrize("source", [in_config, in_the_environment, a_helper])
def test_the_log_of_a_crash(
    project: World, servers: Mapping[str, RegistryServer], tmp_path: Path, source: Source
) -> None:
    """A bug of ours at the worst of all places, in whose message stands everything that is at hand there."""
    host = servers["basic"].host
    point_to(project, f"{host}/secrets/crash")
    environ = {**project.environ, **source(tmp_path / "login", host)}
    command = [sys.executable, "-c", BUG, "push", "--json"]
    process = subprocess.run(command, cwd=project.root, env=environ, capture_output=True, text=True, check=False)
    done = Finished(process.returncode, process.stdout, process.stderr)
    assert done.code == 1, done
    search(project, done)
    logs = list((project.folder / "tmp").glob("lockship-*.log"))
    assert logs
    assert all("in broken" in log.read_text() for log in logs)
    for log in logs:
        log.unlink()


@pytest.mark.parametrize("command", [PULL, DOCTOR])
def test_a_proxy_with_a_login(project: World, command: tuple[str, ...]) -> None:
    proxy = f"http://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:9"
    environ = {"HTTPS_PROXY": proxy, "https_proxy": proxy, "NO_PROXY": "", "no_proxy": ""}
    done = ask(project, "registry.example.com/secrets/proxied", environ, command)
    assert done.code == 5, done
