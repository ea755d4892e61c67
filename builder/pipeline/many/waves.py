"""Many projects given to a cluster: whatever waits for no other project goes to it at once, wave by wave."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from builder.content import Platform
from builder.parallel import Stop, each, each_alone
from builder.pipeline.context import Context
from builder.pipeline.makers import Makers
from builder.pipeline.many.projects import Many, Member
from builder.pipeline.many.running import named
from builder.pipeline.planning import Prepared, prepare
from builder.pipeline.pushing import Pushed, push_all_prepared
from builder.work import workers

if TYPE_CHECKING:
    from builder.pipeline.releasing import Checked, Released

__all__ = ["Waves", "push_wave", "release_wave"]

T = TypeVar("T")


class Waves(Generic[T]):
    """What became of projects. The first that is asked for takes with it all that could go at that moment.

    `together` does the work for some, in their order: for each what came of it, or what it failed at.
    """

    def __init__(
        self, many: Many, selected: Set[Path], together: Callable[[Sequence[Member]], Sequence[T | Exception]]
    ) -> None:
        self._many = many
        self._selected = selected
        self._together = together
        self._known: dict[Path, T | Exception] = {}
        self._members = {member.file: member for member in many.everybody}

    def of(self, member: Member) -> T:
        """Do the work for `member`, whose dependencies were asked for before; raises what it failed at."""
        if member.file not in self._known:
            wave = [one for one in self._many.everybody if self._may_go(one)]
            self._known |= zip((one.file for one in wave), self._together(wave), strict=True)
        found = self._known[member.file]
        if isinstance(found, Exception):
            raise found
        return found

    def _may_go(self, member: Member) -> bool:
        if member.file not in self._selected or member.error is not None or member.file in self._known:
            return False
        return all(self._is_fine(self._members[file]) for file in self._many.needs.get(member.file, ()))

    def _is_fine(self, member: Member) -> bool:
        """Whether others may be built on this one: done, or left alone and on good ground itself."""
        if member.file in self._selected:
            return not isinstance(self._known.get(member.file, _NOT_YET), Exception)
        needs = self._many.needs.get(member.file, ())
        return member.error is None and all(self._is_fine(self._members[file]) for file in needs)


_NOT_YET = Exception()


def push_wave(
    wave: Sequence[Member], context: Context, platforms: Sequence[Platform] | None, makers: Makers
) -> list[Pushed | Exception]:
    """Plan and push the projects of a wave."""

    def plan(member: Member) -> Prepared | Exception:
        assert member.project is not None
        try:
            return prepare(member.project, named(context, member.name), platforms)
        except Exception as error:  # this project's alone: the others go on
            return error

    planned = each(wave, plan, Stop(), threads=workers())
    pushed = iter(push_all_prepared([one for one in planned if isinstance(one, Prepared)], context, makers))
    return [next(pushed) if isinstance(one, Prepared) else one for one in planned]


def release_wave(
    wave: Sequence[Member], check: Callable[[Member, Stop], AbstractContextManager[Checked]]
) -> list[Released | Exception]:
    """Check, convert and plan the projects of a wave one after the other, and make releases of them at once."""
    from builder.pipeline.releasing import finish

    stops = [Stop() for _ in wave]
    found: dict[int, Released | Exception] = {}
    ready: dict[int, Checked] = {}
    with ExitStack() as stores:
        for number, member in enumerate(wave):
            try:
                ready[number] = stores.enter_context(check(member, stops[number]))
            except Exception as error:  # this project's alone: the others go on
                found[number] = error
        found |= zip(ready, each_alone(list(ready.values()), finish, [stops[one] for one in ready]), strict=True)
    return [found[number] for number in range(len(wave))]
