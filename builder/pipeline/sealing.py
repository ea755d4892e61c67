"""The end of every build: configurations, manifests and the index, and then the tags."""

from __future__ import annotations

from collections.abc import Sequence

from builder.image.index import Plan
from builder.models.artifact import ModelArtifact
from builder.parallel import Stop, each
from builder.pipeline.models import tag_models
from builder.registry.store import Store

__all__ = ["seal"]


def seal(plan: Plan, models: Sequence[ModelArtifact], store: Store, stop: Stop, *, move: bool) -> None:
    """Put what `plan` names into `store`, which has every layer and model already; tags last.

    Doing it again is harmless. Unless `move`, raises RefusedError for a version's tag that is taken.
    """
    images = {image.descriptor.digest: image for image in plan.images}.values()
    configs = {image.config_descriptor.digest: image for image in images}.values()
    each(list(configs), lambda one: store.write_blob(one.config_descriptor, [one.config]), stop, threads=store.parallel)
    each(list(images), lambda one: store.put_manifest(one.descriptor, one.manifest), stop, threads=store.parallel)
    stop.check()
    store.put_manifest(plan.descriptor, plan.index, tag=plan.facts.version, move=move)
    tag_models(models, store)
