"""Does the lock fit the project? Offline, and light: every command asks."""

from __future__ import annotations

from collections.abc import Mapping

from builder.content import Digest, canonical_json
from builder.errors import ProjectError, StaleLockError
from builder.lock import inputs
from builder.lock.file import CONDA_FILE, LOCK_FILE, REQUIREMENTS_FILE, Lock, read_lock
from builder.project import Project, project_inputs

__all__ = ["check", "fingerprints", "load_lock", "output_file", "refuse_moved"]


def fingerprints(project: Project) -> dict[str, Digest]:
    """A digest for everything that decides the lock: keys of the project file, and files by their path."""
    facts = {key: Digest.of(canonical_json(value)) for key, value in project_inputs(project).items()}
    return {**facts, **inputs.input_files(project)}


def load_lock(project: Project) -> Lock:
    """The project's lock; raises StaleLockError when there is none or an input moved since. Offline."""
    found = read_lock(project.path(LOCK_FILE))
    if found is None:
        raise StaleLockError("the project has no lock", hint="run `lockship lock`", file=project.path(LOCK_FILE))
    refuse_moved(project, found)
    return found


def check(project: Project) -> None:
    """Offline: raises StaleLockError, naming what moved, unless the lock fits its inputs."""
    load_lock(project)


def refuse_moved(project: Project, found: Lock) -> None:
    """Raises StaleLockError, naming what moved, unless `found` fits the project as it is now."""
    moved = _moved(found.inputs, fingerprints(project))
    if moved:
        raise StaleLockError(
            f"the lock is stale: {', '.join(moved)} changed since it was written",
            hint="run `lockship lock` and commit what it writes",
            file=project.path(LOCK_FILE),
        )
    outputs = _outputs(project)
    if moved := _moved(found.outputs, outputs):
        raise StaleLockError(
            f"{', '.join(moved)} changed since the lock was written",
            hint="run `lockship lock`, which starts from what it finds there",
            file=project.path(LOCK_FILE),
        )


def _moved(before: Mapping[str, Digest], after: Mapping[str, Digest]) -> list[str]:
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def output_file(project: Project) -> str:
    """The standard file that locking writes besides its own; empty for a project that installs nothing."""
    if project.python.conda:
        return CONDA_FILE
    return REQUIREMENTS_FILE if project.python.requirements else ""


def _outputs(project: Project) -> dict[str, Digest]:
    name = output_file(project)
    if not name:
        return {}
    path = project.path(name)
    try:
        return {name: Digest.of(path.read_bytes())}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ProjectError(f"cannot read: {error.strerror}", file=path) from error
