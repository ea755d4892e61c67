"""Environments with real packages of the package index, made as those for models are, and kept between sessions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.cache import Cache
from builder.files import temporary_folder
from builder.lock import indexes, requirements
from builder.lock.tools import uv_binary, uv_environment
from builder.models import environments
from builder.models.environments import Package
from builder.pipeline.context import Context
from builder.pipeline.environments import make_environment
from builder.pipeline.interpreters import find_python

__all__ = ["interpreter_with"]


def interpreter_with(wanted: Sequence[str], cache: Cache, environ: Mapping[str, str]) -> Path:
    """A Python with `wanted` (requirements) and what they need."""
    context = Context(cache, environ)
    where = indexes.from_environment(environ)
    python = find_python(f"{sys.version_info[0]}.{sys.version_info[1]}", context, where)
    with temporary_folder("lockship-packages-") as folder:
        command = [uv_binary(), "pip", "compile", "--no-config", "--quiet", "--generate-hashes", "--no-annotate"]
        command += ["--only-binary", ":all:", "--python", str(python.executable), "-"]
        done = subprocess.run(
            command, input="\n".join(wanted), text=True, capture_output=True, check=True, cwd=folder,
            env=uv_environment(where, environ, cache.root / "uv"),
        )  # fmt: skip
    pins = requirements.pins_for(requirements.parse(done.stdout, "stdin"), python.target)
    packages = [Package(one.name, one.version, one.hashes) for one in pins]
    return make_environment(environments.project(python.identity, packages), python, context, where)
