"""A release's models as artifacts in its store: put there beside the images, and fetched from there as files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from builder.content import Descriptor, Digest
from builder.errors import StoreError, UsageError, VerificationError
from builder.files import atomic_write
from builder.image.config import annotations_of
from builder.models.artifact import ARTIFACT_TYPE, EMPTY, SUFFIXES, ModelArtifact, describe_files, model_artifact
from builder.models.contract import read_contract
from builder.models.sources import converted_models
from builder.parallel import Stop, each
from builder.pipeline.planning import Prepared
from builder.progress import SILENT, Progress
from builder.registry.store import Store

__all__ = ["FetchedModel", "artifacts", "fetch_models", "store_models", "tag_models"]

# of a release's annotations, those that say where it comes from; when and what it is the artifact says itself
_PASSED_ON: Final = ("org.opencontainers.image.revision", "org.opencontainers.image.source")


@dataclass(frozen=True, slots=True)
class FetchedModel:
    """A model that was fetched: its manifest's digest, and the files, the model first."""

    name: str
    digest: Digest
    files: tuple[Path, ...]


def artifacts(prepared: Prepared) -> tuple[ModelArtifact, ...]:
    """The converted models of the release that `prepared` plans; raises ModelError when one can't be read."""
    project, facts = prepared.project, prepared.plan.facts
    said = annotations_of(facts)
    found = []
    for name, model in converted_models(project):
        contract = project.path(model.files(name).contract)
        found.append(
            model_artifact(
                read_contract(contract),
                describe_files(contract.parent, name),
                version=facts.version,
                subject=prepared.plan.descriptor,
                created=facts.created,
                annotations={key: said[key] for key in _PASSED_ON if key in said},
            )
        )
    return tuple(found)


def store_models(models: Sequence[ModelArtifact], store: Store, stop: Stop) -> None:
    """Put models and their manifests into `store`, those that it lacks; their tags are for `tag_models`."""
    if not models:
        return
    store.write_blob(EMPTY, [b"{}"])
    files = {one.digest: (one, model.files[one.digest]) for model in models for one in model.layers}
    missing = [(one, path) for one, path in files.values() if not store.adopt(one)]
    each(missing, lambda item: store.add_file(*item), stop, threads=store.parallel)
    for model in models:
        if store.manifest(model.descriptor.digest) is None:
            store.put_manifest(model.descriptor, model.manifest)


def tag_models(models: Sequence[ModelArtifact], store: Store) -> None:
    """Give each model its tag. Behind the release's own: whose version that is was decided then."""
    for model in models:
        if store.resolve(model.tag) != model.descriptor.digest:
            store.put_manifest(model.descriptor, model.manifest, tag=model.tag, move=True)


def fetch_models(
    store: Store, selector: Digest | str, folder: Path, names: Sequence[str] = (), *, progress: Progress = SILENT
) -> list[FetchedModel]:
    """Write the files of the models of a release (or of one model's own tag) into `folder`, each verified.

    Raises StoreError when there is no such release or it has no models, UsageError for a model that it hasn't,
    VerificationError when the store gives other bytes than it should.
    """
    manifests = _manifests(store, selector)
    known = {str(document["annotations"].get("org.opencontainers.image.title")) for _, document in manifests}
    for name in names:
        if name not in known:
            raise UsageError(f"{selector} has no model {name!r}", hint=f"there are: {', '.join(sorted(known))}")
    found = []
    for digest, document in manifests:
        name = str(document["annotations"].get("org.opencontainers.image.title"))
        if names and name not in names:
            continue
        layers = [(_file_name(layer, digest), layer) for layer in document["layers"]]
        total = sum(layer["size"] for _, layer in layers)
        with progress.task(f"fetching {name}", total) as task:
            for title, layer in layers:
                with atomic_write(folder / title) as file:
                    for chunk in store.read_blob(Digest(layer["digest"])):
                        file.write(chunk)
                        task.advance(len(chunk))
        found.append(FetchedModel(name, digest, tuple(folder / title for title, _ in layers)))
    return found


def _manifests(store: Store, selector: Digest | str) -> list[tuple[Digest, dict[str, Any]]]:
    """The manifests of models that `selector` leads to, by name."""
    named = store.manifest(selector)
    if named is None:
        raise StoreError(f"the store has no {selector}", hint="`lockship pull` and `lockship push` name what there is")
    if _is_model(json.loads(named.data)):
        return [(named.descriptor.digest, json.loads(named.data))]
    found = []
    for one in store.referrers(named.descriptor.digest):
        manifest = _read(store, one)
        if manifest is not None:
            found.append((one.digest, manifest))
    if not found:
        raise StoreError(
            f"{selector} has no models",
            hint="models are put beside a release by `lockship push`, when the project has [model] converted to ONNX",
        )
    return sorted(found, key=lambda item: str(item[1]["annotations"].get("org.opencontainers.image.title")))


def _read(store: Store, descriptor: Descriptor) -> dict[str, Any] | None:
    if descriptor.artifact_type not in (None, ARTIFACT_TYPE):
        return None
    manifest = store.manifest(descriptor.digest)
    document: dict[str, Any] | None = json.loads(manifest.data) if manifest is not None else None
    return document if document is not None and _is_model(document) else None


def _is_model(document: dict[str, Any]) -> bool:
    return document.get("artifactType") == ARTIFACT_TYPE and bool(document.get("layers")) and "annotations" in document


def _file_name(layer: dict[str, Any], digest: Digest) -> str:
    """The name that a layer gives itself: of a file in the folder, and of a kind that belongs to a model."""
    title = str(layer.get("annotations", {}).get("org.opencontainers.image.title", ""))
    if not title.endswith(SUFFIXES) or title != Path(title).name or title.startswith(".") or "\\" in title:
        raise VerificationError(
            f"the model {digest} has a file of the name {title!r}",
            hint="no lockship wrote that: ask whoever pushed it",
        )
    return title
