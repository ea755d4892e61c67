"""What every dialect of SQL has in common; `postgres`, `sqlite` and `duckdb` say where they differ."""

from __future__ import annotations

from builder.models.inside.problem import Problem
from builder.models.inside.sql.floats import FLOAT32_LIMIT

__all__ = ["Words"]


class Words:
    """A dialect's words. Names are always quoted, texts and numbers always literals: nothing is interpolated."""

    title = "SQL"
    materialized = ""
    """Behind AS, where the columns of a WITH query would otherwise be computed as often as they are read."""
    create_view = "CREATE OR REPLACE VIEW"
    longest_name: int | None = None  # bytes
    most_columns = 1000
    largest = 1 << 20
    """Bytes of a query that was measured to be planned in seconds."""

    def name(self, name: str) -> str:
        """An identifier (SQL-92, 5.2: a double quote is doubled)."""
        if "\0" in name or not name:
            raise Problem(f"{name!r} can't be the name of a column or table")
        if self.longest_name and len(name.encode()) > self.longest_name:
            raise Problem(
                f"{name!r} is longer than the {self.longest_name} bytes that {self.title} has for a name",
                hint="rename the column in a view, and in the training data",
            )
        return '"' + name.replace('"', '""') + '"'

    def text(self, value: str) -> str:
        """A text."""
        if "\0" in value:
            raise Problem(f"the category {value!r} has a zero byte, which {self.title} can't write")
        return "'" + value.replace("'", "''") + "'"

    def number(self, value: float) -> str:
        """A double, exactly: the shortest decimal that reads as it."""
        return repr(value + 0.0)

    def source(self, column: str, kind: str) -> str:
        """A column of the table as a double, bigint, text or flag; what is no number becomes NULL."""
        raise NotImplementedError

    def filled(self, text: str) -> str:
        """A text column, with an empty text where it is NULL."""
        return f"COALESCE({text}, '')"

    def single(self, value: str, plain: str) -> str:
        """`value` rounded to a float32; `plain` is a short name for it. NULL for what is too large for one."""
        raise NotImplementedError

    def call(self, function: str, arguments: list[str]) -> str:
        """A function of `tree.Call`."""
        if function in ("abs", "exp", "sqrt", "greatest", "least", "coalesce"):
            return f"{function}({', '.join(arguments)})"
        (value,) = arguments
        if function == "defined":
            return f"NULLIF({value}, {self.number(0.0)})"
        if function == "nonzero":
            return f"COALESCE(NULLIF({value}, {self.number(0.0)}), {self.number(1.0)})"
        if function == "double":
            return f"CAST({value} AS double precision)"
        raise ValueError(function)

    def fits_single(self, value: str) -> str:
        """The condition that a number rounds to a finite float32."""
        return f"abs({value}) < {self.number(FLOAT32_LIMIT)}"
