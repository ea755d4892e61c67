from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from builder.content import Digest
from builder.deploy.kubernetes import apply, render
from builder.deploy.manifests import manifests, to_yaml
from builder.errors import StoreError, UsageError
from builder.stagekeys import Deploy
from tests.support.require import need

pytestmark = pytest.mark.slow

SCHEMAS = {path.stem: json.loads(path.read_text()) for path in (Path(__file__).parent.parent / "data").glob("kube*")}
DIGEST = Digest.of(b"release")
REPOSITORY = "registry.example.com/ml/churn"

SMALL: dict[str, Any] = {"target": "kubernetes"}
FULL: dict[str, Any] = {
    "target": "kubernetes",
    "name": "churn",
    "ports": ["80:8080", "9090:9090", "53:5353/udp"],
    "env": {"LOG": "info", "SHELL_LIKE": "$(LOG) yes 1e3", "EMPTY": ""},
    "secrets": {"DB_PASSWORD": "secret:churn/password"},
    "memory": "512m",
    "cpus": 1.5,
    "health": {"path": "/health", "within": 90, "watch": 15, "interval": 2},
    "drain": 20,
    "context": "prod",
    "namespace": "ml",
    "replicas": 2,
    "max-replicas": 6,
    "target-cpu": 60,
    "service": "LoadBalancer",
    "service-account": "churn",
    "pull-secret": "regcred",
}
VARIANTS: dict[str, dict[str, Any]] = {
    "small": SMALL,
    "full": FULL,
    "command": SMALL | {"health": {"command": ["/bin/check", "--all"]}, "read-only": False},
    "port": SMALL | {"ports": ["8080"], "memory": "15000k", "cpus": 2},
    "replicas": SMALL | {"replicas": 3},
}


def made(keys: dict[str, Any], version: str = "1.4.0") -> dict[str, dict[str, Any]]:
    """The objects by kind."""
    deploy = Deploy.model_validate(keys)
    objects = manifests(REPOSITORY, DIGEST, deploy, project="churn", stage="prod", version=version, user=65532)
    return {one["kind"]: one for one in objects}


def text_of(keys: dict[str, Any], **more: Any) -> str:
    given = {"project": "churn", "stage": "prod", "version": "1.4.0"} | more
    return render(REPOSITORY, DIGEST, Deploy.model_validate(keys), **given)


def read(text: str) -> list[Any]:
    return list(YAML(typ="safe", pure=True).load_all(io.StringIO(text)))


@pytest.mark.parametrize("schemas", SCHEMAS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_published_schemas_accept_it(variant: str, schemas: str) -> None:
    """Strict: a key that Kubernetes doesn't know is an error too."""
    objects = read(text_of(VARIANTS[variant]))
    assert objects
    for one in objects:
        root = SCHEMAS[schemas]
        validator = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{one['kind']}", "$defs": root["$defs"]})
        assert [error.message for error in validator.iter_errors(one)] == []


def test_the_schemas_would_notice() -> None:
    broken = made(FULL)["Deployment"]
    broken["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    for root in SCHEMAS.values():
        validator = jsonschema.Draft202012Validator({"$ref": "#/$defs/Deployment", "$defs": root["$defs"]})
        assert not validator.is_valid(broken)
    assert sorted(SCHEMAS) == ["kubernetes-1.25", "kubernetes-1.37"]


def test_which_objects_there_are() -> None:
    assert {name: list(made(keys)) for name, keys in VARIANTS.items()} == {
        "small": ["Deployment"],
        "full": ["Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"],
        "command": ["Deployment"],
        "port": ["Deployment", "Service"],
        "replicas": ["Deployment", "PodDisruptionBudget"],
    }


def container(keys: dict[str, Any]) -> dict[str, Any]:
    return dict(made(keys)["Deployment"]["spec"]["template"]["spec"]["containers"][0])


def test_the_image_is_named_by_digest() -> None:
    assert container(SMALL)["image"] == f"{REPOSITORY}@{DIGEST}"


def test_it_may_do_as_little_as_possible() -> None:
    pod = made(SMALL)["Deployment"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {
        "runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    assert container(SMALL)["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert container(SMALL)["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    assert text_of(SMALL, user="65532:65532") == text_of(SMALL)
    for user, who in ((0, "root"), ("0:0", "root"), ("", "root"), ("app", "app, which is a name")):
        with pytest.raises(UsageError, match=f"the image runs as {who}; a pod needs the number"):
            text_of(SMALL, user=user)


def test_secrets_are_the_clusters() -> None:
    env = {one["name"]: one for one in container(FULL)["env"]}
    assert env["DB_PASSWORD"]["valueFrom"] == {"secretKeyRef": {"name": "churn", "key": "password"}}
    assert env["SHELL_LIKE"]["value"] == "$$(LOG) yes 1e3"


def test_probes_and_resources() -> None:
    one = container(FULL)
    assert one["startupProbe"]["httpGet"] == {"path": "/health", "port": 8080}
    assert one["startupProbe"]["failureThreshold"] * one["startupProbe"]["periodSeconds"] == 90
    assert one["resources"]["limits"] == {"cpu": "1500m", "memory": "512Mi"}
    assert container(VARIANTS["command"])["readinessProbe"]["exec"] == {"command": ["/bin/check", "--all"]}
    assert container(VARIANTS["port"])["livenessProbe"]["tcpSocket"] == {"port": 8080}
    assert container(VARIANTS["port"])["resources"]["limits"] == {"cpu": "2", "memory": "15000Ki"}
    assert "startupProbe" not in container(SMALL)


def test_an_autoscaler_has_the_number_for_itself() -> None:
    assert "replicas" not in made(FULL)["Deployment"]["spec"]
    assert made(VARIANTS["replicas"])["Deployment"]["spec"]["replicas"] == 3
    scaler = made(FULL)["HorizontalPodAutoscaler"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"], scaler["scaleTargetRef"]["name"]) == (2, 6, "churn")


def test_a_new_version_selects_the_same_pods() -> None:
    old, new = made(FULL, "1.0"), made(FULL, "2." + "x" * 100 + "-")
    assert old["Deployment"]["spec"]["selector"] == new["Deployment"]["spec"]["selector"]
    selector = old["Service"]["spec"]["selector"].items()
    assert selector <= new["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    labels = new["Deployment"]["metadata"]["labels"]
    assert all(len(value) <= 63 for value in labels.values())
    assert new["Deployment"]["metadata"]["annotations"]["dev.lockship.version"].endswith("x-")


def test_the_service_leads_to_the_containers_ports() -> None:
    names = {port["name"]: port["containerPort"] for port in container(FULL)["ports"]}
    ports = made(FULL)["Service"]["spec"]["ports"]
    assert [(port["port"], names[port["targetPort"]]) for port in ports] == [(80, 8080), (9090, 9090), (53, 5353)]


LEAVES = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(st.lists(st.dictionaries(st.text(), VALUES, min_size=1), min_size=1, max_size=3))
def test_what_is_written_is_read_back(objects: list[dict[str, Any]]) -> None:
    assert read(to_yaml(objects)) == objects


def test_kubectl_reads_it(tmp_path: Path) -> None:
    need("kubectl", shutil.which("kubectl"), "the real one parses what is written")
    file = tmp_path / "churn.yaml"
    file.write_text(text_of(FULL))
    # a set of objects, edited without a server: kubectl parses every document of the file
    done = subprocess.run(
        ["kubectl", "label", "--local", "--overwrite", "-f", file, "seen=yes", "-o", "json"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    decoder, position, kinds = json.JSONDecoder(), 0, []
    while position < len(done.stdout.rstrip()):
        one, position = decoder.raw_decode(done.stdout, position)
        position += len(done.stdout[position:]) - len(done.stdout[position:].lstrip())
        kinds += [item["kind"] for item in one.get("items", [one])]
    assert kinds == ["Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"]


@pytest.fixture
def kubectl(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """A kubectl that says what a test tells it to: for how the process is handled, not for what a cluster does."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def say(script: str) -> dict[str, str]:
        program = folder / "kubectl"
        head = f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\n'
        program.write_text(head + textwrap.dedent(script))
        program.chmod(0o755)
        return {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(tmp_path)}

    return say


def applied(environ: dict[str, str], keys: dict[str, Any] = FULL, version: str = "1.4.0") -> Any:
    deploy = Deploy.model_validate(keys)
    ticks = iter(range(1000))
    return apply(
        text_of(keys), deploy, stage="prod", project="churn", version=version, environ=environ,
        clock=lambda: float(next(ticks)),
    )  # fmt: skip


OLD = '{"metadata": {"annotations": {"dev.lockship.version": "1.3.0"}}}'


def test_a_rollout(kubectl: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    result = applied(kubectl(f"case \"$*\" in *apply*) cat > {tmp_path}/given;; *get*) echo '{OLD}';; esac"))
    assert (result.healthy, result.container, result.why) == (True, "deployment/churn", "1.4.0 is rolled out")
    assert (tmp_path / "given").read_text() == text_of(FULL)
    assert [name for name, _ in result.steps] == ["apply", "rollout"]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert all(call.startswith("--context=prod --namespace=ml ") for call in calls)
    assert calls[1].endswith("apply --server-side --force-conflicts --field-manager=lockship -f -")
    assert calls[2].endswith("rollout status deployment/churn --timeout=165s")


@pytest.mark.parametrize(
    ("before", "end", "undone"),
    [
        (OLD, "1.3.0 serves again.", True),
        ("", "Nothing ran before; the Deployment is left for you to look at.", False),
        (OLD.replace("1.3.0", "1.4.0"), "1.4.0 ran before, too, and its old pods still serve.", False),
    ],
)
def test_a_rollout_that_fails_is_undone(
    kubectl: Callable[..., dict[str, str]], tmp_path: Path, before: str, end: str, undone: bool
) -> None:
    script = f"""
        case "$*" in
            *get*) echo '{before}';;
            *status*) echo 'error: deployment "churn" exceeded its progress deadline' >&2; exit 1;;
        esac"""
    result = applied(kubectl(script))
    assert not result.healthy
    assert 'deployment "churn" exceeded its progress deadline' in result.why
    assert "kubectl logs -n ml -l app.kubernetes.io/instance=churn" in result.why
    assert result.why.endswith(end)
    assert ("rollout undo deployment/churn" in (tmp_path / "calls").read_text()) == undone


def test_a_cluster_that_refuses(kubectl: Callable[..., dict[str, str]]) -> None:
    environ = kubectl('case "$*" in *apply*) echo "Error from server (Forbidden): no" >&2; exit 1;; esac')
    with pytest.raises(StoreError, match=r"kubectl apply failed: Error from server \(Forbidden\)") as caught:
        applied(environ)
    assert "auth can-i" in str(caught.value.hint)


def test_no_cluster(tmp_path: Path) -> None:
    need("kubectl", shutil.which("kubectl"), "the real one finds no cluster")
    config = tmp_path / "config"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: prod\n"
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n"
        "contexts: [{name: prod, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\n"
    )
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(config)}
    with pytest.raises(StoreError, match=r"kubectl get failed: .*refused") as caught:
        applied(environ)
    assert "cluster-info" in str(caught.value.hint)


def test_no_kubectl(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no kubectl on PATH"):
        applied({"PATH": str(tmp_path)})
