"""Two releases beside each other: packages, files, models with their parity, data, schema, sizes, and where from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from builder.content import Digest
from builder.errors import LockshipError
from builder.image.diff import Changes, Comparison, compare_releases
from builder.image.render import render
from builder.image.stored import Release, read_release
from builder.pipeline.copying import missing
from builder.pipeline.targets import Target
from builder.releases import compatibility, datasets
from builder.releases.changes import Change
from builder.releases.datasets import data_sets_from_json
from builder.releases.record import ModelFacts, Record, read_record
from builder.releases.schema import schema_from_json
from builder.words import human_size, listed

__all__ = ["Apart", "apart", "between", "brief"]

_FEW = 6  # names that a line shows
_FACTS = ("commit", "branch", "base", "signer", "lockship", "lock")


@dataclass(frozen=True, slots=True)
class Apart:
    """What B has that A hasn't, and the other way round. `images` is None where nobody could look into them.

    `sizes` are bytes of layers in all and of those that A doesn't have, by platform.
    """

    old: Record
    new: Record
    images: Comparison | None
    models: tuple[Change, ...]
    data: tuple[Change, ...]
    schema: tuple[Change, ...]
    origin: tuple[Change, ...]
    sizes: Mapping[str, tuple[int, int, int]]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "old": {"version": self.old.version, "digest": self.old.index},
            "new": {"version": self.new.version, "digest": self.new.index},
            "images": None if self.images is None else self.images.to_json(),
            "models": [one.to_json() for one in self.models],
            "data": [one.to_json() for one in self.data],
            "schema": [one.to_json() for one in self.schema],
            "origin": [one.to_json() for one in self.origin],
            "sizes": {
                platform: {"old": old, "new": new, "not_shared": own}
                for platform, (old, new, own) in self.sizes.items()
            },
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        yield render(self.images) if self.images else f"{self.old.version} → {self.new.version}"
        for title, found in (
            ("models", self.models), ("data", self.data), ("database", self.schema), ("release", self.origin),
        ):  # fmt: skip
            if found:
                yield title
                yield from (f"  {_plain(one) if one.kind in _FACTS else one}" for one in found)
        for platform, (old, new, own) in self.sizes.items():
            yield f"size {platform}: {human_size(old)} → {human_size(new)}, of which {human_size(own)} in other layers"


def apart(target: Target, old: str, new: str) -> Apart:
    """Compare the releases `old` and `new` of `target`, by version; raises StoreError when one is not there."""
    records = []
    for version in (old, new):
        read = read_record(target.store, version)
        if read is None:
            raise missing(target.store, version, target.name)
        records.append(read[0])
    return between(target, *records)


def between(target: Target, old: Record, new: Record) -> Apart:
    """Compare two records, and what is in their images."""
    before, after = _release(target, old.digest), _release(target, new.digest)
    comparison = None
    if before is not None and after is not None:
        comparison = compare_releases(before, after, target.store, old.version)
    return _apart(old, new, before, after, comparison)


def _apart(
    old: Record, new: Record, before: Release | None, after: Release | None, comparison: Comparison | None = None
) -> Apart:
    """Two records apart, and their images by manifests alone: nothing big is read."""
    return Apart(
        old,
        new,
        comparison,
        tuple(_models(old, new)),
        datasets.changes(data_sets_from_json(old.data), data_sets_from_json(new.data)),
        _schema(old, new),
        tuple(_origin(old, new)),
        _sizes(before, after),
    )


def brief(target: Target, old: Record, new: Record) -> tuple[str, ...]:
    """What changes, in a few lines, for somebody who has to decide at night; what can't be read is said."""
    try:
        before, after = _release(target, old.digest), _release(target, new.digest)
        found = _apart(old, new, before, after)
    except LockshipError as error:
        return (f"what changes can't be told: {error.message}",)
    lines: list[str] = []
    if before is not None and after is not None:
        both = before.images.keys() & after.images.keys()
        packages = compare_releases(
            Release(before.digest, {one: before.images[one] for one in both}),
            Release(after.digest, {one: after.images[one] for one in both}),
            target.store, old.version, new_files=None, look_inside=False,
        )  # fmt: skip
        lines += _packages(packages)
    models = dict.fromkeys(one.name for one in found.models)
    if models:
        lines.append(f"models: {listed([f'{name} is another one' for name in models], _FEW)}")
    for title, changes in (("data", found.data), ("schema", found.schema)):
        if changes:
            lines.append(f"{title}: {listed([str(one) for one in changes], _FEW)}")
    lines += [_plain(one) for one in found.origin if one.kind in ("commit", "base")]
    return tuple(lines) or ("the same packages, models, data and schema",)


def _plain(change: Change) -> str:
    """A fact of a release as ``commit 05f3ec29d0f4 → c6ba337656b5``."""
    name = f"{change.kind} {change.name}".strip()
    return f"{name} {_shortened(change.old) or 'none'} → {_shortened(change.new) or 'none'}"


def _shortened(text: str) -> str:
    return text[:12] if re.fullmatch(r"[0-9a-f]{40,64}", text) else text


def _packages(comparison: Comparison) -> Iterator[str]:
    first: Changes | None = next((one for one in comparison.changes.values() if one), None)
    if first is None:
        return
    for title, changes in (("packages", first.wheels), ("jars", first.jars), ("system packages", first.debs)):
        if changes:
            named = [
                f"{one.name} {one.old} → {one.new}" if one.old and one.new else f"{'+' if one.new else '-'}{one.name}"
                for one in changes
            ]
            yield f"{title}: {listed(named, _FEW)}"
    if first.base:
        yield f"base: {listed([one.name for one in first.base], _FEW)}"
    if any(one.name == "code" for one in first.layers):
        yield "code: other files"


def _release(target: Target, digest: Digest) -> Release | None:
    return read_release(target.store, digest)


def _models(old: Record, new: Record) -> Iterator[Change]:
    before, after = ({one.name: one for one in record.models} for record in (old, new))
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            yield Change("created" if other else "dropped", "model", name)
            continue
        for aspect in ("source", "onnx", "parity"):
            if (was := getattr(one, aspect)) != (now := getattr(other, aspect)):
                yield Change("altered", "model", name, aspect, _digest(was), _digest(now))
        if one.passed != other.passed:
            yield Change("altered", "model", name, "verdict", _verdict(one), _verdict(other))


def _verdict(model: ModelFacts) -> str:
    return {True: "passed", False: "failed", None: "not compared"}[model.passed]


def _digest(text: str | None) -> str:
    return text[:19] if text and text.startswith("sha256:") else text or ""


def _schema(old: Record, new: Record) -> tuple[Change, ...]:
    if old.database is None or new.database is None:
        if old.database == new.database:
            return ()
        return (Change("created" if new.database else "dropped", "schema", "of the database"),)
    return compatibility.changes(schema_from_json(old.database), schema_from_json(new.database))


def _origin(old: Record, new: Record) -> Iterator[Change]:
    facts = {
        "commit": (old.git.commit if old.git else "", new.git.commit if new.git else ""),
        "branch": (old.git.branch or "" if old.git else "", new.git.branch or "" if new.git else ""),
        "base": (old.base, new.base),
        "signer": ((old.signing or {}).get("fingerprint", ""), (new.signing or {}).get("fingerprint", "")),
        "lockship": (old.tool, new.tool),
    }
    for kind, (was, now) in facts.items():
        if was != now:
            yield Change("altered", kind, "", "", was, now)
    for name in sorted(old.lock.keys() | new.lock.keys()):
        if old.lock.get(name) != new.lock.get(name):
            yield Change("altered", "lock", name, "", _digest(old.lock.get(name)), _digest(new.lock.get(name)))


def _sizes(old: Release | None, new: Release | None) -> dict[str, tuple[int, int, int]]:
    if old is None or new is None:
        return {}
    found = {}
    for platform in sorted(old.images.keys() & new.images.keys()):
        before = {part.digest: part.size for part in old.images[platform].parts}
        after = {part.digest: part.size for part in new.images[platform].parts}
        own = sum(size for digest, size in after.items() if digest not in before)
        found[str(platform)] = (sum(before.values()), sum(after.values()), own)
    return found
