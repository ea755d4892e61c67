"""Images to an index with one entry per platform (OCI image specification v1.1, "Image Index")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from builder.content import MEDIA_INDEX, Descriptor, Digest, Platform, canonical_json
from builder.errors import LockshipError
from builder.image.config import Facts, annotations_of
from builder.image.plan import ImagePlan

__all__ = ["Plan", "plan_index"]


@dataclass(frozen=True, slots=True)
class Plan:
    """A release's images, sorted by platform, and the index that names them; `descriptor` is the index's."""

    facts: Facts
    images: tuple[ImagePlan, ...]
    index: bytes
    descriptor: Descriptor

    def image(self, platform: Platform) -> ImagePlan | None:
        """The image for `platform`, if there is one."""
        return next((image for image in self.images if image.platform == platform), None)


def plan_index(images: Sequence[ImagePlan], facts: Facts) -> Plan:
    """The index over `images`, in any order; it doesn't depend on it."""
    ordered = tuple(sorted(images, key=lambda image: image.platform))
    platforms = [image.platform for image in ordered]
    if len(set(platforms)) != len(platforms):
        raise LockshipError(f"a platform is there twice: {', '.join(map(str, platforms))}")
    index = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MEDIA_INDEX,
            "manifests": [image.descriptor.to_json() for image in ordered],
            "annotations": annotations_of(facts),
        }
    )
    return Plan(facts, ordered, index, Descriptor(MEDIA_INDEX, Digest.of(index), len(index)))
