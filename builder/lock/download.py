"""One verified download: hashed while it streams into the cache, resumed where the connection broke."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from builder.cache import BlobWriter, Cache
from builder.content import Digest
from builder.errors import ArtifactError, LockshipError, VerificationError
from builder.lock.indexes import IndexFile
from builder.lock.web import GoneError, Web
from builder.progress import Task

if TYPE_CHECKING:
    import httpx

__all__ = ["download"]


def download(file: IndexFile, wanted: Collection[Digest], *, web: Web, cache: Cache, task: Task) -> Digest:
    """Get `file` into the cache, unless it is there; its digest is one of `wanted`.

    Raises VerificationError for other bytes, StoreError when the server or the disk fails, ArtifactError when the
    index names a file that it doesn't have.
    """
    if file.digest is not None and cache.blob(file.digest) is not None:
        return file.digest
    try:
        if urlsplit(file.url).scheme == "file":
            digest = _local(file, cache, task)
        else:
            with _Transfer(file, web, cache, task) as transfer:
                digest = transfer.run(wanted)
    except VerificationError as error:
        raise _wrong(file, error.message) from error
    if digest not in wanted:
        cache.forget(digest)
        raise _wrong(file, f"got {digest}")
    return digest


def _wrong(file: IndexFile, detail: str) -> LockshipError:
    return VerificationError(
        f"{file.file} from {file.index} is not what was locked: {detail}",
        hint="a mirror or proxy may serve a damaged copy; if the file was replaced on purpose, relock it: "
        "`lockship lock --upgrade-package NAME`",
    )


def _local(file: IndexFile, cache: Cache, task: Task) -> Digest:
    path = Path(url2pathname(urlsplit(file.url).path))
    try:
        digest = cache.adopt(path, file.digest)
    except OSError as error:
        raise ArtifactError(f"{file.file} cannot be read: {error.strerror}", file=path) from error
    task.advance(path.stat().st_size)
    return digest


@dataclass
class _Transfer:
    """The state between two attempts: what has come, and whether the server still means the same file."""

    file: IndexFile
    web: Web
    cache: Cache
    task: Task

    def __enter__(self) -> _Transfer:
        self._stack = ExitStack()
        self._writer: BlobWriter | None = None
        self._etag = ""
        self._resumed = False
        self._shown = 0
        self._grown = self.file.size is not None
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def run(self, wanted: Collection[Digest]) -> Digest:
        """All bytes, verified."""
        while True:
            try:
                self.web.retrying(self.file.url, self._attempt, what=self.file.file)
            except GoneError as error:
                raise ArtifactError(
                    f"{self.file.index} lists {self.file.file} but doesn't have it any more",
                    hint="run `lockship lock` again, or name another index",
                ) from error
            assert self._writer is not None
            expected = self.file.digest if self.file.digest in wanted else None
            try:
                return self._writer.commit(expected)
            except VerificationError:
                # two halves of two different files: once more, from the start
                if not self._resumed:
                    raise
                self._restart()

    def _restart(self) -> None:
        self._stack.close()
        self._writer, self._resumed, self._etag = None, False, ""

    def _attempt(self) -> None:
        if self._writer is None:
            self._writer = self._stack.enter_context(self.cache.writer())
        have = self._writer.size
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if self._etag:
                headers["If-Range"] = self._etag
        with self.web.get(self.file.url, headers) as response:
            if have and _starts_at(response) == have:
                self._resumed = True
            elif have:
                # the server begins again, and so do we
                self._restart()
                self._writer = self._stack.enter_context(self.cache.writer())
            etag = response.headers.get("etag", "")
            self._etag = "" if etag.startswith("W/") else etag
            self._grow(response)
            for chunk in response.iter_raw():
                self.web.stop.check()
                self._writer.write(chunk)
                self._show(self._writer.size)

    def _grow(self, response: httpx.Response) -> None:
        """An index that doesn't tell sizes: the answer does."""
        length = response.headers.get("content-length", "")
        if not self._grown and length.isdigit() and response.status_code == 200:
            self._grown = True
            self.task.grow(int(length))

    def _show(self, size: int) -> None:
        """Bytes that come a second time are not progress."""
        if size > self._shown:
            self.task.advance(size - self._shown)
            self._shown = size


def _starts_at(response: httpx.Response) -> int | None:
    """The first byte of a partial answer (RFC 9110, section 14.4), or None for a whole one."""
    if response.status_code != 206:
        return None
    match = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
    return int(match[1]) if match else None
