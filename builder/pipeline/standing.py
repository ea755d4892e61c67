"""What an image stands upon when its base is one: layers, settings, and what its files must not replace. Offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.content import Digest
from builder.image.config import NOTHING, Inherited
from builder.layers import tar, venv
from builder.layers.recipe import Layer, Part
from builder.layers.tar import Entry
from builder.lock.file import Lock, LockedPlatform
from builder.lock.images import BaseImage
from builder.pipeline.recipes import minor
from builder.registry.reference import Repository, parse_reference

__all__ = ["beneath", "inherited", "layers", "skeleton", "sources"]


def layers(lock: Lock, pinned: LockedPlatform) -> list[Layer]:
    """The base image's own layers, lowest first, as they are; none for a base that is put together from packages."""
    if pinned.base is None:
        return []
    return [
        Layer("base", one.digest, one.size, one.diff_id, ((lock.base, ""),), one.media_type)
        for one in pinned.base.layers
    ]


def inherited(pinned: LockedPlatform) -> Inherited:
    """What the base image passes on."""
    base = pinned.base
    if base is None:
        return NOTHING
    return Inherited(
        env=base.env,
        user=base.user,
        entrypoint=base.entrypoint,
        labels=base.labels,
        ports=base.ports,
        volumes=base.volumes,
        stop_signal=base.stop_signal,
        history=tuple(one.created_by for one in base.layers),
    )


def sources(lock: Lock) -> Mapping[Digest, Repository]:
    """Where each of the base image's layers is."""
    if lock.base_digest is None:
        return {}
    repository = parse_reference(lock.base).repository
    return {one.digest: repository for pinned in lock.platforms if pinned.base for one in pinned.base.layers}


def beneath(lock: Lock) -> Sequence[Entry]:
    """Links and folders of the base image that files of the project may meet.

    They are the same whichever platforms are planned: the project's own layers are for all of them.
    """
    found: dict[str, Entry] = {}
    for pinned in sorted(lock.platforms, key=lambda one: one.platform):
        if pinned.base is not None:
            for path, target in pinned.base.links.items():
                found.setdefault(path, tar.symlink(path, target))
            for path, folder in _folders(pinned.base).items():
                found.setdefault(path, folder)
    return tuple(found.values())


def _folders(base: BaseImage) -> dict[str, Entry]:
    return {one.path: tar.directory(one.path, one.mode, one.uid, one.gid) for one in base.folders}


def skeleton(pinned: LockedPlatform, base: BaseImage) -> list[Entry]:
    """The virtual environment for the base image's python, and the folder that commands start in, arranged."""
    params = {
        "python": minor(pinned.python),
        "full": pinned.python,
        "interpreter": base.interpreter,
        "hide": base.owns_venv,
    }
    entries = venv.entries(Part("venv", "venv", params=params))
    folders = _folders(base)
    if "app" not in base.links:
        entries.append(folders.get("app", tar.directory("app")))
    return tar.arrange(entries, parents=lambda path: folders.get(path, tar.directory(path)))
