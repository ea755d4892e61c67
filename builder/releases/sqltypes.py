"""Types of SQL columns, by their text: whether each value of one also fits into another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["Fit", "fit"]

Fit = Literal["same", "wider", "loses"]

_UNBOUNDED: Final = 1 << 30  # characters: what PostgreSQL's text holds
_INTEGERS: Final = {
    "TINYINT": 1, "SMALLINT": 2, "INT2": 2, "SMALLSERIAL": 2, "MEDIUMINT": 3, "INTEGER": 4, "INT": 4, "INT4": 4,
    "SERIAL": 4, "BIGINT": 8, "INT8": 8, "BIGSERIAL": 8,
}  # fmt: skip
_FLOATS: Final = {
    "REAL": 4, "FLOAT4": 4, "FLOAT": 8, "DOUBLE": 8, "DOUBLE PRECISION": 8, "DOUBLE_PRECISION": 8, "FLOAT8": 8,
}  # fmt: skip
_TEXTS: Final = {
    "VARCHAR": 0, "CHARACTER VARYING": 0, "NVARCHAR": 0, "TINYTEXT": 255, "TEXT": _UNBOUNDED, "CLOB": _UNBOUNDED,
    "STRING": _UNBOUNDED, "MEDIUMTEXT": _UNBOUNDED << 1, "LONGTEXT": _UNBOUNDED << 2,
}  # fmt: skip
_BYTES: Final = {"VARBINARY": 0, "BYTEA": _UNBOUNDED, "BLOB": _UNBOUNDED, "BYTES": _UNBOUNDED}
_TIMES: Final = {
    "TIMESTAMP": "timestamp", "TIMESTAMP WITHOUT TIME ZONE": "timestamp", "DATETIME": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamp with time zone", "TIMESTAMPTZ": "timestamp with time zone",
    "TIME": "time", "TIME WITHOUT TIME ZONE": "time", "TIME WITH TIME ZONE": "time with time zone",
}  # fmt: skip
_OTHERS: Final = {"BOOL": "BOOLEAN"}
_FINEST: Final = 6  # digits of a second, without a number in brackets


@dataclass(frozen=True, slots=True)
class _Type:
    """`family` decides whether two can be compared at all; each number of `room` must not get smaller."""

    family: str
    room: tuple[int, ...] = ()
    labels: frozenset[str] = frozenset()
    exact: bool = False  # fixed widths: another one changes the values


def fit(old: str, new: str) -> Fit:
    """Whether values of the type `old` fit into `new`; what isn't known here must be the same text.

    ``VARCHAR(50)`` fits into ``VARCHAR(100)`` and ``TEXT``, ``INTEGER`` into ``BIGINT``, ``REAL`` into ``DOUBLE
    PRECISION``, ``NUMERIC(8, 2)`` into ``NUMERIC(10, 2)``, an enumeration into one with more labels. Another kind of
    value never fits, be it ever so large: programs get something else.
    """
    if _squeezed(old) == _squeezed(new):
        return "same"
    before, after = _read(old), _read(new)
    if before.family != after.family or len(before.room) != len(after.room):
        return "loses"
    if before.exact and before.room != after.room:
        return "loses"
    if not before.labels <= after.labels:
        return "loses"
    return "wider" if all(a <= b for a, b in zip(before.room, after.room, strict=True)) else "loses"


def _squeezed(text: str) -> str:
    return " ".join(text.upper().replace(", ", ",").split()) if "'" not in text else text.strip()


def _read(text: str) -> _Type:
    if labels := re.search(r"(?i)\bENUM\s*\((.*)\)", text, re.DOTALL):
        array = text[: labels.start()].count("[]")
        return _Type(f"enum{'[]' * array}", labels=frozenset(re.findall(r"'((?:[^']|'')*)'", labels[1])))
    plain = re.sub(
        r"(?i)\s+(CHARACTER SET \S+|COLLATE\s+(\"[^\"]*\"|\S+))", "", text
    )  # sorts otherwise, holds the same
    array = len(re.findall(r"\[\]", plain))
    parts = re.fullmatch(r"\s*([^(]*?)\s*(?:\(([^()]*)\))?\s*([^()]*)", plain.replace("[]", ""))
    if parts is None:
        return _Type(_squeezed(text))
    name = _squeezed(f"{parts[1]} {parts[3]}")
    numbers = [int(one) for one in re.findall(r"-?\d+", parts[2] or "")]
    known = _known(name, numbers) or _Type(_squeezed(plain))
    return _Type(f"{known.family}{'[]' * array}", known.room, known.labels, known.exact)


def _known(name: str, numbers: list[int]) -> _Type | None:
    unsigned = " UNSIGNED" if name.endswith(" UNSIGNED") else ""
    name = name.removesuffix(" UNSIGNED")
    if name in _INTEGERS:  # a number in brackets is how MySQL displays it
        return _Type(f"integer{unsigned}", (_INTEGERS[name],))
    if name in _FLOATS:
        return _Type("float", (4 if numbers and name == "FLOAT" and numbers[0] <= 24 else _FLOATS[name],))
    for family, sizes in (("text", _TEXTS), ("bytes", _BYTES)):
        if name in sizes:
            return _Type(family, (numbers[0] if numbers and not sizes[name] else sizes[name] or _UNBOUNDED,))
    if name in ("CHAR", "CHARACTER", "NCHAR", "BPCHAR"):
        return _Type("fixed text", (numbers[0] if numbers else 1,), exact=True)
    if name in _TIMES:
        return _Type(_TIMES[name], (numbers[0] if numbers else _FINEST,))
    if name in ("NUMERIC", "DECIMAL"):
        return _numeric(numbers)
    return None if numbers else _Type(_OTHERS.get(name, name))


def _numeric(numbers: list[int]) -> _Type:
    """Digits before and after the point; without numbers, as many as there are."""
    if not numbers:
        return _Type("numeric", (_UNBOUNDED, _UNBOUNDED))
    scale = numbers[1] if len(numbers) > 1 else 0
    return _Type("numeric", (numbers[0] - scale, scale))
