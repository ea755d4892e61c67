"""Rows for the gate, and what onnxruntime makes of them: the sample's, and those that a query may get wrong."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.models.inside.problem import Problem
from builder.models.inside.sql.floats import FLOAT32_LIMIT
from builder.models.inside.sql.translation import LARGEST_DOUBLE, Feature, Translation
from builder.models.inside.sql.tree import (
    And,
    Call,
    Case,
    Compare,
    Condition,
    Expression,
    In,
    Or,
    Product,
    Quotient,
    Sum,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["scored_rows"]

Cell = Any
_MOST = 4000  # rows around thresholds
_SAMPLE = 20000
_ODD_TEXTS = ["", " ", "a", "ä", "ß€𝄞", "it's", 'say "no"', "back\\slash", "%_", "line\nbreak", "NULL", "unheard of"]
_NUMBERS = [0.0, -0.0, 1.0, -1.0, 0.1, 1e-3, 1e9, -1e9, 16777217.0, 1e-45, 1e-60, 3.4e38, -3.4e38, 1e39, -1e39, 1e120]
_INTEGERS = [0, 1, -1, 16777217, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]


def scored_rows(
    translated: Translation, contract: dict[str, Any], model: Path, sample: str | None, seed: int
) -> dict[str, Any]:
    """`rows` of cells, `groups` of them, and `expected` by output; a row without a score is in `unscored`."""
    import numpy as np

    golden = _golden(contract)
    groups: list[tuple[str, list[list[Cell]]]] = [("golden", golden)]
    base = _sampled(translated, sample) if sample else golden
    if sample:
        groups.append(("sample", base))
    random = np.random.default_rng(seed)
    groups.append(("thresholds", _thresholds(translated, base, random)))
    groups.append(("missing", _missing(translated, base)))
    groups.append(("extremes", _extremes(translated, base)))
    groups.append(("categories", _categories(translated, base)))
    rows = [row for _, some in groups for row in some]
    unscored = [not _has_score(translated.features, row) for row in rows]
    starts = np.cumsum([0] + [len(some) for _, some in groups]).tolist()
    return {
        "rows": [[_portable(cell) for cell in row] for row in rows],
        "groups": [
            {"name": name, "start": start, "stop": stop}
            for (name, _), start, stop in zip(groups, starts, starts[1:], strict=False)
        ],
        "unscored": unscored,
        "expected": _scored(contract, model, rows, unscored),
    }  # fmt: skip


def _portable(cell: Cell) -> Cell:
    """JSON has no NaN and no infinities."""
    if isinstance(cell, float) and not math.isfinite(cell):
        return {"float": repr(cell)}
    return cell


def _sampled(translated: Translation, sample: str) -> list[list[Cell]]:
    from builder.models.inside.table import read_table

    table = read_table(Path(sample))
    if lacking := [one.title for one in translated.features if one.title not in table.columns]:
        raise Problem(f"the sample has no column {lacking[0]!r}", hint="it needs every column of the model")
    columns = [_plain(table[one.title][:_SAMPLE].tolist(), one) for one in translated.features]
    if not columns or not columns[0]:
        raise Problem("the sample has no rows")
    return [list(row) for row in zip(*columns, strict=False)]


def _golden(contract: dict[str, Any]) -> list[list[Cell]]:
    tensors = [contract["golden"]["inputs"][tensor["name"]] for tensor in contract["inputs"]]
    kinds = [tensor["type"] for tensor in contract["inputs"] for _ in tensor["features"]]
    empties = [one.get("missing") for tensor in contract["inputs"] for one in tensor["features"]]
    rows = [[cell for tensor in row for cell in tensor] for row in zip(*tensors, strict=False)]
    return [[_cell(cell, kind, empty) for cell, kind, empty in zip(row, kinds, empties, strict=False)] for row in rows]


def _cell(cell: Cell, kind: str, missing: str | None) -> Cell:
    if kind in ("float32", "float64"):
        value = float(cell)  # it reads the contract's "NaN" and "Infinity" too
        return None if math.isnan(value) else value
    return None if kind == "string" and cell == "" and missing == "empty" else cell


def _plain(values: list[Any], feature: Feature) -> list[Cell]:
    kind = feature.column.type
    if kind == "string":
        return [None if value is None else str(value) for value in values]
    absent = [value is None or (isinstance(value, float) and math.isnan(value)) for value in values]
    convert: Any = {"int64": int, "bool": bool}.get(kind, float)
    return [None if gone else convert(value) for gone, value in zip(absent, values, strict=False)]


def _thresholds(translated: Translation, base: list[list[Cell]], random: np.random.Generator) -> list[list[Cell]]:
    """For each bound that the query compares a column with: that value, and its neighbours on both sides."""
    bounds: dict[str, set[float]] = {}
    for stage in translated.stages.columns:
        for value in stage.values():
            _collect(value, bounds)
    cells: list[tuple[int, Cell]] = []
    for number, feature in enumerate(translated.features):
        for bound in sorted(bounds.get(feature.column.name.name, ())):
            if feature.column.type == "int64":
                near: list[Cell] = [int(bound) - 1, int(bound), int(bound) + 1]
            elif feature.column.type == "bool":
                near = [False, True]
            else:
                near = [math.nextafter(bound, -math.inf), bound, math.nextafter(bound, math.inf)]
            cells += [(number, value) for value in near if feature.column.type != "int64" or -(2**63) <= value < 2**63]
    if len(cells) > _MOST:
        start = random.integers(0, 3)
        step = len(cells) / _MOST
        cells = [cells[int(start + number * step) % len(cells)] for number in range(_MOST)]
    rows = []
    for place, (number, value) in enumerate(cells):
        row = list(base[place % len(base)])
        row[number] = value
        rows.append(row)
    return rows


def _collect(one: Expression | Condition | None, bounds: dict[str, set[float]]) -> None:
    if isinstance(one, Compare):
        value = getattr(one.right, "value", None)
        if one.left.stage == 0 and isinstance(value, (int, float)):
            bounds.setdefault(one.left.name, set()).add(value)
    elif isinstance(one, (And, Or, Sum)):
        for part in one.parts:
            _collect(part, bounds)
    elif isinstance(one, (Product, Quotient)):
        _collect(one.left, bounds)
        _collect(one.right, bounds)
    elif isinstance(one, Call):
        for argument in one.arguments:
            _collect(argument, bounds)
    elif isinstance(one, Case):
        for condition, value in one.branches:
            _collect(condition, bounds)
            _collect(value, bounds)
        _collect(one.otherwise, bounds)


def _missing(translated: Translation, base: list[list[Cell]]) -> list[list[Cell]]:
    """Each column missing, and all of them."""
    rows = [_with(base[number % len(base)], number, None) for number in range(len(translated.features))]
    return [*rows, [None] * len(translated.features)]


def _extremes(translated: Translation, base: list[list[Cell]]) -> list[list[Cell]]:
    """Very small, very large, infinite and not-a-number; the sample's own lowest and highest too."""
    rows = []
    for number, feature in enumerate(translated.features):
        kind = feature.column.type
        if kind == "string":
            continue
        own = [row[number] for row in base if row[number] is not None]
        few: dict[str, list[Cell]] = {"int64": [*_INTEGERS], "bool": [False, True]}
        values = few.get(kind) or [
            *_NUMBERS,
            math.inf,
            -math.inf,
            math.nan,
        ]
        for place, value in enumerate([*values, *([min(own), max(own)] if own else [])]):
            rows.append(_with(base[(number + place) % len(base)], number, value))
    return rows


def _categories(translated: Translation, base: list[list[Cell]]) -> list[list[Cell]]:
    """Each category, with a changed case, with spaces, and others."""
    rows = []
    for number, feature in enumerate(translated.features):
        known = _listed(translated, feature)
        if feature.column.type == "string":
            texts = [str(one) for one in known]
            cells: list[Cell] = [*texts, *_ODD_TEXTS]
            for one in texts[:20]:
                cells += [one + " ", one.upper(), one.lower(), one[:-1]]
        elif known and feature.column.type == "int64":
            cells = [*known, *(int(one) + 1 for one in known[:20])]
        else:
            continue
        rows += [_with(base[place % len(base)], number, cell) for place, cell in enumerate(cells[:400])]
    return rows


def _listed(translated: Translation, feature: Feature) -> list[Any]:
    """The values that the query compares a column with, and the contract's categories."""
    found: dict[Any, None] = dict.fromkeys(feature.categories or ())

    def look(one: Any) -> None:
        if isinstance(one, In) and one.left == feature.column.name:
            found.update(dict.fromkeys(one.values))
        elif isinstance(one, (And, Or, Sum)):
            for part in one.parts:
                look(part)
        elif isinstance(one, Case):
            for condition, value in one.branches:
                look(condition)
                look(value)
            look(one.otherwise)
        elif isinstance(one, (Product, Quotient)):
            look(one.left)
            look(one.right)

    for stage in translated.stages.columns:
        for value in stage.values():
            look(value)
    return list(found)


def _with(row: list[Cell], number: int, cell: Cell) -> list[Cell]:
    changed = list(row)
    changed[number] = cell
    return changed


def _has_score(features: tuple[Feature, ...], row: list[Cell]) -> bool:
    """Whether the contract has a score for a row; see the query's header."""
    return all(_may_be(feature, cell) for feature, cell in zip(features, row, strict=False))


def _may_be(feature: Feature, cell: Cell) -> bool:
    if cell is None and feature.missing == "empty":
        cell = ""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return feature.missing == "nan" and (feature.imputed or not feature.computed)
    if feature.refuses_others and feature.categories and cell not in feature.categories:
        return False
    if feature.computed and isinstance(cell, float):
        return abs(cell) < (FLOAT32_LIMIT if feature.column.type == "float32" else LARGEST_DOUBLE)
    return True


def _scored(contract: dict[str, Any], model: Path, rows: list[list[Cell]], unscored: list[bool]) -> dict[str, Any]:
    """By output, a list of cells a row; rows without a score are scored as the first one that has a score."""
    import numpy as np

    from builder.models.inside.feeds import session

    good = next((row for row, gone in zip(rows, unscored, strict=False) if not gone), rows[0])
    kept = [good if gone else row for row, gone in zip(rows, unscored, strict=False)]
    columns = list(zip(*kept, strict=False))
    feeds: dict[str, NDArray[Any]] = {}
    place = 0
    for tensor in contract["inputs"]:
        own = [_array(columns[place + number], tensor["type"]) for number in range(len(tensor["features"]))]
        place += len(own)
        feeds[tensor["name"]] = np.stack(own, axis=1)
    names = [one["name"] for one in contract["outputs"]]
    try:
        results = session(str(model), 1).run(names, feeds)
    except Exception as error:  # its exceptions have no common base but this
        raise Problem(f"onnxruntime refuses a row: {' '.join(str(error).split())[:300]}") from error
    shown = {}
    for output, result in zip(contract["outputs"], results, strict=False):
        table = np.asarray(result).reshape(len(rows), -1).tolist()
        shown[output["name"]] = [[_portable(cell) for cell in row] for row in table]
    return shown


def _array(cells: tuple[Cell, ...], kind: str) -> NDArray[Any]:
    import numpy as np

    if kind == "string":
        return np.array(["" if cell is None else cell for cell in cells], dtype=object)
    if kind in ("int64", "bool"):
        return np.array([0 if cell is None else cell for cell in cells], dtype=kind)
    with np.errstate(over="ignore"):
        return np.array([math.nan if cell is None else cell for cell in cells], dtype=np.float64).astype(kind)
