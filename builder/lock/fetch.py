"""Wheels into the cache: chosen for each platform when locking, found again by name and digest later."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from builder.cache import Cache
from builder.content import Digest, Platform
from builder.errors import ArtifactError
from builder.lock.download import download
from builder.lock.indexes import IndexClient, Indexes, IndexFile
from builder.lock.inputs import read_inputs
from builder.lock.pins import Artifact, Pin, Resolution, Target
from builder.lock.requirements import parse
from builder.lock.sdist import build_wheel, check_fits
from builder.lock.wheels import choose, files_of, find_sdist, fits, listed
from builder.parallel import each
from builder.progress import Progress, Task
from builder.project import Project

__all__ = ["fetch_wheels", "lock_wheels"]

_CUDA: Final = re.compile(r"\+(?:cu|rocm)\d+")


@dataclass(frozen=True, slots=True)
class _Choice:
    """What serves one pin for one target; a file that is no wheel gets built."""

    pin: Pin
    file: IndexFile


def lock_wheels(
    resolution: Resolution,
    targets: Sequence[Target],
    *,
    project: Project,
    indexes: Indexes,
    cache: Cache,
    progress: Progress,
    environ: Mapping[str, str],
) -> dict[Platform, tuple[Artifact, ...]]:
    """Choose a wheel for every pin and target, and get them all into the cache, verified.

    Each platform's artifacts are sorted by name. Raises ResolutionError for a pin without a wheel for a target,
    ArtifactError for a build that fails, StoreError and VerificationError as `download` does.
    """
    indexes = indexes.including(read_inputs(project, environ).options)
    indexes.check()
    with IndexClient(indexes) as client:
        offers = _offers(resolution.pins, client, progress)
        chosen = {
            target.platform: [
                _pick(pin, offers[pin.name], target, project) for pin in resolution.by_platform[target.platform]
            ]
            for target in targets
        }
        every = [choice for choices in chosen.values() for choice in choices]
        _tell_indexes(every, indexes, progress)
        _tell_yanked(every, progress)
        _warn_of_cuda(every, client, progress)
        digests = _download(every, client, cache, progress)

        def artifact(choice: _Choice, target: Target) -> Artifact:
            pin, digest = choice.pin, digests[choice.file]
            if not choice.file.is_wheel:
                built = build_wheel(
                    pin.name,
                    pin.version,
                    choice.file.file,
                    digest,
                    minor=target.minor,
                    indexes=indexes,
                    cache=cache,
                    environ=environ,
                    progress=progress,
                )
                check_fits(built, target)
                return built
            return Artifact("wheel", pin.name, pin.version, choice.file.file, digest, _size(cache, digest))

        return {
            target.platform: tuple(
                sorted((artifact(choice, target) for choice in chosen[target.platform]), key=lambda one: one.name)
            )
            for target in targets
        }


def fetch_wheels(
    artifacts: Sequence[Artifact],
    *,
    indexes: Indexes,
    cache: Cache,
    progress: Progress,
    project: Project,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Get locked wheels into the cache, those that are not there yet: found through the index by name and digest.

    What was built from source is built again and must come out the same. Raises ArtifactError when an index no
    longer has a file or a build differs, StoreError and VerificationError as `download` does.
    """
    missing = list({one.digest: one for one in artifacts if cache.blob(one.digest) is None}.values())
    if not missing:
        return
    environ = os.environ if environ is None else environ
    indexes = indexes.including(read_inputs(project, environ).options)
    indexes.check()
    with IndexClient(indexes) as client:
        files = each(missing, lambda one: _find(one, client.files(one.name), indexes), client.web.stop)
        sources = _locked_hashes(project) if any(one.built_from for one in missing) else {}
        wanted = [
            (file, sources.get(one.name, ()) if one.built_from else (one.digest,))
            for one, file in zip(missing, files, strict=True)
        ]
        with progress.task("downloading packages", sum(file.size or 0 for file in files)) as task:
            digests = _each_download(wanted, client, cache, task)
        for one, file, digest in zip(missing, files, digests, strict=True):
            if one.built_from:
                _build_again(one, file, digest, project, indexes, cache, environ, progress)


def _offers(pins: Iterable[Pin], client: IndexClient, progress: Progress) -> dict[str, tuple[IndexFile, ...]]:
    """What the indexes have under each name."""
    names = sorted({pin.name for pin in pins})
    with progress.task("reading the index", len(names), unit="packages") as task:

        def ask(name: str) -> tuple[IndexFile, ...]:
            files = client.files(name)
            task.advance(1)
            return files

        return dict(zip(names, each(names, ask, client.web.stop), strict=True))


def _pick(pin: Pin, files: Sequence[IndexFile], target: Target, project: Project) -> _Choice:
    """The best wheel, or with consent the sdist when no wheel fits."""
    allowed = pin.name in {re.sub(r"[-_.]+", "-", name).lower() for name in project.python.allow_build}
    if allowed and not any(file.is_wheel and fits(file.file, target) for file in files_of(pin, files)):
        sdist = find_sdist(pin, files)
        if sdist is not None:
            return _Choice(pin, sdist)
    return _Choice(pin, choose(pin, files, target))


def _download(
    choices: Sequence[_Choice], client: IndexClient, cache: Cache, progress: Progress
) -> dict[IndexFile, Digest]:
    files = {choice.file: choice.pin.hashes for choice in choices}
    wanted = sorted(files.items(), key=lambda item: -(item[0].size or 0))  # the longest first: they decide the end
    total = sum(file.size or 0 for file in files if file.digest is None or cache.blob(file.digest) is None)
    with progress.task("downloading packages", total) as task:
        return dict(zip((file for file, _ in wanted), _each_download(wanted, client, cache, task), strict=True))


def _each_download(
    wanted: Sequence[tuple[IndexFile, tuple[Digest, ...]]], client: IndexClient, cache: Cache, task: Task
) -> list[Digest]:
    def one(item: tuple[IndexFile, tuple[Digest, ...]]) -> Digest:
        file, digests = item
        return download(file, digests, web=client.web, cache=cache, task=task)

    return each(wanted, one, client.web.stop)


def _size(cache: Cache, digest: Digest) -> int:
    blob = cache.blob(digest)
    if blob is None:
        raise ArtifactError(f"{digest} vanished from the cache {cache.root}", hint="run again")
    return blob.stat().st_size


def _find(artifact: Artifact, files: Sequence[IndexFile], indexes: Indexes) -> IndexFile:
    """The file that `artifact` was, or was built from."""
    name = artifact.built_from or artifact.file
    same = [file for file in files if file.file == name]
    right = [file for file in same if artifact.built_from or file.digest in (None, artifact.digest)]
    if right:
        return right[0]
    asked = ", ".join(indexes.names) or "no index at all"
    if same:
        raise ArtifactError(
            f"{name}: {same[0].index} has another file of that name than the one that was locked",
            hint=f"if it was replaced on purpose: `lockship lock --upgrade-package {artifact.name}`",
        )
    others = sorted({file.file for file in files})[-5:]
    raise ArtifactError(
        f"{name} is not to be had any more; asked: {asked}; newest files there: {listed(others) or 'none'}",
        hint="check the indexes that pip is configured with, or lock again",
    )


def _locked_hashes(project: Project) -> dict[str, tuple[Digest, ...]]:
    """What requirements.lock says an sdist may be; lockship.lock pins only the wheel it gives."""
    file = project.path("requirements.lock")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError("cannot be read", file=file, hint="run `lockship lock`") from error
    found: dict[str, tuple[Digest, ...]] = {}
    for pin in parse(text, file):
        found[pin.name] = found.get(pin.name, ()) + pin.hashes
    return found


def _build_again(
    artifact: Artifact,
    file: IndexFile,
    digest: Digest,
    project: Project,
    indexes: Indexes,
    cache: Cache,
    environ: Mapping[str, str],
    progress: Progress,
) -> None:
    built = build_wheel(
        artifact.name,
        artifact.version,
        file.file,
        digest,
        minor=project.python.version,
        indexes=indexes,
        cache=cache,
        environ=environ,
        progress=progress,
    )
    if built.digest != artifact.digest:
        raise ArtifactError(
            f"{artifact.name} {artifact.version} built from {file.file} came out differently here: "
            f"locked {artifact.digest}, got {built.digest}",
            hint="its build isn't reproducible (another compiler or build tool is enough): build the wheel once, keep "
            "it on an index or in a find-links folder, and take the name out of allow-build",
        )


def _tell_indexes(choices: Iterable[_Choice], indexes: Indexes, progress: Progress) -> None:
    """Which index served what: a public package under a private one's name is seen here."""
    if len(indexes.names) < 2:
        return
    served: dict[str, set[str]] = {}
    for choice in choices:
        served.setdefault(choice.file.index, set()).add(choice.pin.name)
    for index, names in sorted(served.items(), key=lambda item: (-len(item[1]), item[0])):
        progress.note(f"from {index}: {', '.join(sorted(names))}")


def _tell_yanked(choices: Iterable[_Choice], progress: Progress) -> None:
    for name in sorted({f"{choice.pin.name} {choice.pin.version}" for choice in choices if choice.file.yanked}):
        progress.warn(f"{name} was withdrawn (yanked) by its authors; consider another version")


def _warn_of_cuda(choices: Iterable[_Choice], client: IndexClient, progress: Progress) -> None:
    """Gigabytes of GPU libraries that nobody asked for are told before they are downloaded."""
    found = {
        choice.file: choice.pin
        for choice in choices
        if choice.pin.name.startswith("nvidia-") or _CUDA.search(choice.pin.version)
    }
    if not found:
        return
    sizes = each(list(found), _sizing(client), client.web.stop)
    names = sorted({pin.name for pin in found.values()})
    progress.warn(
        f"GPU variants are about to be downloaded: {', '.join(names)}, {sum(sizes) / 1e9:.2f} GB in all; for an image "
        "that runs on CPUs ask for the CPU wheels (for PyTorch: --extra-index-url https://download.pytorch.org/whl/cpu)"
    )


def _sizing(client: IndexClient) -> Callable[[IndexFile], int]:
    def size(file: IndexFile) -> int:
        if file.size is not None:
            return file.size
        if file.url.startswith("file:"):
            from urllib.parse import urlsplit
            from urllib.request import url2pathname

            return Path(url2pathname(urlsplit(file.url).path)).stat().st_size
        return client.web.size(file.url)

    return size
