"""Certificates and proxies, for our own requests and for uv's."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.errors import StoreError
from builder.lock.indexes import from_environment
from tests.lock.python_projects import AMD64, environment, lock, wheels, write_project
from tests.support.index import Index, serve_index
from tests.support.wheels import make_wheel

# where a developer's machine says which certificates and proxies to use
SETTINGS = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def settings(**more: str) -> dict[str, str]:
    dropped = {*SETTINGS, *PROXIES, *(name.lower() for name in PROXIES)}
    return {name: value for name, value in environment(**more).items() if name not in dropped or name in more}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody else has signed, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return both


@pytest.fixture
def secure(tmp_path: Path, certificate: Path) -> Iterator[Index]:
    with serve_index(tmp_path / "index", certificate=certificate) as running:
        make_wheel(running.folder, "alpha", "1.0", {"a": b""})
        yield running


def lock_all(folder: Path, environ: dict[str, str], cache: Cache) -> list[str]:
    project = write_project(folder, "alpha\n")
    resolution = lock(project, environ)
    return [one.file for one in wheels(project, resolution, environ, cache)[AMD64]]


@pytest.mark.parametrize("variable", ["PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_users_certificates_count(
    tmp_path: Path, secure: Index, certificate: Path, cache: Cache, variable: str
) -> None:
    environ = settings(PIP_INDEX_URL=secure.simple, **{variable: str(certificate.parent / "cert.pem")})
    assert lock_all(tmp_path / "p", environ, cache) == ["alpha-1.0-py3-none-any.whl"]


def test_a_trusted_host_needs_none(tmp_path: Path, secure: Index, cache: Cache) -> None:
    environ = settings(PIP_INDEX_URL=secure.simple, PIP_TRUSTED_HOST="127.0.0.1")
    assert lock_all(tmp_path / "p", environ, cache) == ["alpha-1.0-py3-none-any.whl"]


def test_an_unknown_certificate_is_refused_at_once(tmp_path: Path, secure: Index, cache: Cache) -> None:
    environ = settings(PIP_INDEX_URL=secure.simple, PIP_RETRIES="9")
    with pytest.raises(StoreError, match=r"(?i)certificate"):
        from_environment(environ).files("alpha")
    assert secure.requests == []
    with pytest.raises(StoreError, match="cannot be reached"):
        lock_all(tmp_path / "p", {**environ, "PIP_RETRIES": "0"}, cache)


@pytest.mark.parametrize("variable", ["PIP_PROXY", "http_proxy", "HTTP_PROXY"])
def test_everything_goes_through_the_users_proxy(tmp_path: Path, cache: Cache, variable: str) -> None:
    # the index plays the proxy: it is asked for addresses on a host that doesn't exist
    with serve_index(tmp_path / "index") as proxy:
        proxy.json = False
        make_wheel(proxy.folder, "alpha", "1.0", {"a": b""})
        environ = settings(PIP_INDEX_URL="http://mirror.invalid/simple", PIP_TRUSTED_HOST="mirror.invalid")
        found = lock_all(tmp_path / "p", {**environ, variable: proxy.url}, cache)
        assert found == ["alpha-1.0-py3-none-any.whl"]
        assert {request.path.partition("/simple")[0].partition("/files")[0] for request in proxy.requests} == {
            "http://mirror.invalid"
        }


def test_exempt_hosts_go_past_the_proxy(tmp_path: Path, cache: Cache) -> None:
    with serve_index(tmp_path / "index") as index:
        make_wheel(index.folder, "alpha", "1.0", {"a": b""})
        environ = settings(PIP_INDEX_URL=index.simple, http_proxy="http://127.0.0.1:9", no_proxy="127.0.0.1,.corp")
        assert lock_all(tmp_path / "p", environ, cache) == ["alpha-1.0-py3-none-any.whl"]
