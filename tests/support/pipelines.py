"""Runs the shell steps of a CI pipeline in a clone, as the provider would: its variables, its way from step to step."""

from __future__ import annotations

import re
import subprocess
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.world import Finished

__all__ = ["Runner", "Step", "read_yaml", "steps"]

_SHELLS = {
    "github": ("bash", "--noprofile", "--norc", "-eo", "pipefail"),
    "gitlab": ("bash", "-eo", "pipefail"),
    "jenkins": ("sh", "-xe"),
    "azure": ("bash", "--noprofile", "--norc"),
}


@dataclass(frozen=True)
class Step:
    """A script and its own variables, as written: expressions of the provider are still in them."""

    script: str
    environ: Mapping[str, str] = field(default_factory=dict)


def read_yaml(text: str, *, scalars: bool = True) -> Any:
    """A YAML document; without `scalars` everything that is not a list or a mapping is a string, as Azure has it."""
    import ruamel.yaml

    return ruamel.yaml.YAML(typ="safe" if scalars else "base").load(text)


def steps(provider: str, text: str, job: str) -> list[Step]:
    """The shell steps of the job ``check``, ``push`` or ``release``, in order."""
    if provider != "jenkins" and job == "release":
        job = "push"  # which does either, as the branch or tag has it
    return {"github": _github, "gitlab": _gitlab, "jenkins": _jenkins, "azure": _azure}[provider](text, job)


def _github(text: str, job: str) -> list[Step]:
    document = read_yaml(text)
    return [
        Step(one["run"], {**document["env"], **one.get("env", {})})
        for one in document["jobs"][job]["steps"]
        if "run" in one
    ]


def _gitlab(text: str, job: str) -> list[Step]:
    document = read_yaml(text)
    (own,) = [value for name, value in document.items() if name.endswith(f":{job}")]
    base = document[own["extends"]]
    return [Step("\n".join([*base["before_script"], *own["script"]]), base["variables"])]


def _jenkins(text: str, job: str) -> list[Step]:
    front, marker, last = text.partition("    stage('Push')")
    push, more, release = last.partition("    stage('Release')")
    assert marker and more
    variables = re.findall(r"(?m)^ +([A-Z_]+) = '((?:[^'\\]|\\.)*)'$", text)
    environ = {name: re.sub(r"\\(.)", r"\1", value) for name, value in variables}
    setup = re.search(r"(?s)stage\('Set up'\).*?'''(.*?)'''", front)
    assert setup
    bodies = re.findall(r"(?s)'''(.*?)'''", {"check": front, "push": push, "release": release}[job])
    if job != "check":
        bodies.insert(0, setup[1])
    return [Step(textwrap.dedent(body), environ) for body in bodies]


def _azure(text: str, job: str) -> list[Step]:
    document = read_yaml(text, scalars=False)
    (stage,) = [one for one in document["stages"] if one["stage"] == job]
    environ = dict(document["variables"])
    environ |= {one["name"]: one["value"] for one in stage.get("variables", []) if "name" in one}
    return [Step(one["bash"], {**environ, **one.get("env", {})}) for one in stage["jobs"][0]["steps"] if "bash" in one]


class Runner:
    """A job on one of the provider's machines: `folder` is the checkout.

    `secrets` are the variables and secrets that people set at the provider, `facts` the provider's own variables.
    """

    def __init__(
        self,
        provider: str,
        folder: Path,
        environ: Mapping[str, str],
        secrets: Mapping[str, str],
        facts: Mapping[str, str],
    ) -> None:
        self._provider = provider
        self._folder = folder
        self._secrets = {**secrets, **facts}
        self._files = {name: folder.parent / f"{folder.name}.{name}" for name in ("GITHUB_PATH", "GITHUB_OUTPUT")}
        self._environ = {**environ, **facts}
        if provider == "github":
            self._environ |= {"GITHUB_WORKSPACE": str(folder)} | {name: str(at) for name, at in self._files.items()}
        else:  # what is secret in Azure reaches only the steps that name it
            secret = "LOCKSHIP_REGISTRY_PASSWORD" if provider == "azure" else ""
            self._environ |= {name: value for name, value in secrets.items() if name != secret}

    def run(self, todo: Iterable[Step]) -> list[Finished]:
        """One after the other, until one fails."""
        done: list[Finished] = []
        for step in todo:
            done.append(self._one(step))
            if done[-1].code:
                break
        return done

    def output(self, name: str) -> str | None:
        """What a step of GitHub's told the next ones."""
        lines = self._files["GITHUB_OUTPUT"].read_text().splitlines()
        return next((line.partition("=")[2] for line in reversed(lines) if line.startswith(f"{name}=")), None)

    def _one(self, step: Step) -> Finished:
        environ = {**self._environ, **{name: self._expanded(value) for name, value in step.environ.items()}}
        script = self._folder.parent / f"{self._folder.name}.sh"
        script.write_text(step.script)
        ran = subprocess.run(
            [*_SHELLS[self._provider], str(script)], cwd=self._folder, env=environ, capture_output=True, check=False
        )
        done = Finished(ran.returncode, ran.stdout.decode(), ran.stderr.decode())
        for name, value in re.findall(r"(?m)^##vso\[task\.setvariable variable=(\w+)[^\]]*\](.*)$", done.out):
            self._environ[name] = value
        if self._files["GITHUB_PATH"].exists():
            added = self._files["GITHUB_PATH"].read_text().split("\n")
            self._environ["PATH"] = ":".join([*filter(None, reversed(added)), self._environ["PATH"]])
            self._files["GITHUB_PATH"].unlink()
        return done

    def _expanded(self, value: str) -> str:
        """With the values of ``${{ vars.NAME }}``, ``${{ secrets.NAME }}`` (GitHub) and ``$(NAME)`` (Azure).

        What has no value is empty at GitHub, and stays as it is written at Azure.
        """
        if self._provider == "azure":
            return re.sub(r"\$\(([\w.]+)\)", lambda found: self._secrets.get(found[1], found[0]), value)
        if self._provider == "github":
            if self._environ.get("GITHUB_REF_TYPE") != "tag":
                value = re.sub(r"\$\{\{ github\.ref_type == 'tag' && .*? \}\}", "", value)
            value = re.sub(r"github\.ref_type == 'tag' && (secrets\.\w+) \|\| ''", r"\1", value)
            pattern = r"\$\{\{ (?:vars|secrets)\.(\w+) \}\}"
            return re.sub(pattern, lambda found: self._secrets.get(found[1], ""), value)
        return value
