from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from builder.deploy.engine import Endpoint, connect, endpoint
from builder.errors import StoreError
from tests.support.require import need


def context(home: Path, name: str, host: str, **more: Any) -> Path:
    key = hashlib.sha256(name.encode()).hexdigest()
    folder = home / ".docker/contexts/meta" / key
    folder.mkdir(parents=True)
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False, **more}}}
    (folder / "meta.json").write_text(json.dumps(meta))
    return home / ".docker/contexts/tls" / key / "docker"


def test_nothing_said_is_the_usual_socket(no_config: dict[str, str]) -> None:
    assert endpoint(no_config) == Endpoint("unix:///var/run/docker.sock")


def test_docker_host_wins_over_contexts(no_config: dict[str, str], tmp_path: Path) -> None:
    context(tmp_path, "far", "tcp://far:2375")
    found = endpoint(no_config | {"DOCKER_HOST": "tcp://near:2375", "DOCKER_CONTEXT": "far"})
    assert found == Endpoint("tcp://near:2375", None, False)


def test_the_context_that_is_named_or_current(no_config: dict[str, str], tmp_path: Path) -> None:
    context(tmp_path, "far", "tcp://far:2375")
    context(tmp_path, "desktop", "unix:///desktop.sock")
    # without a config.json at all
    assert endpoint(no_config | {"DOCKER_CONTEXT": "far"}).host == "tcp://far:2375"
    (tmp_path / ".docker/config.json").write_text('{"currentContext": "desktop"}')
    assert endpoint(no_config).host == "unix:///desktop.sock"
    assert endpoint(no_config | {"DOCKER_CONTEXT": "far"}).host == "tcp://far:2375"
    assert endpoint(no_config | {"DOCKER_CONTEXT": "default"}).host == "unix:///var/run/docker.sock"


def test_docker_config_names_another_folder(tmp_path: Path) -> None:
    context(tmp_path, "far", "tcp://far:2375")
    environ = {"HOME": "/nowhere", "DOCKER_CONFIG": str(tmp_path / ".docker"), "DOCKER_CONTEXT": "far"}
    assert endpoint(environ).host == "tcp://far:2375"


def test_tls(no_config: dict[str, str], tmp_path: Path) -> None:
    host = no_config | {"DOCKER_HOST": "tcp://x:2376"}
    assert endpoint(host | {"DOCKER_TLS_VERIFY": "1"}) == Endpoint("tcp://x:2376", tmp_path / ".docker", True)
    assert endpoint(host | {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/c"}).certificates == Path("/c")
    assert endpoint(host | {"DOCKER_CERT_PATH": "/c"}).verify is False
    certificates = context(tmp_path, "far", "tcp://far:2376")
    certificates.mkdir(parents=True)
    assert endpoint(no_config | {"DOCKER_CONTEXT": "far"}) == Endpoint("tcp://far:2376", certificates, True)


def test_a_context_that_is_not_there(no_config: dict[str, str]) -> None:
    with pytest.raises(StoreError, match="no docker context 'gone'") as caught:
        endpoint(no_config | {"DOCKER_CONTEXT": "gone"})
    assert caught.value.exit_code == 5
    assert caught.value.hint is not None


@pytest.mark.parametrize("content", ["{", "[]", '{"Endpoints": {}}'])
def test_a_damaged_context(no_config: dict[str, str], tmp_path: Path, content: str) -> None:
    context(tmp_path, "far", "tcp://far:2375")
    [meta] = tmp_path.glob(".docker/contexts/meta/*/meta.json")
    meta.write_text(content)
    with pytest.raises(StoreError, match="can't be read"):
        endpoint(no_config | {"DOCKER_CONTEXT": "far"})


def test_a_damaged_configuration(no_config: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text("{")
    with pytest.raises(StoreError, match="cannot read the docker client's configuration"):
        endpoint(no_config)


def test_nobody_answers(no_config: dict[str, str], tmp_path: Path) -> None:
    for host in (f"unix://{tmp_path}/docker.sock", "tcp://127.0.0.1:1"):
        with pytest.raises(StoreError, match="no Docker engine answers at") as caught:
            connect(no_config | {"DOCKER_HOST": host})
        assert caught.value.exit_code == 5
        assert caught.value.hint is not None
        assert "systemctl start docker" in caught.value.hint


@pytest.mark.parametrize("host", ["nonsense://x", "tcp://", "tcp://x:notaport"])
def test_an_address_that_is_none(no_config: dict[str, str], host: str) -> None:
    with pytest.raises(StoreError, match="no Docker engine answers at"):
        connect(no_config | {"DOCKER_HOST": host})


def test_passwords_are_not_shown(no_config: dict[str, str]) -> None:
    with pytest.raises(StoreError) as caught:
        connect(no_config | {"DOCKER_HOST": "tcp://me:geheim@127.0.0.1:1"})
    assert "geheim" not in str(caught.value)
    assert "127.0.0.1:1" in str(caught.value)


def test_certificates_that_are_not_there(no_config: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("")
    environ = {"DOCKER_HOST": "tcp://127.0.0.1:1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    with pytest.raises(StoreError, match=r"certificates for .* can't be used"):
        connect(no_config | environ)


def test_a_socket_that_is_not_for_us(tmp_path: Path) -> None:
    need("root", os.geteuid() == 0, "to become another user")
    path = Path("/tmp") / f"lockship-test-{os.getpid()}.sock"  # as another user reaches it
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        script = textwrap.dedent(
            f"""
            import os
            import docker
            from builder.deploy.engine import connect
            from builder.errors import StoreError
            os.setuid(12345)
            try:
                connect({{"DOCKER_HOST": "unix://{path}", "HOME": "/nowhere"}})
            except StoreError as error:
                assert "may not be used by this user" in error.message and "usermod" in error.hint, error
            else:
                raise SystemExit("connected")
            """
        )
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", script], env=environ, check=False, capture_output=True, text=True)
    path.unlink()
    assert done.returncode == 0, done.stderr


@pytest.mark.engine
def test_a_real_engine_through_a_context(engine: str, no_config: dict[str, str], tmp_path: Path) -> None:
    context(tmp_path, "real", engine)
    found = connect(no_config | {"DOCKER_CONTEXT": "real"})
    assert found.host == engine
    assert found.platform.os == "linux"
    assert found.api.ping()
    found.close()
