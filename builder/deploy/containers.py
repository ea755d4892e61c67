"""A stage's containers in a Docker engine: told apart by labels and by name, and created as the stage asks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from builder.content import Digest, canonical_json
from builder.deploy.engine import Engine, engine_errors
from builder.errors import RefusedError
from builder.stagekeys import Deploy, memory_bytes

__all__ = [
    "NEXT",
    "PREFIX",
    "PREVIOUS",
    "Found",
    "Wanted",
    "address_of",
    "containers_of",
    "create",
    "fits",
    "name_taken",
    "remove",
    "settle",
]

PREFIX: Final = "dev.lockship."
NEXT: Final = "-next"
"""Behind the name of a container that is not judged yet."""
PREVIOUS: Final = "-previous"
"""Behind the name of the one that was replaced, and is kept stopped."""

# not what a container is made with: it can stay when only these change
_AROUND: Final = {"engine", "health", "drain", "target"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to run: `image` is its id in the engine, `digest` the release's, `environment` holds the secrets too."""

    project: str
    stage: str
    version: str
    digest: Digest
    image: str
    deploy: Deploy
    environment: Mapping[str, str]

    @property
    def name(self) -> str:
        """The container's name once it is the stage's."""
        return self.deploy.called(self.project, self.stage)

    @property
    def configuration(self) -> str:
        """A hash of what the container is made with; of secrets, the references."""
        return hashlib.sha256(canonical_json(self.deploy.model_dump(mode="json", exclude=_AROUND))).hexdigest()

    def labels(self, role: str) -> dict[str, str]:
        """The labels of a container that is to be found again: `role` is ``service`` or ``trial``."""
        values = {
            "project": self.project, "stage": self.stage, "version": self.version, "digest": str(self.digest),
            "name": self.name, "role": role, "configuration": self.configuration,
        }  # fmt: skip
        return {PREFIX + key: value for key, value in values.items()}


@dataclass(frozen=True, slots=True)
class Found:
    """A container that is there; `base` is the name it was made for, `name` the one it has."""

    id: str
    name: str
    running: bool
    labels: Mapping[str, str]

    @property
    def base(self) -> str:
        """The name without what says that it is the next or the previous."""
        return self.label("name")

    @property
    def place(self) -> str:
        """``""`` for the stage's current container, else `NEXT`, `PREVIOUS`, ``trial``, or ``?`` for a renamed one."""
        if self.label("role") != "service":
            return "trial"
        return self.name.removeprefix(self.base) if self.name.startswith(self.base) else "?"

    def label(self, key: str) -> str:
        """One of our labels; empty when it isn't there."""
        return self.labels.get(PREFIX + key, "")


def containers_of(engine: Engine, project: str, stage: str) -> list[Found]:
    """All containers of a stage, running or not."""
    wanted = [f"{PREFIX}project={project}", f"{PREFIX}stage={stage}"]
    with engine_errors(engine):
        listed = engine.api.containers(all=True, filters={"label": wanted})
    return [
        Found(
            str(one["Id"]),
            (one.get("Names") or ["/"])[0].lstrip("/"),
            one.get("State") in ("running", "restarting", "paused"),
            dict(one.get("Labels") or {}),
        )
        for one in listed
    ]


def create(engine: Engine, wanted: Wanted, *, trial: bool) -> str:
    """Create, and don't start, the container that may become the stage's; its id.

    It isn't restarted until `settle` says so: an end is to be seen. A `trial` publishes no ports. Raises
    RefusedError when the name is somebody else's.
    """
    from docker.errors import APIError

    name = wanted.name + ("-trial" if trial else NEXT)
    api = engine.api
    ports = () if trial else wanted.deploy.published
    with engine_errors(engine):
        configuration = api.create_container_config(
            wanted.image,
            None,
            environment=dict(wanted.environment),
            ports=[(port.inside, port.protocol) for port in ports],
            labels=wanted.labels("trial" if trial else "service"),
            host_config=_host(engine, wanted.deploy, trial=trial),
        )
        try:
            return str(api.create_container_from_config(configuration, name)["Id"])
        except APIError as error:
            if error.status_code == 409:
                raise name_taken(engine, name) from error
            raise


def name_taken(engine: Engine, name: str) -> RefusedError:
    """The error for a container that is in the way and not ours."""
    return RefusedError(
        f"the engine at {engine.host} has another container that is called {name}",
        hint="remove or rename it, or give this stage's container another name: [stages.NAME.deploy] name = …",
    )


def _host(engine: Engine, deploy: Deploy, *, trial: bool) -> Any:
    bindings: dict[str, list[tuple[str, int]]] = {}
    for port in () if trial else deploy.published:
        bindings.setdefault(f"{port.inside}/{port.protocol}", []).append((port.address or "", port.outside))
    return engine.api.create_host_config(
        port_bindings=bindings,
        mem_limit=None if deploy.memory is None else memory_bytes(deploy.memory),
        nano_cpus=None if deploy.cpus is None else int(deploy.cpus * 1e9),
        network_mode=deploy.network,
        read_only=deploy.read_only,
        # not noexec: libffi and compilers at run time map what they write there
        tmpfs={"/tmp": "mode=1777,exec"} if deploy.read_only else None,  # noqa: S108
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
    )


def settle(engine: Engine, container: str, restart: str) -> None:
    """Have the engine start the container again as `restart` says, when its program or the engine ends."""
    with engine_errors(engine):
        engine.api.update_container(container, restart_policy={"Name": restart, "MaximumRetryCount": 0})


def fits(engine: Engine, found: Found, wanted: Wanted) -> bool:
    """Whether the container is what `wanted` would give: release, configuration, and the secrets' values."""
    if (found.label("digest"), found.label("configuration")) != (str(wanted.digest), wanted.configuration):
        return False
    with engine_errors(engine):
        has = set(engine.api.inspect_container(found.id)["Config"].get("Env") or [])
    return {f"{name}={value}" for name, value in wanted.environment.items()} <= has


def remove(engine: Engine, container: str) -> None:
    """Remove a container, running or not; one that is gone already is no failure."""
    from docker.errors import NotFound

    with engine_errors(engine):
        try:
            engine.api.remove_container(container, force=True, v=True)
        except NotFound:
            return


def address_of(inspected: Mapping[str, Any]) -> str:
    """Where a container is reached from inside itself as others reach it: its own address, not the loopback's."""
    networks = (inspected.get("NetworkSettings") or {}).get("Networks") or {}
    for network in networks.values():
        for key in ("IPAddress", "GlobalIPv6Address"):
            if network.get(key):
                return str(network[key])
    return "127.0.0.1"
