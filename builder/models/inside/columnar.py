"""Parquet and Feather files as columns, by the types that they declare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.models.inside.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_columnar"]

SECONDS = "seconds since 1970, UTC"
ISO = "ISO 8601 text"


def read_columnar(
    path: Path, shown: str, declared: dict[str, str | None], kind: str
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The columns by name (float64 with NaN, int64, bool, or objects of `str` and None), and how dates are written.

    Dates become ISO 8601 text, or seconds where `declared` has a number for the column. Raises Problem naming the
    column for types that no model takes, and for a file that is none of `kind`.
    """
    table = _read(path, shown, kind)
    columns: dict[str, NDArray[Any]] = {}
    dates: dict[str, str] = {}
    for name, column in zip(table.column_names, table.columns):  # noqa: B905 - Python 3.9 reads this
        if name.startswith("__index_level_"):  # pandas' row numbers
            continue
        if name in columns:
            raise Problem(f"{shown}: two columns are called {name!r}")
        columns[name], date = _column(name, column, shown, declared.get(name))
        if date is not None:
            dates[name] = date
    return columns, dates


def _read(path: Path, shown: str, kind: str) -> Any:
    import pyarrow as pa

    try:
        if kind == "parquet":
            import pyarrow.parquet

            return pyarrow.parquet.read_table(str(path), partitioning=None)
        import pyarrow.feather

        return pyarrow.feather.read_table(str(path), memory_map=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        words = " ".join(str(error).split())[:200]
        raise Problem(f"{shown} can't be read as {kind}: {words}", hint="is the file whole?") from error


def _column(name: str, column: Any, shown: str, declared: str | None) -> tuple[NDArray[Any], str | None]:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    date = None
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        seconds = declared in ("int64", "float32", "float64")
        found, date = _dates(column, seconds=seconds), SECONDS if seconds else ISO
    elif pa.types.is_boolean(kind):
        found = _numbers(column.cast(pa.int8())) if column.null_count else column.to_numpy().astype(bool)
    elif pa.types.is_integer(kind):
        found = _integers(name, column, shown)
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        found = _numbers(column)
    elif pa.types.is_null(kind):
        found = _numbers(column.cast(pa.float64()))
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view":
        found = _text(column.to_pylist())
    else:
        raise Problem(
            f"{shown}: column {name!r} is of type {kind}, which no model takes",
            hint="write it as numbers or text, or name it under `drop`",
            details={"column": name},
        )
    return _as_declared(name, found, shown, declared), date


def _as_declared(name: str, column: NDArray[Any], shown: str, declared: str | None) -> NDArray[Any]:
    """The column, if it can be what the project says that it is."""
    import numpy as np

    text = column.dtype == object
    if declared is None or text == (declared == "string"):
        fits = declared not in ("int64", "bool") or column.dtype.kind in "ib"
        if fits:
            return column.astype(np.float64) if declared in ("float32", "float64") else column
    held = "text" if text else {"f": "numbers, or has gaps", "i": "integers", "b": "booleans"}[column.dtype.kind]
    raise Problem(
        f"{shown}: column {name!r} holds {held}, and is declared as {declared}",
        hint="correct the column's `type` under `inputs`, or the file",
        details={"column": name},
    )


def _integers(name: str, column: Any, shown: str) -> NDArray[Any]:
    import pyarrow as pa

    try:
        column = column.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise Problem(f"{shown}: column {name!r} has integers beyond 64 bits", details={"column": name}) from error
    return _numbers(column) if column.null_count else column.to_numpy()


def _numbers(column: Any) -> NDArray[Any]:
    import numpy as np
    import pyarrow as pa

    if pa.types.is_decimal(column.type):
        values = [None if value is None else float(value) for value in column.to_pylist()]
    elif column.null_count:
        values = column.to_pylist()
    else:
        return np.asarray(column.to_numpy(), dtype=np.float64)
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _text(values: list[str | None]) -> NDArray[Any]:
    import numpy as np

    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _dates(column: Any, *, seconds: bool) -> NDArray[Any]:
    import numpy as np
    import pyarrow as pa

    if pa.types.is_date(column.type):
        if not seconds:
            return _text([None if value is None else value.isoformat() for value in column.to_pylist()])
        column = column.cast(pa.date32()).cast(pa.timestamp("s"))
    zone = column.type.tz
    if seconds:
        whole = column.cast(pa.timestamp("s", zone), safe=False).cast(pa.int64())
        return _numbers(whole) if whole.null_count else np.asarray(whole.to_numpy(), dtype=np.int64)
    plain = column.cast(pa.timestamp("us", zone), safe=False)
    return _text([None if value is None else value.isoformat() for value in plain.to_pylist()])
