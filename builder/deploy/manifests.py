"""A release as objects of Kubernetes: plain values, written as YAML that people can read and `kubectl` applies."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from builder.content import Digest
from builder.stagekeys import Deploy, Health, memory_bytes
from builder.templating import yaml

__all__ = ["manifests", "to_yaml"]

_LIVENESS: Final = 10  # seconds between looks at a container that is up
_BEFORE_TERM: Final = 2  # seconds in which a Service forgets a pod that is going to stop
_UNITS: Final = ((1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki"))
# words that YAML 1.1 or 1.2 takes for something else than a string
_NO_STRINGS: Final = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}

Object = dict[str, Any]


def manifests(
    repository: str, digest: Digest, deploy: Deploy, *, project: str, stage: str, version: str, user: int
) -> tuple[Object, ...]:
    """Deployment, Service (with ports), PodDisruptionBudget (with two replicas) and HorizontalPodAutoscaler.

    The image is ``repository@digest``; `user` is the number that it runs as. Keys are in the order that people write
    them in. API versions are those of Kubernetes 1.23 and later.
    """
    name = deploy.called(project, stage)
    labels = {
        "app.kubernetes.io/name": _label(project),
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/version": _label(version),
        "app.kubernetes.io/managed-by": "lockship",
        "dev.lockship.stage": stage,
    }
    # what never changes: a Deployment's selector can't be
    selector = {"app.kubernetes.io/instance": name, "dev.lockship.stage": stage}
    notes = {"dev.lockship.version": version, "dev.lockship.digest": str(digest)}

    def of(api: str, kind: str, spec: Object) -> Object:
        about: Object = {"name": name} | ({} if deploy.namespace is None else {"namespace": deploy.namespace})
        about |= {"labels": labels, "annotations": notes}
        return {"apiVersion": api, "kind": kind, "metadata": about, "spec": spec}

    pod = {
        "metadata": {"labels": labels, "annotations": notes},
        "spec": _pod(f"{repository}@{digest}", deploy, user),
    }
    made = [of("apps/v1", "Deployment", _deployment(deploy, selector, pod))]
    if deploy.ports:
        made.append(of("v1", "Service", _service(deploy, selector)))
    if deploy.replicas > 1:
        budget = {"maxUnavailable": 1, "selector": {"matchLabels": selector}}
        made.append(of("policy/v1", "PodDisruptionBudget", budget))
    if deploy.scales:
        made.append(of("autoscaling/v2", "HorizontalPodAutoscaler", _autoscaler(deploy, name)))
    return tuple(made)


def _label(text: str) -> str:
    """`text` as a label's value: at most 63 characters, a letter or digit at both ends."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:63].strip("._-")


def _deployment(deploy: Deploy, selector: Mapping[str, str], pod: Object) -> Object:
    # with an autoscaler the number is its own: each apply would set it back
    count: Object = {} if deploy.scales else {"replicas": deploy.replicas}
    return count | {
        "revisionHistoryLimit": 5,
        "minReadySeconds": min(math.ceil(deploy.health.watch), 600),
        "progressDeadlineSeconds": math.ceil(deploy.health.within + deploy.health.watch) + 60,
        # no old pod goes before a new one is ready
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "selector": {"matchLabels": dict(selector)},
        "template": pod,
    }


def _pod(image: str, deploy: Deploy, user: int) -> Object:
    spec: Object = {}
    if deploy.service_account is not None:
        spec["serviceAccountName"] = deploy.service_account
    spec["automountServiceAccountToken"] = deploy.service_account is not None
    spec["securityContext"] = {
        "runAsNonRoot": True, "runAsUser": user, "runAsGroup": user, "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    spec["terminationGracePeriodSeconds"] = deploy.drain + _BEFORE_TERM
    if deploy.pull_secret is not None:
        spec["imagePullSecrets"] = [{"name": deploy.pull_secret}]
    spec["containers"] = [_container(image, deploy)]
    if deploy.read_only:
        spec["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    return spec


def _container(image: str, deploy: Deploy) -> Object:
    made: Object = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent"}
    if deploy.ports:
        made["ports"] = [
            {"name": _port_name(port.inside, port.protocol), "containerPort": port.inside,
             "protocol": port.protocol.upper()}
            for port in {(port.inside, port.protocol): port for port in deploy.published}.values()
        ]  # fmt: skip
    if variables := [*_values(deploy.env), *_secrets(deploy.secrets)]:
        made["env"] = variables
    if resources := _resources(deploy):
        made["resources"] = {"requests": resources, "limits": resources}
    made |= _probes(deploy)
    made["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": deploy.read_only,
        "capabilities": {"drop": ["ALL"]},
    }
    if deploy.read_only:
        made["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    return made


def _port_name(number: int, protocol: str) -> str:
    return f"{protocol}-{number}"


def _values(env: Mapping[str, str]) -> Iterator[Object]:
    for name, value in env.items():
        # "$(NAME)" would be replaced in the cluster, and nowhere else: "$$" stands for "$" (API reference, EnvVar)
        yield {"name": name, "value": value.replace("$(", "$$(")}


def _secrets(secrets: Mapping[str, str]) -> Iterator[Object]:
    for name, reference in secrets.items():
        secret, _, key = reference.removeprefix("secret:").partition("/")
        yield {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def _resources(deploy: Deploy) -> dict[str, str]:
    resources = {}
    if deploy.cpus is not None:
        resources["cpu"] = f"{deploy.cpus:g}" if deploy.cpus == int(deploy.cpus) else f"{round(deploy.cpus * 1000)}m"
    if deploy.memory is not None:
        size = memory_bytes(deploy.memory)
        factor, unit = next(((f, u) for f, u in _UNITS if size % f == 0), (1, ""))
        resources["memory"] = f"{size // factor}{unit}"
    return resources


def _probes(deploy: Deploy) -> Object:
    how = _how(deploy)
    if how is None:
        return {}
    health = deploy.health
    period = max(1, round(health.interval))
    common = how | {"timeoutSeconds": 5}
    return {
        "startupProbe": common | {"periodSeconds": period, "failureThreshold": _times(health, period)},
        "readinessProbe": common | {"periodSeconds": max(period, 5), "failureThreshold": 3},
        "livenessProbe": common | {"periodSeconds": max(period, _LIVENESS), "failureThreshold": 6},
    }


def _times(health: Health, period: int) -> int:
    return max(1, math.ceil(health.within / period))


def _how(deploy: Deploy) -> Object | None:
    health = deploy.health
    if health.path is not None:
        return {"httpGet": {"path": health.path, "port": deploy.health_port}}
    if health.command:
        return {"exec": {"command": list(health.command)}}
    first = next((port for port in deploy.published if port.protocol == "tcp"), None)
    return None if first is None else {"tcpSocket": {"port": first.inside}}


def _service(deploy: Deploy, selector: Mapping[str, str]) -> Object:
    ports = [
        {"name": _port_name(port.outside, port.protocol), "port": port.outside,
         "targetPort": _port_name(port.inside, port.protocol), "protocol": port.protocol.upper()}
        for port in deploy.published
    ]  # fmt: skip
    return {"type": deploy.service, "selector": dict(selector), "ports": ports}


def _autoscaler(deploy: Deploy, name: str) -> Object:
    target = {"type": "Utilization", "averageUtilization": deploy.target_cpu}
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": deploy.replicas,
        "maxReplicas": deploy.max_replicas,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }


def to_yaml(objects: Sequence[Mapping[str, Any]]) -> str:
    """Documents of YAML 1.2 (and 1.1) in block style; strings are quoted that might be taken for something else."""
    return "".join("---\n" + "\n".join(_block(one, 0)) + "\n" for one in objects)


def _block(value: Any, indent: int) -> Iterator[str]:
    lead = " " * indent
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _entry(f"{lead}{_text(key)}:", inner, indent + 2)
    else:
        for inner in value:
            lines = [_scalar(inner)] if _is_scalar(inner) else list(_block(inner, 0))
            yield f"{lead}- {lines[0]}"
            yield from (f"{lead}  {line}" for line in lines[1:])


def _entry(head: str, value: Any, indent: int) -> Iterator[str]:
    if _is_scalar(value):
        yield f"{head} {_scalar(value)}"
    else:
        yield head
        yield from _block(value, indent)


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, Mapping | list | tuple) or not value


def _scalar(value: Any) -> str:
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _text(text: str) -> str:
    plain = re.fullmatch(r"[A-Za-z/][A-Za-z0-9._/-]*", text) and text.lower() not in _NO_STRINGS
    return text if plain else yaml(text)
