"""The data that a release was made from, as values: files by content, and the columns of those that are tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from builder.content import Digest, canonical_json
from builder.errors import VerificationError
from builder.releases.changes import Action, Change, paired
from builder.words import human_size, listed, plural

__all__ = ["Column", "DataFile", "DataSet", "changes", "column_changes", "data_sets_from_json"]

_NAMED: Final = 3  # files whose change is a line of its own; of more, their number


class _Value(BaseModel):
    # what a newer lockship adds is passed over: an old one must still be able to roll back
    model_config = ConfigDict(extra="ignore", frozen=True)


class Column(_Value):
    """A column: `dtype` is a word like ``int64``, ``float64``, ``string``, ``timestamp[us, tz=UTC]``."""

    name: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}"


class DataFile(_Value):
    """A file. `path` is relative to the project, or a URL; `size` in bytes.

    Of a table, `format` is how it is written (``parquet``, ``csv``, ``csv, delimiter ';'``), with `rows` and `columns`.
    """

    path: str
    sha256: str
    size: int
    format: str | None = None
    rows: int | None = None
    columns: tuple[Column, ...] | None = None


class DataSet(_Value):
    """One entry of `[data]`: `sources` are the paths and globs as written there, `files` what they led to, by path."""

    name: str
    role: Literal["training", "reference"]
    ship: bool = False
    sources: tuple[str, ...] = ()
    files: tuple[DataFile, ...]

    @model_validator(mode="before")
    @classmethod
    def _spread(cls, value: Any) -> Any:
        """In JSON, columns that all tables share are written once: see `to_json`."""
        shared = value.get("columns") if isinstance(value, Mapping) else None
        if shared is None:
            return value
        files = [{"columns": shared, **one} if one.get("rows") is not None else one for one in value["files"]]
        return {**value, "files": files}

    @property
    def tables(self) -> tuple[DataFile, ...]:
        """The files that are tables."""
        return tuple(file for file in self.files if file.columns is not None)

    @property
    def columns(self) -> tuple[Column, ...] | None:
        """What all tables have; None when there are no tables, or they aren't alike."""
        layouts = {file.columns for file in self.tables}
        return layouts.pop() if len(layouts) == 1 else None

    @property
    def rows(self) -> int | None:
        """Of all tables together; None when they aren't alike."""
        return None if self.columns is None else sum(file.rows or 0 for file in self.tables)

    @property
    def is_elsewhere(self) -> bool:
        """Whether all of it has addresses, so that it can be looked at without the project."""
        return bool(self.sources) and all("://" in source for source in self.sources)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> Digest:
        """Of the files' paths and contents: the same as long as nobody touches the data, whatever reads them."""
        return Digest.of(canonical_json(sorted([file.path, file.sha256, file.size] for file in self.files)))

    def __str__(self) -> str:
        """``training: 1,200 rows, 7 columns, 2 files, 48.1 kB``."""
        parts = [plural(len(self.files), "file"), human_size(self.size)]
        if self.columns is not None:
            parts = [plural(self.rows or 0, "row"), plural(len(self.columns), "column"), *parts]
        return f"{self.name}: {', '.join(parts)}"

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, which `model_validate` reads; columns that all tables share stand beside the files."""
        document: dict[str, Any] = {"name": self.name, "role": self.role, "ship": self.ship}
        document |= {"digest": str(self.digest), "sources": list(self.sources), "size": self.size}
        shared = self.columns
        if shared is not None:
            document |= {"rows": self.rows, "columns": [column.model_dump() for column in shared]}
        hidden = {"columns"} if shared is not None else set()
        document["files"] = [file.model_dump(mode="json", exclude_none=True, exclude=hidden) for file in self.files]
        return document


def data_sets_from_json(documents: Sequence[Mapping[str, Any]]) -> tuple[DataSet, ...]:
    """What `DataSet.to_json` gave; raises VerificationError when it is something else, or was changed."""
    found = []
    for document in documents:
        try:
            one = DataSet.model_validate(document)
        except (ValidationError, TypeError, AttributeError, KeyError) as error:
            raise VerificationError("the release's list of data is damaged", hint="release again") from error
        if document.get("digest") != one.digest:
            raise VerificationError(
                f"the files of the data set {one.name[:60]} are not what its digest says", hint="release again"
            )
        found.append(one)
    return tuple(found)


def changes(old: Sequence[DataSet], new: Sequence[DataSet]) -> tuple[Change, ...]:
    """What is other data, other columns, another role; empty when the data are the same."""
    return tuple(change for before, after in paired(old, new) for change in _changes(before, after))


def _changes(old: DataSet | None, new: DataSet | None) -> Iterator[Change]:
    if old is None or new is None:
        if new is not None:
            yield Change("created", "data set", new.name, new=str(new).partition(": ")[2])
        elif old is not None:
            yield Change("dropped", "data set", old.name, old=str(old).partition(": ")[2])
        return
    yield from _aspects(old, new)
    if old.columns is not None and new.columns is not None:
        yield from column_changes(new.name, old.columns, new.columns)
        if old.rows != new.rows:
            yield Change("altered", "data set", new.name, "rows", f"{old.rows:,}", f"{new.rows:,}")
    else:
        yield from _tables(old, new)
    yield from _files(old, new)


def _aspects(old: DataSet, new: DataSet) -> Iterator[Change]:
    for aspect, one, other in (
        ("role", old.role, new.role),
        ("sources", ", ".join(old.sources), ", ".join(new.sources)),
        ("ship", str(old.ship).lower(), str(new.ship).lower()),
    ):
        if one != other:
            yield Change("altered", "data set", new.name, aspect, one, other)


def _tables(old: DataSet, new: DataSet) -> Iterator[Change]:
    """Tables that aren't alike are compared by their paths; what isn't on both sides is a matter of files."""
    for before, after in paired(old.files, new.files, "path"):
        if before is not None and after is not None:
            yield from column_changes(f"{new.name}/{after.path}", before.columns or (), after.columns or ())


def column_changes(name: str, old: Sequence[Column], new: Sequence[Column]) -> Iterator[Change]:
    """Columns of the table `name` by name: their order says nothing."""
    for before, after in paired(old, new):
        if before is None and after is not None:
            yield Change("created", "column", after.name, new=after.dtype, within=name)
        elif after is None and before is not None:
            yield Change("dropped", "column", before.name, old=before.dtype, within=name)
        elif before is not None and after is not None and before.dtype != after.dtype:
            yield Change("altered", "column", after.name, "type", before.dtype, after.dtype, within=name)


def _files(old: DataSet, new: DataSet) -> Iterator[Change]:
    found: dict[Action, list[Change]] = {"created": [], "altered": [], "dropped": []}
    for before, after in paired(old.files, new.files, "path"):
        if before is None and after is not None:
            found["created"].append(Change("created", "file", after.path, new=f"{after.size:,} bytes"))
        elif after is None and before is not None:
            found["dropped"].append(Change("dropped", "file", before.path, old=f"{before.size:,} bytes"))
        elif before is not None and after is not None:
            found["altered"] += _altered(before, after)
    for action, some in found.items():
        if len(some) <= _NAMED:
            yield from some
        else:
            names = listed([one.name for one in some], _NAMED)
            yield Change(action, "files", f"of {new.name}", new=f"{len(some):,} ({names})")


def _altered(old: DataFile, new: DataFile) -> list[Change]:
    """One line for a file: its format, its size, or that its content is another."""
    if old.format != new.format and old.format and new.format:
        return [Change("altered", "file", new.path, "format", old.format, new.format)]
    if old.size != new.size:
        return [Change("altered", "file", new.path, "size", f"{old.size:,} bytes", f"{new.size:,} bytes")]
    if old.sha256 != new.sha256:
        return [Change("altered", "file", new.path, "sha256", old.sha256[:12], new.sha256[:12])]
    return []
