"""The best wheel for a target among those an index offers: tags of the image's interpreter, never of this machine.

PyPA "Platform compatibility tags"; the order is pip's: the tag first, then the build number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from builder.errors import ResolutionError
from builder.lock.indexes import IndexFile
from builder.lock.pins import Pin, Target

__all__ = [
    "admits",
    "choose",
    "files_of",
    "files_of_version",
    "find_sdist",
    "fits",
    "listed",
    "platform_tags",
    "target_tags",
    "version_of",
]

_SHOWN = 12  # file names in one message
# the C library of the older names (PEP 513, 571, 599)
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_OLDEST = {"x86_64": 5, "aarch64": 17}


def platform_tags(target: Target) -> Iterator[str]:
    """The platform tags the image can run, best first; musl's are not among them."""
    machine = target.platform.machine
    newest = int(target.glibc.split(".")[1])
    for minor in range(newest, _OLDEST[machine] - 1, -1):
        yield f"manylinux_2_{minor}_{machine}"
        if minor in _LEGACY:
            yield f"{_LEGACY[minor]}_{machine}"
    yield f"linux_{machine}"


@lru_cache(maxsize=16)
def target_tags(target: Target) -> dict[Tag, int]:
    """Every tag that fits `target`, with its rank: 0 is best."""
    version = tuple(int(part) for part in target.minor.split("."))
    abi = "cp" + "".join(map(str, version))
    platforms = list(platform_tags(target))
    tags: dict[Tag, int] = {}
    for source in (
        cpython_tags(version, [abi], platforms),
        compatible_tags(version, abi, platforms),
    ):
        for tag in source:
            tags.setdefault(tag, len(tags))
    return tags


def fits(file: str, target: Target) -> bool:
    """Whether the wheel called `file` may be installed in the image."""
    return _rank(file, target) is not None


def _rank(file: str, target: Target) -> tuple[int, tuple[int, str]] | None:
    """How good a wheel is, smaller is better; None when it doesn't fit. A higher build number is better."""
    try:
        _, _, build, tags = parse_wheel_filename(file)
    except InvalidWheelFilename:
        return None
    known = target_tags(target)
    ranks = [known[tag] for tag in tags if tag in known]
    if not ranks:
        return None
    number, suffix = build or (-1, "")
    return min(ranks), (-number, suffix)


def files_of(pin: Pin, files: Iterable[IndexFile]) -> tuple[IndexFile, ...]:
    """The files of the pin's version whose hash is among the pin's, or not known to the index."""
    return tuple(
        file
        for file in files
        if (file.digest is None or file.digest in pin.hashes) and version_of(file.file) == _version(pin.version)
    )


def files_of_version(version: str, files: Iterable[IndexFile]) -> list[str]:
    """The names of all files of one version."""
    wanted = _version(version)
    return sorted({file.file for file in files if version_of(file.file) == wanted})


def choose(pin: Pin, files: Sequence[IndexFile], target: Target) -> IndexFile:
    """The wheel of `pin` that pip would install in the image.

    Raises ResolutionError that names the package, the platform and the files there are, when none fits.
    """
    best: IndexFile | None = None
    best_rank = None
    for file in files_of(pin, files):
        rank = _rank(file.file, target) if file.is_wheel and admits(file.requires_python, target) else None
        if rank is None:
            continue
        # among equals the first index wins; a file that its author withdrew comes last
        key = (file.yanked, *rank)
        if best_rank is None or key < best_rank:
            best, best_rank = file, key
    if best is None:
        raise _none_fits(pin, files, target)
    return best


def find_sdist(pin: Pin, files: Iterable[IndexFile]) -> IndexFile | None:
    """The source distribution of `pin`, if there is one."""
    return next((file for file in files_of(pin, files) if not file.is_wheel), None)


def _none_fits(pin: Pin, files: Sequence[IndexFile], target: Target) -> ResolutionError:
    wanted = f"{target.platform} (Python {target.python}, glibc {target.glibc})"
    there = files_of_version(pin.version, files)
    known = files_of(pin, files)
    if there and not known:
        return ResolutionError(
            f"{pin.name} {pin.version}: the index has other files than those that were locked: {listed(there)}",
            hint="somebody replaced them; if that is right, run `lockship lock --upgrade-package " + pin.name + "`",
        )
    if known and not any(file.is_wheel for file in known):
        return ResolutionError(
            f"{pin.name} {pin.version} comes as source only, not as a wheel: {listed(there)}",
            hint=f'to build it here, in isolation: allow-build = ["{pin.name}"] in [python]; its own code runs then',
        )
    return ResolutionError(
        f"{pin.name} {pin.version} has no wheel for {wanted}; there are: {listed(there) or 'none'}",
        hint=f"ask for another version of {pin.name}, another Python or base, or drop the platform",
    )


def listed(names: Sequence[str]) -> str:
    """File names for a message, not too many."""
    shown = ", ".join(names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def admits(requires_python: str, target: Target) -> bool:
    """Whether a file's Requires-Python admits the image's Python."""
    if not requires_python:
        return True
    try:
        return SpecifierSet(requires_python).contains(target.python, prereleases=True)
    except InvalidSpecifier:
        return True  # pip ignores what it can't read, too


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def version_of(file: str) -> Version | None:
    """The version in a file's name; None for what is neither wheel nor sdist."""
    try:
        return parse_wheel_filename(file)[1] if file.endswith(".whl") else parse_sdist_filename(file)[1]
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None
