"""Virtual environments for models, made with uv from hashes, and kept in the cache by what they contain."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from builder.errors import LockError, ModelError, StoreError
from builder.files import temporary_folder
from builder.lock import requirements
from builder.lock.file import REQUIREMENTS_FILE
from builder.lock.indexes import Indexes
from builder.lock.pins import Pin, Target
from builder.lock.tools import Outcome, run_tool, uv_binary, uv_environment
from builder.models import environments
from builder.models.environments import Environment, Package
from builder.pipeline.conda_pythons import CondaPython
from builder.pipeline.context import Context
from builder.pipeline.interpreters import HostPython
from builder.project import Project

__all__ = ["converter_environment", "make_environment", "project_environment", "shipped_pins"]

_KIND: Final = "environments"
_TIMEOUT: Final = 1800.0  # seconds, for downloads over slow lines
_SHOWN: Final = 12  # lines of what uv says


def project_environment(project: Project, python: HostPython, conda: CondaPython | None = None) -> Environment:
    """What requirements.lock has for this machine, or `conda`; raises ModelError when there is neither."""
    if conda is not None:
        wheels = {one.name: one for one in conda.wheels}
        return environments.project(python.identity, conda.wheels, _from_source(project, wheels), conda.beneath)
    path = project.path(REQUIREMENTS_FILE)
    if not project.python.requirements:
        raise ModelError(
            "the project has neither requirements nor a conda environment: nothing says what its models run on",
            hint="name them under [python] requirements or conda, and run `lockship lock`",
            file=project.file,
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LockError("cannot read", file=path, hint="run `lockship lock`, which writes it") from error
    pins = _packages(requirements.parse(text, path), python.target)
    return environments.project(python.identity, pins.values(), _from_source(project, pins))


def converter_environment(project: Project, python: HostPython, conda: CondaPython | None = None) -> Environment:
    """The project's packages with the converters' on top; an .onnx needs none of the project's."""
    installs = project.python.requirements or conda is not None
    own = project_environment(project, python, conda) if installs else environments.project("", ())
    pins = shipped_pins(environments.CONVERTER_LOCK, python.target)
    return environments.converter(python.identity, own.packages, pins.values(), own.from_source, own.beneath)


def shipped_pins(file: Path, target: Target) -> dict[str, Package]:
    """The packages of a list that comes with us, by name, for `target`'s Python."""
    return _packages(requirements.parse(file.read_text(encoding="utf-8"), file), target)


def _packages(pins: Sequence[Pin], target: Target) -> dict[str, Package]:
    return {one.name: Package(one.name, one.version, one.hashes) for one in requirements.pins_for(pins, target)}


def _from_source(project: Project, pins: Mapping[str, Package]) -> list[str]:
    from packaging.utils import canonicalize_name

    return [name for name in map(canonicalize_name, project.python.allow_build) if name in pins]


def make_environment(wanted: Environment, python: HostPython, context: Context, indexes: Indexes) -> Path:
    """The interpreter of `wanted`, made now unless it is in the cache: whole, or not at all.

    Raises ModelError when a package doesn't fit this machine, StoreError when one can't be had.
    """
    final = context.cache.root / _KIND / wanted.key / "bin" / "python"
    if final.exists():
        return final
    context.cache.require_writable()
    with context.cache.folder(_KIND, wanted.key) as (folder, there):
        if not there:
            with context.progress.task(f"making {wanted.title}", None):
                _fill(folder, wanted, python, context, indexes)
    return final


def _fill(folder: Path, wanted: Environment, python: HostPython, context: Context, indexes: Indexes) -> None:
    environ = uv_environment(indexes, context.environ, context.cache.root / "uv")
    with temporary_folder("lockship-environment-") as work:
        file = work / REQUIREMENTS_FILE
        file.write_text(wanted.requirements, encoding="utf-8")
        common = ["--no-config", "--quiet", "--color", "never", "--no-python-downloads"]
        make = [uv_binary(), "venv", *common, "--no-project", "--allow-existing", "--python", str(python.executable)]
        if wanted.beneath:
            make.append("--system-site-packages")
        install = [uv_binary(), "pip", "install", *common, "--python", str(folder / "bin" / "python"), "--no-deps"]
        install += ["--require-hashes", "--no-sources", "--only-binary", ":all:"]
        for name in wanted.from_source:
            install += ["--no-binary", name]
        commands = [[*make, str(folder)], [*install, "--requirements", str(file)]]
        for command in commands if wanted.packages else commands[:1]:
            try:
                outcome = run_tool(command, environ=environ, folder=work, timeout=_TIMEOUT)
            except TimeoutError as error:
                raise StoreError(
                    f"making {wanted.title} took longer than {_TIMEOUT:.0f} s", hint="is the index reachable?"
                ) from error
            if outcome.code:
                raise _failure(outcome, wanted, indexes)


def _failure(outcome: Outcome, wanted: Environment, indexes: Indexes) -> ModelError | StoreError:
    lines = [line for line in indexes.network.redact(outcome.text).strip().splitlines() if line.strip()]
    said = "\n  ".join(lines[-_SHOWN:])
    title = f"cannot make {wanted.title}:\n  {said}"
    if re.search(r"has no (usable )?wheels|no wheels? (with|for|are)|no matching|not compatible", outcome.text):
        return ModelError(
            title,
            hint="models are converted on this machine: every package of requirements.lock needs a wheel for it; add "
            "its platform to [image] platforms and lock again",
        )
    return StoreError(title, hint=f"the index is {', '.join(indexes.names) or 'none'}; is it reachable?")
