"""Odd values of columns, each in a row of the sample that is otherwise as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from builder.models.inside.neighbours import next_to
from builder.models.inside.table import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Column", "extremes", "far", "infinities", "missing", "rare_text", "texts", "unseen"]

NON_ASCII = "Größe naïve café Ελλάδα Привет 東京 العربية"
RARE = ("İSTANBUL", "ﬁnance ﬂow", "e\u0301tude", "x² ½ Ⅷ", "a\u200bb", "👩\u200d🚀 ok", "ΟΔΟΣ", "STRASSE ẞ")
LONG = 300


class Column(NamedTuple):
    """A column that the model takes: `kind` is what its values are in the original, `tensor` the ONNX type.

    `missing`, `unseen` and `categories` are as the contract has them.
    """

    name: str
    kind: str
    tensor: str
    missing: str
    unseen: str | None
    categories: Sequence[Any] | None

    @property
    def floating(self) -> bool:
        """Whether it holds floating numbers, also in the original."""
        return self.kind in ("float32", "float64")


def _changed(base: Table, changes: list[tuple[Column, Any]]) -> Table:
    """A row for each change, of the rows of the sample one after the other."""
    import numpy as np

    rows = np.arange(len(changes), dtype=np.int64) * 7919 % max(len(base), 1)
    table = {name: base[name][rows].copy() for name in base}
    for place, (column, value) in enumerate(changes):
        table[column.name][place] = value
    return Table(table)


def extremes(base: Table, columns: list[Column]) -> Table:
    """Least, greatest, both beyond that by the range, zeros and the smallest number; both truth values."""
    import numpy as np

    changes: list[tuple[Column, Any]] = []
    for column in columns:
        values = base[column.name]
        if column.kind == "bool":
            changes += [(column, False), (column, True)]
        elif column.floating or column.kind == "int64":
            low, high = values.min().item(), values.max().item()
            changes += [(column, value) for value in (low, high, low - (high - low), high + (high - low), 0)]
        if column.floating:
            tiny = float(np.finfo(column.kind).tiny)
            changes += [(column, -0.0), (column, tiny), (column, -tiny)]
            changes += [(column, next_to(np.array([end], dtype=column.kind), column.kind, 1)[0]) for end in (low, high)]
    return _exact(_changed(base, changes), columns)


def _exact(table: Table, columns: list[Column]) -> Table:
    """With numbers rounded to what the model takes."""
    import numpy as np

    for column in columns:
        if column.kind == "float32":
            with np.errstate(over="ignore"):
                near = table[column.name].astype(np.float32).astype(np.float64)
            table.columns[column.name] = near
    return table


def far(base: Table, columns: list[Column]) -> Table:
    """The greatest finite numbers, also in all columns at once."""
    import numpy as np

    changes: list[tuple[Column, Any]] = []
    for column in columns:
        if column.floating:
            greatest = float(np.finfo(np.float32).max)
            changes += [(column, value) for value in (greatest, -greatest, 1e10, -1e10)]
        elif column.kind == "int64":
            changes += [(column, value) for value in (2**24 - 1, -(2**24) + 1, 2**31 - 1, -(2**31))]
    return _exact(_changed(base, changes), columns)


def missing(base: Table, columns: list[Column], *, allowed: bool) -> Table:
    """A missing value in each column, and in all of them; in those where the contract allows it, or in the others."""
    changes: list[tuple[Column, Any]] = []
    for column in columns:
        if (column.missing != "refused") != allowed:
            continue
        if column.floating:
            changes += [(column, float("nan"))] * 3
        elif column.kind == "string" and allowed:
            changes += [(column, None)] * 3
    table = _changed(base, changes)
    several = {column.name: value for column, value in changes}
    if len(several) < 2:
        return table
    together = base.take(slice(0, min(3, len(base))))
    return table.stacked(
        Table({n: _filled(together[n], several[n]) if n in several else together[n] for n in together})
    )


def _filled(column: NDArray[Any], value: Any) -> NDArray[Any]:
    filled = column.copy()
    filled[:] = value
    return filled


def infinities(base: Table, columns: list[Column]) -> Table:
    """Both infinities in each column of floating numbers."""
    floating = [column for column in columns if column.floating]
    return _changed(base, [(column, sign * float("inf")) for column in floating for sign in (1, -1)])


def unseen(base: Table, columns: list[Column]) -> Table:
    """Values that aren't among a column's categories, near to and far from those that are."""
    changes: list[tuple[Column, Any]] = []
    for column in columns:
        if column.categories is None:
            continue
        if column.kind == "string":
            known = [value for value in column.categories if isinstance(value, str)]
            changes += [(column, value) for value in _unlike(known) if value or column.missing != "empty"]
        elif column.kind == "int64" or column.floating:
            numbers = [value for value in column.categories if isinstance(value, int | float)]
            changes += [(column, max(numbers) + 1), (column, min(numbers) - 1)] if numbers else []
    return _exact(_changed(base, changes), columns)


def _unlike(known: list[str]) -> list[str]:
    near = known[:2] + known[-1:]
    other = [
        form for value in near for form in (value.upper(), value.lower(), value.swapcase(), f" {value}", f"{value} ")
    ]
    other += [value[:-1] for value in near] + [value + value[-1:] for value in near]
    other += ["unseen", "", " ", "x", "0", "nan", "None", NON_ASCII, "\u00e9", "x" * LONG]
    return [value for value in dict.fromkeys(other) if value not in known]


def texts(base: Table, columns: list[Column]) -> Table:
    """Text of a free column in all the forms that people write."""
    changes: list[tuple[Column, Any]] = []
    for column in columns:
        if column.kind != "string" or column.categories is not None:
            continue
        some = [str(value) for value in base[column.name][:40].tolist()]
        changes += [(column, form(value)) for value in some[:12] for form in _FORMS]
        changes += [(column, value) for value in _PLAIN if value or column.missing != "empty"]
        changes.append((column, " ".join(some)[: LONG * 20]))
    return _changed(base, changes)


def _between(word: str) -> Any:
    return lambda value: f" {word} ".join(value.split())


def _first_apart(value: str) -> str:
    return f"{value[:1]} {value[1:]}"


_FORMS = (
    str.upper,
    str.title,
    _between("a"),
    _between("é"),
    _between("é"[0] + "tude"),
    _first_apart,
    lambda value: f"  {value}\t\n",
    lambda value: value.replace(" ", ", "),
    lambda value: value.replace(" ", "_"),
    lambda value: value.replace(" ", "-"),
    lambda value: value.replace("e", "é"),
    lambda value: f"{NON_ASCII} {value} {NON_ASCII.upper()}",
    lambda value: f"{value} {value}",
)
_PLAIN = (
    "",
    " ",
    "a",
    "I",
    "7",
    "é",
    ".",
    "a b c d",
    "don't can't",
    "12 345 6.78",
    "x_1 _y",
    "\t\n",
    NON_ASCII,
    "🙂 ok",
    "—",
)


def rare_text(base: Table, columns: list[Column]) -> Table:
    """Text on which languages' own rules of letters and words differ."""
    changes: list[tuple[Column, Any]] = []
    for column in columns:
        if column.kind == "string":
            changes += [(column, value) for value in RARE if value not in (column.categories or ())]
    return _changed(base, changes)
