"""Many projects pushed by a cluster: whatever waits for no other project goes to it at once, wave by wave."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path

from builder.content import Platform
from builder.parallel import Stop, each
from builder.pipeline.context import Context
from builder.pipeline.makers import Makers
from builder.pipeline.many.projects import Many, Member
from builder.pipeline.many.running import named
from builder.pipeline.planning import Prepared, prepare
from builder.pipeline.pushing import Pushed, push_all_prepared
from builder.work import workers

__all__ = ["Waves"]


class Waves:
    """What became of projects. The first that is asked for takes with it all that could go at that moment."""

    def __init__(
        self,
        many: Many,
        selected: Set[Path],
        context: Context,
        platforms: Sequence[Platform] | None,
        makers: Makers,
    ) -> None:
        self._many = many
        self._selected = selected
        self._context = context
        self._platforms = platforms
        self._makers = makers
        self._known: dict[Path, Pushed | Exception] = {}
        self._members = {member.file: member for member in many.everybody}

    def of(self, member: Member) -> Pushed:
        """Push `member`, whose dependencies were asked for before; raises what it failed at."""
        if member.file not in self._known:
            self._push([one for one in self._many.everybody if self._may_go(one)])
        found = self._known[member.file]
        if isinstance(found, Exception):
            raise found
        return found

    def _may_go(self, member: Member) -> bool:
        if member.file not in self._selected or member.error is not None or member.file in self._known:
            return False
        return all(self._is_fine(self._members[file]) for file in self._many.needs.get(member.file, ()))

    def _is_fine(self, member: Member) -> bool:
        """Whether others may be built on this one: pushed, or left alone and on good ground itself."""
        if member.file in self._selected:
            return isinstance(self._known.get(member.file), Pushed)
        needs = self._many.needs.get(member.file, ())
        return member.error is None and all(self._is_fine(self._members[file]) for file in needs)

    def _push(self, wave: Sequence[Member]) -> None:
        planned = each(wave, self._plan, Stop(), threads=workers())
        plans = {member.file: one for member, one in zip(wave, planned, strict=True) if isinstance(one, Prepared)}
        self._known |= {
            member.file: one for member, one in zip(wave, planned, strict=True) if isinstance(one, Exception)
        }
        pushed = push_all_prepared(list(plans.values()), self._context, self._makers)
        self._known |= dict(zip(plans, pushed, strict=True))

    def _plan(self, member: Member) -> Prepared | Exception:
        assert member.project is not None
        try:
            return prepare(member.project, named(self._context, member.name), self._platforms)
        except Exception as error:  # this project's alone: the others go on
            return error
