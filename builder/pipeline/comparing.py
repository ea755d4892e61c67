"""A plan beside what the store has under a tag."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from builder.content import Digest
from builder.image.diff import Comparison, compare
from builder.image.layer import FileFact, files_of
from builder.image.reuse import LayerUse, reuse
from builder.image.stored import read_release
from builder.pipeline.context import Context
from builder.pipeline.planning import Prepared
from builder.pipeline.stores import open_store
from builder.releases.tags import is_version

__all__ = ["Outlook", "files_made", "outlook"]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What building would do: each layer with the reason why it is reused or new, and what changes in the image.

    `comparison` is None when the store has nothing to compare with.
    """

    layers: tuple[LayerUse, ...]
    comparison: Comparison | None


def outlook(prepared: Prepared, context: Context) -> Outlook:
    """Compare with the plan's own version in the project's store, or else with the highest that is there."""
    store = open_store(prepared.project)
    tags = [tag for tag in store.tag_names() if is_version(tag, prepared.project.stages)]
    own = prepared.plan.facts.version
    tag = own if own in tags else max(tags, key=_numbers, default=None)
    layers = reuse(
        prepared.plan,
        store,
        read_release(store, tag) if tag else None,
        cached=lambda layer: context.cache.blob(layer.digest) is not None,
    )
    return Outlook(layers, compare(prepared.plan, store, tag, new_files=files_made(prepared)) if tag else None)


def files_made(prepared: Prepared) -> Callable[[Digest], Mapping[str, FileFact] | None]:
    """The files of a layer that is made from the project itself, by its digest; None for any other."""

    def new_files(digest: Digest) -> Mapping[str, FileFact] | None:
        local = prepared.local.get(digest)
        if local is None:
            return None
        buffer = io.BytesIO()
        local.write(buffer)
        return files_of([buffer.getvalue()])

    return new_files


def _numbers(tag: str) -> list[tuple[int, int, str]]:
    """A key by which ``1.10`` comes after ``1.9``."""
    parts = re.findall(r"\d+|\D+", tag)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]
