"""Finding a Docker engine, as the docker client finds it, and what it is."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from builder.content import Platform
from builder.errors import LockshipError, StoreError

__all__ = ["Endpoint", "Engine", "connect", "endpoint", "engine_errors"]

_DEFAULT: Final = "unix:///var/run/docker.sock"
_TIMEOUT: Final = 60  # seconds for an answer; work that takes longer lifts it
_START: Final = (
    "start one (sudo systemctl start docker, or Docker Desktop), or name another with DOCKER_HOST; "
    "only load and run need an engine"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an engine listens; `certificates` is the folder of ca.pem, cert.pem and key.pem, when it wants TLS."""

    host: str
    certificates: Path | None = None
    verify: bool = True

    @property
    def shown(self) -> str:
        """The address without credentials."""
        parts = urlsplit(self.host)
        return self.host if parts.password is None else f"{parts.scheme}://{parts.hostname}:{parts.port or ''}"


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that answers: the `docker.APIClient` for it, its address, and what its containers run on.

    `containerd` says that its images live in containerd's store, where layers can't be left out of a load.
    """

    api: Any
    host: str
    platform: Platform
    containerd: bool

    def close(self) -> None:
        """Close the connections."""
        self.api.close()


def endpoint(environ: Mapping[str, str]) -> Endpoint:
    """Where the docker client would look: DOCKER_HOST, DOCKER_CONTEXT, the current context, the usual socket.

    Raises StoreError for a context that isn't there or can't be read.
    """
    home = Path(environ.get("HOME") or Path.home())
    config = Path(environ.get("DOCKER_CONFIG") or home / ".docker")
    if host := environ.get("DOCKER_HOST"):
        verify = bool(environ.get("DOCKER_TLS_VERIFY"))
        folder = environ.get("DOCKER_CERT_PATH")
        return Endpoint(host, Path(folder or config) if verify or folder else None, verify)
    name = environ.get("DOCKER_CONTEXT") or _current_context(config)
    return Endpoint(_DEFAULT) if name in ("", "default") else _context(config, name)


def connect(environ: Mapping[str, str]) -> Engine:
    """The engine that `environ` leads to; raises StoreError, with what to do, when none answers there."""
    where = endpoint(environ)
    import docker
    import requests
    from docker.errors import DockerException

    try:
        _knock(where)
        api = docker.APIClient(where.host, version="auto", timeout=_TIMEOUT, tls=_tls(where), use_ssh_client=True)
    except (DockerException, requests.exceptions.RequestException, OSError, ValueError) as error:
        raise _unreachable(where, error) from error
    try:
        version, info = api.version(), api.info()
    except (DockerException, requests.exceptions.RequestException, OSError) as error:
        raise _unreachable(where, error) from error
    try:
        platform = Platform.parse(f"{version.get('Os')}/{version.get('Arch')}")
    except LockshipError as error:
        raise StoreError(
            f"the engine at {where.shown} runs {version.get('Os')}/{version.get('Arch')}", hint=error.hint
        ) from error
    # "driver-type" is how an engine says that containerd keeps its images
    status = [tuple(pair) for pair in info.get("DriverStatus") or ()]
    containerd = ("driver-type", "io.containerd.snapshotter.v1") in status
    return Engine(api, where.shown, platform, containerd)


def _knock(where: Endpoint) -> None:
    """Try a local socket first: the docker package would leave a socket open that could not be connected."""
    if where.host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect("/" + where.host.removeprefix("unix://").lstrip("/"))


def _current_context(config: Path) -> str:
    try:
        document = json.loads((config / "config.json").read_bytes())
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise StoreError("cannot read the docker client's configuration", file=config / "config.json") from error
    name = document.get("currentContext", "") if isinstance(document, dict) else ""
    return name if isinstance(name, str) else ""


def _context(config: Path, name: str) -> Endpoint:
    """A context as ``docker context create`` stores it: in folders named by the hash of its name."""
    key = hashlib.sha256(name.encode()).hexdigest()
    file = config / "contexts" / "meta" / key / "meta.json"
    try:
        found = json.loads(file.read_bytes())["Endpoints"]["docker"]
        host, skip = str(found["Host"]), bool(found.get("SkipTLSVerify", False))
    except FileNotFoundError as error:
        raise StoreError(
            f"there is no docker context {name!r}", hint="`docker context ls` lists them; DOCKER_HOST overrides them"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"the docker context {name!r} can't be read", file=file) from error
    certificates = config / "contexts" / "tls" / key / "docker"
    return Endpoint(host or _DEFAULT, certificates if certificates.is_dir() else None, not skip)


def _tls(where: Endpoint) -> Any:
    if where.certificates is None:
        return False
    from docker.errors import TLSParameterError
    from docker.tls import TLSConfig

    ca, cert, key = (where.certificates / f"{name}.pem" for name in ("ca", "cert", "key"))
    try:
        return TLSConfig(
            client_cert=(str(cert), str(key)) if cert.exists() or key.exists() else None,
            ca_cert=str(ca) if ca.exists() else None,
            verify=where.verify,
        )
    except TLSParameterError as error:
        raise StoreError(
            f"the certificates for {where.shown} can't be used", hint="ca.pem, cert.pem and key.pem belong there",
            file=where.certificates,
        ) from error  # fmt: skip


def _unreachable(where: Endpoint, error: BaseException) -> StoreError:
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    message = f"no Docker engine answers at {where.shown}"
    if any(isinstance(each, PermissionError) for each in causes):
        return StoreError(
            f"the Docker engine at {where.shown} may not be used by this user",
            hint="join its group (sudo usermod -aG docker $USER, then log in again), or name another with DOCKER_HOST",
        )
    if where.host.startswith("ssh://") and "paramiko" in str(error):
        return StoreError(message, hint="ssh:// needs one more package: pip install 'docker[ssh]'")
    if any("certificate" in str(each).lower() for each in causes):
        return StoreError(f"{message}: its certificate is not trusted", hint="check DOCKER_CERT_PATH and its ca.pem")
    return StoreError(message, hint=_START)


@contextmanager
def engine_errors(engine: Engine) -> Iterator[None]:
    """The docker package's and requests' exceptions as ours."""
    import requests
    from docker.errors import DockerException

    try:
        yield
    except DockerException as error:
        explanation: Any = getattr(error, "explanation", None) or error
        raise StoreError(f"the Docker engine at {engine.host} failed: {explanation}", hint=_hint(str(error))) from error
    except (requests.exceptions.RequestException, OSError) as error:
        raise StoreError(
            f"the connection to the Docker engine at {engine.host} broke", hint=_hint(str(error))
        ) from error


def _hint(message: str) -> str | None:
    if "no space left" in message.lower():
        return "the engine's disk is full: `docker system df` shows what fills it"
    return None
