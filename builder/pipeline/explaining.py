"""Why a digest is not what it was: from the index down to the first input that changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from builder.content import Platform
from builder.image.diff import Change, Changes, Comparison, FileChange, compare
from builder.image.layer import first_difference
from builder.image.stored import Image, Release, read_release
from builder.lock.file import CONDA_FILE, REQUIREMENTS_FILE
from builder.pipeline.comparing import files_made
from builder.pipeline.context import Context
from builder.pipeline.copying import missing
from builder.pipeline.differing import Apart, between
from builder.pipeline.planning import prepare
from builder.pipeline.targets import Target
from builder.project import Project
from builder.registry.store import Store
from builder.releases.chronicle import read_journal
from builder.releases.record import Record, read_record
from builder.words import listed

__all__ = ["Cause", "Why", "why", "why_plan"]

_INPUTS: Final = {
    "base": "lockship.lock: the base",
    "debs": "lockship.lock: system packages",
    "jars": "lockship.lock: jars",
    "models": "the model's file",
    "files": "the project's files",
    "config": "lockship.toml, or the version or commit itself",
    "layers": "lockship itself, or the base's python",
}
_NAMES: Final = 8


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that changed in the image for `platform`: what, in which part, and the input that it comes from."""

    platform: Platform
    part: str
    what: str
    source: str

    def to_json(self) -> dict[str, str]:
        """JSON values."""
        return {"platform": str(self.platform), "part": self.part, "what": self.what, "input": self.source}


@dataclass(frozen=True, slots=True)
class Why:
    """Two digests, and the causes of their difference; none when they are equal."""

    old_name: str
    new_name: str
    old: Release
    new_digest: str
    causes: tuple[Cause, ...]
    inputs: tuple[str, ...]

    def to_json(self) -> Mapping[str, Any]:
        """JSON values."""
        return {
            "old": {"name": self.old_name, "digest": self.old.digest},
            "new": {"name": self.new_name, "digest": self.new_digest},
            "causes": [one.to_json() for one in self.causes],
            "inputs": list(self.inputs),
        }

    def lines(self) -> Iterator[str]:
        """For people: the index, its images, their parts, and where it begins."""
        if not self.causes and self.old.digest == self.new_digest:
            yield f"{self.new_name} is {self.old_name}: {self.new_digest}"
            return
        yield f"{self.old_name} {self.old.digest}"
        yield f"{self.new_name} {self.new_digest}"
        for platform in dict.fromkeys(one.platform for one in self.causes):
            yield f"{platform}:"
            for one in self.causes:
                if one.platform == platform:
                    yield f"  {one.part}: {one.what}"
                    yield f"    because of {one.source}"
        if self.inputs:
            yield f"it begins with: {'; '.join(self.inputs)}"


def why(target: Target, version: str, against: str | None = None) -> Why:
    """Why the release `version` is not `against`, or else the release before it.

    Raises StoreError when one of them is not there.
    """
    new = _record(target, version)
    other = against or _before(target, version)
    if other is None:
        raise missing(target.store, "an earlier release", target.name)
    old = _record(target, other)
    found = between(target, old, new)
    before, after = read_release(target.store, old.digest), read_release(target.store, new.digest)
    assert before is not None and after is not None and found.images is not None
    causes = tuple(_causes(found.images, before, after, target.store))
    return Why(old.version, new.version, before, new.index, causes, tuple(_inputs(found)))


def why_plan(target: Target, project: Project, context: Context, against: str) -> Why:
    """Why what the project would give now is not the release `against`."""
    prepared = prepare(project, context)
    before = read_release(target.store, against)
    if before is None:
        raise missing(target.store, against, target.name)
    comparison = compare(prepared.plan, target.store, against, new_files=files_made(prepared))
    assert comparison is not None
    causes = tuple(_causes(comparison, before, None, target.store))
    origin = tuple(f"{one.name}: {one.old or 'none'} → {one.new or 'none'}" for one in comparison.origin)
    return Why(against, "these sources", before, str(prepared.plan.descriptor.digest), causes, origin)


def _record(target: Target, version: str) -> Record:
    read = read_record(target.store, version)
    if read is None:
        raise missing(target.store, version, target.name)
    return read[0]


def _before(target: Target, version: str) -> str | None:
    """The release that was made before `version`, by the journal."""
    names = [
        one.event.version for one in read_journal(target.store, target.memory).entries if one.event.kind == "release"
    ]
    position = names.index(version) if version in names else len(names)
    return next((name for name in reversed(names[:position]) if name and name != version), None)


def _causes(comparison: Comparison, old: Release, new: Release | None, store: Store) -> Iterator[Cause]:
    for platform in comparison.added:
        yield Cause(platform, "index", "an image for it was added", "lockship.toml: [image] platforms")
    for platform in comparison.removed:
        yield Cause(platform, "index", "its image was removed", "lockship.toml: [image] platforms")
    for platform, changes in comparison.changes.items():
        images = (old.images[platform], new.images.get(platform) if new else None)
        yield from _of(platform, changes, images, store)
        if not changes:
            for one in comparison.origin:
                what = f"{one.name} {one.old or 'none'} → {one.new or 'none'}"
                yield Cause(platform, "configuration", what, "the version or commit itself")


def _of(platform: Platform, changes: Changes, images: tuple[Image, Image | None], store: Store) -> Iterator[Cause]:
    titles = {
        "base": "base", "debs": "system packages", "wheels": "packages", "jars": "jars", "models": "model",
        "files": "code", "config": "configuration", "layers": "layer",
    }  # fmt: skip
    for name, title in titles.items():
        found = getattr(changes, name)
        same = [one for one in found if isinstance(one, Change) and one.old == one.new]
        others = [one for one in found if one not in same]
        if others:
            source = _locks(images) if name == "wheels" else _INPUTS[name]
            yield Cause(platform, title, listed([_said(one) for one in others], _NAMES), source)
        for one in same:
            yield Cause(
                platform, title, _bytes(one, images, store), "other bytes under the same version: its hash moved"
            )


def _locks(images: Iterable[Image | None]) -> str:
    """The files that say which packages go into such images."""
    conda = [any(part.kind == "conda" for part in image.parts) for image in images if image is not None]
    return " and ".join(sorted({CONDA_FILE if one else REQUIREMENTS_FILE for one in conda}))


def _said(one: Change | FileChange) -> str:
    if isinstance(one, FileChange):
        if one.old_size is None or one.new_size is None:
            return f"{'+' if one.old_size is None else '-'}{one.path}"
        return f"{one.path} ({one.old_size:,} → {one.new_size:,} bytes)"
    if one.old is None or one.new is None:
        return f"{'+' if one.old is None else '-'}{one.name}"
    return f"{one.name} {one.old} → {one.new}"


def _bytes(change: Change, images: tuple[Image, Image | None], store: Store) -> str:
    """The first path and field in which two layers of one package differ, where both can be read."""
    said = f"{change.name} {change.new}"
    digests = [
        next((part.digest for part in image.parts if any(name == change.name for name, _ in part.holds)), None)
        for image in images
        if image is not None
    ]
    if len(digests) < 2 or None in digests or not all(store.has_blob(one) for one in digests if one):
        return said
    old, new = (store.read_blob(one) for one in digests if one)
    found = first_difference(old, new)
    return f"{said}: {found}" if found else said


def _inputs(found: Apart) -> Iterator[str]:
    """What changed first: code, lock, models, base."""
    for one in found.origin:
        if one.kind == "commit":
            yield f"commit {one.old[:12] or 'none'} → {one.new[:12] or 'none'}"
        elif one.kind in ("base", "lockship"):
            yield f"{one.kind} {one.old or 'none'} → {one.new or 'none'}"
        elif one.kind == "lock":
            yield one.name
    yield from dict.fromkeys(f"model {one.name}" for one in found.models)
