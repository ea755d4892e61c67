"""A bundle into this machine's cache and into a layout: nothing of it is used before it is verified."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from builder.cache import Cache
from builder.content import Descriptor, Digest
from builder.errors import StoreError, UsageError, VerificationError
from builder.lock.file import LOCK_FILE
from builder.pipeline.bundle import ANNOUNCEMENT, MAX_ANNOUNCEMENT, MAX_FILE, Bundle, blob_path
from builder.pipeline.context import Context
from builder.pipeline.members import Member, read_members
from builder.pipeline.stores import open_store
from builder.progress import Task
from builder.project import Project
from builder.registry.contents import contents_of
from builder.registry.layout import Layout

__all__ = ["Imported", "import_bundle"]

_DAMAGED = "the bundle is damaged or was changed: bring it over again, or make it anew with `lockship export bundle`"


@dataclass(frozen=True, slots=True)
class Imported:
    """What came: the release in `folder`, how many blobs and artifacts are new here, and their bytes.

    `previous` is what the tag named before, if another release. `same_lock` tells whether the project's own lock is
    the bundle's; None without a project.
    """

    bundle: Bundle
    folder: Path
    blobs: int
    artifacts: int
    size: int
    previous: Digest | None
    same_lock: bool | None


def import_bundle(file: Path, context: Context, project: Project | None, folder: Path | None = None) -> Imported:
    """Take a bundle in: artifacts into the cache, the release into the layout in `folder` or the project's own.

    Everything is verified on the way in, and the tag is set when all of it is there. Raises VerificationError, naming
    the member, for a bundle that is cut short, changed or hostile.
    """
    with read_members(file) as members:
        bundle = _announcement(file, members)
        target = _target(bundle, project, folder)
        intake = _Intake(file, bundle, target, context.cache)
        with context.progress.task("reading the bundle", sum(bundle.sizes.values())) as task:
            for member in members:
                intake.take(member, task)
    intake.require_all()
    with _in(file):
        previous = _finish(bundle, target)
    same = None if project is None else _lock_of(project) == bundle.lock
    return Imported(bundle, target.root, intake.blobs, intake.artifacts, intake.size, previous, same)


def _announcement(file: Path, members: Iterator[Member]) -> Bundle:
    strange = VerificationError(
        f"{file}: does not begin as a bundle does", hint="`lockship export bundle` makes one; it isn't compressed"
    )
    try:
        first = next(members, None)
    except VerificationError as error:
        raise strange from error  # another kind of file: what it has in a header's place would be no help
    if first is None or first.path != ANNOUNCEMENT or first.size > MAX_ANNOUNCEMENT:
        raise strange
    data = first.read()
    with _in(file):
        return Bundle.parse(data)


def _target(bundle: Bundle, project: Project | None, folder: Path | None) -> Layout:
    if folder is not None:
        return Layout(folder, name=bundle.name)
    if project is None:
        raise UsageError("there is no project here to import into", hint="name a folder for the images with --to")
    if project.name != bundle.name:
        raise UsageError(
            f"the bundle is of {bundle.name}, the project here is {project.name}",
            hint="go into its project's folder, or name a folder for the images with --to",
        )
    return open_store(project)


def _lock_of(project: Project) -> Digest | None:
    try:
        return Digest.of(project.path(LOCK_FILE).read_bytes())
    except OSError:
        return None


def _finish(bundle: Bundle, target: Layout) -> Digest | None:
    """List the manifests and set the tag, if everything that they lead to is there."""
    try:
        found = contents_of(target, bundle.root.digest)
    except StoreError as error:
        raise VerificationError(error.message, hint=_DAMAGED) from error
    if found is None:
        raise VerificationError(f"{bundle.root.digest} is not an image", hint=_DAMAGED)
    lacking = [one.digest for one in found.blobs if not target.adopt(one)]
    if lacking:
        raise VerificationError(f"lacks {blob_path(lacking[0])}, which the release needs", hint=_DAMAGED)
    previous = target.resolve(bundle.tag)
    for one in bundle.manifests:
        manifest = target.manifest(one.digest)
        if manifest is None:
            raise VerificationError(f"{blob_path(one.digest)} is not a manifest", hint=_DAMAGED)
        target.put_manifest(manifest.descriptor, manifest.data)
    target.put_manifest(found.root.descriptor, found.root.data, tag=bundle.tag, move=True)
    return previous if previous != bundle.root.digest else None


class _Intake:
    """Takes the members one by one; counts what is new."""

    def __init__(self, file: Path, bundle: Bundle, target: Layout, cache: Cache) -> None:
        self._file = file
        self._target = target
        self._cache = cache
        self._release = bundle.release
        self._artifacts = {one.digest: one for one in bundle.artifacts}
        self._fixed = bundle.fixed
        self._files = {f"lockship/{name}": one for name, one in bundle.files.items()}
        self._blobs = {blob_path(digest): (digest, size) for digest, size in bundle.sizes.items()}
        self._waiting = {*self._fixed, *self._files, *self._blobs}
        self.blobs = self.artifacts = self.size = 0

    def take(self, member: Member, task: Task) -> None:
        """Verify a member and put it where it belongs."""
        if member.path not in self._waiting:
            known = member.path == ANNOUNCEMENT or member.path in {*self._fixed, *self._files, *self._blobs}
            raise self._wrong(member, "is there twice" if known else "is not announced")
        self._waiting.remove(member.path)
        if member.path in self._blobs:
            digest, size = self._blobs[member.path]
            self._require_size(member, size)
            with _in(self._file, member.path):
                self._blob(member, digest, task)
        elif (data := self._fixed.get(member.path)) is not None:
            self._require_size(member, len(data))
            if member.read() != data:
                raise self._wrong(member, f"is not what {ANNOUNCEMENT} says")
        else:
            wanted = self._files[member.path]
            self._require_size(member, wanted.size)
            if member.size > MAX_FILE or Digest.of(member.read()) != wanted.digest:
                raise self._wrong(member, f"is not what {ANNOUNCEMENT} says")

    def _require_size(self, member: Member, size: int) -> None:
        if member.size != size:
            raise self._wrong(member, f"has {member.size:,} bytes, {size:,} were announced")

    def _blob(self, member: Member, digest: Digest, task: Task) -> None:
        descriptor = self._release.get(digest)
        chunks = _counted(member, task)
        for_layout = descriptor is not None and not self._target.adopt(descriptor)
        for_cache = digest in self._artifacts and self._cache.blob(digest) is None
        if for_cache:
            with self._cache.writer() as writer:
                for chunk in chunks:
                    writer.write(chunk)
                writer.commit(digest)
            self.artifacts += 1
        if for_layout:
            assert descriptor is not None
            self._into_layout(descriptor, chunks, self._cache.blob(digest) if for_cache else None)
            self.blobs += 1
        if for_cache or for_layout:
            self.size += member.size
        else:
            _check(digest, chunks)

    def _into_layout(self, descriptor: Descriptor, chunks: Iterator[bytes], cached: Path | None) -> None:
        if cached is not None:
            self._target.add_file(descriptor, cached)
        else:
            self._target.write_blob(descriptor, chunks)

    def require_all(self) -> None:
        """Raise VerificationError unless everything that was announced came."""
        if self._waiting:
            raise VerificationError(f"{self._file}: lacks {min(self._waiting)}", hint=_DAMAGED)

    def _wrong(self, member: Member, how: str) -> VerificationError:
        return VerificationError(f"{self._file}: {member.path[:200]!r} {how}", hint=_DAMAGED)


def _counted(member: Member, task: Task) -> Iterator[bytes]:
    for chunk in member.chunks():
        task.advance(len(chunk))
        yield chunk


def _check(digest: Digest, chunks: Iterator[bytes]) -> None:
    """What is here already is verified all the same: a damaged bundle is not passed on."""
    state = hashlib.sha256()
    for chunk in chunks:
        state.update(chunk)
    if state.hexdigest() != digest.hex:
        raise VerificationError(f"expected {digest}, got sha256:{state.hexdigest()}")


@contextmanager
def _in(file: Path, member: str = "") -> Iterator[None]:
    """Errors about bytes say which file they were in."""
    try:
        yield
    except VerificationError as error:
        where = f"{file}: {member}: " if member else f"{file}: "
        message = error.message if error.message.startswith(f"{file}: ") else where + error.message
        raise VerificationError(message, hint=error.hint or _DAMAGED) from error
