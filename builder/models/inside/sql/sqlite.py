"""SQLite, 3.35 and newer.

It has doubles only, and no types for columns: what is stored in one may be anything. NaN is NULL to it.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from builder.models.inside.sql.words import Words

__all__ = ["SQLite"]

_MANTISSA = 2**53
_EXACT_POWER = 22  # 10**22 is the largest power of ten that is a double
_POWER = 62  # of two, the largest in a 64-bit integer


class SQLite(Words):
    """A double-quoted name that is no column would be taken for a text: names go behind the table's alias."""

    title = "SQLite"
    materialized = "MATERIALIZED "
    create_view = "CREATE VIEW"

    def number(self, value: float) -> str:
        """Exactly, on every platform: SQLite's reading of decimals is not always right to the last bit.

        A decimal of up to 15 or 16 digits, if it is far enough from where two doubles meet; otherwise an integer and a
        power of two, which are read and multiplied without rounding.
        """
        shown = repr(value + 0.0)
        digits = Decimal(shown)
        exponent = int(digits.as_tuple().exponent)
        number = abs(int(digits.scaleb(-exponent)))
        if number < _MANTISSA and -_EXACT_POWER <= exponent <= 0 and _is_clear(value, Fraction(digits)):
            return shown
        if number * 10 ** max(exponent, 0) < _MANTISSA and exponent >= 0:
            return f"{int(value)}.0"
        numerator, denominator = value.as_integer_ratio()
        if denominator == 1:
            zeros = (numerator & -numerator).bit_length() - 1
            return f"({_powers(numerator >> zeros, '*', zeros)})"
        return f"({_powers(numerator, '/', denominator.bit_length() - 1)})"

    def source(self, column: str, kind: str) -> str:
        """By what is really stored. A column may bring its own collation, and CAST would keep it."""
        if kind == "string":
            return f"CAST({column} AS TEXT) COLLATE BINARY"
        if kind == "bool":
            return f"CASE WHEN {column} THEN 1 WHEN NOT {column} THEN 0 END"
        cast = f"CAST({column} AS {'INTEGER' if kind == 'int64' else 'REAL'})"
        return f"CASE WHEN typeof({column}) IN ('real', 'integer') THEN {cast} END"

    def single(self, value: str, plain: str) -> str:
        """Veltkamp's splitting: a double multiplied by 2**29 + 1 keeps 24 bits; ties go to even (both were checked)."""
        return f"CASE WHEN {self.fits_single(plain)} THEN 536870913.0 * {plain} - (536870913.0 * {plain} - {plain}) END"

    def call(self, function: str, arguments: list[str]) -> str:
        """The functions greatest and least are max and min of several."""
        if function == "double":
            return f"CAST({arguments[0]} AS REAL)"
        if function in ("greatest", "least"):
            if len(arguments) == 1:
                return arguments[0]
            return f"{'max' if function == 'greatest' else 'min'}({', '.join(arguments)})"
        return super().call(function, arguments)


def _is_clear(value: float, written: Fraction) -> bool:
    """Whether `written`, computed with a relative error of 2**-62 at most, still rounds to `value`."""
    import math

    return abs(written - Fraction(value)) <= Fraction(math.ulp(value)) * Fraction(49, 100)


def _powers(number: int, operator: str, exponent: int) -> str:
    parts = [f"{number}.0" if abs(number) < _MANTISSA else str(number)]
    while exponent:
        power = min(exponent, _POWER)
        parts.append(str(2**power))
        exponent -= power
    return f" {operator} ".join(parts)
