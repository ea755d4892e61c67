"""What packages for other languages are made from, and how a rendered one gets onto the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from builder.content import Digest
from builder.errors import LockshipError, ModelError, ProjectError, StoreError, UsageError
from builder.files import replaced_folder
from builder.models.contract import Contract, read_contract
from builder.pipeline.shipped import require_current
from builder.project import Project

__all__ = ["Converted", "converted_at", "converted_in", "write_package"]

_SUFFIX: Final = ".contract.json"
_LARGEST: Final = 2**31 - 1  # bytes: no protobuf message, no Java array and no .NET array is longer


@dataclass(frozen=True, slots=True)
class Converted:
    """A converted model, whole and checked against its contract; `file` is the contract's."""

    contract: Contract
    model: bytes
    file: Path


def converted_in(project: Project, name: str | None) -> Converted:
    """The project's model called `name`, or its only one, as `lockship convert` left it.

    Raises ProjectError when there is no such model or none is named where there are several, and ModelError when it
    was not converted since it changed.
    """
    models = {one: model for one, model in project.named_models if model.is_converted}
    if not models:
        raise ProjectError(
            "has no model that is converted", hint="add [model], or name a contract: --contract FILE", file=project.file
        )
    if name is None and len(models) > 1:
        raise UsageError(f"which model? there are {', '.join(models)}", hint="name one on the command line")
    chosen = next(iter(models)) if name is None else name
    if chosen not in models:
        raise ProjectError(f"no model called {chosen!r}", hint=f"there is {', '.join(models)}", file=project.file)
    require_current(project, chosen, models[chosen])
    return converted_at(project.path(models[chosen].files(chosen).contract))


def converted_at(file: Path) -> Converted:
    """The model whose contract is `file`, ``NAME.contract.json`` with ``NAME.onnx`` beside it.

    Raises UsageError for a file of another name, ModelError when either can't be read or they don't belong together.
    """
    if not file.name.endswith(_SUFFIX):
        raise UsageError(f"{file} is not called NAME{_SUFFIX}", hint="name the contract that `lockship convert` wrote")
    contract = read_contract(file)
    if contract.size > _LARGEST:
        raise ModelError(
            f"{contract.name} has {contract.size:,} bytes, and a package can hold a model of at most {_LARGEST:,}",
            hint="neither Java nor .NET can pass more to onnxruntime in one piece: train a smaller model",
            file=file,
        )
    onnx = file.with_name(file.name.removesuffix(_SUFFIX) + ".onnx")
    try:
        model = onnx.read_bytes()
    except OSError as error:
        raise ModelError(
            f"cannot read: {error.strerror}", file=onnx, hint="the model lies beside its contract; `lockship convert`"
        ) from error
    contract.require_model(Digest.of(model), onnx, title=file.name)
    return Converted(contract, model, file)


def write_package(folder: Path, files: Mapping[str, bytes], sign: tuple[str, str]) -> None:
    """Write `files`, by their paths with ``/``, as `folder`: all or nothing.

    `sign` is a file of the package and a text in it that only an export writes: a folder that has it is replaced,
    an empty one too; anything else is refused (RefusedError).
    """
    try:
        with replaced_folder(folder, lambda there: _is_ours(there, sign)) as fresh:
            for path, data in sorted(files.items()):
                _write(fresh, PurePosixPath(path), data)
    except OSError as error:
        raise StoreError(
            f"cannot write: {error.strerror or error}", file=folder, hint="name another folder with --output"
        ) from error


def _is_ours(folder: Path, sign: tuple[str, str]) -> bool:
    name, text = sign
    try:
        if folder.is_symlink() or not folder.is_dir():
            return False
        if not any(folder.iterdir()):
            return True
        return text in (folder / name).read_text(encoding="utf-8")[:4096]
    except (OSError, UnicodeDecodeError):
        return False


def _write(folder: Path, path: PurePosixPath, data: bytes) -> None:
    if path.is_absolute() or ".." in path.parts:
        raise LockshipError(f"a package with a file outside of it: {path}")
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    target.chmod(0o644)
