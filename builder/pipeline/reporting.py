"""A conversion's files: written all or none, and recognised when nothing moved since."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from builder.errors import ModelError, StoreError
from builder.files import write_file
from builder.modelkeys import Files
from builder.models import parity
from builder.models.contract import Contract, read_contract
from builder.models.sources import converted_models, made_from, moved
from builder.pipeline.shipped import require_current
from builder.project import Model, Project

__all__ = ["check", "fail", "is_current", "write_results"]


def is_current(project: Project, name: str, model: Model, facts: Mapping[str, str]) -> Contract | None:
    """The contract, if the files are there, whole, and made from `facts`; else None."""
    try:
        refuse_stale(project, name, model, facts)
    except ModelError:
        return None
    return read_contract(project.path(model.files(name).contract))


def refuse_stale(project: Project, name: str, model: Model, facts: Mapping[str, str]) -> None:
    """Raises ModelError, naming what moved, unless the converted model is the one that `facts` give."""
    require_current(project, name, model)
    file = project.path(model.files(name).parity)
    report = _read(file)
    if not report.get("passed"):
        raise ModelError("the last conversion failed", file=file, hint="run `lockship convert`")
    if changed := list(moved(report.get("made_from") or {}, facts)):
        raise ModelError(
            f"is stale: {', '.join(changed)} changed since it was converted",
            file=project.path(model.files(name).onnx),
            hint="run `lockship convert`",
        )


def check(project: Project, names: tuple[str, ...] = ()) -> list[str]:
    """Offline: the names of the models that are up to date; raises ModelError for the first that isn't."""
    fresh = []
    for name, model in converted_models(project):
        if not names or name in names:
            refuse_stale(project, name, model, made_from(project, name, model))
            fresh.append(name)
    return fresh


def write_results(
    project: Project, name: str, model: Model, contract: Contract, data: bytes, report: Mapping[str, Any]
) -> None:
    """Write a model that passed, with its contract, and the report as JSON and as a page; raises StoreError.

    The JSON comes last: it says that the others are what they should be.
    """
    files = model.files(name)
    with _writing(project, files):
        write_file(project.path(files.onnx), data)
        write_file(project.path(files.contract), contract.to_json())
        _write_report(project, files, _document(name, report, passed=True))


def fail(project: Project, name: str, model: Model, report: Mapping[str, Any]) -> NoReturn:
    """Raises ModelError with the worst rows. The report is left, and nothing that an earlier conversion wrote."""
    files = model.files(name)
    document = _document(name, report, passed=False)
    with _writing(project, files):
        project.path(files.onnx).unlink(missing_ok=True)
        project.path(files.contract).unlink(missing_ok=True)
        _write_report(project, files, document)
    raise parity.failure(name, project.path(files.report), document)


def _document(name: str, report: Mapping[str, Any], *, passed: bool) -> dict[str, Any]:
    return {"schema": parity.SCHEMA, "model": name, "passed": passed, **report}


def _write_report(project: Project, files: Files, document: Mapping[str, Any]) -> None:
    write_file(project.path(files.report), parity.page(document).encode())
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    write_file(project.path(files.parity), f"{text}\n".encode())


@contextmanager
def _writing(project: Project, files: Files) -> Iterator[None]:
    """While files are written there is no report that says that they are whole."""
    try:
        project.path(files.parity).unlink(missing_ok=True)
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write the converted model: {error.strerror or error}",
            file=error.filename2 or error.filename,
            hint="the folder must be writable, and the disk not full",
        ) from error


def _read(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise ModelError("is not there", file=file, hint="run `lockship convert`") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError("can't be read", file=file, hint="run `lockship convert`") from error
    return document if isinstance(document, dict) else {}
