"""Which versions of which packages projects use, how far they drift apart, what that costs. Pure.

What is stored is counted by layer: projects that have a layer in common store it once, and pull it once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from builder.content import Digest
from builder.lock.file import Lock
from builder.pipeline.recipes import minor

__all__ = ["Drift", "Package", "Survey", "Use", "Used", "apart", "newest_first", "survey", "uses_of"]

Drift = str
"""``major``, ``minor`` or ``patch``: the first part of the release that differs; ``build`` when a later one does."""

_PARTS: Final = ("major", "minor", "patch")


@dataclass(frozen=True, slots=True)
class Use:
    """A package in an image of `project`, and the layer it is in, `size` bytes.

    `slot` names what layers of one version may differ by: platform, Python, byte code. `alone`: the layer holds
    nothing else. A layer of a base image is a use of the kind ``base``.
    """

    kind: str
    name: str
    version: str
    project: str
    slot: str
    layer: Digest
    size: int
    alone: bool = True


@dataclass(frozen=True, slots=True)
class Used:
    """A version, and the projects that have it."""

    version: str
    projects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Package:
    """A package with its versions, newest first; `apart` is empty for a single one.

    `stored` are the bytes of all its layers, `with_one` of those that its newest version has. Layers that it shares
    with other packages count for neither.
    """

    kind: str
    name: str
    versions: tuple[Used, ...]
    apart: Drift
    stored: int
    with_one: int


@dataclass(frozen=True, slots=True)
class Survey:
    """All packages, those that cost most by drifting first; `layers` and `stored` (bytes) count everything once."""

    packages: tuple[Package, ...]
    layers: int
    stored: int
    stored_by_kind: Mapping[str, int]

    @property
    def with_one(self) -> int:
        """Bytes of all layers if each package had one version: the newest that is used."""
        return self.stored - sum(one.stored - one.with_one for one in self.packages)


def uses_of(project: str, lock: Lock) -> Iterator[Use]:
    """Every package of every image that `lock` describes."""
    for locked in lock.platforms:
        slot = f"{locked.platform} {minor(locked.python)} {locked.bytecode}".strip()
        layers = {(layer.kind, name): layer for layer in locked.layers for name in layer.holds}
        for one in locked.artifacts:
            if (layer := layers.get((one.kind, one.name))) is not None:
                alone = len(layer.holds) == 1
                where = one.folder if one.kind == "jar" else slot  # a jar's layer is the same for every image
                yield Use(one.kind, one.name, one.version, project, where, layer.digest, layer.size, alone)
        for below in locked.base.layers if locked.base is not None else ():
            yield Use("base", lock.base, "", project, slot, below.digest, below.size, alone=False)


def survey(uses: Iterable[Use]) -> Survey:
    """What `uses` come to."""
    grouped: dict[tuple[str, str], list[Use]] = {}
    sizes: dict[str, dict[Digest, int]] = {}
    for use in uses:
        sizes.setdefault(use.kind, {})[use.layer] = use.size
        if use.kind != "base":
            grouped.setdefault((use.kind, use.name), []).append(use)
    everything = {digest: size for group in sizes.values() for digest, size in group.items()}
    packages = [_package(kind, name, group) for (kind, name), group in grouped.items()]
    return Survey(
        packages=tuple(sorted(packages, key=_costliest_first)),
        layers=len(everything),
        stored=sum(everything.values()),
        stored_by_kind={kind: sum(group.values()) for kind, group in sorted(sizes.items())},
    )


def _costliest_first(one: Package) -> tuple[Any, ...]:
    return (len(one.versions) == 1, one.with_one - one.stored, one.name, one.kind)


def _package(kind: str, name: str, uses: Sequence[Use]) -> Package:
    versions = newest_first(kind, {use.version for use in uses})
    rank = {version: number for number, version in enumerate(versions)}
    alone = [use for use in uses if use.alone]
    newest: dict[str, int] = {}
    for use in alone:
        newest[use.slot] = min(newest.get(use.slot, len(versions)), rank[use.version])
    kept = [use for use in alone if rank[use.version] == newest[use.slot]]
    return Package(
        kind=kind,
        name=name,
        versions=tuple(
            Used(version, tuple(sorted({use.project for use in uses if use.version == version})))
            for version in versions
        ),
        apart=apart(versions[0], versions[-1]) if len(versions) > 1 else "",
        stored=_bytes(alone),
        with_one=_bytes(kept),
    )


def _bytes(uses: Iterable[Use]) -> int:
    return sum({use.layer: use.size for use in uses}.values())


def newest_first(kind: str, versions: Iterable[str]) -> tuple[str, ...]:
    """Sorted as the packages' own tools have it: PEP 440, Debian's order, for conda and jars by the parts."""
    order = _order(kind)
    return tuple(sorted(versions, key=lambda one: (order(one), one), reverse=True))


def _order(kind: str) -> Any:
    if kind == "deb":
        from debian.debian_support import Version as DebianVersion

        return DebianVersion
    return _wheel_order if kind == "wheel" else _parts


def _wheel_order(text: str) -> tuple[Any, ...]:
    from packaging.version import InvalidVersion, Version

    try:
        return (1, Version(text))
    except InvalidVersion:  # which no wheel of today has
        return (0, _parts(text))


def _parts(text: str) -> tuple[tuple[int, int, str], ...]:
    """As conda compares: numbers as such, words below them and below nothing at all, ``dev`` first, ``post`` last."""
    ranks = {"dev": -1, "post": 2}
    found = [
        (1, int(part), "") if part.isdigit() else (ranks.get(part, 0), 0, part)
        for part in re.findall(r"\d+|[a-z]+", text.lower())
    ]
    return (*found, (1, 0, ""))


def apart(newer: str, older: str) -> Drift:
    """How far two versions are apart, whichever is newer; of PEP 440, Debian and conda alike. Empty for equal ones."""
    if newer == older:
        return ""
    (epoch, release), (other_epoch, other) = _release(newer), _release(older)
    if epoch != other_epoch:
        return "major"
    length = max(len(release), len(other), len(_PARTS))
    for part, mine, theirs in zip(_PARTS, _padded(release, length), _padded(other, length), strict=False):
        if mine != theirs:
            return part
    return "build"


def _release(version: str) -> tuple[int, tuple[int, ...]]:
    """The epoch and the numbers in front: ``(1, (2, 36))`` of ``1:2.36-9+deb12u10``, of ``1!2.36.post1``."""
    found = re.match(r"(?:(\d+)[:!])?v?(\d+(?:\.\d+)*)?", version)
    assert found is not None
    return int(found[1] or 0), tuple(int(part) for part in (found[2] or "0").split("."))


def _padded(release: tuple[int, ...], length: int) -> tuple[int, ...]:
    return release + (0,) * (length - len(release))
