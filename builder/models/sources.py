"""What a conversion depends on, as digests: the model, the sample, the lock, and what the project says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from builder.content import CHUNK, Digest, canonical_json
from builder.errors import ModelError, ProjectError
from builder.models.runtimes import Consumer, parse_consumer
from builder.project import Model, Project

__all__ = ["FORMAT", "consumers_of", "converted_models", "file_digest", "made_from", "model_digest", "moved", "read_at"]

FORMAT: Final = 1
"""Goes up when this version of lockship would convert the same model into something else."""

_REQUIREMENTS: Final = "requirements.lock"
_CONDA: Final = "conda-lock.yml"
_SKIPPED: Final = {"__pycache__", "node_modules", "site-packages"}
_MAX_FILES: Final = 20_000
# what only says where the results go, or is copied into the contract without a conversion
_TARGETS: Final = {"target", "output"}


def converted_models(project: Project) -> tuple[tuple[str, Model], ...]:
    """The models that are to be converted, by name.

    Raises ProjectError when two of them, or a source and a result, would be one file.
    """
    wanted = tuple((name, model) for name, model in project.named_models if model.is_converted)
    taken = {model.source: "its source" for _, model in project.named_models if model.source is not None}
    for name, model in wanted:
        file = model.files(name).onnx
        if file in taken:
            what = "the source itself" if file == model.source else f"taken: {file} is {taken[file]}"
            raise ProjectError(
                f"the model {name} would be converted into {file}, which is {what}",
                hint='say output = "FOLDER" under the model, or give it another name',
                file=project.file,
            )
        taken[file] = f"what {name} is converted into"
    return wanted


def consumers_of(project: Project, model: Model) -> tuple[Consumer, ...]:
    """The declared consumers; raises ProjectError, naming the file, for one that can't be."""
    try:
        return tuple(parse_consumer(text) for text in model.consumers)
    except ProjectError as error:
        error.file = str(project.file)
        raise


def made_from(project: Project, name: str, model: Model) -> dict[str, str]:
    """Everything that decides what a conversion gives, by the words in which people are told that it moved."""
    settings = {
        "name": name,
        "version": str(project.version),
        "python": project.python.version,
        **model.model_dump(mode="json", by_alias=True, exclude=_TARGETS),
    }
    found = {
        "model": model_digest(project, name, model),
        "settings": Digest.of(canonical_json(settings)),
        "format": str(FORMAT),
    }
    if model.sample is not None:
        found["sample"] = file_digest(project, model.sample, "the sample", "sample")
    if (lock := lock_digest(project)) is not None:
        found["lock"] = lock
    return found


def lock_digest(project: Project) -> Digest | None:
    """The digest of requirements.lock or conda-lock.yml: what the original model runs on."""
    path = project.path(_CONDA if project.python.conda else _REQUIREMENTS)
    installs = project.python.requirements or project.python.conda
    return Digest.of(read_at(path)) if installs and path.is_file() else None


def model_digest(project: Project, name: str, model: Model) -> Digest:
    """The digest of the source file; for an entry that of the project's Python files, by their paths."""
    if model.source is not None:
        return file_digest(project, model.source, f"the model {name}", "source")
    files = {path: Digest.of(read_at(project.path(path))) for path in _python_files(project)}
    return Digest.of(canonical_json(files))


def file_digest(project: Project, relative: str, what: str, key: str) -> Digest:
    """The digest of a file that the project file names; raises ProjectError when it isn't there."""
    path = project.path(relative)
    if not path.is_file():
        raise ProjectError(
            f"{what} is not there: {relative}", hint=f"make it, or correct `{key}`", file=project.file
        )  # fmt: skip
    if not path.resolve().is_relative_to(project.root.resolve()):
        raise ProjectError(
            f"{relative} is a link that leaves the project", hint="put the file itself there", file=project.file
        )  # fmt: skip
    try:
        with path.open("rb") as file:
            return Digest.of_chunks(iter(lambda: file.read(CHUNK), b""))
    except OSError as error:
        raise ProjectError(f"cannot read: {error.strerror}", file=path) from error


def read_at(path: Path) -> bytes:
    """A small file of the project; raises ModelError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read: {error.strerror}", file=path) from error


def _python_files(project: Project) -> list[str]:
    """The project's own code: not virtual environments, nor what hides."""
    found: list[str] = []
    for folder, folders, files in os.walk(project.root):
        here = Path(folder)
        folders[:] = sorted(one for one in folders if not _is_skipped(here / one))
        found += [str((here / file).relative_to(project.root)) for file in files if file.endswith(".py")]
        if len(found) > _MAX_FILES:
            raise ProjectError(
                f"more than {_MAX_FILES:,} Python files in the project's folder",
                hint="give the model's code a project of its own", file=project.file,
            )  # fmt: skip
    return sorted(found)


def _is_skipped(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.name in _SKIPPED or (folder / "pyvenv.cfg").exists()


def moved(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """What differs, in words."""
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield {"format": "lockship", "settings": "the project file"}.get(key, f"the {key}")
