"""A release to where its stage runs: a Docker engine or a Kubernetes cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builder.errors import LockshipError, UsageError
from builder.image.stored import read_release
from builder.pipeline.context import Context
from builder.pipeline.targets import Target
from builder.releases.record import Record
from builder.stagekeys import Deploy

if TYPE_CHECKING:
    from builder.deploy.switching import Deployed

__all__ = ["Outcome", "deploy_release", "obstacle", "rendered"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether it is healthy, why (not), and seconds by step."""

    healthy: bool
    why: str
    steps: Mapping[str, float] = field(default_factory=dict)


def deploy_release(
    target: Target, context: Context, record: Record, stage: str, deploy: Deploy, sleep: Callable[[float], None]
) -> Outcome:
    """Run the release of `record` in `stage`, and see whether it is well; what ran before runs again when it isn't.

    Raises StoreError when the engine or the cluster can't be reached, UsageError for a secret that isn't there.
    """
    run = _to_cluster if deploy.target == "kubernetes" else _to_engine
    found = run(target, context, record, stage, deploy, sleep)
    return Outcome(found.healthy, found.why, {name: round(seconds, 3) for name, seconds in found.steps})


def _to_engine(
    target: Target, context: Context, record: Record, stage: str, deploy: Deploy, sleep: Callable[[float], None]
) -> Deployed:
    from builder.deploy import switching

    engine = switching.engine_of(deploy, context.environ)
    try:
        return switching.deploy(
            engine, target.store, record.digest, stage, record.name, record.version, deploy,
            environ=context.environ, sleep=sleep, progress=context.progress,
        )  # fmt: skip
    finally:
        engine.close()


def _to_cluster(
    target: Target, context: Context, record: Record, stage: str, deploy: Deploy, sleep: Callable[[float], None]
) -> Deployed:
    from builder.deploy import kubernetes

    return kubernetes.apply(
        rendered(target, record, stage, deploy), deploy, stage=stage, project=record.name, version=record.version,
        environ=context.environ, clock=time.monotonic, progress=context.progress,
    )  # fmt: skip


def rendered(target: Target, record: Record, stage: str, deploy: Deploy) -> str:
    """The manifests of a stage in a cluster, by digest. Raises UsageError where a cluster couldn't pull the image."""
    from builder.deploy.kubernetes import render

    if target.repository is None:
        raise UsageError(
            "a cluster pulls images from a registry, and these releases are in a folder",
            hint="write repository under [store], and release there",
        )
    release = read_release(target.store, record.digest)
    configs = [image.config.get("config") or {} for image in (release.images if release else {}).values()]
    user = str(configs[0].get("User", "")) if configs else ""
    return render(
        str(target.repository), record.digest, deploy, project=record.name, stage=stage, version=record.version,
        user=user,
    )  # fmt: skip


def obstacle(context: Context, deploy: Deploy) -> str | None:
    """What keeps this machine from deploying, found before anything moves: no engine, or a secret that isn't there."""
    if deploy.target != "docker":
        return None
    from builder.deploy.secrets import resolve
    from builder.deploy.switching import engine_of

    try:
        resolve(deploy.secrets, context.environ)
        engine_of(deploy, context.environ).close()
    except LockshipError as error:
        return error.message + (f" ({error.hint})" if error.hint else "")
    return None
