"""`[stages.NAME]`: which releases may enter a stage, and `[stages.NAME.deploy]`: how they get to where they run.

A release's record carries its stages as JSON, so that a rollback needs no checkout: ``model_dump(mode="json",
by_alias=True)`` there, ``model_validate`` back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from builder.datakeys import DatabaseReference
from builder.sections import Inside, Section, matching

__all__ = ["Deploy", "Health", "Port", "Stage", "StageName", "memory_bytes"]

Seconds = Annotated[FiniteFloat, Field(ge=0, le=86_400)]
StageName = Annotated[
    str,
    matching(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", "a stage's name is lower-case letters and digits, with - between them"),
    Field(max_length=40),
]
Person = Annotated[
    str, matching(r"[A-Za-z0-9][A-Za-z0-9._@+-]*", "who approves is named by letters, digits and . _ @ + -")
]
Variable = Annotated[str, matching(r"[A-Za-z_][A-Za-z0-9_]*", "not the name of an environment variable")]
PortNumber = Annotated[int, Field(ge=1, le=65_535)]
ContainerName = Annotated[
    str, matching(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,50}", "a container's name is letters, digits and _ . -, at most 51")
]
# RFC 1123, and a letter in front as Services want it; what is derived from it gets a few more characters
_DNS_NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,50}[a-z0-9])?")
DnsName = Annotated[
    str,
    matching(_DNS_NAME.pattern, "a name in Kubernetes is lower-case letters, digits and -, begins with a letter"),
]
_MEMORY: Final = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_REFERENCE: Final = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/[^\0]+|secret:[a-z0-9.-]+/[A-Za-z0-9._-]+")
_PORT: Final = re.compile(r"(?:(?:(\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]):)?(\d{1,5}):)?(\d{1,5})(?:/(tcp|udp))?")

# keys of [stages.NAME.deploy] that mean something to one target only
_ONLY: Final = {
    "docker": ("engine", "network", "restart"),
    "kubernetes": (
        "context", "max_replicas", "namespace", "pull_secret", "replicas", "service", "service_account", "target_cpu",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the container and where it is published: `address` is an interface of the engine's machine."""

    inside: int
    outside: int
    address: str | None = None
    protocol: Literal["tcp", "udp"] = "tcp"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``8080``, ``80:8080``, ``127.0.0.1:80:8080``, ``53:53/udp``; raises ValueError in words."""
        found = _PORT.fullmatch(text)
        if found is None:
            raise ValueError("a port is written like \"8080:8080\": the machine's, then the container's")
        inside, outside = int(found[3]), int(found[2] or found[3])
        if not (0 < inside < 65_536 and 0 < outside < 65_536):
            raise ValueError("a port is a number from 1 to 65535")
        address = found[1].strip("[]") if found[1] else None
        return cls(inside, outside, address, "udp" if found[4] == "udp" else "tcp")


def memory_bytes(text: str) -> int:
    """``512m`` in bytes: b, k, m and g are powers of 1024, as docker reads them; raises ValueError in words."""
    found = re.fullmatch(r"(\d+)([bkmg]?)", text.lower())
    if found is None:
        raise ValueError('memory is written like "512m" or "2g"')
    return int(found[1]) * _MEMORY[found[2]]


def _port(value: str) -> str:
    Port.parse(value)
    return value


def _memory(value: str) -> str:
    if memory_bytes(value) < 6 << 20:  # what engines take at least
        raise ValueError("no container runs in less than 6m of memory")
    return value


def _references(value: dict[str, str]) -> dict[str, str]:
    """Checked as a whole: what complains about one string would show it, and it may be the secret itself."""
    for name, reference in value.items():
        if not _REFERENCE.fullmatch(reference):
            forms = '"env:NAME", "file:/PATH" or "secret:NAME/KEY"'
            raise ValueError(f"the secret {name} is to be named, not written down: {forms}")
    return value


def _engine(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("unix", "ssh", "tcp") or parts.password is not None:
        raise ValueError("an engine is unix:///PATH, ssh://USER@HOST or tcp://HOST:PORT, without a password")
    return value


class Health(Section):
    """`health`: when a container counts as healthy, and how long is waited for it. All times in seconds.

    A request for `path` to `port` that is answered by 2xx or 3xx, or a `command` in the container that returns 0, or
    else the image's own HEALTHCHECK, or else that it keeps running.
    """

    path: Annotated[str, matching(r"/[!-~]*", 'a path begins with "/" and holds no spaces')] | None = None
    port: PortNumber | None = None
    command: tuple[str, ...] = ()
    within: Seconds = 60
    watch: Seconds = 10
    interval: Annotated[FiniteFloat, Field(ge=0.05, le=3600)] = 1

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.path is not None and self.command:
            raise ValueError("needs either a path or a command, not both")
        if self.port is not None and self.path is None:
            raise ValueError('port is the one that a path is asked of: add path = "/health"')
        return self


class Deploy(Section):
    """`[stages.NAME.deploy]`: where a release of this stage runs and how."""

    target: Literal["none", "docker", "kubernetes"] = "none"
    name: ContainerName | None = None
    ports: tuple[Annotated[str, AfterValidator(_port)], ...] = ()
    env: dict[Variable, str] = Field(default_factory=dict)
    secrets: Annotated[dict[Variable, str], AfterValidator(_references)] = Field(default_factory=dict)
    memory: Annotated[str, AfterValidator(_memory)] | None = None
    cpus: Annotated[FiniteFloat, Field(ge=0.01, le=1024)] | None = None
    read_only: bool = Field(default=True, alias="read-only")
    health: Health = Health()
    drain: Annotated[int, Field(ge=0, le=3600)] = 10
    # docker
    engine: Annotated[str, AfterValidator(_engine)] | None = None
    network: ContainerName | None = None
    restart: Literal["no", "on-failure", "always", "unless-stopped"] = "unless-stopped"
    # kubernetes
    context: str | None = None
    namespace: DnsName | None = None
    replicas: Annotated[int, Field(ge=1, le=10_000)] = 1
    max_replicas: Annotated[int, Field(ge=1, le=10_000)] | None = Field(default=None, alias="max-replicas")
    target_cpu: Annotated[int, Field(ge=1, le=100)] = Field(default=75, alias="target-cpu")
    service: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    service_account: DnsName | None = Field(default=None, alias="service-account")
    pull_secret: DnsName | None = Field(default=None, alias="pull-secret")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self._of_its_target()
        twice = sorted(self.env.keys() & self.secrets.keys())
        if twice:
            raise ValueError(f"{twice[0]} is both in env and in secrets")
        if self.health.path is not None and self.health_port is None:
            raise ValueError("health.path needs a port: say health.port = … or ports = […]")
        self._of_kubernetes()
        return self

    def _of_its_target(self) -> None:
        """Whether what is said belongs to the target; a record says everything, so defaults count as not said."""
        for target, keys in _ONLY.items():
            for key in keys if target != self.target else ():
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"{key.replace('_', '-')} is for target = {target!r}, this one is {self.target!r}")
        if self.target == "none" and self.model_dump(exclude={"target"}) != _BARE:
            raise ValueError('says how to run a release, but not on what: add target = "docker" or "kubernetes"')
        of_cluster = {name for name, value in self.secrets.items() if value.startswith("secret:")}
        wrong = of_cluster if self.target == "docker" else self.secrets.keys() - of_cluster
        if wrong:
            form = '"env:NAME" or "file:/PATH"' if self.target == "docker" else '"secret:NAME/KEY", one of the cluster'
            raise ValueError(f"the secret {min(wrong)} for target {self.target!r} is written {form}")

    def _of_kubernetes(self) -> None:
        if self.target != "kubernetes":
            return
        if self.name is not None and not _DNS_NAME.fullmatch(self.name):
            raise ValueError("name: in Kubernetes it is lower-case letters, digits and -, begins with a letter")
        if any(port.address for port in self.published):
            raise ValueError("a port of a Service has no address: write the two ports only")
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(f"max-replicas is less than replicas, which is {self.replicas}")
        if self.scales and self.cpus is None:
            raise ValueError("max-replicas needs cpus: how busy a replica is, is measured against them")

    @property
    def published(self) -> tuple[Port, ...]:
        """The ports, read."""
        return tuple(Port.parse(text) for text in self.ports)

    @property
    def health_port(self) -> int | None:
        """The container's port that `health.path` is asked of: the one that is said, or the first of `ports`."""
        if self.health.port is not None:
            return self.health.port
        return next((port.inside for port in self.published if port.protocol == "tcp"), None)

    @property
    def scales(self) -> bool:
        """Whether the number of replicas follows the load."""
        return self.max_replicas is not None and self.max_replicas > self.replicas

    def called(self, project: str, stage: str) -> str:
        """The name of the container or Deployment: the one that is said, or the project's and the stage's."""
        if self.name is not None:
            return self.name
        if self.target != "kubernetes":
            return f"{project}-{stage}"
        name = re.sub(r"[^a-z0-9]+", "-", f"{project}-{stage}")
        return (name if name[0].isalpha() else f"app-{name}")[:52].rstrip("-")


_BARE: Final[Mapping[str, object]] = Deploy.model_construct().model_dump(exclude={"target"})


class Stage(Section):
    """`[stages.NAME]`: which releases may enter, and how they are deployed.

    `after` is a stage that a release must have been healthy in; `signed` asks for a signature of `[signing] key`,
    `parity` for passed parity; `approvers` are people with the files of their public keys, one of whom must have
    approved. `database` is what the preflight compares with the schema that a release needs.
    """

    after: StageName | None = None
    signed: bool = False
    parity: bool = False
    approvers: dict[Person, Inside] = Field(default_factory=dict)
    database: DatabaseReference | None = None
    deploy: Deploy = Deploy()
