"""A release into a cluster: manifests applied by `kubectl`, and how the rollout went."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from builder.content import Digest
from builder.deploy.manifests import manifests, to_yaml
from builder.deploy.switching import Deployed
from builder.errors import StoreError, UsageError
from builder.progress import SILENT, Progress
from builder.stagekeys import Deploy

__all__ = ["apply", "render"]

_CALL: Final = 60  # seconds for one answer of the cluster
_LINES: Final = 20
_CHARACTERS: Final = 2000


def render(
    repository: str,
    digest: Digest,
    deploy: Deploy,
    *,
    project: str,
    stage: str,
    version: str,
    user: int | str = 65532,
) -> str:
    """The manifests as one file; `user` is what the image's configuration says, a number or ``number:group``.

    Raises UsageError for an image that runs as root or as a user without a number: the cluster would refuse it.
    """
    number = str(user).partition(":")[0]
    if not number.isdigit() or int(number) == 0:
        who = "root" if number in ("", "0", "root") else f"{number}, which is a name"
        raise UsageError(
            f"the image runs as {who}; a pod needs the number of another user",
            hint="give [image] one, like user = 65532, and release again",
        )
    return to_yaml(
        manifests(repository, digest, deploy, project=project, stage=stage, version=version, user=int(number))
    )


def apply(
    text: str,
    deploy: Deploy,
    *,
    stage: str,
    project: str,
    version: str,
    environ: Mapping[str, str],
    clock: Callable[[], float],
    progress: Progress = SILENT,
) -> Deployed:
    """Apply what `render` made, and wait for the rollout; one that fails is undone.

    The old pods serve until new ones are ready and have stayed so for `health.watch` seconds. `container` of the
    result is ``deployment/NAME``. Raises StoreError without a kubectl, or when the cluster can't be reached or
    refuses the manifests.
    """
    cluster = _Cluster(_kubectl(environ), environ, deploy, deploy.called(project, stage))
    steps: list[tuple[str, float]] = []

    def timed(name: str, began: float) -> None:
        steps.append((name, clock() - began))

    began = clock()
    before = cluster.version()
    with progress.task(f"applying {version} to {stage}"):
        # server-side: what others own (an autoscaler's replicas) stays theirs; ours is ours, also after an undo
        cluster.must("apply", "--server-side", "--force-conflicts", "--field-manager=lockship", "-f", "-", given=text)
    timed("apply", began)
    began = clock()
    with progress.task(f"waiting for the rollout of {version}"):
        failure = cluster.rollout()
    timed("rollout", began)
    if failure is None:
        return Deployed(True, f"{version} is rolled out", cluster.target, None, tuple(steps))
    began = clock()
    said = f"{version} is not rolled out: {failure}{cluster.last_words()}\n{cluster.back(before, version)}"
    timed("back", began)
    return Deployed(False, said, cluster.target, None, tuple(steps))


def _kubectl(environ: Mapping[str, str]) -> str:
    found = shutil.which("kubectl", path=environ.get("PATH", os.defpath))
    if found is None:
        raise StoreError(
            "there is no kubectl on PATH", hint="install it, or render the manifests and apply them where there is one"
        )
    return found


@dataclass(frozen=True, slots=True)
class _Cluster:
    program: str
    environ: Mapping[str, str]
    deploy: Deploy
    name: str

    @property
    def target(self) -> str:
        return f"deployment/{self.name}"

    def call(self, *words: str, given: str = "", limit: float = _CALL) -> subprocess.CompletedProcess[str]:
        """Run kubectl with the stage's context and namespace."""
        where = [f"--context={self.deploy.context}"] if self.deploy.context is not None else []
        where += [f"--namespace={self.deploy.namespace}"] if self.deploy.namespace is not None else []
        argv = [self.program, *where, *words]
        try:
            return subprocess.run(
                argv, input=given, capture_output=True, encoding="utf-8", errors="replace", env=dict(self.environ),
                timeout=limit, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise StoreError(
                f"kubectl {words[0]} gave no answer in {limit:g} s", hint="is the cluster reachable? kubectl get nodes"
            ) from error
        except OSError as error:
            raise StoreError(f"kubectl can't be run: {error.strerror}") from error

    def must(self, *words: str, given: str = "") -> str:
        """What kubectl prints; StoreError with its own words when it fails."""
        done = self.call(*words, given=given)
        if done.returncode != 0:
            raise StoreError(f"kubectl {words[0]} failed: {_end(done)}", hint=_hint(done.stderr))
        return done.stdout

    def version(self) -> str | None:
        """The version that is deployed; empty when it isn't known, None when there is no Deployment."""
        text = self.must("get", "deployment", self.name, "--ignore-not-found", "-o", "json")
        if not text.strip():
            return None
        try:
            document: Any = json.loads(text)
            return str((document["metadata"].get("annotations") or {}).get("dev.lockship.version", ""))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError("kubectl get gave no Deployment") from error

    def rollout(self) -> str | None:
        """Wait for it; None, or why it isn't done."""
        seconds = math.ceil(self.deploy.health.within + self.deploy.health.watch) + 60
        done = self.call("rollout", "status", self.target, f"--timeout={seconds}s", limit=seconds + _CALL)
        return None if done.returncode == 0 else _end(done)

    def last_words(self) -> str:
        """The end of a new pod's log; the cluster's secrets are not known here, so it's only named how to see it."""
        where = f" -n {self.deploy.namespace}" if self.deploy.namespace is not None else ""
        return f"\nIts log: kubectl logs{where} -l app.kubernetes.io/instance={self.name} --tail={_LINES}"

    def back(self, before: str | None, version: str) -> str:
        """Undo the rollout; what to say about it."""
        if before is None:
            return "Nothing ran before; the Deployment is left for you to look at."
        if before == version:
            return f"{version} ran before, too, and its old pods still serve."
        done = self.call("rollout", "undo", self.target)
        if done.returncode != 0:
            return f"The old pods still serve, but it could not be undone: {_end(done)}"
        # by the Deployment's own annotation nobody could tell that the old pods are back
        self.call("annotate", "--overwrite", self.target, f"dev.lockship.version={before}")
        return f"{before or 'What ran before'} serves again."


def _end(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()[-_LINES:]
    text = "".join(one for one in "\n".join(lines) if one == "\n" or one.isprintable())
    return text[-_CHARACTERS:] or f"exit status {done.returncode}"


def _hint(said: str) -> str | None:
    hints: Sequence[tuple[str, str]] = (
        ("refused", "is the cluster reachable? `kubectl cluster-info` says where it is looked for"),
        ("orbidden", "the account of this kubectl may not do that: `kubectl auth can-i --list` shows what it may"),
        ("namespaces", "create the namespace first: kubectl create namespace NAME"),
        ("does not exist", "`kubectl config get-contexts` lists the contexts that there are"),
    )
    return next((hint for words, hint in hints if words in said), None)
