"""Conda environments to pins for every platform, by conda-lock and a solver that it calls.

The solver is rattler's, through a small program that answers as conda does (`conda_solver`), or the conda, mamba or
micromamba that the project names. What the target has (its C library, CUDA) are virtual packages: the base's glibc, and
what the project file says, never what the machine that locks happens to have.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from builder.cache import cache_root
from builder.content import Platform
from builder.errors import LockError, ProjectError, UsageError
from builder.files import temporary_folder
from builder.lock import conda_solver
from builder.lock.conda_errors import explained
from builder.lock.conda_file import SUBDIRS, CondaPin, normalised, parse_conda_lock
from builder.lock.conda_input import Environment, read_environments, written
from builder.lock.file import CONDA_FILE
from builder.lock.indexes import Indexes
from builder.lock.tools import run_tool
from builder.progress import Progress
from builder.project import Project

__all__ = ["CondaResolution", "resolve_conda"]

_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
_RATTLER: Final = "rattler"


@dataclass(frozen=True, slots=True)
class CondaResolution:
    """The text of conda-lock.yml, what it pins for each platform, and the tools that chose."""

    text: str
    pins: Mapping[Platform, tuple[CondaPin, ...]]
    tools: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of conda-lock in `folder`."""

    project: Project
    folder: Path
    environ: Mapping[str, str]
    solver: str
    update: tuple[str, ...]


def resolve_conda(
    project: Project,
    glibc: Mapping[Platform, str],
    *,
    existing: str | None,
    upgrade: bool = False,
    upgrade_packages: Sequence[str] = (),
    indexes: Indexes,
    environ: Mapping[str, str],
    progress: Progress,
) -> CondaResolution:
    """Pins for the platforms of `glibc`, whose values are the base's C library versions.

    With the built-in solver they are as near to `existing` (the text of a conda-lock.yml) as the environment allows;
    with another one everything is chosen anew, unless packages are named to be upgraded. Raises ProjectError for
    environment files that are wrong, ResolutionError when nothing fits, StoreError when a channel can't be asked.
    """
    external = project.python.solver != _RATTLER
    tools = _tools(project, external=external)
    environments = read_environments(project, indexes.network)
    known = _known(existing)
    _check_upgrades(upgrade_packages, known, environments)
    kept = {} if upgrade else _kept(known, upgrade_packages)
    with temporary_folder("lockship-conda-") as folder, progress.task("solving the conda environment", None):
        solver = _external(project, environ) if external else _built_in(folder)
        update = tuple(upgrade_packages) if external and existing else ()
        if update:
            (folder / CONDA_FILE).write_text(existing or "", encoding="utf-8")
        run = _Run(project, folder, _environment(folder, environ, kept, indexes), solver, update)
        text = _locked(run, environments, glibc, indexes)
    return CondaResolution(text, parse_conda_lock(text), tools)


def _tools(project: Project, *, external: bool) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = {name: version(name) for name in ("conda-lock", "py-rattler")}
    except PackageNotFoundError as error:
        raise LockError("conda environments need conda-lock", hint="pip install 'lockship[conda]'") from error
    if external:  # by its name alone: where it is differs from machine to machine
        found = {"conda-lock": found["conda-lock"], "solver": Path(project.python.solver).name}
    return found


def _known(existing: str | None) -> Mapping[Platform, Sequence[CondaPin]]:
    """The pins of the old lock. A file that can't be read is not thrown away unasked: it says what was installed."""
    try:
        return parse_conda_lock(existing) if existing else {}
    except LockError as error:
        error.hint = "restore the file from version control; or delete it, and all versions are chosen anew"
        raise


def _check_upgrades(
    names: Iterable[str], known: Mapping[Platform, Sequence[CondaPin]], environments: Iterable[Environment]
) -> None:
    there = {pin.name for pins in known.values() for pin in pins}
    there |= {name for one in environments for name in one.names}
    for name in names:
        if name not in there:
            raise UsageError(f"{name} is not in the lock: there is nothing to upgrade", hint=f"see {CONDA_FILE}")


def _kept(known: Mapping[Platform, Sequence[CondaPin]], moving: Sequence[str]) -> dict[str, list[str]]:
    return {
        SUBDIRS[platform]: [pin.file for pin in pins if pin.manager == "conda" and pin.name not in moving]
        for platform, pins in known.items()
    }


def _external(project: Project, environ: Mapping[str, str]) -> str:
    name = project.python.solver
    found = shutil.which(str(project.path(name)) if "/" in name else name, path=environ.get("PATH"))
    if found is None:
        raise ProjectError(
            f"the solver {name} is not there", file=project.file,
            hint='install it, or leave `solver` out: "rattler" comes with lockship[conda]',
        )  # fmt: skip
    return found


def _built_in(folder: Path) -> str:
    """Our solver as a program that can be called; it looks for modules where this process does."""
    program = f"import sys; sys.path[:] = {sys.path!r}; from builder.lock.conda_solver import main; main(sys.argv[1:])"
    path = folder / "bin" / "conda"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(program)} "$@"\n', encoding="utf-8")
    path.chmod(0o700)
    return str(path)


def _environment(
    folder: Path, environ: Mapping[str, str], kept: Mapping[str, Sequence[str]], indexes: Indexes
) -> dict[str, str]:
    """The user's environment, without settings that would change what is chosen."""
    hidden = ("CONDA_", "MAMBA_", "PIP_", "UV_", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "COVERAGE_", "POETRY_")
    found = {key: value for key, value in environ.items() if not key.startswith(hidden)}
    (folder / "prefer.json").write_text(json.dumps(kept), encoding="utf-8")
    cache = cache_root(environ) / "conda"
    cache.mkdir(parents=True, exist_ok=True)
    found[conda_solver.PREFER] = str(folder / "prefer.json")
    found[conda_solver.REPORT] = str(folder / "report.json")
    found[conda_solver.CACHE] = str(cache)
    found["TMPDIR"] = str(folder)
    found["PYTHONWARNINGS"] = "ignore"
    if indexes.network.certificate and not Path(indexes.network.certificate).is_dir():
        found["SSL_CERT_FILE"] = found["REQUESTS_CA_BUNDLE"] = indexes.network.certificate
    return found


def _locked(run: _Run, environments: Sequence[Environment], glibc: Mapping[Platform, str], indexes: Indexes) -> str:
    sources = [written(run.folder, one, _pip_index(one, indexes)) for one in environments]
    (run.folder / "mapping.json").write_text("{}", encoding="utf-8")
    virtual = run.folder / "virtual-packages.yaml"
    virtual.write_text(json.dumps(_virtual_packages(run.project, glibc)), encoding="utf-8")
    lock = run.folder / CONDA_FILE
    request = {
        "conda": run.solver,
        "sources": [str(one) for one in sources],
        "lock": str(lock),
        "platforms": [SUBDIRS[platform] for platform in sorted(glibc)],
        "virtual": str(virtual),
        "mapping": str(run.folder / "mapping.json"),
        "update": list(run.update),
    }
    program = f"import sys; sys.path[:] = {sys.path!r}; from builder.lock.conda_child import main; main(sys.argv[1])"
    command = [sys.executable, "-c", program, json.dumps(request)]
    outcome = run_tool(command, environ=run.environ, folder=run.folder, timeout=None)
    if outcome.code != 0 or not lock.exists():
        report = run.folder / "report.json"
        said = json.loads(report.read_text(encoding="utf-8")) if report.exists() else None
        raise explained(said, outcome.text, environments, indexes.network)
    return normalised(lock.read_text(encoding="utf-8"))


def _pip_index(environment: Environment, indexes: Indexes) -> str:
    """Where conda-lock looks for what the pip section names."""
    if not environment.pip:
        return ""
    if not indexes.urls:
        raise UsageError("the pip section needs an index, and pip is configured with none", hint="set PIP_INDEX_URL")
    from builder.network import without_login

    listed = "".join(f"  - {json.dumps(without_login(url))}\n" for url in indexes.urls)
    return f"pip-repositories:\n{listed}allow-pypi-requests: false\n"


def _virtual_packages(project: Project, glibc: Mapping[Platform, str]) -> dict[str, object]:
    """What the machines have that run the image: a Linux, the base's C library, and what the project says."""
    own = {f"__{name.removeprefix('__')}": version for name, version in project.python.virtual_packages.items()}
    return {
        "subdirs": {
            SUBDIRS[platform]: {
                "packages": {
                    "__unix": "0",
                    "__linux": "5.10",
                    "__archspec": f"1 {_MACHINES[platform.architecture]}",
                    "__glibc": version,
                    **own,
                }
            }
            for platform, version in glibc.items()
        }
    }
