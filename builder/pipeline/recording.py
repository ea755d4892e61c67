"""What a release's record says, gathered: code, lock, models, data, database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from builder import __version__, git
from builder.content import Digest
from builder.errors import ProjectError, RefusedError
from builder.lock.file import LOCK_FILE
from builder.models.artifact import ModelArtifact
from builder.models.contract import read_contract
from builder.models.sources import file_digest
from builder.pipeline.checking import output_file
from builder.pipeline.context import Context
from builder.pipeline.identity import Actor
from builder.pipeline.models import artifacts
from builder.pipeline.planning import Prepared
from builder.project import Model, Project
from builder.releases import compatibility, datasets
from builder.releases.datasets import data_sets_from_json
from builder.releases.record import Git, ModelFacts, Record
from builder.releases.schema import schema_from_json

__all__ = ["code_of", "lock_files", "record_for"]


def code_of(project: Project, context: Context, allow: frozenset[str]) -> Git | None:
    """The commit that the code is; raises RefusedError when nobody could get the same code later, unless allowed."""
    checkout = git.checkout(project.root, context.environ)
    if checkout is None or checkout.commit is None:
        if "no-git" in allow:
            return None
        what = "the project is in no git repository" if checkout is None else "the repository has no commit yet"
        raise RefusedError(
            f"{what}: nobody could tell later which code this release is",
            hint="commit it (and push), or release anyway with --allow no-git",
        )
    if checkout.dirty and "dirty" not in allow:
        raise RefusedError(
            "the project's files differ from the commit: nobody could tell later which code this release is",
            hint="commit what `git status` shows (converted models, too), or release anyway with --allow dirty",
        )
    pushed = git.is_pushed(project.root, checkout.commit, context.environ)
    if not pushed and "unpushed" not in allow:
        raise RefusedError(
            f"no remote has the commit {checkout.commit[:12]}: nobody else could get the code of this release",
            hint="git push, or release anyway with --allow unpushed",
        )
    return Git(
        commit=checkout.commit, branch=checkout.branch, remote=project.source or checkout.source,
        dirty=checkout.dirty, pushed=pushed,
    )  # fmt: skip


def lock_files(project: Project) -> dict[str, bytes]:
    """The lock and the standard files that it binds, by name."""
    names = [name for name in (LOCK_FILE, output_file(project)) if name]
    return {name: project.path(name).read_bytes() for name in names}


def record_for(
    prepared: Prepared,
    context: Context,
    *,
    code: Git | None,
    actor: Actor,
    at: str,
    steps: Mapping[str, float],
    allowed: Sequence[str] = (),
    data: Sequence[Mapping[str, Any]] = (),
    database: Mapping[str, Any] | None = None,
    signing: Mapping[str, str] | None = None,
    before: Record | None = None,
) -> Record:
    """The record of what `prepared` plans."""
    project, plan = prepared.project, prepared.plan
    lock = prepared.lock
    return Record(
        name=plan.facts.name,
        version=plan.facts.version,
        index=plan.descriptor.digest,
        media_type=plan.descriptor.media_type,
        size=plan.descriptor.size,
        images={str(image.platform): str(image.descriptor.digest) for image in plan.images},
        git=code,
        lock={name: str(Digest.of(data)) for name, data in lock_files(project).items()},
        base=f"{lock.base}@{lock.base_digest}" if lock.base_digest else lock.base,
        models=_models(project, artifacts(prepared)),
        data=tuple(dict(one) for one in data),
        database=dict(database) if database is not None else None,
        since=before.version if before is not None else None,
        changes=_changes(before, data, database) if before is not None else {},
        stages={name: stage.model_dump(mode="json", by_alias=True, exclude_defaults=True)
                for name, stage in project.stages.items()},
        retention=project.retention.model_dump(mode="json", by_alias=True) if project.retention else None,
        signing=dict(signing) if signing else None,
        approvers=_approvers(project),
        by=actor.by,
        where=actor.where,
        at=at,
        steps=dict(steps),
        allowed=tuple(sorted(allowed)),
        tool=f"lockship {__version__}",
    )  # fmt: skip


def _changes(
    before: Record, data: Sequence[Mapping[str, Any]], database: Mapping[str, Any] | None
) -> dict[str, tuple[str, ...]]:
    """The log of what was created, altered and dropped since the release before."""
    found: dict[str, tuple[str, ...]] = {}
    if before.data or data:
        found["data"] = tuple(map(str, datasets.changes(data_sets_from_json(before.data), data_sets_from_json(data))))
    if before.database is not None and database is not None:
        old, new = schema_from_json(before.database), schema_from_json(database)
        found["database"] = tuple(map(str, compatibility.changes(old, new)))
    return {name: lines for name, lines in found.items() if lines}


def _approvers(project: Project) -> dict[str, str]:
    """The public keys of those who may approve, so that it can be checked without this checkout."""
    from builder.releases.keys import read_public

    found: dict[str, str] = {}
    for stage in project.stages.values():
        for name, file in stage.approvers.items():
            pem = read_public(project.path(file)).pem.decode()
            if found.setdefault(name, pem) != pem:
                raise ProjectError(
                    f"the approver {name} has two keys", hint="say the same file in each stage", file=project.file
                )
    return found


def _models(project: Project, made: Sequence[ModelArtifact]) -> tuple[ModelFacts, ...]:
    by_name = {one.name: one for one in made}
    return tuple(_model(project, name, model, by_name.get(name)) for name, model in project.named_models)


def _model(project: Project, name: str, model: Model, made: ModelArtifact | None) -> ModelFacts:
    if made is None or not model.is_converted:
        source = model.source or ""
        return ModelFacts(name=name, file=source, source=str(file_digest(project, source, "the model", "source")))
    files = model.files(name)
    contract = read_contract(project.path(files.contract))
    digests = {path.name: str(digest) for digest, path in made.files.items()}
    verdict = _verdict(project.path(files.parity))
    return ModelFacts(
        name=name,
        file=files.onnx,
        source=contract.sources.model,
        onnx=contract.digest,
        contract=digests.get(Path(files.contract).name),
        parity=digests.get(Path(files.parity).name),
        artifact=str(made.descriptor.digest),
        passed=bool(verdict["passed"]) if "passed" in verdict else None,
        summary=f"opset {contract.runtime.opset}, onnxruntime {contract.runtime.minimum} or newer",
    )


def _verdict(file: Path) -> dict[str, Any]:
    """The parity report, when there is one; a model whose files were made elsewhere may come without."""
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
