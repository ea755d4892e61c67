"""Conda packages into the cache: where conda-lock.yml says they are, verified by sha256."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from builder.cache import Cache
from builder.content import Digest, Platform
from builder.errors import ArtifactError, LockError, StoreError
from builder.lock.conda_file import CondaPin, parse_conda_lock
from builder.lock.download import download
from builder.lock.file import CONDA_FILE
from builder.lock.indexes import Indexes, IndexFile
from builder.lock.pins import Artifact
from builder.lock.web import Web
from builder.parallel import each
from builder.progress import Progress
from builder.project import Project

__all__ = ["fetch_conda", "lock_conda_packages"]


def lock_conda_packages(
    pins: Mapping[Platform, Sequence[CondaPin]], *, indexes: Indexes, cache: Cache, progress: Progress
) -> dict[Platform, tuple[Artifact, ...]]:
    """The conda packages of `pins`, all of them in the cache then; sorted by name.

    Raises ArtifactError for one that its channel gives no sha256 for, StoreError and VerificationError as `download`.
    """
    conda = {platform: [pin for pin in chosen if pin.manager == "conda"] for platform, chosen in pins.items()}
    digests = {pin.url: _digest(pin) for chosen in conda.values() for pin in chosen}
    _download({pin.url: pin for chosen in conda.values() for pin in chosen}.values(), indexes, cache, progress)
    return {
        platform: tuple(_artifact(pin, digests[pin.url], cache) for pin in sorted(chosen, key=lambda pin: pin.name))
        for platform, chosen in conda.items()
    }


def fetch_conda(
    artifacts: Iterable[Artifact], *, project: Project, indexes: Indexes, cache: Cache, progress: Progress
) -> None:
    """Get locked packages into the cache, those that are not there yet, from where conda-lock.yml says."""
    missing = {one.digest: one for one in artifacts if cache.blob(one.digest) is None}
    if not missing:
        return
    try:
        text = project.path(CONDA_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LockError("cannot be read", file=CONDA_FILE, hint="run `lockship lock`, which writes it") from error
    known = {pin.digest: pin for pins in parse_conda_lock(text).values() for pin in pins}
    for digest, one in missing.items():
        if digest not in known:
            raise ArtifactError(f"{one.file} is not in {CONDA_FILE}", hint="run `lockship lock`, which writes it anew")
    _download([known[digest] for digest in missing], indexes, cache, progress)


def _digest(pin: CondaPin) -> Digest:
    if pin.digest is None:
        raise ArtifactError(
            f"the channel {pin.channel} gives no sha256 for {pin.file}",
            hint="an index of today does: index the channel again, or take the package from another one",
        )
    return pin.digest


def _download(pins: Iterable[CondaPin], indexes: Indexes, cache: Cache, progress: Progress) -> None:
    lacking = [pin for pin in pins if cache.blob(_digest(pin)) is None]
    if not lacking:
        return
    for pin in lacking:
        indexes.network.check(pin.url)
    with Web(indexes.network) as web, progress.task("downloading packages", 0) as task:

        def get(pin: CondaPin) -> None:
            digest = _digest(pin)
            file = IndexFile(pin.file, pin.url, digest, None, False, "", f"the channel {pin.channel}")
            download(file, (digest,), web=web, cache=cache, task=task)

        each(lacking, get, web.stop)


def _artifact(pin: CondaPin, digest: Digest, cache: Cache) -> Artifact:
    blob = cache.blob(digest)
    if blob is None:
        raise StoreError(f"{digest} vanished from the cache {cache.root}", hint="run again")
    size = blob.stat().st_size
    return Artifact("conda", pin.name, pin.version, pin.file, digest, size, channel=pin.channel, subdir=pin.subdir)
