"""PostgreSQL, 12 and newer."""

from __future__ import annotations

from builder.models.inside.sql.words import Words

__all__ = ["Postgres"]

_TYPES = {"float32": "double precision", "float64": "double precision", "int64": "bigint"}


class Postgres(Words):
    """Decimals are of type numeric until something makes them doubles; casts that overflow or underflow are errors."""

    title = "PostgreSQL"
    materialized = "MATERIALIZED "
    longest_name = 63
    most_columns = 1600

    def text(self, value: str) -> str:
        """With a backslash, as an escape string: then standard_conforming_strings doesn't matter."""
        quoted = super().text(value)
        return "E" + quoted.replace("\\", "\\\\") if "\\" in value else quoted

    def number(self, value: float) -> str:
        """Typed: without it, a CASE of decimals would be numeric."""
        return f"{value + 0.0!r}::float8" if value >= 0 else f"({value!r})::float8"

    def source(self, column: str, kind: str) -> str:
        """NaN equals itself, and is larger than everything."""
        if kind == "string":
            return f'CAST({column} AS text) COLLATE "C"'
        if kind == "bool":
            return f"CASE WHEN {column} THEN 1 WHEN NOT {column} THEN 0 END"
        cast = f"CAST({column} AS {_TYPES[kind]})"
        return cast if kind == "int64" else f"NULLIF({cast}, 'NaN'::float8)"

    def single(self, value: str, plain: str) -> str:
        """By way of real."""
        return (
            f"CASE WHEN {self.fits_single(plain)} THEN CASE WHEN abs({plain}) < 1e-44::float8 THEN 0.0::float8 "
            f"ELSE CAST(CAST({value} AS real) AS double precision) END END"
        )
