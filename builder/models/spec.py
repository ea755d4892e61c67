"""How children are told of a model, and what the model is told of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from builder.content import Digest
from builder.errors import ModelError
from builder.models.contract import Sources
from builder.project import Model, Project

__all__ = ["MAX_ONNX", "metadata_of", "refuse_hopeless", "spec_of"]

MAX_ONNX: Final = (2 << 30) - 1
"""Bytes of the largest model that is one file: protobuf's limit for a message."""

_PICKLES: Final = ("pickle", "joblib")


def spec_of(project: Project, name: str, model: Model, digest: str) -> dict[str, Any]:
    """The model called `name` as JSON values; `digest` is that of its source, which children verify."""
    path = None if model.source is None else str(project.path(model.source).resolve())
    return {
        "name": name,
        "format": model.kind,
        "path": path,
        "sha256": None if model.source is None else Digest(digest).hex,
        "entry": model.entry,
        "root": str(project.root.resolve()),
        "trusted": list(model.trusted),
        "preprocessing": model.preprocessing,
        "raw_scores": model.raw_scores,
        "converters": list(model.converters),
        "inputs": {
            column: one.model_dump(mode="json", exclude_none=True) for column, one in model.inputs.items()
        },
    }  # fmt: skip


def refuse_hopeless(project: Project, name: str, model: Model, digest: str) -> None:
    """Raises, before anything is started, for a pickle that nobody vouches for and for a file that is too large."""
    if model.source is None:
        return
    path = project.path(model.source)
    if model.sha256 is not None and model.sha256 != Digest(digest).hex:
        raise ModelError(
            f"is not the file that was pinned: its sha256 is {Digest(digest).hex}",
            file=path,
            hint=f"if you know where it comes from, write that under `sha256` of the model {name}",
        )
    if model.kind in _PICKLES and not (model.allow_pickle and model.sha256):
        hint = "save it with `skops.io.dump(model, FILE)`: such files are read without running what is in them"
        if model.allow_pickle:
            hint = f'if you made the file yourself: sha256 = "{Digest(digest).hex}"'
        raise ModelError(
            f"is a {model.kind} file, which can run any code as it is read; it was not opened",
            file=path,
            hint=hint + ("" if model.allow_pickle else "; or say allow-pickle = true and its sha256"),
        )
    if model.kind == "onnx":
        _refuse_huge(path)


def _refuse_huge(path: Path) -> None:
    size = path.stat().st_size
    if size > MAX_ONNX:
        raise ModelError(
            f"has {size:,} bytes: a model in one file has at most {MAX_ONNX:,}",
            file=path,
            hint="models with external data files are not supported; use fewer trees, or smaller weights",
        )


def metadata_of(name: str, model: Model, version: str, sources: Sources) -> dict[str, str]:
    """What goes into the model's ``metadata_props`` beside what the converter knows: the contract's facts."""
    facts = {
        "model_name": name,
        "model_version": version,
        "description": model.description,
        "precision": model.precision,
        "tolerance": f"absolute {bounds(model)[0]!r}, relative {bounds(model)[1]!r}",
        "consumers": ", ".join(model.consumers),
        "model_sha256": _hex(sources.model),
        "data_sha256": _hex(sources.data),
        "lock_sha256": _hex(sources.lock),
        "git_commit": sources.commit,
    }
    return {key: value for key, value in facts.items() if value}


def bounds(model: Model) -> tuple[float, float]:
    """Absolute and relative tolerance."""
    return float(model.tolerance.absolute), float(model.tolerance.relative)


def _hex(digest: str | None) -> str | None:
    return None if digest is None else Digest(digest).hex
