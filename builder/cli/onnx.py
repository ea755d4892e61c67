"""`lockship export onnx`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from builder.cli.setup import context, optional_project
from builder.cli.terminal import Terminal, relative
from builder.pipeline.models import FetchedModel, fetch_models
from builder.pipeline.naming import is_short, named, version_of
from builder.pipeline.stores import open_registry, open_store

__all__ = ["run"]


def run(terminal: Terminal, path: Path, name: str | None, folder: Path, models: Sequence[str]) -> None:
    """Fetch a release's models: from the layout of a project without a registry, else from the registry."""
    machine = context(terminal)
    project = optional_project(path)
    local = project is not None and project.store.repository is None and (name is None or is_short(name))
    if local and project is not None:
        selector = name if name is not None else version_of(project, machine)
        found = fetch_models(open_store(project), selector, folder, models, progress=machine.progress)
    else:
        reference = named(name, project, machine)
        plain_http = project.store.plain_http if project else ()
        with open_registry(reference.repository, machine, plain_http=plain_http) as registry:
            found = fetch_models(registry, reference.selector, folder, models, progress=machine.progress)
    terminal.result("export-onnx", {"models": [_document(one) for one in found]}, "\n".join(map(_line, found)))


def _line(model: FetchedModel) -> str:
    return f"{model.digest} {relative(model.files[0])}"


def _document(model: FetchedModel) -> dict[str, object]:
    return {"name": model.name, "digest": model.digest, "files": [str(file) for file in model.files]}
