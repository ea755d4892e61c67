"""The pins of several platforms as one set, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.content import Platform
from builder.errors import ResolutionError
from builder.lock.indexes import Indexes
from builder.lock.inputs import Inputs
from builder.lock.pins import Pin, Resolution, Target
from builder.lock.requirements import marker_environment
from builder.lock.wheels import files_of_version, listed

__all__ = ["merge"]


def merge(
    by_platform: Mapping[Platform, Sequence[Pin]],
    targets: Sequence[Target],
    inputs: Inputs,
    indexes: Indexes,
    tools: Mapping[str, str],
) -> Resolution:
    """One resolution; what only some platforms get carries a marker on ``platform_machine``.

    Raises ResolutionError when platforms differ in a package's version and no marker of the user's explains it.
    """
    everywhere = frozenset(target.platform for target in targets)
    grouped: dict[str, dict[str, dict[Platform, Pin]]] = {}
    for platform, pins in by_platform.items():
        for pin in pins:
            grouped.setdefault(pin.name, {}).setdefault(pin.version, {})[platform] = pin
    merged: list[Pin] = []
    for name, versions in sorted(grouped.items()):
        if len(versions) > 1 and not _explained(name, by_platform, targets, inputs):
            raise _different(name, versions, targets, indexes)
        merged += [_union(pins, everywhere) for pins in versions.values()]
    placed = {
        platform: tuple(pin for pin in merged if pin.version == {one.name: one.version for one in pins}.get(pin.name))
        for platform, pins in by_platform.items()
    }
    return Resolution(tuple(merged), placed, tools)


def _union(pins: Mapping[Platform, Pin], everywhere: frozenset[Platform]) -> Pin:
    """One version's pins of several platforms as one."""
    some = next(iter(pins.values()))
    marker = ""
    if frozenset(pins) != everywhere:
        marker = " or ".join(f'platform_machine == "{platform.machine}"' for platform in sorted(pins))
    return Pin(
        name=some.name,
        version=some.version,
        hashes=tuple(sorted({digest for pin in pins.values() for digest in pin.hashes})),
        extras=tuple(sorted({extra for pin in pins.values() for extra in pin.extras})),
        marker=marker,
        via=tuple(sorted({asker for pin in pins.values() for asker in pin.via})),
    )


def _explained(
    name: str, by_platform: Mapping[Platform, Sequence[Pin]], targets: Sequence[Target], inputs: Inputs
) -> bool:
    """Whether a marker that somebody wrote, for `name` or for what asked for it, tells the platforms apart."""
    split = {asked.name for asked in inputs.asked if _splits(asked.requirement.marker, targets)}
    askers: dict[str, set[str]] = {}
    for pins in by_platform.values():
        for pin in pins:
            askers.setdefault(pin.name, set()).update(asker.partition("[")[0] for asker in pin.via)
    seen: set[str] = set()
    waiting = {name}
    while waiting:
        one = waiting.pop()
        if one in split:
            return True
        seen.add(one)
        waiting |= askers.get(one, set()) - seen
    return False


def _splits(marker: object, targets: Sequence[Target]) -> bool:
    if marker is None:
        return False
    from packaging.markers import Marker

    assert isinstance(marker, Marker)
    return len({marker.evaluate(dict(marker_environment(target))) for target in targets}) > 1


def _different(
    name: str, versions: Mapping[str, Mapping[Platform, Pin]], targets: Sequence[Target], indexes: Indexes
) -> ResolutionError:
    """The platforms disagree: usually because a version has no wheel for one of them."""
    said = "; ".join(
        f"{' and '.join(map(str, sorted(pins)))} would get {version}" for version, pins in versions.items()
    )
    newest, pins = next(iter(versions.items()))
    lacking = [str(target.platform) for target in targets if target.platform not in pins]
    files = files_of_version(newest, indexes.files(name))
    other = next(version for version in versions if version != newest)
    return ResolutionError(
        f"{name} comes out differently: {said}. {name} {newest} has these files, none of which fits "
        f"{' and '.join(lacking)}: {listed(files) or 'none'}",
        hint=f"ask for {name}=={other}, which both may have, or give each platform its own version with a marker: "
        f'{name}=={newest} ; platform_machine == "{next(iter(pins)).machine}"',
    )
