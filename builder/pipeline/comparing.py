"""A plan beside what the store has under a tag."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

from builder.content import Digest
from builder.image.diff import Comparison, compare
from builder.image.layer import FileFact, files_of
from builder.image.reuse import LayerUse, reuse
from builder.image.stored import read_release
from builder.pipeline.building import open_store
from builder.pipeline.context import Context
from builder.pipeline.planning import Prepared

__all__ = ["Outlook", "outlook"]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What building would do: each layer with the reason why it is reused or new, and what changes in the image.

    `comparison` is None when the store has nothing to compare with.
    """

    layers: tuple[LayerUse, ...]
    comparison: Comparison | None


def outlook(prepared: Prepared, context: Context) -> Outlook:
    """Compare with the plan's own version in the project's store, or else with the tag that was written last."""
    store = open_store(prepared.project)
    tags = list(store.tags())
    own = prepared.plan.facts.version
    tag = own if own in tags else tags[-1] if tags else None
    layers = reuse(
        prepared.plan,
        store,
        read_release(store, tag) if tag else None,
        cached=lambda layer: context.cache.blob(layer.digest) is not None,
    )

    def new_files(digest: Digest) -> Mapping[str, FileFact] | None:
        local = prepared.local.get(digest)
        if local is None:
            return None
        buffer = io.BytesIO()
        local.write(buffer)
        return files_of([buffer.getvalue()])

    return Outlook(layers, compare(prepared.plan, store, tag, new_files=new_files) if tag else None)
