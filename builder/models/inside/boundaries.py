"""Rows on both sides of everything in a model that branches or jumps.

A tree reads what the steps before it make of a column. Which value of the column makes it cross a threshold
is found by halving, with the steps themselves: so any scaler, imputer or cast is undone, whatever it computes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from builder.models.inside.branches import Ensemble, ensembles, reached
from builder.models.inside.feeds import evenly, feeds, session
from builder.models.inside.neighbours import between, next_to
from builder.models.inside.parts import INNER, part
from builder.models.inside.table import Table

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

__all__ = ["Crossing", "around", "jumps", "thresholds"]

CONTEXTS = 512  # rows of the sample that are sent through the trees
MOST_THRESHOLDS = 750
SEARCHED = 16  # columns in which jumps are looked for
GRID = 33
FEW = 24  # rows that show which column a tree's column comes from


class Crossing(NamedTuple):
    """At row `row` of the sample, in column `column`, the model changes its mind between `below` and `above`."""

    row: int
    column: str
    below: Any
    above: Any


class Part:
    """Some tensors of a model, for rows of the sample with other values in one column."""

    def __init__(self, model: onnx.ModelProto, inputs: list[dict[str, Any]], sample: Table, tensors: list[str]) -> None:
        self.sample = sample
        self.inputs = inputs
        self.names = [INNER + name for name in tensors]
        self.session = session(part(model, tensors), 1)

    def run(self, table: Table) -> list[NDArray[Any]]:
        """The tensors, `[rows, columns]` float64 each."""
        import numpy as np

        given = self.session.run(self.names, feeds(table, self.inputs))
        return [np.asarray(one, dtype=np.float64).reshape(len(table), -1) for one in given]

    def with_values(self, rows: Rows, columns: list[str], values: list[Any]) -> Table:
        """`rows` of the sample, with ``values[i]`` in ``columns[i]`` at the i-th."""
        changed = {name: self.sample[name][rows].copy() for name in self.sample}
        for place, (name, value) in enumerate(zip(columns, values)):  # noqa: B905 - equally long
            changed[name][place] = value
        return Table(changed)


def thresholds(
    model: onnx.ModelProto, inputs: list[dict[str, Any]], sample: Table, kinds: dict[str, str]
) -> list[Crossing]:
    """Crossings of the trees' thresholds, evenly chosen among those that rows of the sample come by.

    `kinds` are the columns in which to look, with the type of their numbers; `sample` has no missing values in them.
    """
    import numpy as np

    forest = ensembles(model)
    if not forest or not len(sample) or not kinds:
        return []
    whole = Part(model, inputs, sample, list(dict.fromkeys(ensemble.tensor for ensemble in forest)))
    contexts = evenly(np.arange(len(sample), dtype=np.int64), CONTEXTS)
    made = dict(zip(whole.names, whole.run(sample.take(contexts))))  # noqa: B905
    sources = _sources(whole, kinds, contexts)
    wanted = [
        (name, contexts[row] if row >= 0 else contexts[number % len(contexts)], feature, value, sources[name][feature])
        for name, ensemble in ((INNER + one.tensor, one) for one in forest)
        for number, (row, feature, value) in enumerate(_chosen(ensemble, made[name]))
        if feature in sources[name]
    ]
    chosen = [wanted[place] for place in evenly(np.arange(len(wanted), dtype=np.int64), MOST_THRESHOLDS)]
    return [
        crossing
        for kind in sorted(set(kinds.values()))
        for crossing in _cross(whole, [one for one in chosen if kinds[one[4]] == kind], kind)
    ]


def _chosen(ensemble: Ensemble, rows: NDArray[Any]) -> list[tuple[int, int, float]]:
    """Thresholds with a row that comes by: by column and value, each once, those that are reached before others."""
    import numpy as np

    seen = reached(ensemble, rows)
    order = np.lexsort((ensemble.value, ensemble.feature, seen < 0))
    keys = np.stack([ensemble.feature[order].astype(np.float64), ensemble.value[order]], axis=1)
    _, first = np.unique(keys, axis=0, return_index=True)
    some = order[np.sort(first)]
    visited = some[seen[some] >= 0]
    picked = visited if len(visited) >= MOST_THRESHOLDS else some
    picked = evenly(picked, MOST_THRESHOLDS)
    return [(int(seen[i]), int(ensemble.feature[i]), float(ensemble.value[i])) for i in picked]


def _sources(whole: Part, kinds: dict[str, str], contexts: Rows) -> dict[str, dict[int, str]]:
    """For each tensor and column of it, the column of the sample that moves it the most."""
    import numpy as np

    few = evenly(contexts, FEW)
    before = whole.run(whole.sample.take(few))
    strongest: list[NDArray[Any]] = [np.zeros(one.shape[1]) for one in before]
    found: dict[str, dict[int, str]] = {name: {} for name in whole.names}
    for column in kinds:
        values = whole.sample[column]
        low, high = values.min(), values.max()
        other = np.where(values[few] == high, low, high) if low < high else values[few] + 1
        after = whole.run(whole.with_values(few, [column] * len(few), list(other)))
        for place, name in enumerate(whole.names):
            moved = np.nan_to_num(np.abs(after[place] - before[place])).sum(axis=0)
            for feature in np.flatnonzero(moved > strongest[place]).tolist():
                found[name][feature] = column
            strongest[place] = np.maximum(moved, strongest[place])
    return found


def _cross(whole: Part, wanted: list[tuple[str, Any, int, float, str]], kind: str) -> list[Crossing]:
    import numpy as np

    if not wanted:
        return []
    rows = np.array([row for _, row, _, _, _ in wanted], dtype=np.int64)
    columns = [column for *_, column in wanted]
    places = [whole.names.index(name) for name, *_ in wanted]
    features, values = [one[2] for one in wanted], np.array([one[3] for one in wanted])

    def test(numbers: NDArray[Any]) -> NDArray[np.bool_]:
        made = whole.run(whole.with_values(rows, columns, list(numbers)))
        read = np.array([made[place][i, feature] for i, (place, feature) in enumerate(zip(places, features))])  # noqa: B905
        with np.errstate(invalid="ignore"):
            return read <= values

    low, high = _wide(whole.sample, columns, kind)
    differ = test(low) != test(high)
    below, above = between(low, high, kind, test)
    return [
        Crossing(int(rows[i]), columns[i], below[i].item(), above[i].item()) for i in np.flatnonzero(differ).tolist()
    ]


def _wide(sample: Table, columns: list[str], kind: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """For each of `columns` a number well below and one well above all of the sample's."""
    import numpy as np

    ends = {}
    for name in set(columns):
        low, high = float(sample[name].min()), float(sample[name].max())
        ends[name] = (low - (high - low) - 1, high + (high - low) + 1)
    with np.errstate(over="ignore"):
        lows = np.array([ends[name][0] for name in columns]).astype(kind)
        highs = np.array([ends[name][1] for name in columns]).astype(kind)
    return lows, highs


def jumps(
    model: onnx.ModelProto, inputs: list[dict[str, Any]], outputs: list[str], sample: Table, kinds: dict[str, str]
) -> list[Crossing]:
    """Crossings where one of `outputs`, which are numbers, jumps along a column of the sample."""
    import numpy as np

    floating = [name for name, kind in kinds.items() if kind != "int64"]
    if not outputs or not len(sample) or not floating:
        return []
    whole = Part(model, inputs, sample, outputs)
    columns = [floating[i] for i in evenly(np.arange(len(floating), dtype=np.int64), SEARCHED)] * 2
    rows = np.resize(evenly(np.arange(len(sample), dtype=np.int64), 7), len(columns))
    found = []
    for kind in sorted({kinds[name] for name in columns}):
        mine = [i for i, name in enumerate(columns) if kinds[name] == kind]
        try:
            found += _steepest(whole, rows[mine], [columns[i] for i in mine], kind)
        except Exception:  # noqa: S112 - onnxruntime's own: the model takes none but the values that it knows
            continue
    return list(dict.fromkeys(found))


def _steepest(whole: Part, rows: Rows, columns: list[str], kind: str) -> list[Crossing]:
    import numpy as np

    lows = np.array([whole.sample[name].min() for name in columns], dtype=np.float64)
    highs = np.array([whole.sample[name].max() for name in columns], dtype=np.float64)
    grid = np.linspace(lows, highs, GRID, axis=1).astype(kind)

    def score(numbers: NDArray[Any], times: int) -> NDArray[Any]:
        table = whole.with_values(np.repeat(rows, times), [c for c in columns for _ in range(times)], list(numbers))
        made = np.nan_to_num(np.concatenate(whole.run(table), axis=1))
        return np.asarray(made.reshape(len(rows), times, -1))

    scores = score(grid.ravel(), GRID)
    spread = np.ptp(scores.reshape(-1, scores.shape[2]), axis=0)
    steps = np.abs(np.diff(scores, axis=1)) / np.where(spread > 0, spread, np.inf)
    at = steps.max(axis=2).argmax(axis=1)
    every = np.arange(len(rows))
    output = steps[every, at].argmax(axis=1)
    left, right = scores[every, at, output], scores[every, at + 1, output]

    def nearer_left(numbers: NDArray[Any]) -> NDArray[np.bool_]:
        got = score(numbers, 1)[every, 0, output]
        return np.asarray(np.abs(got - left) < np.abs(got - right))

    below, above = between(grid[every, at], grid[every, at + 1], kind, nearer_left)
    leap = np.abs(score(above, 1)[every, 0, output] - score(below, 1)[every, 0, output])
    real = (leap > 1e-3 * spread[output]) & (leap > 0)
    return [Crossing(int(rows[i]), columns[i], below[i].item(), above[i].item()) for i in np.flatnonzero(real).tolist()]


def around(crossings: list[Crossing], kinds: dict[str, str], sample: Table) -> Table:
    """Four rows for each crossing: both sides, and the next value on either."""
    import numpy as np

    rows = np.repeat(np.array([one.row for one in crossings], dtype=np.int64), 4)
    columns = {name: sample[name][rows].copy() for name in sample}
    for place, crossing in enumerate(crossings):
        kind = kinds[crossing.column]
        pair = np.array([crossing.below, crossing.above], dtype=kind)
        low, high = min(pair.tolist()), max(pair.tolist())
        outer = [next_to(np.array([low], dtype=kind), kind, -1)[0], next_to(np.array([high], dtype=kind), kind, 1)[0]]
        columns[crossing.column][4 * place : 4 * place + 4] = [outer[0], low, high, outer[1]]
    return Table(columns)
