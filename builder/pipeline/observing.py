"""The data sets of a project as they lie there: which files, their content, and the columns of tables."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from builder.content import CHUNK
from builder.datakeys import Data, is_url
from builder.errors import ProjectError, StoreError
from builder.parallel import Stop, each
from builder.pipeline.data_files import FileThere, find_files, reading
from builder.pipeline.delimited_text import decide
from builder.pipeline.tabular import Facts, is_text, kind_of, read_columnar, read_delimited, require_reader
from builder.progress import SILENT, Progress
from builder.project import Project
from builder.releases.datasets import Column, DataFile, DataSet

__all__ = ["observe", "observe_live", "observe_set"]

_THREADS: Final = 8
_READERS: Final = 2  # at once, of text: they take processor and memory, the others wait for disks and stores
_MOST: Final = 100_000  # files of one data set: a release names each of them


def observe(project: Project, progress: Progress = SILENT) -> tuple[DataSet, ...]:
    """All of `[data]`, by name.

    Each file is read once, in pieces. Raises ProjectError for what isn't there, lies outside of the project or can't
    be read as the table that it says it is; StoreError for what changes meanwhile, and for addresses that don't answer;
    UsageError when a package that is needed is not installed. No message has credentials in it.
    """
    return tuple(
        observe_set(name, project.data[name], project.root, file=project.file, progress=progress)
        for name in sorted(project.data)
    )


def observe_live(needed: Sequence[DataSet], root: Path | None, progress: Progress = SILENT) -> tuple[DataSet, ...]:
    """What is there now at the sources of `needed`; a data set of which nothing is there has no files.

    Without `root`, and so without a project, only data sets that have addresses alone: the others are left out. Raises
    what `observe` raises, but for what isn't there.
    """
    found = []
    for one in needed:
        if root is None and not one.is_elsewhere:
            continue
        data = Data(paths=one.sources, role=one.role, ship=one.ship)
        found.append(observe_set(one.name, data, root or Path(), progress=progress, missing_ok=True))
    return tuple(found)


def observe_set(
    name: str,
    data: Data,
    root: Path,
    *,
    file: Path | None = None,
    progress: Progress = SILENT,
    missing_ok: bool = False,
) -> DataSet:
    """One data set of the project in the folder `root`; `file` is the project file, for messages."""
    found: dict[str, FileThere] = {}
    for source in data.paths:
        some = find_files(source, root)
        if not some and not missing_ok:
            hint = "make the data, or correct the path under [data]; globs know *, ?, [abc] and **"
            raise ProjectError(f"data set {name}: nothing is at {source}", hint=hint, file=file)
        found.update((one.path, one) for one in some)
    if len(found) > _MOST:
        hint = f"put them into fewer than {_MOST:,}"
        raise ProjectError(f"data set {name} has {len(found):,} files", hint=hint, file=file)
    chosen = [found[path] for path in sorted(found)]
    with progress.task(f"reading data {name}", None if any(map(_is_elsewhere, chosen)) else 0) as task:
        for one in chosen:
            if not _is_elsewhere(one):
                with reading(one.path):
                    task.grow(one.state().size)
        threads = _READERS if any(is_text(one.path) for one in chosen) else _THREADS
        seen = each(chosen, lambda one: _observed(one, task.advance), Stop(), threads=threads)
    return DataSet(name=name, role=data.role, ship=data.ship, sources=data.paths, files=_alike(seen))


def _is_elsewhere(file: FileThere) -> bool:
    return is_url(file.path)


class _Hashed:
    """A stream that hashes what is read from it, so that what is looked at is what is hashed."""

    def __init__(self, stream: BinaryIO, size: int, path: str, advance: Callable[[int], None]) -> None:
        self._stream, self._size, self._path, self._advance = stream, size, path, advance
        self._state = hashlib.sha256()
        self.done = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(CHUNK if size < 0 else min(size, CHUNK))
        self._state.update(data)
        self.done += len(data)
        self._advance(len(data))
        if self.done > self._size:  # something that grows might never end
            raise _changed(self._path)
        return data

    def finish(self) -> str:
        """Read the rest; the sha256 of all, in hex digits."""
        while self.read(CHUNK):
            pass
        if self.done != self._size:
            raise _changed(self._path)
        return self._state.hexdigest()


def _changed(path: str) -> StoreError:
    return StoreError(f"{path} changed while it was read", hint="wait until whatever writes it is done, and try again")


def _observed(file: FileThere, advance: Callable[[int], None]) -> tuple[DataFile, Facts | None]:
    kind = kind_of(file.path)
    if kind is not None:
        require_reader(file.path)
    facts = None
    with reading(file.path):
        before = file.state()
        with file.open() as stream:
            hashed = _Hashed(stream, before.size, file.path, advance)
            if kind is not None and is_text(file.path):
                facts = read_delimited(hashed, kind, file.path)
            sha256 = hashed.finish()
            if kind is not None and not is_text(file.path):
                stream.seek(0)
                facts = read_columnar(stream, kind, file.path)
        if file.state() != before:
            raise _changed(file.path)
    return DataFile(path=file.path, sha256=sha256, size=before.size), facts


def _alike(seen: Sequence[tuple[DataFile, Facts | None]]) -> tuple[DataFile, ...]:
    """The files with their columns. Parts of one table of text are looked at as one: what is whole numbers in most of
    them and not in one is not whole numbers.
    """
    kinds: dict[tuple[str, ...], list[set[str]]] = {}
    for _, facts in seen:
        if facts is not None and facts.text is not None:
            together = kinds.setdefault(facts.text.names, [set() for _ in facts.text.names])
            for all_kinds, some in zip(together, facts.text.kinds, strict=True):
                all_kinds |= some
    files = []
    for file, facts in seen:
        if facts is None:
            files.append(file)
            continue
        columns = facts.columns
        if facts.text is not None:
            columns = tuple(zip(facts.text.names, map(decide, kinds[facts.text.names]), strict=True))
        made = tuple(Column(name=name, dtype=dtype) for name, dtype in columns)
        files.append(file.model_copy(update={"format": facts.format, "rows": facts.rows, "columns": made}))
    return tuple(files)
