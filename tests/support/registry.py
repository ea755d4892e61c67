"""Real registries for tests: Docker Distribution servers (Debian's `docker-registry`) on free ports of this machine."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tests.support.require import need

if TYPE_CHECKING:
    import trustme

    from tests.support.token_server import TokenServer

__all__ = ["PASSWORD", "USER", "RegistryServer", "private_ca", "serve_registry", "write_login"]

USER = "ada"
PASSWORD = "Countess:of/Lovelace+1815"  # with what is special in basic authentication and in URLs

Auth = Literal["basic", "token"]


@dataclass(frozen=True)
class RegistryServer:
    """A running registry. `host` is ``127.0.0.1:PORT``; what it stores lies below `folder`; `log` grows while it runs.

    `certificate` is the PEM file of the private CA of a registry that speaks TLS.
    """

    host: str
    folder: Path
    log: Path
    user: str = ""
    password: str = ""
    certificate: Path | None = None
    tokens: TokenServer | None = None

    @property
    def url(self) -> str:
        """Where it answers, without a slash at the end."""
        return f"{'https' if self.certificate else 'http'}://{self.host}"

    @property
    def docker_config(self) -> Path:
        """A folder with a config.json as `docker login` leaves it; empty where nobody has to log in."""
        return self.folder / "docker"

    @property
    def authfile(self) -> Path:
        """The same, as skopeo, podman and buildah take it with ``--authfile``."""
        return self.docker_config / "config.json"

    def environ(self) -> dict[str, str]:
        """The variables that a client needs to be let in, and to trust the server."""
        found = {"DOCKER_CONFIG": str(self.docker_config)}
        if self.certificate is not None:
            found["SSL_CERT_FILE"] = str(self.certificate)
        return found

    def said(self) -> str:
        """The log so far: errors, and a line for each request."""
        return self.log.read_text(errors="replace")

    def blob_file(self, digest: str) -> Path:
        """Where the bytes of a blob lie, to damage or remove them."""
        algorithm, _, value = digest.partition(":")
        return self.folder / "storage/docker/registry/v2/blobs" / algorithm / value[:2] / value / "data"


@contextmanager
def serve_registry(
    folder: Path, auth: Auth | None = None, *, tls: bool = False, delete: bool = True
) -> Iterator[RegistryServer]:
    """An empty registry that keeps everything in `folder`: for anybody, for a user with a password, or with tokens.

    Tokens come from a server of the tests' own (`RegistryServer.tokens`). With `tls` a private CA, made for it, signs.
    Without `delete` nothing can be deleted, as Distribution has it when nobody says otherwise.
    """
    program = shutil.which("docker-registry") or shutil.which("registry")
    need("docker-registry", program, "apt-get install docker-registry")
    assert program is not None
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "info"},
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "storage")},
            "delete": {"enabled": delete},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        # a free port, chosen by the system: the log says which
        "http": {"addr": "127.0.0.1:0", "secret": "of the tests"},
    }
    ca = private_ca() if tls or auth == "token" else None
    certificate = None
    with ExitStack() as stack:
        tokens = None
        if tls and ca is not None:
            certificate = folder / "ca.pem"
            ca.cert_pem.write_to_path(str(certificate))
            config["http"]["tls"] = _certificate(folder, ca)
        if auth == "basic":
            users = folder / "htpasswd"
            users.write_text(f"{USER}:{_bcrypt(PASSWORD)}\n")
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(users)}}
        elif auth == "token" and ca is not None:
            from tests.support.token_server import serve_tokens

            tokens = stack.enter_context(serve_tokens(ca, {USER: PASSWORD}, tls=tls))
            bundle = folder / "signers.pem"
            ca.cert_pem.write_to_path(str(bundle))
            config["auth"] = {
                "token": {
                    "realm": tokens.realm,
                    "service": tokens.service,
                    "issuer": tokens.issuer,
                    "rootcertbundle": str(bundle),
                }
            }
        file = folder / "config.yml"
        file.write_text(json.dumps(config, indent=1))  # JSON is YAML
        log = folder / "registry.log"
        host = stack.enter_context(_running([program, "serve", str(file)], log))
        login = (USER, PASSWORD) if auth else ("", "")
        server = RegistryServer(host, folder, log, *login, certificate=certificate, tokens=tokens)
        write_login(server.docker_config, host, *login)
        yield server


def write_login(folder: Path, host: str, user: str = "", password: str = "") -> Path:
    """A config.json as `docker login` writes it where there is no credential helper; the folder, for DOCKER_CONFIG."""
    folder.mkdir(parents=True, exist_ok=True)
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    file = folder / "config.json"
    file.write_text(json.dumps({"auths": {host: {"auth": login}} if user else {}}))
    file.chmod(0o600)
    return folder


def private_ca() -> trustme.CA:
    """A certificate authority that nobody trusts yet."""
    import trustme

    return trustme.CA(organization_name="Tests of Lockship")


def _certificate(folder: Path, ca: trustme.CA) -> dict[str, str]:
    made = ca.issue_cert("127.0.0.1", "localhost")
    chain, key = folder / "server.pem", folder / "server.key"
    chain.write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
    made.private_key_pem.write_to_path(str(key))
    return {"certificate": str(chain), "key": str(key)}


def _bcrypt(password: str) -> str:
    import bcrypt

    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()  # 4 rounds: it is checked at each request


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[str]:
    """Start the server, wait until it says where it listens, and end it with the context."""
    # without our environment: REGISTRY_* variables would change its configuration
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={}, start_new_session=True)
        try:
            yield _address(process, log)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(600):
        if found := re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text(errors="replace")):
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise RuntimeError(f"docker-registry did not come up:\n{log.read_text(errors='replace')[-2000:]}")
