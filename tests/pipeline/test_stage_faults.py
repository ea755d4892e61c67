"""A stage that is promoted or rolled back while everything fails, at every step: its tag names the old release or the
new one, the journal says which, and the next run finishes."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from builder.content import Digest
from builder.errors import LockshipError, RefusedError, StoreError
from builder.parallel import Stop
from builder.pipeline.claiming import Claims
from builder.pipeline.promoting import Machine, Moved, carry_out
from builder.pipeline.recounting import recount
from builder.pipeline.targets import Target
from builder.releases.chronicle import Memory, read_journal
from builder.releases.journal import Journal
from builder.releases.stages import stages_of
from tests.support.folders import Writes
from tests.support.proxy import Call, Fault, Faults, Proxy, answer, at, cut, fault_proxy, matching, stalled
from tests.support.registry import RegistryServer
from tests.support.releases import Yard, layout_yard, registry_yard
from tests.support.thorough import every

pytestmark = pytest.mark.slow

METHODS = "GET HEAD POST PUT PATCH DELETE"
NOBODY = 2**22 + 1  # no process has that number


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody needs to wait for a test."""
    monkeypatch.setattr(Stop, "wait", lambda self, seconds: self.check())


@dataclass
class Ground:
    """A stage with a past, seen directly (`yard`) and by somebody to whom things happen (`victim`)."""

    yard: Yard
    victim: Yard

    def promote_on(self) -> tuple[str, str]:
        """Whatever the stage has, 1.1 or 1.2 is to come: what it has, and what is to come."""
        has = self.version()
        return has, "1.2" if has == "1.1" else "1.1"

    def version(self) -> str:
        """What the tag names."""
        tag = self.yard.has()
        return next(one for one in ("1.0", "1.1", "1.2") if self.yard.store.resolve(one) == tag)

    def act(self, action: str, version: str | None, *, pid: int | None = None) -> Moved:
        """The victim does it, as a process of its own."""
        proposal = self.victim.propose(action, "production", version)
        return carry_out(self.victim.target, self.victim.context, proposal, self.victim.machine("grace", pid=pid))

    def expect_the_truth(self, *versions: str) -> str:
        """The tag names one of `versions`, and whoever reads the journal for the first time learns which."""
        fresh = replace(self.yard.target, memory=Memory())
        has = self.version()
        assert has in versions
        found = recount(fresh, "production")
        assert found.stages["production"] == (self.yard.has(), has)
        assert not found.problems
        return has

    def expect_the_end(self, version: str) -> None:
        """`version` is there, and nothing is open any more."""
        self.expect_the_truth(version)
        stage = stages_of(self.yard.journal())["production"]
        assert stage.pending == ()
        assert stage.current is not None and stage.current.version == version

    def open(self) -> int:
        return len(stages_of(self.yard.journal())["production"].pending)


@pytest.fixture
def proxy(registry: RegistryServer) -> Iterator[Proxy]:
    with fault_proxy(registry.host) as found:
        yield found


@pytest.fixture
def ground(registry: RegistryServer, proxy: Proxy, tmp_path: Path) -> Iterator[Ground]:
    """Three releases of which the stage had all, 1.2 last; the victim comes through the proxy."""
    name = f"faults/{uuid.uuid4().hex[:12]}"
    with (
        registry_yard(tmp_path, registry.host, name) as yard,
        registry_yard(tmp_path / "victim", proxy.host, name) as victim,
    ):
        victim.clock = yard.clock
        prepare(yard)
        yield Ground(yard, victim)


def prepare(yard: Yard) -> None:
    for version in ("1.0", "1.1", "1.2"):
        yard.release(version)
        yard.promote(version)


def lasting(number: int, fault: Fault) -> Faults:
    """From that request on nothing works any more."""
    return matching(METHODS, "", fault, skip=number)


ONCE = [cut("before"), cut("sent"), cut("down"), answer(500), answer(503), stalled(0.01)]
FOREVER = [cut("before"), cut("sent"), answer(503), answer(500), cut("down")]


def broken(ground: Ground, proxy: Proxy, faults: Faults, action: str, wanted: str | None, old: str, new: str) -> bool:
    """Whether a run under `faults` failed; whatever it did, the next one finishes."""
    proxy.clear()
    proxy.faults = faults
    failed = False
    try:
        ground.act(action, wanted, pid=NOBODY)
    except LockshipError as error:
        failed = True
        assert error.exit_code in (5, 6), error
    has = ground.expect_the_truth(old, new)
    assert failed or has == new
    assert ground.open() <= 1
    proxy.faults = None
    if failed or ground.open():
        again = ground.act(action, wanted)
        assert (again.entry is None) == (has == new), "what is there already is not done once more"
    ground.expect_the_end(new)
    return failed


def break_a_promotion(ground: Ground, proxy: Proxy, faults: Faults) -> bool:
    """Break it, look, and run it again."""
    old, new = ground.promote_on()
    return broken(ground, proxy, faults, "promote", new, old, new)


def break_a_rollback(ground: Ground, proxy: Proxy, faults: Faults) -> bool:
    """The same, to the release that was there before: never to the one before that."""
    ground.yard.promote("1.2")
    return broken(ground, proxy, faults, "rollback", None, "1.2", "1.1")


def from_write(number: int, fault: Fault) -> Faults:
    """From the PUT of that number on nothing works any more."""
    seen = itertools.count()
    begun: list[bool] = []

    def choose(call: Call) -> Fault | None:
        if call.method == "PUT" and next(seen) == number:
            begun.append(True)
        return fault if begun else None

    return choose


def test_cut_for_good_where_something_is_written(ground: Ground, proxy: Proxy) -> None:
    """The claim, the tag, what became of it: not sent at all, or done without an answer."""
    assert break_a_promotion(ground, proxy, from_write(0, cut("sent")))
    assert break_a_promotion(ground, proxy, from_write(1, cut("before")))
    assert break_a_promotion(ground, proxy, from_write(1, cut("sent")))
    assert break_a_rollback(ground, proxy, from_write(1, cut("sent")))
    # the tag has moved: it is done, and nobody need do it again
    assert not break_a_rollback(ground, proxy, from_write(2, cut("sent")))
    assert not break_a_promotion(ground, proxy, from_write(2, cut("before")))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FOREVER, ids=lambda one: str(one.cut or one.status))
@pytest.mark.parametrize("how", [break_a_promotion, break_a_rollback])
def test_cut_for_good_at_any_request(ground: Ground, proxy: Proxy, fault: Fault, how: Callable[..., bool]) -> None:
    moments = range(0, 40, every(5))
    failed = [how(ground, proxy, lasting(number, fault)) for number in moments]
    assert sum(failed) > len(moments) / 4
    assert not failed[-1], "it is over by then"
    # in the middle of no body nothing is cut, and the last answers have none
    assert fault.cut == "down" or failed == sorted(failed, reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ONCE, ids=lambda one: str(one.cut or one.status or "slow"))
def test_what_fails_once_is_done_all_the_same(ground: Ground, proxy: Proxy, fault: Fault) -> None:
    for number in range(0, 40, every(5)):
        _, new = ground.promote_on()
        proxy.clear()
        proxy.faults = at(number, fault)
        assert ground.act("promote", new).entry is not None
        ground.expect_the_end(new)
        assert not [one for one in stages_of(ground.yard.journal())["production"].moves if one.state != "moved"]


def test_what_is_cut_once_where_something_is_written_is_done(ground: Ground, proxy: Proxy) -> None:
    for number, fault in zip(range(3), (cut("sent"), cut("before"), answer(503)), strict=True):
        _, new = ground.promote_on()
        proxy.faults = matching("PUT", "", fault, skip=number, times=1)
        ground.act("promote", new)
        ground.expect_the_end(new)


def test_a_claim_that_could_not_be_looked_behind_is_given_up(ground: Ground, proxy: Proxy) -> None:
    """The registry was away for a moment too long; it is back before the process is: nobody has to wait for it."""
    old, new = ground.promote_on()
    proxy.clear()
    proxy.faults = matching("GET", "tags/list", answer(503), skip=1)
    with pytest.raises(StoreError):
        ground.act("promote", new)
    assert ground.open() == 0
    proxy.faults = None
    ground.expect_the_truth(old)
    ground.act("promote", new)
    ground.expect_the_end(new)


def test_whoever_comes_second_is_told_who_was_first(tmp_path: Path) -> None:
    """Two who looked at the same moment, and want the same: what one did is not done twice, unseen."""
    yard = layout_yard(tmp_path)
    prepare(yard)
    seen = [yard.propose("rollback", "production") for _ in range(2)]
    carry_out(yard.target, yard.context, seen[0], yard.machine("grace"))
    with pytest.raises(RefusedError, match=r"production changed .*: it has 1\.1, by grace, rollback of .* now"):
        carry_out(yard.target, yard.context, seen[1], yard.machine("ada"))
    states = [(move.entry.event.by, move.state) for move in stages_of(yard.journal())["production"].moves[3:]]
    assert states == [("grace", "moved"), ("ada", "abandoned")]
    assert yard.has() == yard.store.resolve("1.1")


@pytest.mark.parametrize("when", ["behind the journal", "before it"])
def test_a_rollback_that_others_do_while_somebody_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Tag and journal are two reads: whatever comes between, nobody is sent forward to what was just left."""
    yard = layout_yard(tmp_path)
    prepare(yard)

    def read(*arguments: Any) -> Journal:
        monkeypatch.undo()
        found = read_journal(*arguments)
        yard.rollback()
        return found if when == "behind the journal" else read_journal(*arguments)

    monkeypatch.setattr("builder.pipeline.promoting.read_journal", read)
    proposal = yard.propose("rollback", "production")
    assert proposal.record.version == "1.1" and yard.has() == yard.store.resolve("1.1")
    with suppress(RefusedError):
        carry_out(yard.target, yard.context, proposal, yard.machine("ada"))
    assert yard.has() == yard.store.resolve("1.1")


def test_a_move_while_somebody_reads_the_history_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = layout_yard(tmp_path)
    prepare(yard)

    def read(*arguments: Any) -> Journal:
        monkeypatch.undo()
        found = read_journal(*arguments)
        yard.rollback()
        return found

    monkeypatch.setattr("builder.pipeline.recounting.read_journal", read)
    found = recount(yard.target)
    assert not found.problems
    assert found.stages["production"] == (yard.has(), "1.1")


def test_who_slept_too_long_moves_nothing(ground: Ground) -> None:
    """Others may have taken it for dead, and gone on: the stage may even have the same release again."""
    old, new = ground.promote_on()
    proposal = ground.yard.propose("promote", "production", new)
    machine = ground.yard.machine("grace")

    class Sleepy(Claims):
        def begin(self, *args: Any, **more: Any) -> Any:
            entry = super().begin(*args, **more)
            ground.yard.clock.now += 10_000
            return entry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builder.pipeline.promoting.Claims", Sleepy)
        with pytest.raises(LockshipError, match="this took longer than"):
            carry_out(ground.yard.target, ground.yard.context, proposal, machine)
    ground.expect_the_end(old)


# clocks


@pytest.fixture(params=["layout", "registry"])
def yard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Yard]:
    """A store of each kind with three releases that the stage had."""
    if request.param == "layout":
        made = layout_yard(tmp_path)
        prepare(made)
        yield made
        return
    server: RegistryServer = request.getfixturevalue("registry")
    with registry_yard(tmp_path, server.host, f"faults/{uuid.uuid4().hex[:12]}") as made:
        prepare(made)
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Yard:
    """The same in a folder alone."""
    made = layout_yard(tmp_path)
    prepare(made)
    return made


def test_a_clock_that_goes_backwards(yard: Yard) -> None:
    """Order is what saw what; the stage has what was done last, and the journal says that the clock was wrong."""
    yard.clock.now -= 1_000_000
    yard.promote("1.1")
    yard.clock.now -= 1_000_000
    assert yard.rollback().proposal.record.version == "1.2"
    found = recount(yard.target, "production")
    assert found.stages["production"][1] == "1.2" and not found.problems
    assert [line.entry.event.version for line in found.lines[-2:]] == ["1.1", "1.2"]
    assert [line.entry.clock_went_back for line in found.lines[-2:]] == [True, True]
    times = [line.entry.time for line in found.lines]
    assert times == sorted(times)


def test_somebody_whose_clock_is_behind_is_not_taken_for_dead(folder: Yard) -> None:
    yard = folder
    from builder.pipeline.identity import Actor
    from builder.pipeline.promoting import _event

    elsewhere = Machine(Actor("grace", "", "elsewhere", 1), lambda: yard.clock.now - 100_000, lambda seconds: None)
    proposal = yard.propose("promote", "production", "1.1")
    claims = Claims(yard.target, "production", elsewhere.actor, elsewhere.clock, elsewhere.sleep, elsewhere.jitter)
    claims.begin(_event(proposal, elsewhere))
    with pytest.raises(LockshipError, match="grace is at production right now"):
        yard.promote("1.0")
    yard.clock.now += 100_000
    yard.promote("1.0")


# folders


@pytest.mark.parametrize("action", ["promote", "rollback"])
def test_a_folder_that_takes_nothing_from_any_write_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    made = layout_yard(tmp_path)
    prepare(made)
    ground = Ground(made, made)
    counter = Writes(tmp_path / "store", monkeypatch)
    ground.act(action, "1.1")
    count = counter.count
    assert count > 6
    for number in range(count):
        if action == "rollback":
            made.promote("1.2")
        old, new = ground.promote_on()
        wanted = new if action == "promote" else None
        counter.count, counter.fails = 0, number
        done = False
        try:
            ground.act(action, wanted, pid=NOBODY)
            done = True
        except StoreError as error:
            assert "No space left" in error.message
        counter.fails = 1 << 30
        assert ground.expect_the_truth(old, new) == new or not done
        assert ground.open() <= 1
        if not done or ground.open():
            ground.act(action, wanted)
        ground.expect_the_end(new)


def test_a_memory_on_a_full_disk_is_no_failure(tmp_path: Path) -> None:
    made = layout_yard(tmp_path)
    prepare(made)
    (tmp_path / "no").write_text("in the way")
    made.target = Target(made.store, made.target.name, None, Memory(tmp_path / "no/memory"))
    made.promote("1.1")
    assert made.has() == made.store.resolve("1.1")


def test_releases_that_a_clean_up_took(folder: Yard) -> None:
    """They are nothing to go back to, and not among those that are there."""
    yard = folder
    from builder.releases.chronicle import append
    from builder.releases.collected import notes_of
    from builder.releases.events import Event
    from builder.releases.record import record_tag
    from tests.support.releases import stamp

    taken = yard.store.resolve("1.1")
    record = yard.store.resolve(record_tag("1.1"))
    assert taken is not None and record is not None
    begun = append(
        yard.store, yard.journal(), Event("collect", stamp(yard.clock), "ada", notes=notes_of({taken: "1.1"}, [taken]))
    )
    for digest in (record, taken):
        yard.store.delete(digest)
    append(yard.store, yard.journal(), Event("collect", stamp(yard.clock), "ada", of=begun.digest))
    with pytest.raises(StoreError, match=r"no release '1\.1'") as caught:
        yard.rollback(version="1.1")
    assert caught.value.hint == "releases that are there: 1.2, 1.0"
    assert yard.rollback().proposal.record.version == "1.0"


def test_a_tag_that_somebody_moved_by_hand_shows(folder: Yard) -> None:
    yard = folder
    found = yard.store.manifest(Digest(str(yard.store.resolve("1.0"))))
    assert found is not None
    yard.store.put_manifest(found.descriptor, found.data, tag="production", move=True)
    yard.store.put_manifest(found.descriptor, found.data, tag="staging", move=True)
    (problem,) = recount(yard.target).problems
    assert "somebody moved its tag without lockship" in problem
