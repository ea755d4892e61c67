from __future__ import annotations

import json
from typing import Any

import pytest

from builder.content import Digest, Platform
from builder.image.config import ENVIRONMENT, EPOCH, Facts, Inherited, annotations_of, image_config
from builder.layers.recipe import Layer
from builder.project import Project

AMD64 = Platform("linux", "amd64")
FACTS = Facts("churn", "1.0", base="debian:bookworm")


def layer(number: int, kind: str = "wheel", *holds: tuple[str, str]) -> Layer:
    return Layer(
        kind, Digest.of(b"%d" % number), number, Digest.of(b"tar %d" % number), holds or ((f"p{number}", "1"),)
    )


def document(image: dict[str, Any] | None = None, facts: Facts = FACTS, layers: tuple[Layer, ...] = ()) -> Any:
    project = Project.model_validate({"name": "churn", "version": "1.0", "image": image or {}})
    return json.loads(image_config(project, AMD64, layers, facts, python="3.11.2"))


def test_golden() -> None:
    """The bytes are part of every image's digest: they change only with intent."""
    project = Project.model_validate(
        {
            "name": "churn",
            "version": "1.0",
            "image": {"env": {"MODEL": "/app/é"}, "ports": [8080], "entrypoint": ["python"], "command": ["-m", "x"]},
        }
    )
    data = image_config(project, AMD64, [layer(1)], FACTS, python="3.11.2")
    assert data.decode() == (
        '{"architecture":"amd64","config":{"Cmd":["-m","x"],"Entrypoint":["python"],"Env":['
        '"PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","LANG=C.UTF-8",'
        '"VIRTUAL_ENV=/opt/venv","PYTHONUNBUFFERED=1","PYTHONDONTWRITEBYTECODE=1","MODEL=/app/é"],'
        '"ExposedPorts":{"8080/tcp":{}},"Labels":{"dev.lockship.base":"debian:bookworm",'
        '"dev.lockship.python":"3.11.2","org.opencontainers.image.created":"1970-01-01T00:00:00Z",'
        '"org.opencontainers.image.title":"churn","org.opencontainers.image.version":"1.0"},"User":"65532:65532",'
        '"WorkingDir":"/app"},"created":"1970-01-01T00:00:00Z","history":[{"created":"1970-01-01T00:00:00Z",'
        '"created_by":"lockship layer wheel p1 1"}],"os":"linux","rootfs":{"diff_ids":['
        f'"{Digest.of(b"tar 1")}"],"type":"layers"}}}}'
    )


def test_the_projects_env_goes_over_ours() -> None:
    env = document({"env": {"Z": "1", "LANG": "de_DE.UTF-8", "A": "x=y"}})["config"]["Env"]
    assert "LANG=de_DE.UTF-8" in env
    assert "LANG=C.UTF-8" not in env
    assert env[-2:] == ["A=x=y", "Z=1"]


def test_the_order_of_keys_in_the_project_file_doesnt_matter() -> None:
    assert document({"env": {"A": "1", "B": "2"}}) == document({"env": {"B": "2", "A": "1"}})
    assert document({"labels": {"a": "1", "b": "2"}}) == document({"labels": {"b": "2", "a": "1"}})


def test_history_lines_up_with_layers() -> None:
    layers = (layer(1, "deb"), layer(2), layer(3, "code", ("code", "")))
    found = document(layers=layers, facts=Facts("churn", "1.0", "2024-02-03T04:05:06Z"))
    assert [entry["created_by"] for entry in found["history"]] == [
        "lockship layer deb p1 1",
        "lockship layer wheel p2 1",
        "lockship layer code code",
    ]
    assert {entry["created"] for entry in found["history"]} == {found["created"]} == {"2024-02-03T04:05:06Z"}
    assert found["rootfs"]["diff_ids"] == [each.diff_id for each in layers]


def test_a_long_title_is_cut_in_the_history() -> None:
    crowd = layer(1, "wheel", *((f"package-number-{n}", "1") for n in range(300)))
    [entry] = document(layers=(crowd,))["history"]
    assert len(entry["created_by"]) < 250
    assert entry["created_by"].endswith("…")


def test_root_is_root() -> None:
    assert document({"user": 0})["config"]["User"] == "0:0"


def test_absent_is_absent() -> None:
    config = document()["config"]
    assert "Entrypoint" not in config
    assert "ExposedPorts" not in config
    assert config["Cmd"] == ["python"]


def test_the_projects_labels_win_except_over_ours() -> None:
    labels = document({"labels": {"org.opencontainers.image.title": "Churn!", "dev.lockship.base": "lie", "team": "x"}})
    found = labels["config"]["Labels"]
    assert found["org.opencontainers.image.title"] == "Churn!"
    assert found["dev.lockship.base"] == "debian:bookworm"
    assert found["team"] == "x"


def test_annotations_say_only_what_is_known() -> None:
    assert annotations_of(FACTS) == {
        "org.opencontainers.image.title": "churn",
        "org.opencontainers.image.version": "1.0",
        "org.opencontainers.image.created": EPOCH,
        "dev.lockship.base": "debian:bookworm",
    }


@pytest.mark.parametrize("dirty", [True, False])
def test_annotations_of_a_checkout_on_an_image(dirty: bool) -> None:
    digest = Digest.of(b"base")
    base = "docker.io/library/python:3.11-slim"
    found = annotations_of(Facts("c", "1", EPOCH, "abc", "https://example.com/x", dirty, base, digest))
    assert found["org.opencontainers.image.revision"] == "abc"
    assert found["org.opencontainers.image.source"] == "https://example.com/x"
    assert found["org.opencontainers.image.base.name"] == base
    assert found["org.opencontainers.image.base.digest"] == digest
    assert found.get("dev.lockship.dirty") == ("true" if dirty else None)


def inheriting(image: dict[str, Any], **base: Any) -> Any:
    project = Project.model_validate({"name": "churn", "version": "1.0", "image": image})
    layers = (layer(1, "base"), layer(2, "base"), layer(3))
    return json.loads(image_config(project, AMD64, layers, FACTS, python="3.11.2", base=Inherited(**base)))


def test_the_bases_variables_lie_under_ours_and_ours_under_the_projects() -> None:
    env = ("PATH=/a:/opt/venv/bin:/b", "LANG=de_DE.UTF-8", "A=base", "B=base")
    found = inheriting({"env": {"A": "project"}}, env=env)["config"]["Env"]
    assert found[:4] == ["PATH=/opt/venv/bin:/a:/b", "LANG=C.UTF-8", "A=project", "B=base"]
    assert "PATH=/x" in inheriting({"env": {"PATH": "/x"}}, env=env)["config"]["Env"]
    assert inheriting({}, env=("A=1",))["config"]["Env"][1] == "PATH=" + ENVIRONMENT["PATH"]


@pytest.mark.parametrize(
    ("user", "expected"),
    [("", "65532:65532"), ("root", "65532:65532"), ("0:5", "65532:65532"), ("app", "app"), ("7:8", "7:8")],
)
def test_the_bases_user_unless_it_is_root(user: str, expected: str) -> None:
    assert inheriting({}, user=user)["config"]["User"] == expected
    assert inheriting({"user": 65532}, user=user)["config"]["User"] == "65532:65532"
    assert inheriting({"user": 0}, user=user)["config"]["User"] == "0:0"


def test_the_bases_entrypoint_unless_the_project_has_one_or_wants_none() -> None:
    assert inheriting({}, entrypoint=("/tini",))["config"]["Entrypoint"] == ["/tini"]
    assert inheriting({"entrypoint": ["x"]}, entrypoint=("/tini",))["config"]["Entrypoint"] == ["x"]
    assert "Entrypoint" not in inheriting({"entrypoint": []}, entrypoint=("/tini",))["config"]


def test_what_else_is_inherited() -> None:
    found = inheriting({"ports": [80], "labels": {"a": "1"}}, ports=("53/udp",), volumes=("/v",), stop_signal="SIGINT",
                       labels={"a": "0", "b": "0"})["config"]  # fmt: skip
    assert found["ExposedPorts"] == {"53/udp": {}, "80/tcp": {}}
    assert (found["Volumes"], found["StopSignal"]) == ({"/v": {}}, "SIGINT")
    assert (found["Labels"]["a"], found["Labels"]["b"]) == ("1", "0")


def test_the_bases_history_comes_first_and_lines_up() -> None:
    assert inheriting({}, history=("ADD rootfs", "RUN x"))["history"] == [
        {"created_by": "ADD rootfs"},
        {"created_by": "RUN x"},
        {"created": EPOCH, "created_by": "lockship layer wheel p3 1"},
    ]


def test_a_project_with_jars_finds_its_java() -> None:
    """No maintainer script links /usr/bin/java; other projects' images stay what they were."""
    java = layer(1, "deb", ("java-common", "0.74"), ("openjdk-17-jre-headless", "17.0.2"))

    def env(platform: Platform, layers: tuple[Layer, ...], **more: Any) -> dict[str, str]:
        project = Project.model_validate({"name": "churn", "version": "1.0", **more})
        config = json.loads(image_config(project, platform, layers, FACTS, python="3.11.2"))["config"]
        return dict(one.split("=", 1) for one in config["Env"])

    jars = {"java": {"artifacts": ["com.acme:churn:1.0"]}}
    found = env(Platform("linux", "arm64"), (java,), **jars)
    assert found["JAVA_HOME"] == "/usr/lib/jvm/java-17-openjdk-arm64"
    assert found["PATH"] == f"{ENVIRONMENT['PATH']}:/usr/lib/jvm/java-17-openjdk-arm64/bin"
    assert env(AMD64, (java,)) == ENVIRONMENT
    assert env(AMD64, (), **jars) == ENVIRONMENT
    chosen = env(AMD64, (java,), **jars, image={"env": {"JAVA_HOME": "/opt/java"}})
    assert chosen["JAVA_HOME"] == "/opt/java"
