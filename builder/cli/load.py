"""`lockship load` and `lockship run`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.cli.build import announce
from builder.cli.setup import context, optional_project
from builder.cli.terminal import Terminal
from builder.deploy.run import Streams
from builder.errors import UsageError
from builder.pipeline import loading, shipping
from builder.project import Project

__all__ = ["load", "run"]


def load(terminal: Terminal, path: Path, reference: str | None) -> None:
    """Load; the image's name on stdout."""
    if reference is not None:
        return _load_image(terminal, path, reference)
    project = _project(path, instead="lockship load registry.example.com/ml/churn:1.4.0")
    loaded = shipping.load(project, context(terminal))
    announce(terminal, loaded.built)
    document = {"name": loaded.name, "id": loaded.image_id, "digest": loaded.built.plan.descriptor.digest}
    return terminal.result("load", document, loaded.name)


def _load_image(terminal: Terminal, path: Path, reference: str) -> None:
    loaded = loading.load_image(reference, optional_project(path), context(terminal))
    document = {"name": loaded.name, "id": loaded.image_id, "digest": loaded.digest}
    terminal.result("load", document, loaded.name or loaded.image_id)


def run(
    terminal: Terminal,
    path: Path,
    arguments: Sequence[str],
    *,
    image: str | None,
    volumes: Sequence[str],
    env: Sequence[str],
    publish: Sequence[str],
) -> int:
    """Run; the exit status of the project's command, or of the image's."""
    streams = Streams(stdin=sys.stdin.buffer, tty=sys.stdin.isatty() and sys.stdout.isatty())
    variables, mounts = _variables(env), [_volume(one) for one in volumes]
    ports = dict(_port(one) for one in publish)
    if image is not None:
        return loading.run_image(
            image, optional_project(path), context(terminal), arguments,
            streams=streams, env=variables, volumes=mounts, ports=ports,
        )  # fmt: skip
    project = _project(path, instead="lockship run --image registry.example.com/ml/churn:1.4.0")
    return shipping.run(
        project, context(terminal), arguments, streams=streams, env=variables, volumes=mounts, ports=ports
    )


def _project(path: Path, *, instead: str) -> Project:
    project = optional_project(path)
    if project is None:
        raise UsageError("there is no project here", hint=f"go into its folder, or name an image: {instead}")
    return project


def _variables(words: Sequence[str]) -> Mapping[str, str]:
    """``NAME=VALUE``, or ``NAME`` for the value it has here, as docker has it."""
    found = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not name:
            raise UsageError(f"--env {word!r}: NAME=VALUE is expected")
        if sign:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return found


def _volume(word: str) -> str:
    """A relative folder of this machine made absolute; an engine knows nothing of our working directory."""
    here, colon, rest = word.partition(":")
    if not colon or not rest.startswith("/"):
        raise UsageError(f"--volume {word!r}: HOST:/PATH or HOST:/PATH:ro is expected")
    return f"{Path(here).absolute()}:{rest}"


def _port(word: str) -> tuple[int, int]:
    """``HOST:PORT`` as (port of the container, port of this machine)."""
    here, _, inside = word.rpartition(":")
    ports = [int(one) if one.isascii() and one.isdecimal() else 0 for one in (inside, here or inside)]
    if not all(0 < port < 65536 for port in ports):
        raise UsageError(f"--publish {word!r}: HOST:PORT is expected, two numbers from 1 to 65535")
    return ports[0], ports[1]
