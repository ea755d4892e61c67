"""One change of a stage at a time, in stores that know no locks.

Who wants to move a stage writes that down first, and then reads what others wrote: of two at the same moment at least
one sees the other, and steps back. (Writing before reading is how Lamport's bakery, 1974, does without locks, too.)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from builder.content import Digest
from builder.errors import LockshipError, RefusedError, StoreError
from builder.pipeline.identity import Actor, Clock, now
from builder.pipeline.targets import Target
from builder.pipeline.wholeness import require_whole
from builder.releases.chronicle import append, read_journal
from builder.releases.collected import collections_of
from builder.releases.events import ACTIONS, OUTCOMES, Event, Kind
from builder.releases.journal import Entry, Journal
from builder.releases.record import read_record
from builder.releases.stages import Move, settled, stages_of

__all__ = ["Claims", "at_work", "is_over", "marks"]

_TRIES: Final = 6
_WAITS: Final = 120  # seconds that a clean-up gets to finish with what it announced
_active: set[Digest] = set()  # actions that this very process is at


def marks(actor: Actor, clock: Clock, patience: float) -> dict[str, Any]:
    """What an action says about who is at it: the process, and when nobody need believe any more that it lives."""
    until = datetime.fromtimestamp(clock(), UTC) + timedelta(seconds=patience)
    found = {"host": actor.host, "pid": actor.pid, "until": until.strftime("%Y-%m-%dT%H:%M:%SZ")}
    started = _started(actor.pid)
    return found | ({"started": started} if started else {})


def _started(pid: int) -> str | None:
    """When a process of this machine began, in its kernel's ticks (proc(5)): a number may be given out again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # somebody else's, or no number of a process here
        return True
    return True


@contextmanager
def at_work(entry: Entry) -> Iterator[None]:
    """While it lasts, this very process is at what `entry` began."""
    _active.add(entry.digest)
    try:
        yield
    finally:
        _active.discard(entry.digest)


def is_over(entry: Entry, actor: Actor, clock: Clock) -> bool:
    """Whether whoever wrote `entry`, with `marks`, is gone for sure."""
    notes = entry.event.notes
    if _until(entry) < now(clock):
        return True
    pid = notes.get("pid")
    if notes.get("host") != actor.host or not isinstance(pid, int):
        return False
    if pid == os.getpid():
        return entry.digest not in _active
    return not _is_running(pid) or (notes.get("started") or None) != _started(pid)


def _until(entry: Entry) -> str:
    """When nobody need believe any more that its writer lives, by a clock that wasn't behind those of others."""
    said = str(entry.event.notes.get("until", ""))
    if not entry.clock_went_back:
        return said
    try:
        behind = datetime.fromisoformat(entry.time) - datetime.fromisoformat(entry.event.at)
        return (datetime.fromisoformat(said) + behind).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, TypeError, OverflowError):  # somebody else's words
        return said


@dataclass(slots=True)
class Claims:
    """The stage `stage` of `target`, as `actor` changes it. `sleep` waits, `jitter` gives numbers from 0 to 1.

    `journal` is as far as it was read and written here: a later entry of others shows at the next reading.
    """

    target: Target
    stage: str
    actor: Actor
    clock: Clock
    sleep: Callable[[float], None]
    jitter: Callable[[], float]
    journal: Journal | None = None

    def begin(self, event: Event, *, take_over: bool = False) -> Entry:
        """Write the action `event`; nobody else is at this stage then.

        What others left unfinished is concluded, when they are gone for sure or with `take_over`. Raises RefusedError
        when somebody is at it.
        """
        journal = self.settle(take_over=take_over)
        if not take_over and (rivals := self._rivals(journal, None)):
            raise self._busy(rivals[0])
        ignored = {move.entry.digest for move in self._rivals(journal, None)}
        for number in range(_TRIES):
            seen = {one.digest for one in journal.entries}
            entry = self._append(event)
            _active.add(entry.digest)
            try:
                journal = self._read()
                if not self._rivals(journal, entry, ignored) and not self._missed(journal, {*seen, entry.digest}):
                    self._stand_clear(entry)
                    return entry
            except BaseException as error:
                self._step_back(entry, error)
                raise
            self.over(entry)
            self.end(entry, "abandoned", why="somebody else was at it at the same moment")
            self.sleep(0.1 * 2**number * (0.2 + self.jitter()))
            journal = self._read()
            if rivals := self._rivals(journal, None):
                raise self._busy(rivals[0])
            current = stages_of(journal)[self.stage].current
            if current is not None and current.digest != event.previous:
                raise self.changed(current.digest)
        raise RefusedError(
            f"others keep beginning to change {self.stage} at the same moment",
            hint="agree on one of you, and try again",
        )

    def settle(self, *, take_over: bool = False) -> Journal:
        """The journal, in which moves that were cut off have the outcome that the stage's tag tells.

        What is known of it is enough where nobody was at this stage; `begin` looks again behind its own entry.
        """
        if self.journal is None or self._rivals(self.journal, None):
            self._read()
        assert self.journal is not None
        stage = stages_of(self.journal).get(self.stage)
        left = [move for move in stage.pending if take_over or self._is_gone(move.entry)] if stage else []
        if left:
            sure = settled(stages_of(self.journal)[self.stage], self.target.store.resolve(self.stage))
            happened = {move.entry.digest for move in sure.moves if move.happened}
            for move in left:
                kind: Kind = "moved" if move.entry.digest in happened else "abandoned"
                self.end(move.entry, kind, why="it was cut off; the stage's tag tells")
        return self.journal

    def end(self, action: Entry, kind: Kind, why: str = "", **notes: Any) -> Entry:
        """Write what became of `action`."""
        said = {**({"why": why} if why else {}), **notes}
        event = Event(
            kind, now(self.clock), self.actor.by, self.actor.where, stage=self.stage, of=action.digest, notes=said
        )
        return self._append(event)

    def require_time(self, action: Entry) -> None:
        """Raise RefusedError when others may take this process for dead: it slept, and they went on."""
        if _until(action) < now(self.clock):
            raise RefusedError(
                f"this took longer than {action.event.notes.get('until')}: others may have changed {self.stage} since",
                hint="look at `lockship history`, and run the command again",
            )

    def changed(self, tag: Digest | None) -> RefusedError:
        """The error for a stage whose tag, `tag` now, isn't what it was when somebody looked; it says who did that."""
        stage = stages_of(self.journal).get(self.stage) if self.journal is not None else None
        last = stage.current if stage is not None else None
        now = str(tag or "nothing")
        if last is not None and last.digest == tag:
            event = last.entry.event
            now = f"{last.version}, by {event.by}, {event.kind} of {event.at}"
        return RefusedError(
            f"{self.stage} changed while this was prepared: it has {now} now",
            hint="look again at what it has (`lockship history`), and run the command again",
        )

    def _append(self, event: Event) -> Entry:
        journal = self.journal or self._read()
        entry = append(self.target.store, journal, event, memory=self.target.memory)
        self.journal = journal.with_entry(entry)
        return entry

    def _read(self) -> Journal:
        self.journal = read_journal(self.target.store, self.target.memory)
        return self.journal

    def over(self, action: Entry) -> None:
        """This process is no longer at `action`, however it ended."""
        _active.discard(action.digest)

    def _rivals(self, journal: Journal, mine: Entry | None, ignored: Collection[Digest] = ()) -> list[Move]:
        """Moves that are under way: not begun only, but deploying as well."""
        stage = stages_of(journal).get(self.stage)
        if stage is None:
            return []
        current = stage.current
        deploying = current is not None and current.state == "moved" and bool(current.entry.event.notes.get("watched"))
        found = [*stage.pending, *([current] if current and deploying and not self._is_gone(current.entry) else [])]
        own = None if mine is None else mine.digest
        return [move for move in found if move.entry.digest != own and move.entry.digest not in ignored]

    def _missed(self, journal: Journal, seen: Collection[Digest]) -> bool:
        """Whether others were at this stage since: what was begun without knowing how they ended has no place."""
        about = (*ACTIONS, *OUTCOMES)
        return any(
            one.event.stage == self.stage and one.event.kind in about and one.digest not in seen
            for one in journal.entries
        )

    def _is_gone(self, entry: Entry) -> bool:
        return is_over(entry, self.actor, self.clock)

    def _stand_clear(self, action: Entry) -> None:
        """Wait for clean-ups that announced the release before they could see `action`; it is whole afterwards.

        Raises RefusedError when they don't end, StoreError and VerificationError when they took it.
        """
        event, journal = action.event, self.journal or self._read()
        if event.digest is None or not collections_of(journal, event.digest):
            return
        for _ in range(_WAITS):
            if all(end or self._is_gone(begin) for begin, end in collections_of(journal, event.digest)):
                break
            self.sleep(1.0)
            journal = self._read()
        else:
            raise RefusedError(
                f"a clean-up is deleting {event.version} right now",
                hint="look at `lockship history`, and run the command again when it is done",
            )
        require_whole(self.target.store, event.digest, self.target.name)
        if read_record(self.target.store, event.version or "") is None:
            raise StoreError(f"{self.target.name}: a clean-up took the record of {event.version}")

    def _step_back(self, action: Entry, error: BaseException) -> None:
        """Nothing was moved: say so, where that is possible; else the stage's tag tells."""
        self.over(action)
        if isinstance(error, LockshipError):
            with suppress(LockshipError):
                self.end(action, "abandoned", why=error.message)

    def _busy(self, rival: Move) -> RefusedError:
        event = rival.entry.event
        return RefusedError(
            f"{event.by} is at {self.stage} right now: {event.kind} of {rival.version}, begun {event.at}"
            + (f" ({event.where})" if event.where else ""),
            hint=f"wait for it (it counts as dead after {event.notes.get('until', '?')}), or --take-over when you know "
            "that it is",
        )
