"""DuckDB."""

from __future__ import annotations

from builder.models.inside.sql.words import Words

__all__ = ["DuckDB"]

_TYPES = {"float32": "DOUBLE", "float64": "DOUBLE", "int64": "BIGINT"}


class DuckDB(Words):
    """Decimals without an exponent are of type DECIMAL."""

    title = "DuckDB"

    def number(self, value: float) -> str:
        """With an exponent."""
        shown = repr(value + 0.0)
        return shown if "e" in shown else f"{shown.removesuffix('.0')}e0"

    def source(self, column: str, kind: str) -> str:
        """NaN equals itself, and is larger than everything. CAST would keep a collation that the column has."""
        if kind == "string":
            return f"CAST({column} AS VARCHAR) COLLATE C"
        if kind == "bool":
            return f"CASE WHEN {column} THEN 1 WHEN NOT {column} THEN 0 END"
        cast = f"CAST({column} AS {_TYPES[kind]})"
        return cast if kind == "int64" else f"NULLIF({cast}, 'NaN'::DOUBLE)"

    def single(self, value: str, plain: str) -> str:
        """By way of FLOAT; a cast that overflows is an error."""
        return f"CASE WHEN {self.fits_single(plain)} THEN CAST(CAST({value} AS FLOAT) AS DOUBLE) END"
