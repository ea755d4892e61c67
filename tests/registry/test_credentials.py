from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import LockshipError, StoreError, UsageError
from builder.registry.credentials import Credential, find_credential
from builder.registry.dockerconfig import HUB_KEY, read_config, registry_host
from builder.registry.reference import Repository, parse_repository
from tests.support.registry import PASSWORD, USER, serve_registry, write_login
from tests.support.require import need

REPOSITORY = parse_repository("registry.example.com/ml/churn")
HUB = parse_repository("python")
SECRET = "s3cr3t-Of-Ada"


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


class Machine:
    """A home with configuration files, helpers on PATH, and an environment."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        self.home.mkdir()
        self.environ = {"HOME": str(self.home), "PATH": f"{self.bin}:/usr/bin:/bin"}
        self.runtime = folder / "run"

    def write(self, path: str, document: object) -> Path:
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(document if isinstance(document, str) else json.dumps(document, indent=2))
        return file

    def docker(self, document: object) -> Path:
        return self.write(".docker/config.json", document)

    def helper(self, name: str, script: str) -> None:
        file = self.bin / f"docker-credential-{name}"
        file.write_text("#!/bin/sh\n" + textwrap.dedent(script))
        file.chmod(0o755)

    def find(
        self, repository: Repository = REPOSITORY, *, own: str | None = None, timeout: float = 20, **environ: str
    ) -> Credential | None:
        return find_credential(repository, {**self.environ, **environ}, own=own, timeout=timeout, runtime=self.runtime)

    def fails(self, repository: Repository = REPOSITORY, *, timeout: float = 20, **environ: str) -> LockshipError:
        with pytest.raises(LockshipError) as caught:
            self.find(repository, own=repository.host, timeout=timeout, **environ)
        assert SECRET not in f"{caught.value} {caught.value.hint} {caught.value!r}"
        cause = caught.value.__cause__
        assert SECRET not in repr(cause)
        return caught.value


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_nothing_anywhere(machine: Machine) -> None:
    assert machine.find() is None
    assert find_credential(REPOSITORY, {}, runtime=machine.runtime) is None
    machine.docker({})
    machine.write(".config/containers/auth.json", {"auths": {}})
    assert machine.find() is None


# The variables of our own.


def test_variables_are_for_the_commands_own_registry(machine: Machine) -> None:
    login = {"LOCKSHIP_REGISTRY_USERNAME": USER, "LOCKSHIP_REGISTRY_PASSWORD": PASSWORD}
    expected = Credential(USER, PASSWORD, source="LOCKSHIP_REGISTRY_USERNAME")
    assert machine.find(own="registry.example.com", **login) == expected
    assert machine.find(own="other.example.com", **login) is None
    assert machine.find(own=None, **login) is None
    assert machine.find(own="registry.example.com:5000", **login) is None


def test_variables_are_for_the_host_that_they_name(machine: Machine) -> None:
    token = {"LOCKSHIP_REGISTRY_TOKEN": SECRET, "LOCKSHIP_REGISTRY": "Registry.example.com"}
    found = machine.find(own="other.example.com", **token)
    assert found == Credential(registry_token=SECRET, source="LOCKSHIP_REGISTRY_TOKEN")
    other = parse_repository("other.example.com/ml/churn")
    assert machine.find(other, own="other.example.com", **token) is None
    hub = {"LOCKSHIP_REGISTRY_TOKEN": SECRET, "LOCKSHIP_REGISTRY": "registry-1.docker.io"}
    assert machine.find(HUB, **hub) is not None


def test_variables_come_before_files(machine: Machine) -> None:
    machine.docker({"auths": {REPOSITORY.host: auth("file", "file")}})
    found = machine.find(own=REPOSITORY.host, LOCKSHIP_REGISTRY_USERNAME="u", LOCKSHIP_REGISTRY_PASSWORD="p")
    assert found is not None
    assert found.username == "u"
    # as CI systems leave them for jobs that may not see secrets
    found = machine.find(own=REPOSITORY.host, LOCKSHIP_REGISTRY_USERNAME="", LOCKSHIP_REGISTRY_PASSWORD="")
    assert found is not None
    assert found.username == "file"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"USERNAME": "u"}, "LOCKSHIP_REGISTRY_PASSWORD is empty or missing"),
        ({"USERNAME": "u", "PASSWORD": ""}, "LOCKSHIP_REGISTRY_PASSWORD is empty or missing"),
        ({"PASSWORD": SECRET}, "LOCKSHIP_REGISTRY_USERNAME is empty or missing"),
        ({"TOKEN": SECRET, "USERNAME": "u"}, "LOCKSHIP_REGISTRY_TOKEN is set, and LOCKSHIP_REGISTRY_USERNAME too"),
        ({"TOKEN": SECRET, "PASSWORD": SECRET}, "LOCKSHIP_REGISTRY_PASSWORD too"),
    ],
)
def test_variables_that_contradict_each_other(machine: Machine, variables: dict[str, str], message: str) -> None:
    named = {f"LOCKSHIP_REGISTRY_{name}": value for name, value in variables.items()}
    error = machine.fails(**named)
    assert isinstance(error, UsageError)
    assert error.exit_code == 2
    assert message in error.message
    assert error.hint
    # none of it is about another registry
    assert machine.find(own="other.example.com", **named) is None


def test_a_registry_with_a_path(machine: Machine) -> None:
    error = machine.fails(LOCKSHIP_REGISTRY="https://registry.example.com", LOCKSHIP_REGISTRY_TOKEN=SECRET)
    assert error.hint == "as in LOCKSHIP_REGISTRY=registry.example.com"


# Files, and which of them counts.


def test_the_order_of_the_files(machine: Machine) -> None:
    places: list[tuple[str, str, dict[str, str]]] = [
        ("docker", ".docker/config.json", {}),
        ("variable", "", {}),
        ("config", ".config/containers/auth.json", {}),
        ("runtime", "run/containers/auth.json", {"XDG_RUNTIME_DIR": str(machine.home / "run")}),
        ("named", "named.json", {"REGISTRY_AUTH_FILE": str(machine.home / "named.json")}),
    ]
    environ: dict[str, str] = {}
    for name, path, more in places:
        document = {"auths": {REPOSITORY.host: auth(name, "p")}}
        if path:
            machine.write(path, document)
        else:
            environ["DOCKER_AUTH_CONFIG"] = json.dumps(document)
        environ |= more
        found = machine.find(**environ)
        assert found is not None
        assert found.username == name
        assert found.source == (f"~/{path}" if path else "DOCKER_AUTH_CONFIG")


def test_other_places_for_the_files(machine: Machine, tmp_path: Path) -> None:
    folder = write_login(tmp_path / "elsewhere", REPOSITORY.host, USER, PASSWORD)
    found = machine.find(DOCKER_CONFIG=str(folder))
    assert found == Credential(USER, PASSWORD, source=str(folder / "config.json"))
    machine.write("xdg/containers/auth.json", {"auths": {REPOSITORY.host: auth("xdg", "p")}})
    found = machine.find(XDG_CONFIG_HOME=str(machine.home / "xdg"))
    assert found is not None
    assert found.username == "xdg"
    file = machine.runtime / str(os.getuid()) / "auth.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"auths": {REPOSITORY.host: auth("run", "p")}}))
    found = machine.find(XDG_CONFIG_HOME=str(machine.home / "xdg"))
    assert found is not None
    assert found.username == "run"


def test_a_file_that_is_named_stands_for_all(machine: Machine) -> None:
    machine.docker({"auths": {REPOSITORY.host: auth("docker", "p")}})
    file = machine.write("empty.json", {})
    assert machine.find(REGISTRY_AUTH_FILE=str(file)) is None
    error = machine.fails(REGISTRY_AUTH_FILE=str(machine.home / "missing.json"))
    assert "which is not there" in error.message


def test_a_file_without_the_host_leads_to_the_next(machine: Machine) -> None:
    machine.write(".config/containers/auth.json", {"auths": {"quay.io": auth("quay", "p")}})
    machine.docker({"auths": {REPOSITORY.host: auth("docker", "p")}})
    found = machine.find()
    assert found is not None
    assert found.username == "docker"


def test_the_forms_of_an_entry(machine: Machine) -> None:
    def found(entry: dict[str, str]) -> tuple[str, str, str, str] | None:
        machine.docker({"auths": {REPOSITORY.host: entry}})
        one = machine.find()
        return (one.username, one.password, one.identity_token, one.registry_token) if one else None

    assert found(auth("u", "p:with:colons")) == ("u", "p:with:colons", "", "")
    assert found({"username": "u", "password": "p"}) == ("u", "p", "", "")
    assert found({"username": "old", "password": "old", **auth("u", "p")}) == ("u", "p", "", "")
    assert found({**auth("0000", ""), "identitytoken": "t"}) == ("0000", "", "t", "")
    assert found({"registrytoken": "t"}) == ("", "", "", "t")
    assert found({"auth": "dTpw\nYXNz\n"}) == ("u", "pass", "", "")
    assert found({"auth": base64.b64encode(b"u:p\0\0").decode()}) == ("u", "p", "", "")
    # what docker leaves where a helper keeps the secret
    assert found({}) is None
    assert found({"auth": ""}) is None
    assert found({"username": "u"}) is None


@pytest.mark.parametrize(
    "key",
    [
        "registry.example.com",
        "Registry.Example.com",
        "https://registry.example.com",
        "http://registry.example.com/v2/",
        "https://registry.example.com/some/path",
        "registry.example.com/v1/",
        "registry.example.com/",
        "registry.example.com/ml",
        "registry.example.com/ml/churn",
    ],
)
def test_keys_that_mean_the_repository(machine: Machine, key: str) -> None:
    machine.docker({"auths": {key: auth("u", "p")}})
    assert machine.find() is not None


@pytest.mark.parametrize(
    "key",
    [
        "registry.example.com:5000",
        "registry.example.com.evil.org",
        "evil.org/registry.example.com",
        "https://evil.org/registry.example.com",
        "https://registry.example.com@evil.org/",
        "example.com",
        "registry.example.com/m",
        "registry.example.com/ml/churn/more",
        "registry.example.com/ml/churn2",
        "",
        "https://",
    ],
)
def test_keys_that_mean_something_else(machine: Machine, key: str) -> None:
    machine.docker({"auths": {key: auth("u", "p")}, "credHelpers": {key: "missing"}})
    assert machine.find() is None


def test_the_nearest_key_wins(machine: Machine) -> None:
    keys = ["registry.example.com", "registry.example.com/ml", "registry.example.com/ml/churn"]
    for count in range(1, 4):
        machine.docker({"auths": {key: auth(key, "p") for key in keys[:count]}})
        found = machine.find()
        assert found is not None
        assert found.username == keys[count - 1]
    found = machine.find(parse_repository("registry.example.com/other"))
    assert found is not None
    assert found.username == keys[0]
    # the host as it is written comes before other spellings; an empty entry says nothing
    machine.docker({"auths": {"https://registry.example.com/v1/": auth("old", "p"), keys[0]: auth("new", "p")}})
    found = machine.find()
    assert found is not None
    assert found.username == "new"
    machine.docker({"auths": {"https://registry.example.com/v1/": auth("old", "p"), keys[0]: {}, keys[1]: {}}})
    found = machine.find()
    assert found is not None
    assert found.username == "old"


@pytest.mark.parametrize("key", [HUB_KEY, "docker.io", "index.docker.io", "index.docker.io/v1/", "docker.io/library"])
def test_docker_hub_by_all_its_names(machine: Machine, key: str) -> None:
    machine.docker({"auths": {key: auth("u", "p")}})
    assert machine.find(HUB) is not None
    assert machine.find() is None


# Helpers.


def test_a_helper_is_asked_for_the_host(machine: Machine) -> None:
    machine.helper("vault", 'printf \'{"ServerURL":"x","Username":"u %s","Secret":"%s"}\' "$1" "$(cat)"')
    machine.docker({"auths": {REPOSITORY.host: {}}, "credHelpers": {REPOSITORY.host: "vault"}})
    assert machine.find() == Credential("u get", REPOSITORY.host, source="docker-credential-vault")
    assert machine.find(HUB) is None
    machine.docker({"credsStore": "vault"})
    assert machine.find() == Credential("u get", REPOSITORY.host, source="docker-credential-vault")
    assert machine.find(HUB) == Credential("u get", HUB_KEY, source="docker-credential-vault")


def test_an_identity_token_of_a_helper(machine: Machine) -> None:
    machine.helper("vault", 'echo \'{"Username":"<token>","Secret":"abc"}\'')
    machine.docker({"credsStore": "vault"})
    assert machine.find() == Credential(identity_token="abc", source="docker-credential-vault")


def test_the_hosts_own_helper_comes_first_then_the_store_then_the_file(machine: Machine) -> None:
    for name in ("own", "store"):
        machine.helper(name, f'echo \'{{"Username":"{name}","Secret":"p"}}\'')
    document: dict[str, Any] = {
        "auths": {REPOSITORY.host: auth("file", "p")},
        "credHelpers": {REPOSITORY.host: "own"},
        "credsStore": "store",
    }
    machine.docker(document)
    order = []
    for name in ("own", "store", ""):
        found = machine.find()
        assert found is not None
        order.append(found.username)
        if name:
            machine.helper(name, "echo credentials not found in native keychain; exit 1")
    assert order == ["own", "store", "file"]


def test_a_helper_that_is_missing(machine: Machine) -> None:
    machine.docker({"credsStore": "desktop"})
    error = machine.fails()
    assert isinstance(error, StoreError)
    assert error.exit_code == 5
    assert str(error).startswith(
        "~/.docker/config.json: the credential helper docker-credential-desktop is not installed"
    )
    assert error.hint == "install it, or take it out of ~/.docker/config.json and log in again"


def test_a_helper_that_hangs(machine: Machine, tmp_path: Path) -> None:
    # its child holds the pipe: to end the helper alone would not do
    machine.helper("slow", f"sh -c 'echo $$ > {tmp_path}/pid; echo {SECRET}; exec sleep 600'")
    machine.docker({"credsStore": "slow"})
    error = machine.fails(timeout=0.5)
    assert isinstance(error, StoreError)
    assert "docker-credential-slow does not answer within 0.5 s" in error.message
    assert f"echo {REPOSITORY.host} | docker-credential-slow get" in (error.hint or "")
    if (tmp_path / "pid").exists():
        with pytest.raises(ProcessLookupError):
            for _ in range(1000):  # init may take its time to bury it
                os.kill(int((tmp_path / "pid").read_text()), 0)
                subprocess.run(["sleep", "0.01"], check=True)
                stat = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
                if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
                    raise ProcessLookupError


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo pass not initialized; exit 3", r"failed \(exit status 3\): pass not initialized$"),
        ("exit 1", r"failed \(exit status 1\)$"),
        (f'echo \'{{"Username":"u","Secret":"{SECRET}"}}\'; exit 1', r"failed \(exit status 1\)$"),
        (f"echo {SECRET} >&2; exit 1", r"failed \(exit status 1\)$"),
        (f"echo no way to https://u:{SECRET}@h/; exit 1", "no way to https://h/$"),
        (f"echo bad token {SECRET}{'x' * 32}; exit 1", "bad token …$"),
        ("kill -9 $$", r"failed \(exit status -9\)$"),
        (f"echo {SECRET}", "something else than Username and Secret in JSON"),
        (f'echo \'{{"Username":"u","Secret":["{SECRET}"]}}\'', "something else than Username and Secret in JSON"),
        (f"echo '\"{SECRET}\"'", "something else than Username and Secret in JSON"),
        ("", "something else than Username and Secret in JSON"),
    ],
)
def test_a_helper_that_fails(machine: Machine, script: str, message: str) -> None:
    machine.helper("bad", script)
    machine.docker({"credsStore": "bad"})
    error = machine.fails()
    assert isinstance(error, StoreError)
    assert error.exit_code == 5
    assert error.file == "~/.docker/config.json"
    assert error.hint
    assert "docker-credential-bad" in error.message
    assert re.search(message, error.message)


def test_a_helper_that_cannot_be_run(machine: Machine) -> None:
    machine.helper("bad", "")
    (machine.bin / "docker-credential-bad").write_text("#!/no/such/interpreter\n")
    machine.docker({"credsStore": "bad"})
    assert "docker-credential-bad cannot be run: No such file" in machine.fails().message


@pytest.mark.parametrize("name", ["../evil", "/bin/sh", "a b", "", "-x", 7, ["x"]])
def test_a_helper_with_a_strange_name(machine: Machine, name: object) -> None:
    machine.docker({"credHelpers": {REPOSITORY.host: name}})
    error = machine.fails()
    assert error.message == "'registry.example.com' names no credential helper"
    assert error.line == 3


# Files that can't be used are never passed over.


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("", 1, "not JSON"),
        ('{\n "auths": {\n  "a": }\n}', 3, "not JSON"),
        ("[]", None, "should be a JSON object"),
        ("[" * 100_000, None, "nested too deeply"),
        ('{"auths": []}', 1, "'auths' should be an object"),
        ('{\n"credHelpers": "pass"}', 2, "'credHelpers' should be an object"),
        ('{"auths": {\n"registry.example.com": "abc"}}', 2, "the entry for 'registry.example.com' should be an object"),
        ('{"auths": {"registry.example.com":\n{"auth": 7}}}', 1, "'auth' in the entry for 'registry.example.com'"),
        ('{"auths": {"registry.example.com": {"auth": "s3cr3t-Of-Ada"}}}', 1, "is not USER:PASSWORD in base64"),
        ('{"auths": {"registry.example.com": {"auth": "czNjcjN0LU9mLUFkYQ=="}}}', 1, "is not USER:PASSWORD in base64"),
        ('{"auths": {"registry.example.com": {"auth": "/////w=="}}}', 1, "is not USER:PASSWORD in base64"),
        ('{"auths": {"registry.example.com": {"auth": "déjà"}}}', 1, "is not USER:PASSWORD in base64"),
    ],
)
def test_a_file_that_is_damaged(machine: Machine, content: str, line: int | None, message: str) -> None:
    machine.docker(content)
    error = machine.fails()
    assert isinstance(error, StoreError)
    assert error.exit_code == 5
    assert (error.file, error.line) == ("~/.docker/config.json", line)
    assert message in error.message
    error = machine.fails(DOCKER_CONFIG=str(machine.home), DOCKER_AUTH_CONFIG=content or "x")
    assert "DOCKER_AUTH_CONFIG" in str(error)


def test_another_registrys_damage_is_not_ours(machine: Machine) -> None:
    machine.docker({"auths": {"other.example.com": {"auth": "nonsense"}, REPOSITORY.host: auth("u", "p")}})
    assert machine.find() is not None


def test_a_file_that_cannot_be_read(machine: Machine) -> None:
    (machine.home / ".docker" / "config.json").mkdir(parents=True)
    error = machine.fails()
    assert str(error) == "~/.docker/config.json: cannot be read: Is a directory"
    machine.write(".config/containers/auth.json", "x").write_bytes(b"{\xff}")
    assert str(machine.fails()) == "~/.config/containers/auth.json: not UTF-8"


def test_a_variable_that_names_a_file(machine: Machine) -> None:
    error = machine.fails(DOCKER_AUTH_CONFIG="/tmp/auth.json")
    assert error.message == "DOCKER_AUTH_CONFIG holds something else than JSON"
    assert "REGISTRY_AUTH_FILE" in (error.hint or "")


def test_what_skopeo_writes_is_read(machine: Machine, tmp_path: Path) -> None:
    need("skopeo", shutil.which("skopeo"), "apt-get install skopeo")
    with serve_registry(tmp_path / "registry", "basic") as server:
        file = tmp_path / "auth.json"
        command = ["skopeo", "login", "--authfile", str(file), "--tls-verify=false", "-u", USER, "-p", PASSWORD]
        subprocess.run([*command, server.host], env=machine.environ, check=True, capture_output=True)
        repository = Repository(server.host, "ml/churn")
        found = machine.find(repository, REGISTRY_AUTH_FILE=str(file))
    assert found == Credential(USER, PASSWORD, source=str(file))


def test_secrets_are_not_shown() -> None:
    shown = repr(Credential(USER, SECRET, SECRET, SECRET, "here"))
    assert SECRET not in shown
    config = read_config(json.dumps({"auths": {REPOSITORY.host: auth(USER, SECRET)}}), "here")
    assert SECRET not in repr(config.entry(REPOSITORY))


# Whatever a file holds.

_HOSTS = st.sampled_from(["registry.example.com", "quay.io", "docker.io", "localhost:5000", HUB_KEY, "index.docker.io"])
_KEYS = st.one_of(
    _HOSTS,
    st.builds(lambda host, path: f"{host}/{path}", _HOSTS, st.sampled_from(["ml", "ml/churn", "v2/", "m", ""])),
    st.builds(lambda host: f"https://{host}/", _HOSTS),
    st.text(max_size=20),
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_LOGINS = st.tuples(
    st.text(st.characters(codec="utf-8", exclude_characters=":"), max_size=8),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8),
)


@given(
    auths=_JSON | st.dictionaries(_KEYS, _JSON | st.fixed_dictionaries({"auth": _JSON}), max_size=4),
    helpers=_JSON | st.dictionaries(_KEYS, _JSON, max_size=3),
    store=_JSON,
)
def test_any_document_is_read_or_refused(auths: object, helpers: object, store: object) -> None:
    text = json.dumps({"auths": auths, "credHelpers": helpers, "credsStore": store})
    config = read_config(text, "file")
    for repository in (REPOSITORY, HUB):
        for look in (config.entry, lambda one: list(config.helpers(one))):
            try:
                look(repository)
            except StoreError as error:
                assert error.file == "file"


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert isinstance(read_config(text, "file").document, dict)
    except StoreError as error:
        assert error.file == "file"


@given(st.dictionaries(_KEYS, _LOGINS, max_size=5))
def test_logins_come_back_and_never_for_another_host(logins: dict[str, tuple[str, str]]) -> None:
    config = read_config(json.dumps({"auths": {key: auth(*login) for key, login in logins.items()}}), "file")
    for repository in (REPOSITORY, HUB):
        entry = config.entry(repository)
        meant = {login for key, login in logins.items() if registry_host(key) == repository.host}
        if entry:
            assert (entry.username, entry.password) in meant
        direct = logins.get(str(repository)) or logins.get(repository.host)
        if direct is not None:
            assert entry
