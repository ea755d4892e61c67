"""Delimited text (CSV, RFC 4180, and its relatives with semicolons, tabs or bars) by all of its cells, in blocks.

What a column is, is what every cell of it is: nothing is concluded from the first rows, nothing from chance.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from builder.content import CHUNK
from builder.errors import ProjectError

__all__ = ["Reader", "TextTable", "decide", "read_text"]

_BLOCK: Final = 2 << 20  # bytes; no row may be longer. What is in flight takes about 80 times as much
# what pandas and R write for a missing value
_MISSING: Final = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None")
_DATE: Final = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_TIME: Final = rf"{_DATE}[T ]([01]\d|2[0-4]):[0-5]\d(:[0-6]\d([.,]\d{{1,9}})?)?"
# leading zeros make a number plate, a postcode, an account: text
_KINDS: Final = {
    "int64": r"[+-]?(0|[1-9]\d*)",
    "float64": r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?([iI]nf(inity)?|INF)",
    "bool": r"True|true|TRUE|False|false|FALSE",
    "date": _DATE,
    "timestamp": _TIME,
    "timestamp[tz]": rf"{_TIME}(Z|[+-]\d\d:?\d\d)",
}
_LONG: Final = r"^[+-]?\d{19,}$"  # may be too large for 64 bits
_HINT: Final = "correct the file; a name that doesn't end in .csv or .tsv keeps it from being read as a table"


class Reader(Protocol):
    """What is read once, from its start to its end."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, and none only at the end."""


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of text: `kinds` are, by column, all that its cells were, without the missing ones."""

    delimiter: str
    header: bool
    rows: int
    names: tuple[str, ...]
    kinds: tuple[frozenset[str], ...]

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """Each name with its dtype."""
        return tuple((name, decide(kinds)) for name, kinds in zip(self.names, self.kinds, strict=True))


def decide(kinds: Iterable[str]) -> str:
    """What a column is whose cells are of these `kinds`; ``null`` when all are missing."""
    found = set(kinds)
    if not found:
        return "null"
    if found <= {"int64", "float64"}:
        return "float64" if "float64" in found else "int64"
    return found.pop() if len(found) == 1 else "string"


def read_text(stream: Reader, path: str, delimiter: str | None) -> TextTable:
    """Read all of `stream`; without `delimiter`, the one that is most often in the first line.

    The first line has names, unless a cell of it has a decimal point, or all of them are numbers. Raises ProjectError
    with the row for what isn't UTF-8, and for rows of another length.
    """
    start = _filled(stream, CHUNK)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ProjectError(f"{path} is UTF-16", hint="save it as UTF-8")
    start = start.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n")
    if not start:
        return TextTable(delimiter or ",", True, 0, (), ())
    delimiter = delimiter or _delimiter(start)
    first = _first_row(start, delimiter, path)
    header = _is_header(first)
    names = tuple(_names(first)) if header else tuple(f"column{number}" for number in range(1, len(first) + 1))
    rows, kinds = _cells(_Whole(start, stream), path, delimiter, len(names), header)
    return TextTable(delimiter, header, rows, names, kinds)


def _filled(stream: Reader, size: int) -> bytes:
    """`size` bytes, or as many as there are: readers may give less at a time."""
    parts = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class _Whole:
    """The start again, then the rest, then the end of the last line if need be; for pyarrow."""

    closed = False

    def __init__(self, start: bytes, stream: Reader) -> None:
        self._start, self._stream, self._ended = start, stream, False
        self.tail = b""

    def read(self, size: int = -1, /) -> bytes:
        found, self._start = self._start[:size], self._start[size:]
        found += _filled(self._stream, size - len(found))
        if found.strip(b"\r\n"):
            self.tail = found.rstrip(b"\r\n")[-1:]
        if len(found) < size and not self._ended:
            self._ended = True
            found += b"\n"
        return found

    def close(self) -> None:
        """Whoever opened the stream closes it."""


def _delimiter(start: bytes) -> str:
    line = re.sub(rb'"[^"]*"', b"", start).partition(b"\n")[0]
    return max((",", ";", "\t", "|"), key=lambda one: line.count(one.encode()))


def _first_row(start: bytes, delimiter: str, path: str) -> list[str]:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError as error:
        line = start.count(b"\n", 0, error.start) + 1
        raise _not_utf8(path, f"line {line}") from error
    if "\0" in text:
        raise ProjectError(f"{path} holds a NUL byte: is it text at all?", hint=_HINT)
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise ProjectError(f"{path}, row 1: {error}", hint=_HINT) from error


def _not_utf8(path: str, where: str) -> ProjectError:
    return ProjectError(f"{path}, {where}: is not UTF-8", hint=f"save it as UTF-8, or {_HINT}")


def _is_header(row: list[str]) -> bool:
    numbers = [re.fullmatch(_KINDS["float64"], cell.strip()) is not None for cell in row]
    broken = any(number and re.search(r"[.eE]", cell) for number, cell in zip(numbers, row, strict=True))
    return not broken and not all(numbers)


def _names(row: list[str]) -> list[str]:
    """Each name once, as pandas makes them so: a second ``x`` is ``x.1``."""
    names: list[str] = []
    for number, cell in enumerate(row, 1):
        name = base = cell.strip() or f"column{number}"
        count = 0
        while name in names:
            count += 1
            name = f"{base}.{count}"
        names.append(name)
    return names


def _cells(
    stream: _Whole, path: str, delimiter: str, width: int, header: bool
) -> tuple[int, tuple[frozenset[str], ...]]:
    """How many rows there are, and by column what its cells are."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    names = [str(number) for number in range(width)]
    kinds: list[set[str]] = [set() for _ in names]
    ragged: list[Any] = []

    def refuse(row: Any) -> str:
        ragged.append(row)
        return "error"

    rows, last = 0, ""
    try:
        # one thread: with several, no row has a number
        with arrow.open_csv(
            pa.PythonFile(stream, mode="r"),
            read_options=arrow.ReadOptions(
                use_threads=False, block_size=_BLOCK, column_names=names, skip_rows_after_names=int(header)
            ),
            parse_options=arrow.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=refuse),
            convert_options=arrow.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        ) as batches:
            for batch in batches:
                rows += batch.num_rows
                for number, column in enumerate(batch.columns):
                    _look(column, kinds[number])
                if batch.num_rows:
                    last = str(batch.columns[-1][-1].as_py() or "")
    except pa.ArrowInvalid as error:
        raise _refused(path, ragged, str(error), width) from None  # pyarrow's words show what is in the rows
    if last.endswith("\n") and stream.tail != b'"':
        raise ProjectError(f"{path}: a quote is opened and not closed", hint=_HINT)
    return rows, tuple(frozenset(one) for one in kinds)


def _refused(path: str, ragged: list[Any], says: str, width: int) -> ProjectError:
    if ragged:
        row = ragged[0]
        return ProjectError(
            f"{path}, row {row.number}: {row.actual_columns} cells, but {width} columns",
            hint=f"quote cells that hold the delimiter; or {_HINT}",
        )
    number = re.search(r"Row #(\d+)", says)
    if "UTF8" in says:
        return _not_utf8(path, f"row {number[1]}" if number else "somewhere")
    if "straddling" in says:
        return ProjectError(
            f"{path} has a row of more than {_BLOCK >> 20} MB", hint=f"is a quote opened and not closed? Or {_HINT}"
        )
    return ProjectError(f"{path} can't be read as a table", hint=_HINT)


def _look(column: Any, kinds: set[str]) -> None:
    """Add to `kinds` what the cells of a block are: one kind if all of them are that, text if not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if "string" in kinds:
        return
    values = column.filter(pc.invert(pc.is_in(column, pa.array(_MISSING))))
    if not len(values):
        return
    for kind, pattern in _KINDS.items():
        if pc.all(pc.match_substring_regex(values, f"^(?:{pattern})$")).as_py():
            long = values.filter(pc.match_substring_regex(values, _LONG)) if kind in ("int64", "float64") else ()
            fits = all(-(2**63) <= int(cell.as_py()) < 2**63 for cell in long)
            kinds.add(kind if fits else "string")
            return
    kinds.add("string")
