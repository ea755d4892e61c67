"""A project and its release into one file, for machines without a network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from builder.content import Descriptor, Digest, Platform
from builder.errors import StoreError, UsageError, VerificationError
from builder.files import atomic_write, named_output, read_chunks
from builder.layers import tar
from builder.lock.file import LOCK_FILE
from builder.lock.pins import Artifact
from builder.pipeline.artifacts import fetch_all
from builder.pipeline.building import build_prepared
from builder.pipeline.bundle import ANNOUNCEMENT, Bundle, blob_path
from builder.pipeline.checking import output_file
from builder.pipeline.context import Context
from builder.pipeline.planning import Prepared, prepare
from builder.pipeline.stores import open_store
from builder.progress import Task
from builder.project import Project
from builder.registry.contents import contents_of, platforms_of
from builder.registry.layout import Layout

__all__ = ["Bundled", "export_bundle"]


@dataclass(frozen=True, slots=True)
class Bundled:
    """A bundle that was written: the file with its digest and size in bytes."""

    file: Path
    digest: Digest
    size: int
    bundle: Bundle
    warnings: tuple[str, ...]


def export_bundle(
    project: Project,
    context: Context,
    file: Path | None = None,
    platforms: Sequence[Platform] | None = None,
    *,
    artifacts: bool = True,
) -> Bundled:
    """Write the project's release, built if need be, and all it is made from into `file`.

    Without one it goes to ``NAME-VERSION.tar`` in the project's `.lockship`, where neither git nor ``files = ["."]``
    takes it for a part of the project. Without `artifacts` it holds what deploying needs, not what building needs.
    The same inputs give the same file; one that is there is replaced, all or nothing. What the cache lacks is fetched
    first.
    """
    prepared = prepare(project, context, platforms)
    plan = prepared.plan
    store = open_store(project)
    if file == Path("-"):
        raise UsageError("a bundle is not written to standard output", hint="name a file with -o")
    file = named_output(file or store.root.parent / f"{project.name}-{plan.facts.version}.tar", "-o")
    build_prepared(prepared, context, store)
    wanted = [image.platform for image in plan.images]
    sources = fetch_all(project, prepared.lock, wanted, context) if artifacts else ()
    bundle, files = _announced(prepared, store, sources)
    output = _Hashing()
    try:
        with atomic_write(file) as opened, context.progress.task("writing the bundle", _total(bundle)) as task:
            for chunk in _chunks(bundle, files, store, context, task):
                output.write(chunk, opened)
    except OSError as error:
        raise StoreError(f"cannot write {file}: {error.strerror}", hint="name another place with -o") from error
    warnings = (*prepared.warnings, *_in_the_way(prepared, file, context))
    return Bundled(file, output.digest, output.size, bundle, warnings)


def _in_the_way(prepared: Prepared, file: Path, context: Context) -> tuple[str, ...]:
    """A word about a bundle that is taken for a part of the project: by git, or because ``files`` names its folder."""
    project, plan = prepared.project, prepared.plan
    if not file.resolve().is_relative_to(project.root.resolve()):
        return ()
    if prepare(project, context, [image.platform for image in plan.images]).plan.descriptor == plan.descriptor:
        return ()
    return (
        f"{file} lies among the project's files, and the next build is another image because of it: "
        "move it away, or let .gitignore name it",
    )


def _announced(prepared: Prepared, store: Layout, sources: tuple[Artifact, ...]) -> tuple[Bundle, dict[str, bytes]]:
    plan = prepared.plan
    contents = contents_of(store, plan.descriptor.digest)
    assert contents is not None
    files = _lock_files(prepared.project)
    bundle = Bundle(
        name=plan.facts.name,
        tag=plan.facts.version,
        platforms=platforms_of(contents.root, store),
        root=contents.root.descriptor,
        manifests=tuple(one.descriptor for one in contents.manifests),
        blobs=tuple(sorted(contents.blobs, key=lambda one: one.digest)),
        artifacts=sources,
        files={name: Descriptor("text/plain", Digest.of(data), len(data)) for name, data in files.items()},
    )
    return bundle, files


def _lock_files(project: Project) -> dict[str, bytes]:
    names = [name for name in (LOCK_FILE, output_file(project)) if name]
    try:
        return {name: project.path(name).read_bytes() for name in names}
    except OSError as error:
        raise StoreError(f"cannot read the lock: {error.strerror}", hint="run `lockship lock`") from error


def _total(bundle: Bundle) -> int:
    return sum(bundle.sizes.values())


def _chunks(bundle: Bundle, files: dict[str, bytes], store: Layout, context: Context, task: Task) -> Iterator[bytes]:
    """The tar, piece by piece; each blob is verified as it is read."""
    small = {ANNOUNCEMENT: bundle.render(), **bundle.fixed}
    small |= {f"lockship/{name}": data for name, data in sorted(files.items())}
    for path, data in small.items():
        yield tar.header(tar.file(path, data)) + data + tar.padding(len(data))
    release = bundle.release
    for digest, size in sorted(bundle.sizes.items()):
        yield tar.header(tar.Entry(blob_path(digest), tar.Kind.FILE, 0o644, size=size))
        seen = 0
        for chunk in store.read_blob(digest) if digest in release else _cached(digest, context):
            seen += len(chunk)
            task.advance(len(chunk))
            yield chunk
        if seen != size:
            raise VerificationError(f"{digest} has {seen:,} bytes, not {size:,}")
        yield tar.padding(size)
    yield tar.END


def _cached(digest: Digest, context: Context) -> Iterable[bytes]:
    path = context.cache.blob(digest)
    if path is None:
        raise StoreError(f"{digest} vanished from the cache", hint="run the command again")
    state = hashlib.sha256()
    for chunk in read_chunks(path):
        state.update(chunk)
        yield chunk
    if state.hexdigest() != digest.hex:
        context.cache.forget(digest)
        raise VerificationError(
            f"the cache was damaged: its file of {digest} held sha256:{state.hexdigest()}",
            hint="the file was removed: run the command again to get it anew",
        )


class _Hashing:
    """Writes, counts and hashes."""

    def __init__(self) -> None:
        self._state = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes, file: BinaryIO) -> None:
        self._state.update(chunk)
        self.size += len(chunk)
        file.write(chunk)

    @property
    def digest(self) -> Digest:
        return Digest.from_hex(self._state.hexdigest())
