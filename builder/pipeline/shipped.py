"""Which files of a project's models get into the image: sources as they are, or what was converted from them.

Light and offline: planning asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from builder.errors import ModelError
from builder.models.contract import read_contract
from builder.models.sources import converted_models, file_digest, model_digest
from builder.project import Model, Project

__all__ = ["Shipped", "require_current", "shipped"]


@dataclass(frozen=True, slots=True)
class Shipped:
    """One model's layer: what it is called, and ``(path in the project, absolute path in the image)`` of each file."""

    title: str
    files: tuple[tuple[str, str], ...]


def shipped(project: Project) -> Iterator[Shipped]:
    """What goes in, model by model.

    Raises ModelError when a model was not converted since it changed, ProjectError when a source isn't there.
    """
    converted = {name for name, _ in converted_models(project)}
    for name, model in project.named_models:
        target = model.destination(name)
        if name not in converted or not model.is_converted:
            source = model.source or ""
            yield Shipped(source, ((source, target),))
            continue
        require_current(project, name, model)
        files = model.files(name)
        contract = target.removesuffix(".onnx") + ".contract.json"
        yield Shipped(files.onnx, ((files.onnx, target), (files.contract, contract)))


def require_current(project: Project, name: str, model: Model) -> None:
    """Raises ModelError unless the converted model is there, whole, and made from the source as it is now."""
    files = model.files(name)
    what = f"entry {model.entry}" if model.source is None else model.source
    hint = "run `lockship convert`"
    if model.source is not None and not model.model_fields_set - {"source", "target"}:
        hint += f'; to ship the file as it is, name it under [image] files: files = ["{model.source}"]'
    for file in (files.onnx, files.contract):
        if not project.path(file).is_file():
            raise ModelError(f"is not there: {what} was not converted yet", file=project.path(file), hint=hint)
    contract = read_contract(project.path(files.contract))
    if contract.sources.model != model_digest(project, name, model):
        raise ModelError(
            f"{what} changed since it was converted", file=project.path(files.onnx), hint="run `lockship convert`"
        )
    digest = file_digest(project, files.onnx, "the converted model", "output")
    contract.require_model(digest, project.path(files.onnx))
