"""Why a resolver failed, in terms of the user's own files and of what the indexes hold.

Resolvers explain themselves without file names, each release in other words. So little as possible is read from
their text: which packages it mentions. The rest is found out from the input files and the indexes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from builder.errors import LockshipError, ResolutionError, StoreError
from builder.lock.indexes import IndexClient, Indexes, IndexFile
from builder.lock.inputs import Inputs
from builder.lock.pins import Target
from builder.lock.requirement_lines import Asked
from builder.lock.requirements import marker_environment
from builder.lock.wheels import admits, fits, listed, version_of

__all__ = ["explain_failure"]

_NETWORK: Final = re.compile(
    r"error sending request|failed to fetch|request failed after|connection (?:refused|reset|aborted)|"
    r"max retries exceeded|timed? ?out|temporary failure in name resolution|dns error|certificate",
    re.IGNORECASE,
)
_LOGIN: Final = re.compile(r"\b(401|403)\b|lack of valid authentication", re.IGNORECASE)
_BLAMED: Final = re.compile(
    r"\b([a-z0-9][a-z0-9._-]*)(?:[<>=!~]\S*)? (?:was not found|has no |have no |cannot be used)|"
    r"(?:versions of|distribution found for|for) `?([a-z0-9][a-z0-9._-]*)",
    re.IGNORECASE,
)
_LONGEST: Final = 2000  # characters of the resolver's own words
_ASKED: Final = 12  # packages looked up at most


def explain_failure(text: str, inputs: Inputs, indexes: Indexes, target: Target, resolver: str) -> LockshipError:
    """The error for what `resolver` said; its own words, without credentials, stand at the end."""
    text = indexes.network.redact(text).strip()
    own = text if len(text) <= _LONGEST else text[:_LONGEST] + " …"
    if _LOGIN.search(text) or (_NETWORK.search(text) and "No solution" not in text):
        return _unreachable(own, indexes, resolver)
    asked = [one for one in inputs.asked if _applies(one, target)]
    mentioned = _mentioned(text, asked)
    with IndexClient(indexes) as client:
        for name in mentioned[:_ASKED]:
            sides = [one for one in asked if one.name == name]
            if (found := _diagnose(name, sides, client.files(name), indexes, target)) is not None:
                return _with_words(found, own, resolver)
    sides = [one for one in asked if one.name in mentioned]
    if not sides:
        return _with_words(ResolutionError("the requirements cannot be resolved"), own, resolver)
    # transitive: nobody's line is wrong alone, all that the resolver names are shown
    sentences = "; ".join(one.sentence for one in sides[:_ASKED])
    error = ResolutionError(
        f"the requirements contradict each other: {sentences}",
        hint="loosen one of these lines",
        file=sides[0].file,
        line=sides[0].line,
    )
    return _with_words(error, own, resolver)


def _with_words(error: LockshipError, own: str, resolver: str) -> LockshipError:
    indented = "\n".join(f"  {line}" for line in own.splitlines())
    message = f"{error.message}\n{resolver} says:\n{indented}" if own else error.message
    return type(error)(message, hint=error.hint, file=error.file, line=error.line)


def _applies(asked: Asked, target: Target) -> bool:
    marker = asked.requirement.marker
    return marker is None or marker.evaluate(dict(marker_environment(target)))


def _unreachable(own: str, indexes: Indexes, resolver: str) -> LockshipError:
    names = ", ".join(indexes.names) or "none"
    if _LOGIN.search(own):
        error = StoreError(
            f"an index refused the credentials; asked: {names}",
            hint="credentials belong into pip's configuration (index-url = https://USER:TOKEN@HOST/…) or ~/.netrc",
        )
    else:
        error = StoreError(
            f"an index cannot be reached; asked: {names}", hint="check the network, the proxy and `pip config list`"
        )
    return _with_words(error, own, resolver)


def _mentioned(text: str, asked: Sequence[Asked]) -> list[str]:
    """Packages that the text blames or names, the blamed first."""
    blamed = [canonicalize_name(match[1] or match[2]) for match in _BLAMED.finditer(text)]
    words = {canonicalize_name(word) for word in re.findall(r"[A-Za-z0-9][A-Za-z0-9._-]*", text)}
    named = [one.name for one in asked if one.name in words]
    known = {one.name for one in asked}
    sure = [name for name in blamed if name in known]
    # a blamed word that nobody asked for is a dependency, or no package at all
    others = [name for name in blamed if name not in known and name not in _WORDS]
    return list(dict.fromkeys([*sure, *named, *others]))


_WORDS: Final = frozenset({"all", "building", "the", "we", "your", "packages", "versions", "this", "python"})


def _diagnose(
    name: str, sides: Sequence[Asked], files: Sequence[IndexFile], indexes: Indexes, target: Target
) -> ResolutionError | None:
    """What is wrong with `name` itself, if anything."""
    first = next((one for one in sides if not one.constraint), sides[0] if sides else None)
    if not files:
        if first is None:
            return None  # perhaps no package at all
        asked = ", ".join(indexes.names) or "no index at all (no-index)"
        hint = "check the spelling, and the indexes that pip is configured with"
        return _error(f"{first.sentence}, which doesn't exist; asked: {asked}", hint, first)
    versions = {version for file in files if (version := version_of(file.file)) is not None}
    for one in sides:
        if not _allowed(versions, [one]):
            newest = max(versions, default=None)
            hint = "change the line to a version that exists"
            return _error(f"{one.sentence}, but there is no such version; the newest is {newest}", hint, one)
    good = _allowed(versions, sides)
    if not good:
        both = "; ".join(one.sentence for one in _minimal(versions, sides))
        hint = "change one of these lines so that a version satisfies both"
        return _error(f"the requirements contradict each other: {both}", hint, first)
    return _without_wheel(name, good, files, target, first)


def _without_wheel(
    name: str, good: Sequence[Version], files: Sequence[IndexFile], target: Target, first: Asked | None
) -> ResolutionError | None:
    """Versions there are, but no file that can be installed."""
    mine = [file for file in files if version_of(file.file) in good]
    if any(fits(file.file, target) and admits(file.requires_python, target) for file in mine):
        return None
    who = f"{first.sentence}, but" if first is not None else "a dependency asks for"
    newest = max(good)
    there = listed(sorted({file.file for file in mine if version_of(file.file) == newest}))
    if not any(file.is_wheel for file in mine):
        return _error(
            f"{who} {name} comes as source only, not as a wheel; {newest} has: {there}",
            f'to build it here, in isolation: allow-build = ["{name}"] in [python]; its own code runs then',
            first,
        )
    if not any(admits(file.requires_python, target) for file in mine):
        wanted = next(file.requires_python for file in mine if version_of(file.file) == newest)
        return _error(
            f"{who} {name} {newest} needs Python {wanted}, and the image has {target.python}",
            "allow an older version, or choose another Python",
            first,
        )
    return _error(
        f"{who} {name} has no wheel for {target.platform} (Python {target.python}, glibc {target.glibc}); "
        f"{newest} has: {there}",
        f"ask for another version of {name}, another Python or base, or drop the platform",
        first,
    )


def _error(message: str, hint: str, place: Asked | None) -> ResolutionError:
    if place is None:
        return ResolutionError(message, hint=hint)
    return ResolutionError(message, hint=hint, file=place.file, line=place.line)


def _allowed(versions: set[Version], sides: Sequence[Asked]) -> list[Version]:
    """The versions that all `sides` admit."""
    specifier = SpecifierSet()
    for one in sides:
        specifier &= one.requirement.specifier
    return [version for version in versions if specifier.contains(version, prereleases=True)]


def _minimal(versions: set[Version], sides: Sequence[Asked]) -> Sequence[Asked]:
    """Two lines that exclude each other if there are, else all."""
    for number, one in enumerate(sides):
        for other in sides[number + 1 :]:
            if not _allowed(versions, [one, other]):
                return (one, other)
    return sides
