"""Which rows a scorer refuses: found by halving, so that a few bad ones among many cost little."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from builder.models.inside.problem import Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from builder.models.inside.table import Table

    Rows = NDArray[np.int64]
    Scores = dict[str, NDArray[Any]]
    Scorer = Callable[[Rows], Scores]

__all__ = ["Outcome", "alike", "score_rows"]

MOST_CALLS = 400  # for one set of rows
MOST_MESSAGES = 20
MOST_PATTERNS = 40


class Outcome:
    """Scores by output, for the rows in `rows` (ascending); `refused` are the others.

    `messages` are the scorer's words, each with the rows that it was said of. `skipped` are those among `refused`
    that nobody asked about one by one, because too many of their neighbours were refused.
    """

    def __init__(self) -> None:
        self.parts: list[tuple[Rows, Scores]] = []
        self.refused: list[int] = []
        self.skipped: list[int] = []
        self.messages: dict[str, list[int]] = {}

    def refuse(self, rows: Rows, message: str, *, skipped: bool = False) -> None:
        """Note that `rows` got no scores."""
        listed = rows.tolist()
        self.refused.extend(listed)
        if skipped:
            self.skipped.extend(listed)
        if message in self.messages or len(self.messages) < MOST_MESSAGES:
            self.messages.setdefault(message, []).extend(listed)

    @property
    def rows(self) -> Rows:
        """The rows that have scores."""
        import numpy as np

        scored = [rows for rows, _ in self.parts]
        return np.sort(np.concatenate(scored)) if scored else np.empty(0, dtype=np.int64)

    def scores(self) -> Scores:
        """By output, in the order of `rows`."""
        import numpy as np

        if not self.parts:
            return {}
        order = np.argsort(np.concatenate([rows for rows, _ in self.parts]), kind="stable")
        names = self.parts[0][1]
        return {name: np.concatenate([scores[name] for _, scores in self.parts])[order] for name in names}


def score_rows(scorer: Scorer, sets: Iterable[list[Rows]]) -> Outcome:
    """Score every set of rows, each in as few calls as may be; a scorer refuses rows by raising (all but Problem).

    A set is tried as a whole, then in the parts it is given in, then in halves of those.
    """
    outcome = Outcome()
    for parts in sets:
        _halve(scorer, parts, outcome)
    outcome.refused.sort()
    outcome.skipped.sort()
    for listed in outcome.messages.values():
        listed.sort()
    return outcome


def _halve(scorer: Scorer, parts: list[Rows], outcome: Outcome) -> None:
    import numpy as np

    whole = np.sort(np.concatenate(parts))
    waiting = deque([whole] if len(whole) else [])
    calls = 0
    while waiting:
        part = waiting.popleft()
        calls += 1
        try:
            outcome.parts.append((part, scorer(part)))
        except Problem:
            raise
        except Exception as error:  # whatever other people's code raises is its way to refuse
            message = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            middle = len(part) // 2
            if middle == 0:
                outcome.refuse(part, message)
            elif calls == 1 and len(parts) > 1:
                waiting += parts
            elif calls >= MOST_CALLS:
                outcome.refuse(part, message, skipped=True)
            else:
                waiting += (part[:middle], part[middle:])


def alike(table: Table, groups: list[dict[str, Any]]) -> list[list[Rows]]:
    """The rows of each group in parts that lack the same columns: refusals mostly go by that."""
    import numpy as np

    lacking = [_unusual(column) for column in table.columns.values()]
    codes = np.zeros(len(table), dtype=np.int64)
    for mask in lacking:  # renumbered at each step, so that any number of columns fits
        _, codes = np.unique(codes * 2 + mask, return_inverse=True)
    sets = []
    for group in groups:
        own = codes[group["start"] : group["stop"]]
        patterns, counts = np.unique(own, return_counts=True)
        common = patterns[np.argsort(-counts, kind="stable")][:MOST_PATTERNS]
        parts = [np.flatnonzero(own == code) + group["start"] for code in common]
        parts.append(np.flatnonzero(~np.isin(own, common)) + group["start"])
        sets.append([part for part in parts if len(part)])
    return [parts for parts in sets if parts]


def _unusual(column: NDArray[Any]) -> NDArray[np.bool_]:
    import numpy as np

    if column.dtype == object:
        return np.array([value is None for value in column.tolist()], dtype=bool)
    return ~np.isfinite(column) if column.dtype.kind == "f" else np.zeros(len(column), dtype=bool)
