"""Rows, columns and types of tables in files: Parquet and Feather by what they say, delimited text by all of its cells.

Bounded memory: a block of text, or the footer of a file, at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, BinaryIO, Final

from builder.errors import ProjectError, UsageError
from builder.pipeline.delimited_text import Reader, TextTable, read_text

__all__ = ["Facts", "is_text", "kind_of", "read_columnar", "read_delimited", "require_reader"]

_COLUMNAR: Final = {
    ".parquet": "parquet", ".pq": "parquet", ".feather": "feather", ".arrow": "feather", ".ipc": "feather",
}  # fmt: skip
_TEXT: Final = {".csv": "csv", ".tsv": "tsv"}
_PACKED: Final = (".gz", ".bz2", ".xz")
_WORDS: Final = {
    "double": "float64", "float": "float32", "halffloat": "float16", "large_string": "string", "string_view": "string",
    "large_binary": "binary", "binary_view": "binary", "date32[day]": "date", "date64[ms]": "date",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Facts:
    """A table: how it is written, its rows, its columns as ``(name, dtype)``; of text, what its cells were like too."""

    format: str
    rows: int
    columns: tuple[tuple[str, str], ...]
    text: TextTable | None = None


def kind_of(path: str) -> str | None:
    """``parquet``, ``feather``, ``csv``, ``tsv``, the latter two with ``.gz`` and the like; None for other files."""
    name = path.rpartition("/")[2].lower()
    packed = next((ending for ending in _PACKED if name.endswith(ending)), "")
    bare = name.removesuffix(packed)
    ending = bare[bare.rfind(".") :] if "." in bare else ""
    if not packed and ending in _COLUMNAR:
        return _COLUMNAR[ending]
    return f"{_TEXT[ending]}{packed}" if ending in _TEXT else None


def is_text(path: str) -> bool:
    """Whether it is a table of text, which is read from its first byte to its last."""
    return (kind_of(path) or "").partition(".")[0] in _TEXT.values()


def require_reader(path: str) -> None:
    """Raises UsageError when tables can't be read here."""
    if find_spec("pyarrow") is None:
        raise UsageError(
            f"the columns of {path} are read with pyarrow, which is not installed beside lockship",
            hint="pip install 'lockship[data]'",
        )


def read_columnar(stream: BinaryIO, kind: str, path: str) -> Facts:
    """A Parquet or Feather file, by its footer; raises ProjectError when it is none."""
    import pyarrow as pa

    with _damaged(path, f"{kind.title()} file", (pa.ArrowException, OSError, ValueError)):
        if kind == "parquet":
            from pyarrow.parquet import ParquetFile

            file = ParquetFile(stream)
            schema, rows = file.schema_arrow, file.metadata.num_rows
        else:
            opened = pa.ipc.open_file(stream)
            schema = opened.schema
            rows = sum(opened.get_batch(number).num_rows for number in range(opened.num_record_batches))
    return Facts(kind, rows, tuple((field.name, _word(field.type)) for field in schema))


def _word(kind: Any) -> str:
    """Arrow's name of a type, where two of its types hold the same values one name for both."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return f"categorical[{_word(kind.value_type)}]"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):  # Parquet and Feather name what is in it differently
        return f"list<{_word(kind.value_type)}>"
    return _WORDS.get(str(kind), str(kind))


def read_delimited(stream: Reader, kind: str, path: str) -> Facts:
    """A CSV or TSV file, from its first byte to its last; raises ProjectError for what can't be read as a table."""
    import lzma
    import zlib

    bare, _, packed = kind.partition(".")
    with _damaged(path, f".{packed} file", (EOFError, OSError, zlib.error, lzma.LZMAError)):
        table = read_text(_unpacked(stream, packed), path, "\t" if bare == "tsv" else None)
    details = [kind]
    if bare == "csv" and table.delimiter != ",":
        details.append(f"delimiter {table.delimiter!r}")
    if not table.header:
        details.append("no header")
    return Facts(", ".join(details), table.rows, table.columns, table)


def _unpacked(stream: Any, packed: str) -> Any:
    import bz2
    import gzip
    import lzma

    match packed:
        case "gz":
            return gzip.GzipFile(fileobj=stream)
        case "bz2":
            return bz2.BZ2File(stream)
        case "xz":
            return lzma.LZMAFile(stream)
        case _:
            return stream


@contextmanager
def _damaged(path: str, what: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except errors as error:
        says = " ".join(str(error).split())[:200]
        raise ProjectError(
            f"{path} is no {what}, or is damaged: {says}", hint="write it again, or correct its name"
        ) from error
