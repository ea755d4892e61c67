"""Locked debs into the cache: from where they were just seen, from the repositories, or from an archive."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Final

from builder.cache import Cache
from builder.content import Digest, Platform
from builder.errors import ArtifactError, LockshipError, VerificationError
from builder.lock import sources
from builder.lock.apt import Apt, Download
from builder.lock.apt_errors import absent, failure
from builder.lock.pins import Artifact
from builder.progress import Progress, Task
from builder.project import Image

__all__ = ["fetch_debs", "locate_debs"]

# In every base, and no loss there: nothing that Python needs goes through these names. Or the layer has the link
_QUIET: Final = frozenset({"mawk", "tar", "debianutils"})
_ALTERNATIVE: Final = re.compile(r"update-alternatives(?:\s|\\\n)+(?:--quiet\s+)?--install(?:\s|\\\n)+(\S+)")


def fetch_debs(
    artifacts: Sequence[Artifact],
    image: Image,
    platform: Platform,
    cache: Cache,
    *,
    root: Path,
    environ: Mapping[str, str],
    progress: Progress,
    locations: Mapping[Digest, str] | None = None,
) -> None:
    """Put every deb into `cache`; those that are there cost nothing.

    `locations` (`Base.locations`) saves reading the indexes again. A deb that its repository has dropped is looked for
    beside the version that is there now, then in `[image] snapshot`: the URI of an archive that serves ``pool/…``
    (as snapshot.debian.org/archive/debian/TIMESTAMP does; its debian-security twin is asked too), or a folder of debs.

    Raises ArtifactError for a deb that is nowhere, VerificationError for one that isn't what the lock says, StoreError
    when nobody can be reached.
    """
    missing = {one.digest: one for one in artifacts if cache.blob(one.digest) is None}
    if not missing:
        return
    total = sum(one.size for one in missing.values())
    with progress.task(f"debs {platform}", total) as task, Apt(platform, environ) as apt:
        hunt = _Hunt(apt, cache, task, dict(missing))
        if locations:
            hunt.round({digest: locations[digest] for digest in missing if digest in locations})
        if hunt.missing:
            chosen = _updated(apt, image, root, progress)
            hunt.round(_indexed(apt, hunt.missing.values()))
            archives = [uri for one in chosen for uri in one.uris]
            for candidates in _elsewhere(apt, hunt.missing.values(), archives, _snapshots(image.snapshot, root)):
                hunt.round(candidates)
        hunt.finish(image.snapshot)
    for one in missing.values():
        _warn_alternatives(one, cache, progress)


def locate_debs(
    artifacts: Sequence[Artifact],
    image: Image,
    platform: Platform,
    *,
    root: Path,
    environ: Mapping[str, str],
    progress: Progress,
) -> dict[Digest, str]:
    """Where the repositories have `artifacts` now: `locations` for `fetch_debs`, on whatever machine.

    What they no longer have is left out. Raises as `fetch_debs` does, when nobody can be reached.
    """
    with Apt(platform, environ) as apt:
        _updated(apt, image, root, progress)
        return _indexed(apt, artifacts)


def _updated(apt: Apt, image: Image, root: Path, progress: Progress) -> tuple[sources.Repository, ...]:
    """The repositories that serve the base, their indexes read."""
    list_file, parts = apt.host_sources
    suite = image.base.partition(":")[2]
    chosen = sources.choose(suite, image.sources, root=root, list_file=list_file, parts=parts, progress=progress)
    apt.use(chosen)
    apt.update()
    return chosen


class _Hunt:
    """The debs still missing, and why."""

    def __init__(self, apt: Apt, cache: Cache, task: Task, missing: dict[Digest, Artifact]) -> None:
        self._apt = apt
        self._cache = cache
        self._task = task
        self.missing = missing
        self._unreachable: dict[Digest, LockshipError] = {}

    def round(self, places: Mapping[Digest, str]) -> None:
        """Try each missing deb at one place, all at once."""
        wanted = {
            digest: Download(uri, self._apt.folder / digest.hex, digest, self.missing[digest].size)
            for digest, uri in places.items()
            if digest in self.missing
        }
        if not wanted:
            return
        reasons = self._apt.download(list(wanted.values()), self._task.advance)
        for digest, one in wanted.items():
            reason = reasons.get(one.target)
            if reason is None:
                self._adopt(digest, one.target)
                continue
            if not absent(reason):
                error = failure(reason, self.missing[digest].file)
                if isinstance(error, VerificationError):
                    raise error
                self._unreachable[digest] = error

    def _adopt(self, digest: Digest, path: Path) -> None:
        artifact = self.missing.pop(digest)
        try:
            self._cache.adopt(path, digest)
        except VerificationError as error:
            raise VerificationError(f"{artifact.file} is not what the lock says: {error.message}") from error
        path.unlink()

    def finish(self, snapshot: str | None) -> None:
        """Raise for the first deb that was not found."""
        for digest in self.missing:
            if digest in self._unreachable:
                raise self._unreachable[digest]
        if not self.missing:
            return
        names = sorted(one.file for one in self.missing.values())
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        tried = " nor the snapshot" if snapshot else ""
        verb = "neither the repositories" if snapshot else "the repositories don't"
        message = (
            f"{verb}{tried} have {names[0]}{more} any longer"
            if snapshot
            else f"{verb} have {names[0]}{more} any longer"
        )
        advice = "run `lockship lock --upgrade` to move to what they have now"
        if not snapshot:
            advice += ', or name an archive: [image] snapshot = "https://snapshot.debian.org/archive/debian/TIMESTAMP/"'
        raise ArtifactError(message, hint=advice)


def _indexed(apt: Apt, artifacts: Iterable[Artifact]) -> dict[Digest, str]:
    """Where the indexes say that exactly these debs are."""
    wanted = {(one.name, one.version): one.digest for one in artifacts}
    there = {(name, version) for name, version, _ in apt.versions([name for name, _ in wanted])}
    found = apt.find([f"{name}={version}" for name, version in wanted if (name, version) in there])
    return {one.digest: one.uri for one in found if wanted.get((one.name, one.version)) == one.digest}


def _elsewhere(
    apt: Apt, artifacts: Iterable[Artifact], archives: Sequence[str], snapshots: Sequence[str]
) -> Iterator[dict[Digest, str]]:
    """Rounds of guesses for debs that no index names: the folders of the versions that it does name."""
    lost = list(artifacts)
    folders: dict[str, list[str]] = {one.name: [] for one in lost}
    for name, _, path in apt.versions(list(folders)):
        folder = path.rpartition("/")[0]
        # a security fix lies in the same place of the other archive
        twin = (
            folder.replace("pool/updates/", "pool/")
            if "pool/updates/" in folder
            else folder.replace("pool/", "pool/updates/")
        )
        folders.setdefault(name, []).extend(one for one in (folder, twin) if one not in folders[name])
    guesses: list[list[tuple[Digest, str]]] = []
    for one in lost:
        below = [f"{folder}/{one.file}" for folder in folders[one.name] or _usual(one.name)]
        bases = [*archives, *snapshots]
        places = [f"{base.rstrip('/')}/{path}" for base in dict.fromkeys(bases) for path in below]
        places += [f"{base.rstrip('/')}/{one.file}" for base in snapshots]
        guesses.append([(one.digest, place) for place in places])
    for column in zip_longest(*guesses):
        yield dict(pair for pair in column if pair is not None)


def _usual(name: str) -> list[str]:
    """The folder of a source package that is called like its binary package."""
    head = name[:4] if name.startswith("lib") else name[:1]
    return [f"pool/main/{head}/{name}", f"pool/updates/main/{head}/{name}"]


def _snapshots(snapshot: str | None, root: Path) -> list[str]:
    """The archive the project names, as URIs; a plain path is a folder, relative to the project."""
    if snapshot is None:
        return []
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", snapshot):
        return [(root / snapshot).absolute().as_uri()]
    security = re.sub(r"/archive/debian/(?=[^/]+/?$)", "/archive/debian-security/", snapshot)
    return list(dict.fromkeys((snapshot, security)))


def _warn_alternatives(artifact: Artifact, cache: Cache, progress: Progress) -> None:
    """Say which commands a maintainer script would have made: the image won't have them."""
    path = cache.blob(artifact.digest)
    if path is None or artifact.name in _QUIET:
        return
    from debian.debfile import DebError, DebFile

    try:
        with path.open("rb") as file, DebFile(fileobj=file) as deb:
            script = deb.control.scripts().get("postinst", b"")
    except (DebError, OSError, ValueError, EOFError):
        return  # whoever makes the layer says what is wrong with it
    links = sorted({link.decode(errors="replace") for link in re.findall(_ALTERNATIVE.pattern.encode(), script)})
    if links:
        progress.warn(
            f"{artifact.name} would have set up {', '.join(links)} when installed; the image has no such link, "
            "because maintainer scripts don't run"
        )
