"""The base: Debian packages, resolved and pinned for one platform.

A base is what Python and ordinary wheels need, and what the project adds; all of it as the signed indexes of one
suite say.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from builder.complaints import line_of
from builder.content import Digest, Platform
from builder.errors import LockError, ProjectError, ResolutionError
from builder.lock import sources
from builder.lock.apt import Apt, Found
from builder.lock.fetch_debs import fetch_debs
from builder.lock.pins import Artifact
from builder.progress import Progress
from builder.project import Image

__all__ = ["Base", "fetch_debs", "resolve_base", "suite_of"]

# The suites that can be a base, and the Python of each
_SUITES: Final = {"bookworm": "3.11", "trixie": "3.13"}
# libstdc++6 (and libgcc-s1 with it) is what manylinux wheels expect of a system; they bundle libgomp themselves
_ROOTS: Final = ("python{0}-minimal", "libpython{0}-stdlib", "libstdc++6", "base-files", "netbase")
# Only their maintainer scripts need what they depend on, and those don't run
_ALONE: Final = ("ca-certificates", "tzdata")
# Below an environment that brings its own Python and libraries: the C library, and what says which Debian this is
_LIBC: Final = ("libc6",)
_LIBC_ALONE: Final = ("base-files",)


@dataclass(frozen=True, slots=True)
class Base:
    """A resolved base for one platform.

    `artifacts` are the debs, sorted by name; `python` and `glibc` the upstream versions in it (``3.11.2``, ``2.36``;
    empty where the base has none); `tools` what resolved it. `locations` say where each deb was just seen: for
    `fetch_debs`, never for the lock.
    """

    artifacts: tuple[Artifact, ...]
    python: str
    glibc: str
    tools: Mapping[str, str]
    locations: Mapping[Digest, str] = field(default_factory=lambda: MappingProxyType({}), repr=False, compare=False)


def suite_of(base: str, *, file: Path | None = None) -> str:
    """The suite of ``debian:SUITE``; raises ProjectError for one that no base is put together from."""
    kind, _, suite = base.partition(":")
    if kind == "debian" and suite in _SUITES:
        return suite
    known = " or ".join(f'"debian:{name}"' for name in _SUITES)
    raise ProjectError(
        f"image.base: {base!r} can't be a base that is put together from packages",
        hint=f"write base = {known}; the image of that name is docker.io/library/{base}",
        file=file,
        line=line_of(file, base),
    )


def resolve_base(
    image: Image,
    python: str,
    platform: Platform,
    *,
    root: Path,
    environ: Mapping[str, str],
    keep: Sequence[Artifact] = (),
    progress: Progress,
    interpreter_only: bool = False,
    file: Path | None = None,
) -> Base:
    """Choose the debs for Python `python` (``3.11``, or none for the C library) and `image`'s packages on `platform`.

    `root` is the project's folder, `keep` the debs of the lock so far: where the repositories still have one, it
    stays. With `interpreter_only`, what running Python needs and nothing else. `file` is the project file, for
    messages. May run in several threads at once.

    Raises ProjectError for a base, package or Python that the suite doesn't have, ResolutionError when packages
    exclude each other, LockError without apt or sources, VerificationError for an index that isn't signed as it should
    be, StoreError when a repository can't be reached.
    """
    file = file or _project_file(root)
    suite = suite_of(image.base, file=file)
    with progress.task(f"base {platform}", unit="steps"), Apt(platform, environ) as apt:
        list_file, parts = apt.host_sources
        apt.use(sources.choose(suite, image.sources, root=root, list_file=list_file, parts=parts, progress=progress))
        apt.prefer(keep)
        apt.update(only_debian=not image.sources)
        roots = _ROOTS[:1] if interpreter_only else (*(_ROOTS if python else _LIBC), *image.packages)
        roots = tuple(dict.fromkeys(name.format(python) for name in roots))
        alone = () if interpreter_only else _ALONE if python else _LIBC_ALONE
        _check_known(apt, (*roots, *alone), python, suite, file)
        found = _resolved(apt, roots, alone, keep, progress)
        version = apt.version
    debs = {one.name: one for one in found}
    return Base(
        artifacts=tuple(_artifact(debs[name]) for name in sorted(debs)),
        python=_upstream(debs.get(f"python{python}-minimal")),
        glibc=_upstream(debs.get("libc6")),
        tools={"apt": version},
        locations={one.digest: one.uri for one in found},
    )


def _resolved(
    apt: Apt, roots: Sequence[str], alone: Sequence[str], keep: Sequence[Artifact], progress: Progress
) -> list[Found]:
    try:
        closure = apt.closure(roots)
    except ResolutionError:
        if not keep:
            raise
        apt.prefer(())
        closure = apt.closure(roots)
        progress.note("the locked versions of the base don't go together with what is asked for now: choosing anew")
    names = {name for name, _ in closure}
    return apt.find([f"{name}={version}" for name, version in closure] + [name for name in alone if name not in names])


def _artifact(deb: Found) -> Artifact:
    return Artifact(kind="deb", name=deb.name, version=deb.version, file=deb.file, digest=deb.digest, size=deb.size)


def _upstream(deb: Found | None) -> str:
    """``3.11.2`` of ``1:3.11.2-6+deb12u9`` (Debian policy, "Version": epoch, upstream version, revision)."""
    if deb is None:
        return ""
    match = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", deb.version)
    if match is None:
        raise LockError(f"{deb.name} has the version {deb.version}, which says nothing about what it is")
    return match[1]


def _check_known(apt: Apt, names: Sequence[str], python: str, suite: str, file: Path | None) -> None:
    known = apt.known(names)
    missing = next((name for name in names if name not in known), None)
    if missing is None:
        return
    if missing in (f"python{python}-minimal", f"libpython{python}-stdlib"):
        has = [match[1] for name in apt.names("python3.") if (match := re.fullmatch(r"python(3\.\d+)-minimal", name))]
        suites = ", ".join(f"debian:{name} has {version}" for name, version in _SUITES.items())
        raise ProjectError(
            f"debian:{suite} has no Python {python}; it has {' and '.join(has) or 'none'}",
            hint=f"change [python] version or [image] base: {suites}",
            file=file,
            line=line_of(file, python),
        )
    close = difflib.get_close_matches(missing, apt.names(missing[:3]), n=3)
    raise ProjectError(
        f"debian:{suite} has no package {missing!r} for {apt.architecture}",
        hint=f"did you mean {' or '.join(map(repr, close))}?" if close else "search it at packages.debian.org",
        file=file,
        line=line_of(file, missing),
    )


def _project_file(root: Path) -> Path | None:
    return next((path for name in ("lockship.toml", "pyproject.toml") if (path := root / name).is_file()), None)
