from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, ValidationError

from builder.complaints import explain
from builder.sections import Section
from builder.stagekeys import Deploy, Port, Stage, StageName, memory_bytes

FULL: dict[str, Any] = {
    "after": "staging",
    "signed": True,
    "parity": True,
    "approvers": {"ada": "keys/ada.pub"},
    "database": "env:PROD_DATABASE_URL",
    "deploy": {
        "target": "docker",
        "name": "churn",
        "ports": ["8080:8080", "127.0.0.1:9090:9000", "53/udp"],
        "env": {"LOG": "info"},
        "secrets": {"DB_PASSWORD": "env:PROD_DB_PASSWORD", "TOKEN": "file:/run/secrets/token"},
        "memory": "512m",
        "cpus": 1.5,
        "restart": "always",
        "health": {"path": "/health", "port": 8080, "within": 60, "watch": 10, "interval": 0.5},
        "drain": 5,
        "engine": "ssh://ada@host",
    },
}
CLUSTER: dict[str, Any] = {
    "target": "kubernetes",
    "ports": ["80:8080"],
    "secrets": {"DB_PASSWORD": "secret:churn/password"},
    "cpus": 1,
    "namespace": "ml",
    "replicas": 2,
    "max-replicas": 6,
    "target-cpu": 60,
    "service": "LoadBalancer",
    "pull-secret": "regcred",
    "service-account": "churn",
    "context": "prod",
}


class Stages(Section):
    """What a project file holds of stages."""

    stages: dict[StageName, Stage] = Field(default_factory=dict)


@pytest.mark.parametrize("stage", [{}, FULL, {"deploy": CLUSTER}, {"deploy": {"target": "docker"}}])
def test_a_record_gives_the_stage_back(stage: dict[str, Any]) -> None:
    read = Stage.model_validate(stage)
    document = json.loads(json.dumps(read.model_dump(mode="json", by_alias=True)))
    assert Stage.model_validate(document) == read


def test_a_stage_that_says_nothing_is_only_a_pointer() -> None:
    deploy = Stage().deploy
    assert (deploy.target, deploy.health.within, deploy.health.watch, deploy.drain) == ("none", 60, 10, 10)
    assert deploy.restart == "unless-stopped"


def refused(deploy: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        Deploy.model_validate(deploy, by_alias=True, by_name=False)
    return str(caught.value.errors()[0]["msg"]).removeprefix("Value error, ")


DOCKER = {"target": "docker"}
KUBERNETES = {"target": "kubernetes"}


@pytest.mark.parametrize(
    ("deploy", "words"),
    [
        ({"ports": ["80"]}, 'says how to run a release, but not on what: add target = "docker" or "kubernetes"'),
        (DOCKER | {"replicas": 2}, "replicas is for target = 'kubernetes', this one is 'docker'"),
        (DOCKER | {"max-replicas": 2}, "max-replicas is for target = 'kubernetes', this one is 'docker'"),
        (KUBERNETES | {"engine": "ssh://h"}, "engine is for target = 'docker', this one is 'kubernetes'"),
        (DOCKER | {"ports": ["http"]}, "a port is written like \"8080:8080\": the machine's, then the container's"),
        (DOCKER | {"ports": ["0:80"]}, "a port is a number from 1 to 65535"),
        (DOCKER | {"memory": "512 MB"}, 'memory is written like "512m" or "2g"'),
        (DOCKER | {"memory": "512"}, "no container runs in less than 6m of memory"),
        (DOCKER | {"env": {"A": "1"}, "secrets": {"A": "env:A"}}, "A is both in env and in secrets"),
        (DOCKER | {"secrets": {"A": "secret:x/y"}}, "the secret A for target 'docker' is written"),
        (KUBERNETES | {"secrets": {"A": "env:A"}}, "the secret A for target 'kubernetes' is written"),
        (DOCKER | {"health": {"path": "/health"}}, "health.path needs a port: say health.port = … or ports = […]"),
        (DOCKER | {"health": {"port": 80}}, 'port is the one that a path is asked of: add path = "/health"'),
        (DOCKER | {"health": {"path": "/", "command": ["true"]}}, "needs either a path or a command, not both"),
        (DOCKER | {"health": {"path": "health"}}, 'a path begins with "/" and holds no spaces'),
        (DOCKER | {"engine": "tcp://u:hunter2@h"}, "an engine is unix:///PATH, ssh://USER@HOST or tcp://HOST:PORT"),
        (KUBERNETES | {"name": "Churn_1"}, "name: in Kubernetes it is lower-case letters"),
        (KUBERNETES | {"ports": ["1.2.3.4:80:80"]}, "a port of a Service has no address"),
        (KUBERNETES | {"replicas": 3, "max-replicas": 2}, "max-replicas is less than replicas, which is 3"),
        (KUBERNETES | {"max-replicas": 2}, "max-replicas needs cpus"),
    ],
)
def test_what_is_wrong_is_said_in_words(deploy: dict[str, Any], words: str) -> None:
    assert refused(deploy).startswith(words)


def said(stages: dict[str, Any]) -> str:
    """What a user reads of `stages`."""
    with pytest.raises(ValidationError) as caught:
        Stages.model_validate({"stages": stages})
    error = explain(caught.value, Stages, "", Path("lockship.toml"))
    return f"{error} {error.hint}"


def test_a_secret_that_is_written_down_is_not_repeated() -> None:
    text = said({"production": {"deploy": DOCKER | {"secrets": {"PASSWORD": "hunter2-in-the-clear"}}}})
    assert "the secret PASSWORD is to be named, not written down" in text
    assert "hunter2" not in text
    for url in ("postgresql://ada:hunter2@host/db", "postgresql://:hunter2@host"):
        assert "hunter2" not in said({"production": {"database": url}})


@pytest.mark.parametrize("name", ["Production", "a.b", "-x", "x" * 41, "a_b"])
def test_a_stages_name_becomes_a_tag_and_part_of_other_names(name: str) -> None:
    assert name in said({name: {}})


@pytest.mark.parametrize("database", ["env:URL", "file:/run/url", "sqlite:///x.db", "postgresql://ada@host/db"])
def test_where_a_database_is(database: str) -> None:
    assert Stage(database=database).database == database


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("8080", Port(8080, 8080)),
        ("80:8080", Port(8080, 80)),
        ("127.0.0.1:80:8080/tcp", Port(8080, 80, "127.0.0.1")),
        ("[::1]:80:8080", Port(8080, 80, "::1")),
        ("53:5353/udp", Port(5353, 53, None, "udp")),
    ],
)
def test_ports(text: str, port: Port) -> None:
    assert Port.parse(text) == port


def test_memory_is_read_as_docker_reads_it() -> None:
    assert [memory_bytes(text) for text in ("7", "7b", "2k", "512m", "2G")] == [7, 7, 2048, 512 << 20, 2 << 30]


def test_the_port_that_is_asked_for_health() -> None:
    assert Deploy.model_validate(DOCKER | {"ports": ["53:53/udp", "80:8080", "9000"]}).health_port == 8080
    assert Deploy.model_validate(DOCKER | {"health": {"path": "/", "port": 9}}).health_port == 9


@pytest.mark.parametrize(
    ("project", "name"), [("churn", "churn-prod"), ("my.churn__x", "my-churn-x-prod"), ("1churn", "app-1churn-prod")]
)
def test_names_in_a_cluster_are_those_of_dns(project: str, name: str) -> None:
    assert Deploy.model_validate(KUBERNETES).called(project, "prod") == name
    assert Deploy.model_validate(DOCKER).called(project, "prod") == f"{project}-prod"
    assert Deploy.model_validate(KUBERNETES | {"name": "own"}).called(project, "prod") == "own"
    assert len(Deploy.model_validate(KUBERNETES).called("x" * 90, "prod")) <= 52
