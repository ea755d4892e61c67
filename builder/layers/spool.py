"""Contents that wait until their layer is written: small amounts in memory, the rest in a file without a name."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from builder.cache import storage_error
from builder.content import CHUNK
from builder.errors import ArtifactError
from builder.layers.debfile import Reader

__all__ = ["Spool"]

_MEMORY: Final = 32 << 20  # bytes


class Spool:
    """Takes contents one after the other. Its file goes when the last content that needs it does."""

    def __init__(self, memory: int = _MEMORY) -> None:
        self._left = memory
        self._file: _Unnamed | None = None

    def keep(self, read: Reader, size: int) -> bytes | Callable[[], Iterator[bytes]]:
        """The next `size` bytes of `read` as an entry's content; raises ArtifactError when there are fewer."""
        if size <= self._left:
            data = read.read(size)
            if len(data) != size:
                raise ArtifactError(f"holds {len(data):,} bytes, {size:,} were announced")
            self._left -= size
            return data
        if self._file is None:
            self._file = _Unnamed()
        return self._file.append(read, size)


class _Unnamed:
    """A temporary file that is deleted already: whatever happens, nothing stays behind."""

    def __init__(self) -> None:
        try:
            self._descriptor, name = tempfile.mkstemp(prefix="lockship-")
        except OSError as error:
            raise storage_error(error, Path(tempfile.gettempdir()), "write") from error
        weakref.finalize(self, os.close, self._descriptor)
        Path(name).unlink()
        self._end = 0

    def append(self, read: Reader, size: int) -> Callable[[], Iterator[bytes]]:
        start = self._end
        while self._end < start + size:
            chunk = read.read(min(CHUNK, start + size - self._end))
            if not chunk:
                raise ArtifactError(f"holds {self._end - start:,} bytes, {size:,} were announced")
            try:
                self._write(chunk)
            except OSError as error:
                raise storage_error(error, Path(tempfile.gettempdir()), "write") from error

        def chunks() -> Iterator[bytes]:
            for at in range(start, start + size, CHUNK):
                yield os.pread(self._descriptor, min(CHUNK, start + size - at), at)

        return chunks

    def _write(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            written = os.pwrite(self._descriptor, view, self._end)
            self._end += written
            view = view[written:]
