"""Who we are to a registry: found where docker, podman and CI systems keep it, and only for the host it is meant for.

docs/credentials.md tells the order. A place that can't be read, or that says nonsense, is an error that names it:
going on without a login would only end in a registry's "denied".
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from builder.errors import StoreError, UsageError
from builder.registry.dockerconfig import DockerConfig, Entry, read_config, registry_host
from builder.registry.helpers import TIMEOUT, ask_helper, program_of
from builder.registry.reference import Repository

__all__ = ["HOST", "PASSWORD", "TOKEN", "USERNAME", "Credential", "find_credential"]

HOST: Final = "LOCKSHIP_REGISTRY"
USERNAME: Final = "LOCKSHIP_REGISTRY_USERNAME"
PASSWORD: Final = "LOCKSHIP_REGISTRY_PASSWORD"  # noqa: S105  # a variable's name
TOKEN: Final = "LOCKSHIP_REGISTRY_TOKEN"  # noqa: S105  # a variable's name
_VARIABLE: Final = "DOCKER_AUTH_CONFIG"
_RUNTIME: Final = Path("/run/containers")


@dataclass(frozen=True, slots=True)
class Credential:
    """A login for one registry: user and password, or an identity token (for its token server), or a registry token.

    A registry token goes to the registry as it is. `source` says where all that was found, for people.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    source: str = ""


def find_credential(
    repository: Repository,
    environ: Mapping[str, str],
    *,
    own: str | None = None,
    timeout: float = TIMEOUT,
    runtime: Path = _RUNTIME,
) -> Credential | None:
    """The credential for `repository`, or None when there is none anywhere.

    `own` is the host that the command is about (the project's registry, or that of a reference that was given): the
    variables LOCKSHIP_REGISTRY_* are for it, unless LOCKSHIP_REGISTRY names another. Credential helpers get `timeout`
    seconds. Raises StoreError for files and helpers that can't be used, UsageError for variables that contradict
    each other.
    """
    if (found := _from_variables(repository, environ, own)) is not None:
        return found
    for config in _configs(environ, runtime):
        for helper in config.helpers(repository):
            if entry := ask_helper(helper, environ, config.source, timeout=timeout):
                return _credential(entry, program_of(helper))
        if entry := config.entry(repository):
            return _credential(entry, config.source)
    return None


def _credential(entry: Entry, source: str) -> Credential:
    return Credential(entry.username, entry.password, entry.identity_token, entry.registry_token, source)


def _from_variables(repository: Repository, environ: Mapping[str, str], own: str | None) -> Credential | None:
    """Of LOCKSHIP_REGISTRY_*, for the host that they are meant for. Empty is as good as unset, as in CI systems."""
    meant = environ.get(HOST) or own
    if meant is None or not _is_host(meant, repository.host):
        return None
    user, password, token = (environ.get(name, "") for name in (USERNAME, PASSWORD, TOKEN))
    if token and (user or password):
        raise UsageError(
            f"{TOKEN} is set, and {USERNAME if user else PASSWORD} too: which one is it?",
            hint=f"unset {TOKEN}, or the other two",
        )
    if bool(user) != bool(password):
        missing, there = (PASSWORD, USERNAME) if user else (USERNAME, PASSWORD)
        raise UsageError(
            f"{there} is set, but {missing} is empty or missing",
            hint=f"set both for {repository.host}, or neither; CI systems hide secrets from some jobs",
        )
    if token:
        return Credential(registry_token=token, source=TOKEN)
    return Credential(user, password, source=USERNAME) if user else None


def _is_host(text: str, host: str) -> bool:
    if "/" in text.strip().removesuffix("/"):
        raise UsageError(f"{HOST} should be a host and nothing else", hint=f"as in {HOST}={host}")
    return registry_host(text.strip()) == host


def _configs(environ: Mapping[str, str], runtime: Path) -> Iterator[DockerConfig]:
    """Every place that holds credentials, in the order in which they count."""
    home = environ.get("HOME", "")
    named = environ.get("REGISTRY_AUTH_FILE")
    if named:
        found = _read(Path(named), home)
        if found is None:
            raise StoreError(
                f"REGISTRY_AUTH_FILE names {named}, which is not there", hint="log in again, or unset the variable"
            )
        yield found
    else:
        for file in _podman_files(environ, home, runtime):
            if (found := _read(file, home)) is not None:
                yield found
    if text := environ.get(_VARIABLE, "").strip():
        yield _of_variable(text)
    folder = environ.get("DOCKER_CONFIG") or (f"{home}/.docker" if home else "")
    if not named and folder and (found := _read(Path(folder, "config.json"), home)) is not None:
        yield found


def _podman_files(environ: Mapping[str, str], home: str, runtime: Path) -> Iterator[Path]:
    """Where podman, buildah and skopeo look (containers-auth.json(5)); a computer's restart empties the first."""
    volatile = environ.get("XDG_RUNTIME_DIR")
    yield Path(volatile, "containers/auth.json") if volatile else runtime / str(os.getuid()) / "auth.json"
    config = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    if config:
        yield Path(config, "containers/auth.json")


def _read(file: Path, home: str) -> DockerConfig | None:
    """The file, or None when there is none."""
    shown = str(file)
    if home and home != "/" and shown.startswith(home.rstrip("/") + "/"):
        shown = "~" + shown[len(home.rstrip("/")) :]
    try:
        text = file.read_bytes().decode()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(
            f"cannot be read: {error.strerror}", hint="credentials for registries are looked up here", file=shown
        ) from error
    except UnicodeDecodeError:
        raise StoreError("not UTF-8", hint="credentials for registries are looked up here", file=shown) from None
    return read_config(text, shown)


def _of_variable(text: str) -> DockerConfig:
    if not text.startswith("{"):
        raise StoreError(
            f"{_VARIABLE} holds something else than JSON",
            hint='it should hold the configuration itself, {"auths": …}; for a file use REGISTRY_AUTH_FILE',
        )
    return read_config(text, _VARIABLE)
