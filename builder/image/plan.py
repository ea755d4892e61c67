"""Layers to an image for one platform: configuration and manifest (OCI image specification v1.1, "Image Manifest")."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from builder.content import MEDIA_CONFIG, MEDIA_MANIFEST, Descriptor, Digest, Platform, canonical_json
from builder.errors import LockshipError, ProjectError
from builder.image.config import NOTHING, PYTHON, Facts, Inherited, annotations_of, image_config
from builder.layers.recipe import Layer
from builder.registry.manifests import MAX_MANIFEST

if TYPE_CHECKING:
    from builder.project import Project

__all__ = ["HOLDS", "KIND", "MAX_LAYERS", "ImagePlan", "layer_descriptor", "plan_image"]

# Overlay file systems take no more lower directories than fit into one page of mount options.
MAX_LAYERS: Final = 127

# Annotations of layer descriptors: what a layer is, and a JSON list of the ``name==version`` it holds, so that an
# image tells what it is made of without its lock.
KIND: Final = "dev.lockship.kind"
HOLDS: Final = "dev.lockship.holds"


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """An image for one platform, known to the byte before any of its layers need exist.

    `layers` are lowest first; `config` and `manifest` are the bytes that are stored; `descriptor` is the manifest's,
    with its platform, as an index names it.
    """

    platform: Platform
    layers: tuple[Layer, ...]
    config: bytes
    config_descriptor: Descriptor
    manifest: bytes
    descriptor: Descriptor


def plan_image(
    project: Project,
    platform: Platform,
    layers: Sequence[Layer],
    facts: Facts,
    *,
    python: str,
    base: Inherited = NOTHING,
) -> ImagePlan:
    """The image of `project` for `platform`; `python` is the version of the interpreter in it, `base` what it inherits.

    Raises ProjectError when there are more layers than an overlay file system mounts.
    """
    if len(layers) > MAX_LAYERS:
        raise _too_many(project, platform, layers)
    config = image_config(project, platform, layers, facts, python=python, base=base)
    config_descriptor = Descriptor(MEDIA_CONFIG, Digest.of(config), len(config))
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MEDIA_MANIFEST,
            "config": config_descriptor.to_json(),
            "layers": [layer_descriptor(layer).to_json() for layer in layers],
            "annotations": annotations_of(facts) | {PYTHON: python},
        }
    )
    if len(manifest) > MAX_MANIFEST:
        raise LockshipError(f"{platform}: the manifest has {len(manifest):,} bytes; registries take {MAX_MANIFEST:,}")
    descriptor = Descriptor(MEDIA_MANIFEST, Digest.of(manifest), len(manifest), platform=platform)
    return ImagePlan(platform, tuple(layers), config, config_descriptor, manifest, descriptor)


def _too_many(project: Project, platform: Platform, layers: Sequence[Layer]) -> ProjectError:
    below = sum(1 for layer in layers if layer.kind == "base")
    of_base = f" ({below} of the base)" if below else ""
    return ProjectError(
        f"{platform}: {len(layers)} layers{of_base}, and overlay file systems stop at {MAX_LAYERS}",
        hint="choose a base with fewer layers, or squash it"
        if below > MAX_LAYERS // 2
        else "take several models in as one folder, under [image] files",
        file=project.display,
    )


def layer_descriptor(layer: Layer) -> Descriptor:
    """A layer as the manifest names it: with what it holds."""
    holds = json.dumps([f"{name}=={version}" if version else name for name, version in layer.holds], ensure_ascii=False)
    return replace(layer.descriptor, annotations={KIND: layer.kind} | ({HOLDS: holds} if layer.holds else {}))
