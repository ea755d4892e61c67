"""A query held to the scores of onnxruntime and of the original: what was compared, and what was off."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from builder.models.contract import Contract, Scalar, from_scalar

__all__ = ["DIALECTS", "Dialect", "Difference", "Group", "Trial", "Verdict", "compare"]

Dialect = Literal["postgres", "sqlite", "duckdb"]
DIALECTS: Final[tuple[Dialect, ...]] = ("postgres", "sqlite", "duckdb")

Cell = bool | int | float | str | None

_TIE: Final = 1e-6  # two best probabilities that are this close: either label is right
_SHOWN: Final = 10  # differing rows that are kept for the message


@dataclass(frozen=True, slots=True)
class Trial:
    """What a query is run on: the statements over the table ``lockship_gate``, its columns, rows, and their scores.

    The table's first column, ``lockship_row``, counts the rows; `columns` are names and tensor types. `expected` has
    onnxruntime's scores by output, row by row; `unscored` rows have none.
    """

    statement: str
    view: bool
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[Cell, ...], ...]
    groups: tuple[tuple[str, int, int], ...]
    unscored: tuple[bool, ...]
    expected: Mapping[str, Sequence[Sequence[Cell]]]

    @classmethod
    def of(cls, answer: Mapping[str, Any], *, view: bool) -> Trial:
        """From what the operation ``sql`` answers."""
        return cls(
            answer["gate"],
            view,
            tuple((one["name"], one["type"]) for one in answer["columns"]),
            tuple(tuple(_plain(cell) for cell in row) for row in answer["rows"]),
            tuple((one["name"], one["start"], one["stop"]) for one in answer["groups"]),
            tuple(answer["unscored"]),
            {
                name: tuple(tuple(_plain(cell) for cell in row) for row in rows)
                for name, rows in answer["expected"].items()
            },
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """A row whose scores are off: its group, its number there, its cells by column, and both outputs."""

    group: str
    row: int
    inputs: Mapping[str, Cell]
    output: str
    expected: Cell
    got: Cell


@dataclass(slots=True)
class Group:
    """Rows that were made for one reason; for `incomparable` ones onnxruntime itself has no finite number."""

    name: str
    rows: int
    unscored: int = 0
    ties: int = 0
    incomparable: int = 0
    different: int = 0
    largest: float = 0.0


@dataclass(slots=True)
class Verdict:
    """What a comparison came to."""

    groups: list[Group] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether no row differs."""
        return not any(group.different for group in self.groups)

    @property
    def rows(self) -> int:
        """How many rows there were."""
        return sum(group.rows for group in self.groups)


def compare(contract: Contract, trial: Trial, got: Mapping[int, Sequence[Cell]]) -> Verdict:
    """Hold `got`, the query's columns by row number, to what is expected; golden rows to the original's scores too."""
    verdict = Verdict()
    for name, start, stop in trial.groups:
        group = Group(name, stop - start)
        verdict.groups.append(group)
        for row in range(start, stop):
            found = _compared(contract, trial, group, row, row - start, got.get(row))
            if found is None:
                continue
            group.different += 1
            if len(verdict.differences) < _SHOWN:
                inputs = {column: cell for (column, _), cell in zip(trial.columns, trial.rows[row], strict=True)}
                verdict.differences.append(Difference(name, row - start, inputs, *found))
    return verdict


def _compared(
    contract: Contract, trial: Trial, group: Group, row: int, number: int, got: Sequence[Cell] | None
) -> tuple[str, Cell, Cell] | None:
    """The first output that is off, with what was expected and what came; None when all is right."""
    if got is None:
        return ("the row", "one row", "none")
    if trial.unscored[row]:
        group.unscored += 1
        return next(((name, None, cell) for name, cell in _named(contract, got) if cell is not None), None)
    references = [{name: rows[row] for name, rows in trial.expected.items()}]
    if group.name == "golden":
        references.append(_original(contract, number))
    for expected in references:
        if not all(_is_finite(cell) for cells in expected.values() for cell in cells):
            if group.name in ("golden", "sample"):
                return ("the score", "a finite number", "none")
            group.incomparable += 1
            return None
        if (found := _off(contract, group, expected, got)) is not None:
            return found
    return None


def _original(contract: Contract, number: int) -> dict[str, Sequence[Cell]]:
    """A golden row's scores, as the original has them."""
    found: dict[str, Sequence[Cell]] = {}
    for output in contract.outputs:
        rows = contract.golden.outputs[output.name]
        found[output.name] = [from_scalar(cell, output.type) for cell in rows[number]]
    return found


def _off(
    contract: Contract, group: Group, expected: Mapping[str, Sequence[Cell]], got: Sequence[Cell]
) -> tuple[str, Cell, Cell] | None:
    wanted = [(name, cell) for one in contract.outputs for name, cell in _each(one.name, expected[one.name])]
    labels = {one.name for one in contract.outputs if one.meaning == "label"}
    if len(wanted) != len(got):
        return ("the columns", len(wanted), len(got))
    for (name, want), cell in zip(wanted, got, strict=True):
        if name in labels:
            if cell == want and isinstance(cell, str) == isinstance(want, str):
                continue
            if not _is_tied(contract, expected):
                return (name, want, cell)
            group.ties += 1
        elif not isinstance(cell, int | float) or not isinstance(want, int | float):
            return (name, want, cell)
        else:
            off = abs(cell - want)
            if not off <= contract.tolerance.absolute + contract.tolerance.relative * abs(want):
                return (name, want, cell)
            group.largest = max(group.largest, off)
    return None


def _named(contract: Contract, got: Sequence[Cell]) -> Iterator[tuple[str, Cell]]:
    names = [one.name for one in contract.outputs for _ in range(one.width or 1)]
    yield from zip(names, got, strict=False)


def _each(name: str, cells: Sequence[Cell]) -> Iterator[tuple[str, Cell]]:
    for cell in cells:
        yield name, cell


def _is_tied(contract: Contract, expected: Mapping[str, Sequence[Cell]]) -> bool:
    output = contract.output("probabilities") or contract.output("scores")
    if output is None:
        return False
    best = sorted(float(cell) for cell in expected[output.name] if isinstance(cell, int | float))[::-1]
    if len(best) == 1:  # one score, whose sign decides
        return abs(best[0]) < _TIE
    return best[0] - best[1] < _TIE * max(1.0, abs(best[0]))


def _is_finite(cell: Cell) -> bool:
    return not isinstance(cell, float) or math.isfinite(cell)


def _plain(cell: Scalar | Mapping[str, str] | None) -> Cell:
    """A cell as the child wrote it: JSON has no NaN."""
    return float(cell["float"]) if isinstance(cell, Mapping) else cell
