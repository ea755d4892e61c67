"""Rows on their way between environments: named columns of numbers or text, in one file without pickles."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Table", "read_table", "write_table"]


class Table:
    """Columns by name, all of one length; a matrix counts as a column of its rows.

    Numbers are NumPy arrays of float64, float32, int64 or bool; text is an object array of `str`, with None where it is
    missing.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]]) -> None:
        self.columns = dict(columns)
        if len({len(column) for column in self.columns.values()}) > 1:
            raise ValueError("columns of different lengths")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def take(self, rows: NDArray[np.int64] | slice) -> Table:
        """Some of the rows."""
        return Table({name: column[rows] for name, column in self.columns.items()})

    def stacked(self, below: Table) -> Table:
        """These rows and then `below`'s, which has the same columns."""
        import numpy as np

        return Table({name: np.concatenate([column, below[name]]) for name, column in self.columns.items()})


def write_table(file: Path, table: Table) -> None:
    """Write `table` into `file`, which ends in ``.npz``."""
    import numpy as np

    arrays: dict[str, NDArray[Any]] = {}
    for number, column in enumerate(table.columns.values()):
        if column.dtype == object:
            encoded = [b"" if value is None else str(value).encode() for value in column.ravel()]
            arrays[f"{number}.text"] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
            arrays[f"{number}.ends"] = np.cumsum([len(value) for value in encoded], dtype=np.int64)
            arrays[f"{number}.missing"] = np.array([value is None for value in column.ravel()], dtype=bool)
            arrays[f"{number}.shape"] = np.array(column.shape, dtype=np.int64)
        else:
            arrays[f"{number}.values"] = column
    names = np.frombuffer(json.dumps(list(table)).encode(), dtype=np.uint8)
    np.savez(file, names=names, **arrays)  # type: ignore[arg-type]


def read_table(file: Path) -> Table:
    """What `write_table` wrote."""
    import numpy as np

    with np.load(file, allow_pickle=False) as arrays:
        names = json.loads(arrays["names"].tobytes())
        return Table({name: _column(arrays, number) for number, name in enumerate(names)})


def _column(arrays: Mapping[str, NDArray[Any]], number: int) -> NDArray[Any]:
    import numpy as np

    if f"{number}.values" in arrays:
        return arrays[f"{number}.values"]
    text = arrays[f"{number}.text"].tobytes()
    ends = arrays[f"{number}.ends"].tolist()
    missing = arrays[f"{number}.missing"].tolist()
    column = np.empty(len(ends), dtype=object)
    for row, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        column[row] = None if missing[row] else text[start:end].decode()
    return column.reshape(arrays[f"{number}.shape"])
