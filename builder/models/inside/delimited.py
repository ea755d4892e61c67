"""Text tables (CSV, RFC 4180, and its relatives with semicolons or tabs) as columns, with the line of what is wrong."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.models.inside.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_delimited"]

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_INTEGER = re.compile(r"[+-]?\d+")
_SPECIAL = {"nan": math.nan, "inf": math.inf, "+inf": math.inf, "-inf": -math.inf, "infinity": math.inf}
# what pandas and R write for a missing number; in a column of text they are text
_MISSING = frozenset(("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None"))
_BOOLEANS = {"True": True, "true": True, "TRUE": True, "False": False, "false": False, "FALSE": False}
_MOSTLY = 0.9  # a column with so many numbers among its values was meant to be one of numbers
_INT64 = 2**63


def read_delimited(path: Path, shown: str, declared: dict[str, str | None]) -> dict[str, NDArray[Any]]:
    """The columns of the file by name: float64 with NaN, int64, bool, or objects of `str` and None.

    A column is what all of its cells are, unless `declared` says what it has to be; an empty cell is a missing one.
    Raises Problem with the line for another encoding, rows of another length, and cells that don't fit.
    """
    text = _decoded(path.read_bytes(), shown)
    names, rows, lines = _rows(text, shown)
    return {
        name: _Column(name, [row[number] for row in rows], lines, shown).read(declared.get(name))
        for number, name in enumerate(names)
    }


def _decoded(data: bytes, shown: str) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Problem(f"{shown} is UTF-16", hint="save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Problem(
            f"{shown}:{line}: is not UTF-8 (byte 0x{data[error.start]:02x})",
            hint="save it as UTF-8: the consumers of the model will send that",
            details={"line": line},
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise Problem(f"{shown}:{line}: holds a NUL byte: is it text at all?", details={"line": line})
    return text


def _rows(text: str, shown: str) -> tuple[list[str], list[list[str]], list[int]]:
    """The header, the rows, and the line that each row ends on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    csv.field_size_limit(1 << 24)
    rows, lines = [], []
    names: list[str] | None = None
    for row in _checked(reader, shown):
        if not row or (len(row) == 1 and not row[0] and names is not None and len(names) > 1):
            continue  # a blank line
        if names is None:
            names = [name.strip() for name in row]
            _check_names(names, shown)
            continue
        if len(row) != len(names):
            raise Problem(
                f"{shown}:{reader.line_num}: {len(row)} cells, but {len(names)} columns",
                hint="quote cells that hold the delimiter",
                details={"line": reader.line_num},
            )
        rows.append(row)
        lines.append(reader.line_num)
    if names is None:
        raise Problem(f"{shown} is empty", hint="the sample needs a row of names and rows of data")
    return names, rows, lines


def _checked(reader: Any, shown: str) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        line = reader.line_num
        raise Problem(f"{shown}:{line}: {error}", hint="is a quote missing?", details={"line": line}) from error


def _delimiter(text: str) -> str:
    """What separates the names in the first line: most often a comma."""
    header = re.sub(r'"[^"]*"', "", text[: text.find("\n")] if "\n" in text else text)
    return max((",", ";", "\t"), key=header.count)


def _check_names(names: list[str], shown: str) -> None:
    for number, name in enumerate(names, 1):
        if not name:
            raise Problem(
                f"{shown}:1: column {number} has no name",
                hint="an index that pandas wrote? write the file with index=False",
                details={"line": 1},
            )
        if names.count(name) > 1:
            raise Problem(f"{shown}:1: two columns are called {name!r}", details={"line": 1})


class _Column:
    """One column's cells, and what they can be."""

    def __init__(self, name: str, cells: list[str], lines: list[int], shown: str) -> None:
        self.name, self.cells, self.lines, self.shown = name, cells, lines, shown

    def read(self, declared: str | None) -> NDArray[Any]:
        """As `declared`, or as what all cells are."""
        if declared == "string":
            return self._text()
        if declared == "bool" or (declared is None and self._all(_BOOLEANS.__contains__)):
            return self._booleans()
        if declared == "int64" or (declared is None and self._all(_is_integer)):
            return self._integers()
        numbers = [_is_number(cell) or cell in _MISSING for cell in self.cells]
        if declared is not None or all(numbers):
            return self._numbers("number" if declared is None else declared)
        present = [good for good, cell in zip(numbers, self.cells) if cell not in _MISSING]  # noqa: B905
        if sum(present) > len(present) * _MOSTLY:
            self._refuse(numbers.index(False), "number", 'if it is text: inputs = { COLUMN = { type = "string" } }')
        return self._text()

    def _all(self, test: Any) -> bool:
        return bool(self.cells) and all(test(cell) for cell in self.cells)

    def _text(self) -> NDArray[Any]:
        import numpy as np

        column = np.empty(len(self.cells), dtype=object)
        column[:] = [cell or None for cell in self.cells]
        return column

    def _booleans(self) -> NDArray[Any]:
        import numpy as np

        for number, cell in enumerate(self.cells):
            if cell not in _BOOLEANS:
                self._refuse(number, "bool")
        return np.array([_BOOLEANS[cell] for cell in self.cells], dtype=bool)

    def _integers(self) -> NDArray[Any]:
        import numpy as np

        for number, cell in enumerate(self.cells):
            if not _is_integer(cell):
                self._refuse(number, "int64")
        return np.array([int(cell) for cell in self.cells], dtype=np.int64)

    def _numbers(self, kind: str) -> NDArray[Any]:
        import numpy as np

        column = np.empty(len(self.cells), dtype=np.float64)
        for number, cell in enumerate(self.cells):
            if cell in _MISSING:
                column[number] = math.nan
            elif _is_number(cell):
                column[number] = _SPECIAL[cell.lower()] if cell.lower() in _SPECIAL else float(cell)
            else:
                self._refuse(number, kind)
        return column

    def _refuse(self, number: int, kind: str, hint: str | None = None) -> None:
        cell, line = self.cells[number][:60], self.lines[number]
        if hint is None and re.fullmatch(r"[\d.]*,\d+", cell):
            hint = "decimals are written with a point"
        raise Problem(
            f"{self.shown}:{line}: column {self.name!r}: {cell!r} is no {kind}",
            hint=(hint or "correct the cell, or the column's `type` under `inputs`").replace("COLUMN", self.name),
            details={"line": line, "column": self.name},
        )


def _is_integer(cell: str) -> bool:
    return _INTEGER.fullmatch(cell) is not None and -_INT64 <= int(cell[:30]) < _INT64 and len(cell) < 30


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None or cell.lower() in _SPECIAL
