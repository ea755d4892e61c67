"""A repository of a registry as a store (OCI distribution specification v1.1)."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlencode

from builder.content import Descriptor, Digest
from builder.errors import LockshipError, StoreError, VerificationError
from builder.network import Network
from builder.parallel import THREADS, Stop, each
from builder.progress import Task
from builder.registry.answers import Answer
from builder.registry.auth import repository_scope
from builder.registry.calls import Call
from builder.registry.catalog import Catalog
from builder.registry.download import measure, read_blob
from builder.registry.endpoint import Endpoint
from builder.registry.feeds import Feed, FileFeed, feed_of
from builder.registry.listing import list_tags, referrers_of
from builder.registry.manifests import parse_manifest
from builder.registry.reference import Repository
from builder.registry.referrers import is_fallback_tag
from builder.registry.session import Session
from builder.registry.store import Manifest
from builder.registry.transfer import Upload, cancel, location_of

if TYPE_CHECKING:
    from builder.registry.credentials import Credential

__all__ = ["Registry"]


class Registry:
    """The repository `repository`; a context manager, safe for several threads.

    `credential` is called when the registry asks for one. With `push` it asks for leave to push from the start, and
    `adopt` mounts. `plain_http` are the hosts that may be spoken to without TLS. `sent` counts the bytes of blobs and
    manifests that went out, `uploaded` and `mounted` the blobs. `note` is told why nothing moves when that takes long.
    """

    parallel = THREADS

    def __init__(
        self,
        repository: Repository,
        network: Network,
        credential: Callable[[], Credential | None],
        *,
        push: bool = False,
        plain_http: Sequence[str] = (),
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        stop: Stop | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.repository = repository
        self.stop = stop or Stop()
        self.sent = self.uploaded = self.mounted = 0
        self._push = push
        endpoint = Endpoint(repository.endpoint, (*plain_http, *network.trusted_hosts), repository.host)
        self._session = Session(endpoint, network, credential, jitter=jitter, clock=clock, stop=self.stop, note=note)
        self._path = f"/v2/{repository.name}"
        self._scopes = (repository_scope(repository.name, "pull", *(["push"] if push else [])),)
        self._lock = threading.Lock()
        self._absent: set[Digest] = set()  # asked for by `adopt`, and not there
        self._opened: dict[Digest, str] = {}  # uploads that a mount began in its place
        self._useless: set[Repository] = set()  # mounting from there failed, and would for each layer
        self._catalog = Catalog(
            self._session,
            repository,
            self._scopes,
            holds=self.has_blob,
            sent=self._count,
            wait=lambda number: self.stop.wait(0.1 * number * max(0.0, 0.5 + jitter())),
        )

    def __repr__(self) -> str:
        return f"Registry({str(self.repository)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up what was begun and not needed, and close all connections."""
        with self._lock:
            left, self._opened = list(self._opened.values()), {}
        all(cancel(self._session, location, self._scopes) for location in left)
        self._session.close()

    # blobs

    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there."""
        return self._head(digest) is not None

    def _head(self, digest: Digest) -> Answer | None:
        """The answer for a blob that is there."""
        call = Call("HEAD", self._blob(digest), f"look for {digest}", self._scopes)
        answer = self._session.ask(call)
        if answer.status == 200:
            return answer
        if answer.status == 404 or (self._push and answer.status in (401, 403)):
            return None  # some registries say 403 of what isn't there; where they mean it, sending tells
        raise self._session.failure(call, answer)

    def _has(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there, with its size."""
        answer = self._head(descriptor.digest)
        if answer is None:
            return False
        length = answer.length
        if length is None:
            length = measure(self._session, self._blob(descriptor.digest), self._scopes, descriptor.digest)
        if length is not None and length != descriptor.size:
            raise VerificationError(
                f"{self.repository} holds {descriptor.digest} with {length:,} bytes, not {descriptor.size:,}",
                hint="its copy is damaged, or the lock is wrong about it: delete the blob there, then run again",
            )
        return True

    def adopt(self, descriptor: Descriptor, sources: Sequence[Repository] = ()) -> bool:
        """Whether the blob is there, or could be mounted from one of `sources`; see `Store.adopt`."""
        if self._has(descriptor):
            return True
        if self._push:
            for source in sources:
                if self._may_mount(source) and self._mount(descriptor, source):
                    with self._lock:
                        self.mounted += 1
                    return True
        with self._lock:
            self._absent.add(descriptor.digest)
        return False

    def _may_mount(self, source: Repository) -> bool:
        """Whether `source` is another repository of this registry, and has not failed yet."""
        near = source.host == self.repository.host and source != self.repository
        return near and source not in self._useless

    def _mount(self, descriptor: Descriptor, source: Repository) -> bool:
        """Take the blob from `source` ("Mounting a blob from another repository")."""
        query = urlencode({"mount": str(descriptor.digest), "from": source.name}, safe=":/")
        what = f"mount {descriptor.digest} from {source.name}"
        scopes = (*self._scopes, repository_scope(source.name, "pull"))
        call = Call("POST", f"{self._path}/blobs/uploads/?{query}", what, scopes, body=b"")
        try:
            answer = self._session.ask(call)
        except StoreError:  # not ours to read from, or mounting fails there: a shortcut that sending makes up for
            with self._lock:
                self._useless.add(source)
            return False
        if answer.status == 201:
            return self._has(descriptor)
        if answer.status == 202:
            self._keep(descriptor.digest, location_of(self._session, answer, what))
        return False

    def _keep(self, digest: Digest, location: str) -> None:
        """An upload that the registry opened instead of mounting serves to send the blob."""
        with self._lock:
            before = self._opened.pop(digest, None)
            self._opened[digest] = location
        if before is not None:
            cancel(self._session, before, self._scopes)

    def read_blob(self, digest: Digest, start: int = 0) -> Iterator[bytes]:
        """The blob in chunks from the byte at `start` on; verified at the end when `start` is 0."""
        return read_blob(self._session, self._blob(digest), self._scopes, digest, start)

    def write_blob(self, descriptor: Descriptor, chunks: Iterable[bytes], *, task: Task | None = None) -> None:
        """Store a blob; a no-op when it is there. See `Store.write_blob`."""
        if self._wants(descriptor):
            self._upload(descriptor, feed_of(descriptor, chunks), task)
        elif task is not None:
            task.advance(descriptor.size)

    def add_file(self, descriptor: Descriptor, path: Path, *, task: Task | None = None) -> None:
        """Store a blob from a file whose digest is known to be right; a no-op when it is there."""
        if not self._wants(descriptor):
            if task is not None:
                task.advance(descriptor.size)
            return
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                if size != descriptor.size:
                    raise VerificationError(
                        f"{path.name}: expected {descriptor.size:,} bytes, the file has {size:,}", file=path
                    )
                self._upload(descriptor, FileFeed(path, file), task)
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from error

    def _wants(self, descriptor: Descriptor) -> bool:
        """Whether the blob must be sent; `adopt` may have found out."""
        with self._lock:
            if descriptor.digest in self._absent:
                self._absent.discard(descriptor.digest)
                return True
        return not self._has(descriptor)

    def _upload(self, descriptor: Descriptor, feed: Feed, task: Task | None) -> None:
        def sent(amount: int, new: int) -> None:
            self._count(amount)
            if task is not None and new:
                task.advance(new)

        with self._lock:
            location = self._opened.pop(descriptor.digest, None)
        uploads = f"{self._path}/blobs/uploads/"
        Upload(
            self._session,
            uploads,
            self._scopes,
            descriptor,
            feed,
            there=lambda: self._has(descriptor),
            sent=sent,
        ).run(location)
        with self._lock:
            self.uploaded += 1

    def _count(self, amount: int) -> None:
        with self._lock:
            self.sent += amount

    # manifests

    def manifest(self, reference: Digest | str) -> Manifest | None:
        """The manifest or index with this digest or tag, or None."""
        return self._catalog.manifest(reference)

    def resolve(self, tag: str) -> Digest | None:
        """What a tag names, or None."""
        return self._catalog.resolve(tag)

    def has_manifest(self, digest: Digest) -> bool:
        """Whether the manifest is there."""
        return self._catalog.has_manifest(digest)

    def put_manifest(self, descriptor: Descriptor, data: bytes, *, tag: str | None = None, move: bool = False) -> None:
        """Store a manifest or index, after everything it names; see `Store.put_manifest`."""
        self._catalog.put_manifest(descriptor, data, tag=tag, move=move)

    def tags(self) -> dict[str, Digest]:
        """All tags that people gave; each of them is asked for."""
        names = self.tag_names()
        found = each(names, self.resolve, Stop(), threads=self.parallel)
        return {name: digest for name, digest in zip(names, found, strict=True) if digest is not None}

    def tag_names(self) -> list[str]:
        """The names of all tags that people gave, sorted."""
        return [name for name in list_tags(self._session, self._path, self._scopes) if not is_fallback_tag(name)]

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """Descriptors of the manifests whose subject is `subject`, by digest."""
        found = referrers_of(self._session, self._path, self._scopes, subject)
        if found is None:
            found = self._catalog.fallback.list(subject)
        unique = {descriptor.digest: descriptor for descriptor in found}
        return tuple(unique[digest] for digest in sorted(unique))

    def delete(self, digest: Digest) -> None:
        """Drop a manifest and every tag on it, or else a blob; a no-op when it isn't there."""
        subject = self._subject_of(digest)
        gone = self._delete(f"{self._path}/manifests/{digest}", digest)
        if not gone:
            self._delete(self._blob(digest), digest)
        elif subject is not None and referrers_of(self._session, self._path, self._scopes, subject) is None:
            self._catalog.fallback.remove(subject, digest)

    def drop(self, digest: Digest) -> bool:
        """Delete a manifest with every tag on it, and nothing else; whether it was there."""
        return self._delete(f"{self._path}/manifests/{digest}", digest)

    def listed_subjects(self) -> frozenset[Digest] | None:
        """Manifests whose referrers stand in a list under a tag; None where the registry keeps such lists itself."""
        if referrers_of(self._session, self._path, self._scopes, Digest.of(b"")) is not None:
            return None
        names = list_tags(self._session, self._path, self._scopes)
        return frozenset(Digest.from_hex(name.removeprefix("sha256-")) for name in names if is_fallback_tag(name))

    @property
    def requests(self) -> int:
        """How many requests were sent so far."""
        return self._session.requests

    def _subject_of(self, digest: Digest) -> Digest | None:
        with suppress(LockshipError):  # a damaged manifest must be possible to delete, too
            found = self.manifest(digest)
            document = parse_manifest(found.data) if found is not None else None
            if document is not None and "subject" in document:
                return Digest(document["subject"]["digest"])
        return None

    def _delete(self, path: str, digest: Digest) -> bool:
        call = Call("DELETE", path, f"delete {digest}", self._scopes)
        answer = self._session.ask(call)
        if answer.status in (200, 202, 204):
            return True
        if answer.status == 404:
            return False
        if answer.status == 405 or "UNSUPPORTED" in answer.codes:
            raise StoreError(
                f"{self.repository.host}: cannot delete {digest}: this registry does not allow deleting",
                hint="whoever runs it can switch that on, or cleans up by rules of its own",
            )
        raise self._session.failure(call, answer)

    def _blob(self, digest: Digest) -> str:
        return f"{self._path}/blobs/{digest}"
