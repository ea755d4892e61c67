"""Python requirements to pins, for every target platform, by the resolver that the project chose.

uv resolves for any platform from anywhere. pip-tools resolves for the machine it runs on, and is refused for others.
"""

from __future__ import annotations

import importlib.util
import platform as host
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from builder.cache import cache_root
from builder.content import Platform
from builder.errors import LockError, ResolutionError, UsageError
from builder.files import temporary_folder
from builder.lock.explain import explain_failure
from builder.lock.indexes import IndexClient, Indexes, IndexFile
from builder.lock.inputs import Inputs, read_inputs
from builder.lock.merge import merge
from builder.lock.pins import Pin, Resolution, Target
from builder.lock.pyproject import PyprojectSource
from builder.lock.requirements import parse, pins_for, render
from builder.lock.tools import Outcome, run_tool, uv_binary, uv_environment, uv_version
from builder.lock.wheels import files_of_version
from builder.parallel import each
from builder.progress import Progress
from builder.project import Project

__all__ = ["resolve"]

# the C libraries uv knows by name: the nearest that is not newer stands for the others
_UV_GLIBC: Final = (17, 28, *range(31, 41))
_LOCK: Final = "requirements.lock"


@dataclass(frozen=True, slots=True)
class _Task:
    """One run of a resolver: for `target`, near to `preferences`, except what is to be upgraded."""

    project: Project
    inputs: Inputs
    indexes: Indexes
    environ: Mapping[str, str]
    target: Target
    preferences: str
    upgrade: bool
    upgrade_packages: tuple[str, ...]


def resolve(
    project: Project,
    targets: Sequence[Target],
    *,
    existing: str | None,
    upgrade: bool = False,
    upgrade_packages: Sequence[str] = (),
    indexes: Indexes,
    environ: Mapping[str, str],
    progress: Progress,
    inputs: Inputs | None = None,
) -> Resolution:
    """Pins for all `targets`, as near to `existing` (the text of a requirements.lock) as the inputs allow.

    `inputs` stand for what the project's own files say, when they were put together from several projects' files.
    Raises ProjectError for input files that are wrong, ResolutionError when no set of packages fits or platforms
    come out with different versions, StoreError when an index can't be asked, UsageError for a resolver that can't
    do what the project wants.
    """
    inputs = read_inputs(project, environ) if inputs is None else inputs
    indexes = indexes.including(inputs.options)
    indexes.check()
    for folder in indexes.missing_folders:
        progress.warn(f"the find-links folder {folder} doesn't exist")
    run, tools = _resolver(project, targets)
    # preferences only: a version that somebody wrote in by hand has no hashes yet
    known = _known(existing, project)
    _check_upgrades(upgrade_packages, known, inputs)

    by_platform: dict[Platform, tuple[Pin, ...]] = {}
    earlier: tuple[Pin, ...] = ()
    for number, target in enumerate(targets):
        first = number == 0
        task = _Task(
            project=project,
            inputs=inputs,
            indexes=indexes,
            environ=environ,
            target=target,
            preferences=_preferences(known, earlier, target, upgrade, upgrade_packages),
            upgrade=upgrade and first,
            upgrade_packages=tuple(upgrade_packages) if first else (),
        )
        with progress.task(f"resolving for {target.platform}", None):
            pins = run(task) if _has_requirements(inputs) else ()
        by_platform[target.platform] = pins
        # what the first platform got is what the others should get
        earlier = (*earlier, *(pin for pin in pins if pin.name not in {other.name for other in earlier}))
    return merge(by_platform, targets, inputs, indexes, tools)


def _known(existing: str | None, project: Project) -> tuple[Pin, ...]:
    """The pins of the old lock. A file that can't be read is not thrown away unasked: it says what was installed."""
    try:
        return parse(existing, project.path(_LOCK), hashed=False) if existing else ()
    except LockError as error:
        error.hint = "restore the file from version control; or delete it, and all versions are chosen anew"
        raise


def _has_requirements(inputs: Inputs) -> bool:
    return any(not asked.constraint for asked in inputs.asked)


def _resolver(
    project: Project, targets: Sequence[Target]
) -> tuple[Callable[[_Task], tuple[Pin, ...]], Mapping[str, str]]:
    if project.python.resolver == "uv":
        return _run_uv, {"uv": uv_version()}
    _check_pip_tools(project, targets)
    return _run_pip_tools, {"pip-tools": version("pip-tools"), "pip": version("pip")}


def _check_upgrades(names: Sequence[str], known: Sequence[Pin], inputs: Inputs) -> None:
    there = {pin.name for pin in known} | {asked.name for asked in inputs.asked}
    for name in names:
        if canonicalize_name(name) not in there:
            raise UsageError(f"{name} is not in the lock: there is nothing to upgrade", hint="see requirements.lock")


def _preferences(
    known: Sequence[Pin], earlier: Sequence[Pin], target: Target, upgrade: bool, upgrade_packages: Sequence[str]
) -> str:
    """The pins to stay with, as a requirements.lock: those of the platforms before, then those of the old lock."""
    moving = {canonicalize_name(name) for name in upgrade_packages}
    chosen: dict[str, Pin] = {pin.name: pin for pin in earlier}
    if not (upgrade and earlier):
        for pin in pins_for(known, target):
            if not (earlier and pin.name in moving):
                chosen.setdefault(pin.name, pin)
    return render(Resolution(tuple(chosen.values()), {}, {})) if chosen else ""


def _sources(inputs: Inputs, folder: Path) -> tuple[list[str], dict[str, str]]:
    """The resolver's input files, and what their names stand for in ``# via``.

    A pyproject.toml becomes a file of its dependencies: nothing of the project is built to learn them.
    """
    sources: list[str] = []
    standing: dict[str, str] = {}
    for number, source in enumerate(inputs.requirements):
        if isinstance(source, PyprojectSource):
            file = folder / f"pyproject-{number}.in"
            file.write_text("".join(f"{requirement}\n" for requirement in source.requirements), encoding="utf-8")
            standing[f"-r {file}"] = source.file
            sources.append(str(file))
        else:
            sources.append(source)
    return sources, standing


def _finish(
    task: _Task, outcome: Outcome, output: Path, standing: Mapping[str, str], *, hashed: bool = True
) -> tuple[Pin, ...]:
    if outcome.code != 0:
        raise explain_failure(outcome.text, task.inputs, task.indexes, task.target, task.project.python.resolver)
    pins = parse(output.read_text(encoding="utf-8"), output, hashed=hashed)
    return tuple(_renamed(pin, standing) for pin in pins_for(pins, task.target))


def _renamed(pin: Pin, standing: Mapping[str, str]) -> Pin:
    via = tuple(sorted({standing.get(asker, asker) for asker in pin.via}))
    return replace(pin, marker="", via=via)


def _only_binary(names: Iterable[str]) -> list[str]:
    arguments = ["--only-binary", ":all:"]
    for name in sorted({canonicalize_name(name) for name in names}):
        arguments += ["--no-binary", name]
    return arguments


def _run_uv(task: _Task) -> tuple[Pin, ...]:
    with temporary_folder("lockship-lock-") as folder:
        output = folder / _LOCK
        output.write_text(task.preferences, encoding="utf-8")
        sources, standing = _sources(task.inputs, folder)
        command = [uv_binary(), "pip", "compile", "--no-config", "--quiet", "--color", "never", "--no-sources"]
        command += ["--no-header", "--generate-hashes", "--no-strip-extras", "--annotation-style", "split"]
        command += ["--python", sys.executable, "--no-python-downloads", "--python-version", task.target.python]
        command += ["--python-platform", uv_platform(task.target)]
        command += _only_binary(task.project.python.allow_build)
        if task.inputs.options.prereleases:
            command += ["--prerelease", "allow"]
        for constraint in task.inputs.constraints:
            command += ["--constraints", constraint]
        command += _upgrades(task)
        command += ["--output-file", str(output), "--", *sources]
        cache = cache_root(task.environ) / "uv"
        environ = uv_environment(task.indexes, task.environ, cache)
        outcome = run_tool(command, environ=environ, folder=task.project.root, timeout=None)
        return _finish(task, outcome, output, standing)


def _upgrades(task: _Task) -> list[str]:
    arguments = ["--upgrade"] if task.upgrade else []
    for name in task.upgrade_packages:
        arguments += ["--upgrade-package", name]
    return arguments


def uv_platform(target: Target) -> str:
    """The target in uv's words: ``x86_64-manylinux_2_36``."""
    minor = int(target.glibc.split(".")[1])
    known = [candidate for candidate in _UV_GLIBC if candidate <= minor]
    if not known:
        raise ResolutionError(
            f"the base has glibc {target.glibc}; wheels need at least 2.{_UV_GLIBC[0]}", hint="choose a newer base"
        )
    return f"{target.platform.machine}-manylinux_2_{known[-1]}"


def _check_pip_tools(project: Project, targets: Sequence[Target]) -> None:
    """pip-tools asks pip, and pip looks at the machine it runs on: nothing else can be locked that way."""
    if importlib.util.find_spec("piptools") is None:
        raise UsageError(
            'resolver = "pip-tools" needs pip-tools', hint="pip install 'lockship[pip-tools]', or resolver = \"uv\""
        )
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    machine = host.machine() if sys.platform == "linux" else sys.platform
    foreign = [str(target.platform) for target in targets if target.platform.machine != machine]
    if foreign:
        raise UsageError(
            f"pip-tools resolves for the machine it runs on ({machine}), not for {', '.join(foreign)}",
            hint='set resolver = "uv" in [python]: it resolves for any platform',
            file=project.file,
        )
    if targets and targets[0].minor != here:
        raise UsageError(
            f"pip-tools resolves for the Python it runs on ({here}), not for {targets[0].minor}",
            hint=f'run lockship with Python {targets[0].minor}, or set resolver = "uv" in [python]',
            file=project.file,
        )


def _run_pip_tools(task: _Task) -> tuple[Pin, ...]:
    with temporary_folder("lockship-lock-") as folder:
        output = folder / _LOCK
        output.write_text(task.preferences, encoding="utf-8")
        sources, standing = _sources(task.inputs, folder)
        command = [sys.executable, "-m", "piptools", "compile", "--no-config", "--quiet", "--no-header"]
        command += ["--no-strip-extras", "--annotation-style", "split", "--allow-unsafe"]
        command += ["--no-emit-index-url", "--no-emit-trusted-host", "--no-emit-find-links", "--no-emit-options"]
        command += ["--pip-args", " ".join(_only_binary(task.project.python.allow_build))]
        command += ["--cache-dir", str(cache_root(task.environ) / "pip-tools")]
        if task.inputs.options.prereleases:
            command += ["--pre"]
        for constraint in task.inputs.constraints:
            command += ["--constraint", constraint]
        command += _upgrades(task)
        command += ["--output-file", str(output), "--", *sources]
        outcome = run_tool(command, environ=task.environ, folder=task.project.root, timeout=None)
        return _with_hashes(_finish(task, outcome, output, standing, hashed=False), task.indexes)


def _with_hashes(pins: Sequence[Pin], indexes: Indexes) -> tuple[Pin, ...]:
    """The pins with the hashes of all files that the index lists, as uv has it.

    pip-compile itself would download every file that its index doesn't describe in PyPI's own JSON.
    """
    with IndexClient(indexes) as client:
        offers = each(pins, lambda pin: client.files(pin.name), client.web.stop)
    return tuple(_hashed(pin, files) for pin, files in zip(pins, offers, strict=True))


def _hashed(pin: Pin, files: Sequence[IndexFile]) -> Pin:
    named = set(files_of_version(pin.version, files))
    digests = tuple(sorted({file.digest for file in files if file.file in named and file.digest is not None}))
    if not digests:
        raise ResolutionError(
            f"no index gives a sha256 for {pin.name} {pin.version}", hint='set resolver = "uv" in [python]'
        )
    return replace(pin, hashes=digests)
