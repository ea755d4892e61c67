"""What a person looks at: the worst rows, the points and bars of the plots; and the rows that go into the contract."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from builder.models.inside.differences import TIE
from builder.models.inside.feeds import evenly, feature_names, feeds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from builder.models.inside.compare import Compared
    from builder.models.inside.table import Table

__all__ = ["cell", "golden_rows", "histogram", "scatter", "worst_rows"]

WORST = 12
POINTS = 400
GOLDEN = 10
EXPONENTS = range(-17, 3)
LONGEST = 400


def cell(value: Any) -> bool | int | float | str | None:
    """A value as JSON has it: NaN and infinities are text, missing text is null."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _cells(values: Any) -> Any:
    return [cell(value) for value in values.tolist()] if getattr(values, "ndim", 0) else cell(values)


def worst_rows(table: Table, job: dict[str, Any], found: Compared) -> list[dict[str, Any]]:
    """The rows that are off the most, wrong ones first, with inputs and both outputs; none that agree exactly."""
    import numpy as np

    order = np.lexsort((np.arange(len(found.rows)), -found.excess, ~found.label, ~found.wrong))
    order = order[(found.strict & (found.wrong | found.label | (found.excess > 0)))[order]][:WORST]
    names = [name for name in feature_names(job["inputs"]) if name in table.columns]
    return [_worst(table, job, found, int(place), names) for place in order]


def _worst(table: Table, job: dict[str, Any], found: Compared, place: int, names: list[str]) -> dict[str, Any]:
    row = int(found.rows[place])
    group = next(group for group in job["groups"] if group["start"] <= row < group["stop"])
    return {
        "row": row,
        "group": group["name"],
        "place": row - group["start"],
        "wrong": bool(found.wrong[place]),
        "why": _why(found, place),
        "inputs": {name: _shortened(cell(table[name][row])) for name in names},
        "outputs": {
            name: {"expected": _cells(found.expected[name][place]), "got": _cells(found.got[name][place])}
            for name in found.expected
        },
    }


def _why(found: Compared, place: int) -> str:
    if found.mismatched[place]:
        return "label"
    if found.outside[place]:
        return "numbers"
    if found.label[place]:
        return "tie"
    return "unsteady" if found.unsteady[place] else "difference"


def _shortened(value: bool | int | float | str | None) -> bool | int | float | str | None:
    if isinstance(value, str) and len(value) > LONGEST:
        return f"{value[:LONGEST]}… ({len(value):,} characters)"
    return value


def histogram(found: Compared) -> list[dict[str, Any]]:
    """For each numeric output how many rows are off by how much, in powers of ten; on the rows that count."""
    import numpy as np

    plots = []
    for name, compared in found.numbers.items():
        off, outside = compared.absolute[found.strict], compared.outside[found.strict]
        lone = np.isinf(compared.excess[found.strict]) & (off == 0)
        with np.errstate(divide="ignore"):
            powers = np.where(off > 0, np.clip(np.floor(np.log10(off)), EXPONENTS[0], EXPONENTS[-1]), -np.inf)
        bins = [
            {
                "exponent": power,
                "rows": int((powers == power).sum()),
                "outside": int((outside & (powers == power)).sum()),
            }
            for power in EXPONENTS
        ]
        exact = int(((off == 0) & ~lone).sum())
        plots.append({"output": name, "exact": exact, "not_finite": int(lone.sum()), "bins": bins})
    return plots


def scatter(found: Compared) -> list[dict[str, Any]]:
    """For each numeric output some pairs of expected and got, all kinds of wrong ones among them.

    Of two classes the second is shown; of several columns the one with the greatest differences.
    """
    import numpy as np

    plots = []
    for name, compared in found.numbers.items():
        want = found.expected[name].astype(np.float64).reshape(len(found.rows), -1)
        have = found.got[name].astype(np.float64).reshape(len(found.rows), -1)
        finite = np.isfinite(want) & np.isfinite(have)
        column = _telling(want, have, finite) if want.shape[1] else 0
        usable = np.flatnonzero(finite[:, column] & found.strict) if want.shape[1] else np.empty(0, dtype=np.int64)
        bad = usable[compared.outside[usable]]
        shown = np.union1d(
            evenly(usable, POINTS), bad[np.argsort(-compared.absolute[bad], kind="stable")][: POINTS // 4]
        )
        points = [[float(want[i, column]), float(have[i, column]), bool(compared.outside[i])] for i in shown.tolist()]
        plots.append({"output": name, "column": column, "rows": len(usable), "points": points})
    return plots


def _telling(want: NDArray[np.float64], have: NDArray[np.float64], finite: NDArray[np.bool_]) -> int:
    import numpy as np

    if want.shape[1] <= 2:
        return int(want.shape[1]) - 1
    with np.errstate(all="ignore"):
        greatest: list[float] = np.where(finite, np.abs(want - have), 0.0).max(axis=0, initial=0.0).tolist()
    return max(range(len(greatest)), key=greatest.__getitem__)


def golden_rows(table: Table, job: dict[str, Any], found: Compared) -> dict[str, Any]:
    """Some of the sample's rows on which both agree, without ties: tensors in, the original's scores out, by row."""
    import numpy as np

    sample = next((group for group in job["groups"] if group["name"] == "sample"), None)
    if sample is None or not found.expected:
        return {"rows": [], "inputs": {}, "outputs": {}}
    part = found.within(sample["start"], sample["stop"])
    good = np.flatnonzero(~found.wrong & ~found.label & (found.gaps > TIE))
    good = evenly(good[(good >= part.start) & (good < part.stop)], GOLDEN)
    rows = found.rows[good]
    tensors = feeds(table.take(rows), job["inputs"])
    return {
        "rows": [int(row) - sample["start"] for row in rows],
        "inputs": {name: [_cells(row) for row in tensor] for name, tensor in tensors.items()},
        "outputs": {
            output["name"]: [_row(found.expected[output["name"]][i], output["type"]) for i in good]
            for output in job["outputs"]
            if output["name"] in found.expected
        },
    }


def _row(values: Any, kind: str) -> list[Any]:
    """As cells of a tensor of type `kind`: the original's label may be a float where the model's is a whole number."""
    import numpy as np

    as_type = {"int64": int, "bool": bool, "string": str, "float32": float, "float64": float}[kind]
    return [cell(as_type(value)) for value in np.asarray(values).reshape(-1).tolist()]
