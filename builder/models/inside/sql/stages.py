"""The stages of a query: each computes columns from those of the stages before, so that nothing is computed twice."""

from __future__ import annotations

from collections.abc import Sequence

from builder.models.inside.sql.tree import Condition, Expression, Name, names_in

__all__ = ["Stages"]


class Stages:
    """Columns by stage; stage 0 holds the table's."""

    def __init__(self) -> None:
        self.columns: list[dict[str, Expression | None]] = [{}]
        self._known: dict[Expression, Name] = {}

    def source(self) -> Name:
        """One more column of the table."""
        name = Name(0, f"x{len(self.columns[0])}")
        self.columns[0][name.name] = None
        return name

    def named(self, value: Expression, prefix: str) -> Name:
        """`value` as a column, in the first stage that can have it."""
        if isinstance(value, Name) and value.stage:
            return value
        if value not in self._known:
            stage = 1 + max((name.stage for name in names_in(value)), default=0)
            while len(self.columns) <= stage:
                self.columns.append({})
            count = sum(name[0] == prefix for stage_ in self.columns for name in stage_)
            self._known[value] = Name(stage, f"{prefix}{count}")
            self.columns[stage][f"{prefix}{count}"] = value
        return self._known[value]

    def needed(self, final: Sequence[Expression | Condition]) -> list[list[str]]:
        """The columns that each stage must hand on (its own and earlier ones'), given what the last select reads.

        Stages whose columns nobody reads come out empty.
        """
        wanted = dict.fromkeys(name for one in final for name in names_in(one))
        handed: list[list[str]] = []
        for number in range(len(self.columns) - 1, -1, -1):
            handed.append([name.name for name in sorted(wanted, key=_order)])
            own = [name for name in wanted if name.stage == number]
            for name in own:
                del wanted[name]
                value = self.columns[number][name.name]
                wanted.update(dict.fromkeys(names_in(value)))
        return handed[::-1]


def _order(name: Name) -> tuple[int, str, int]:
    return name.stage, name.name[0], int(name.name[1:])
