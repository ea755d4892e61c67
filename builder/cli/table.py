"""Plain tables: aligned columns that can be read, copied and grepped."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["table"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """`rows` below `head`, columns as wide as needed; those in `right` are flush right."""
    from rich.cells import cell_len

    lines = [tuple(head), *(tuple(row) for row in rows)] if any(head) else [tuple(row) for row in rows]
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(lines[0]))] if lines else []
    return "\n".join(
        "  ".join(
            (" " * (width - cell_len(cell)) + cell) if column in right else (cell + " " * (width - cell_len(cell)))
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
