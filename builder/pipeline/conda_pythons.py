"""A conda environment on this machine, as its lock has it: what the models of a conda project run on.

The packages are those that become layers, put into a folder of the cache with that folder for their prefix. No script
of theirs is run, here as there.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from builder.cache import storage_error
from builder.content import Digest, canonical_json
from builder.errors import ArtifactError, LockError, ModelError
from builder.layers import conda
from builder.layers.unpack import extract
from builder.layers.wheel import VENV
from builder.lock.conda_file import parse_conda_lock
from builder.lock.file import CONDA_FILE, LockedPlatform
from builder.lock.pins import Artifact
from builder.models.environments import Package
from builder.pipeline.checking import load_lock
from builder.pipeline.context import Context, host_platform
from builder.pipeline.fetching import fetch_missing_conda
from builder.pipeline.interpreters import OLDEST, HostPython, python_at
from builder.pipeline.recipes import conda_part
from builder.project import Project

__all__ = ["CondaPython", "conda_python"]

FORMAT: Final = 1  # goes up when folders are made in another way
_KIND: Final = "prefixes"


@dataclass(frozen=True, slots=True)
class CondaPython:
    """The interpreter of an environment; `beneath` are Python's packages that it brings, `wheels` those of pip."""

    python: HostPython
    beneath: tuple[Package, ...]
    wheels: tuple[Package, ...]


def conda_python(project: Project, context: Context) -> CondaPython:
    """The project's environment, put into the cache now unless it is there.

    Raises ModelError when it has no Python, or none for this machine; LockError when the lock is stale, and what
    downloading and unpacking do.
    """
    locked = _locked(project)
    if not locked.python:
        raise ModelError(
            "the project's environment has no python: nothing can load its models",
            hint=f"add python to {project.python.conda[0]}, and what the models are made of", file=project.file,
        )  # fmt: skip
    if tuple(int(part) for part in locked.python.split(".")[:2]) < OLDEST:
        raise ModelError(
            f"models are converted under Python 3.{OLDEST[1]} and newer; the environment has {locked.python}",
            hint=f"ask for a newer python in {project.python.conda[0]}", file=project.file,
        )  # fmt: skip
    folder = _made(project, context, locked)
    python = python_at(folder / VENV / "bin" / "python", context)
    if python is None:
        raise ModelError(
            f"the environment's python {locked.python} doesn't run on this machine",
            hint=f"{folder / VENV / 'bin' / 'python'} says more", file=project.file,
        )  # fmt: skip
    return CondaPython(python, tuple(_beneath(folder, python)), tuple(_wheels(project, locked)))


def _locked(project: Project) -> LockedPlatform:
    host = host_platform()
    for locked in load_lock(project).platforms:
        if locked.platform == host:
            return locked
    raise ModelError(
        "models are converted on this machine, and the project's environment isn't locked for it",
        hint="add its platform to [image] platforms, and lock again", file=project.file,
    )  # fmt: skip


def _made(project: Project, context: Context, locked: LockedPlatform) -> Path:
    packages = [[one.name, one.version, one.digest, one.channel, one.subdir] for one in locked.conda]
    # short, for the sake of the scripts' first lines
    key = hashlib.sha256(canonical_json([FORMAT, locked.python, packages])).hexdigest()[:32]
    final = context.cache.root / _KIND / key
    if final.exists():
        return final
    context.cache.require_writable()
    fetch_missing_conda(project, context, locked.conda)
    with context.cache.folder(_KIND, key) as (folder, there):
        if not there:
            words = "unpacking the project's environment"
            with context.progress.task(words, len(locked.conda), unit="packages") as task:
                for one in locked.conda:
                    _unpack(one, locked, final / VENV, folder, context)
                    task.advance(1)
    return final


def _unpack(one: Artifact, locked: LockedPlatform, prefix: Path, folder: Path, context: Context) -> None:
    part = conda_part(one, locked.python)
    part = replace(part, params={**part.params, "prefix": str(prefix)})
    path = context.cache.blob(one.digest)
    if path is None:
        raise ArtifactError(f"{one.file} vanished from the cache {context.cache.root}", hint="run again")
    entries = conda.entries(path, part)
    try:
        extract(entries, folder, one.file)
    except OSError as error:
        raise storage_error(error, context.cache.root, "write") from error


def _beneath(folder: Path, python: HostPython) -> list[Package]:
    """What Python sees of the packages: they say so themselves, and conda calls many of them otherwise."""
    site = folder / VENV / "lib" / f"python{python.target.minor}" / "site-packages"
    found = {}
    for one in distributions(path=[str(site)]):
        # no name, or a version from before these had rules
        with suppress(InvalidVersion, KeyError, OSError, TypeError):
            found[canonicalize_name(one.name)] = str(Version(one.version))
    return [Package(name, version, ()) for name, version in sorted(found.items())]


def _wheels(project: Project, locked: LockedPlatform) -> list[Package]:
    """What the pip section adds. A wheel that was built from source is known there by what it was built from."""
    try:
        pins = parse_conda_lock(project.path(CONDA_FILE).read_text(encoding="utf-8"))[locked.platform]
    except (OSError, UnicodeDecodeError, KeyError) as error:
        raise LockError("cannot be read", file=CONDA_FILE, hint="run `lockship lock`, which writes it") from error
    sources: dict[str, Digest] = {
        canonicalize_name(pin.name): pin.digest for pin in pins if pin.manager == "pip" and pin.digest
    }
    return [
        Package(one.name, one.version, (sources.get(one.name, one.digest) if one.built_from else one.digest,))
        for one in locked.wheels
    ]
