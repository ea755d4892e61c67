"""Real processes at one stage: killed at any request, and many at the same moment; nothing is lost, nothing lies."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from builder.content import Digest
from builder.pipeline.identity import wall_clock
from builder.pipeline.recounting import recount
from builder.releases.chronicle import Memory, append, read_journal
from builder.releases.events import Event
from builder.releases.journal import Journal
from builder.releases.stages import Move, stages_of
from tests.support.proxy import Call, Fault, Proxy, cut, fault_proxy
from tests.support.registry import RegistryServer
from tests.support.releases import Yard, registry_yard
from tests.support.thorough import every

pytestmark = pytest.mark.slow

CODE = Path(__file__).parents[2]


@dataclass
class Site:
    """A repository of a registry whose production stage had 1.0 and 1.1; `folder` is empty, and where people work."""

    yard: Yard
    name: str
    folder: Path

    def start(self, *words: str, host: str | None = None, by: str = "ada") -> subprocess.Popen[str]:
        """The command line, in a process of its own; each person has a machine, which remembers what it read."""
        where = self.yard.target.name if host is None else f"{host}/{self.name}"
        machine = self.folder.parent / f"machine of {by}"
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(machine),
            "LOCKSHIP_CACHE": str(machine / "cache"),
            "LOCKSHIP_USER": by,
            "PYTHONPATH": str(CODE),
            "NO_COLOR": "1",
        }
        return subprocess.Popen(
            [sys.executable, "-m", "builder", *words, "--repository", where],
            cwd=self.folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip

    def run(self, *words: str, host: str | None = None) -> tuple[int, str, str]:
        """Code, stdout, stderr."""
        process = self.start(*words, host=host)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def version(self) -> str | None:
        tag = self.yard.has()
        return next((one for one in ("1.0", "1.1", "1.2", "1.3", "1.4") if self.yard.store.resolve(one) == tag), None)

    def expect_the_truth(self) -> str | None:
        """What the stage has, which is what somebody learns who reads the journal for the first time."""
        found = recount(replace(self.yard.target, memory=Memory()), "production")
        assert not found.problems
        assert found.stages["production"] == (self.yard.has(), self.version())
        return self.version()

    def moves(self) -> tuple[Move, ...]:
        return stages_of(self.yard.journal())["production"].moves


@pytest.fixture
def site(registry: RegistryServer, tmp_path: Path) -> Iterator[Site]:
    name = f"processes/{uuid.uuid4().hex[:12]}"
    with registry_yard(tmp_path, registry.host, name) as yard:
        yard.clock.now = wall_clock() - 1000
        for version in ("1.0", "1.1"):
            yard.release(version)
            yard.promote(version)
        (tmp_path / "empty").mkdir()
        yield Site(yard, name, tmp_path / "empty")


@pytest.fixture
def proxy(registry: RegistryServer) -> Iterator[Proxy]:
    with fault_proxy(registry.host) as found:
        yield found


class Killer:
    """Kills a process at a request: before the registry gets it, or when it has done it and nobody was told."""

    def __init__(self, number: int, *, method: str = "", done: bool) -> None:
        self.number, self.method, self.done = number, method, done
        self.victim: subprocess.Popen[str] | None = None
        self.struck = False
        self._seen = itertools.count()

    def __call__(self, call: Call) -> Fault | None:
        if self.struck or (self.method and call.method != self.method) or next(self._seen) != self.number:
            return None
        self.struck = True
        while self.victim is None:  # it is faster than whoever started it
            pass
        os.kill(self.victim.pid, signal.SIGKILL)
        return cut("sent" if self.done else "before")


def kill_and_run_again(site: Site, proxy: Proxy, killer: Killer, action: str) -> bool:
    """Whether there was somebody to be killed at that request."""
    if action == "promote":
        old = site.version()
        new = "1.0" if old == "1.1" else "1.1"
        words = ("promote", new, "production", "--yes")
    else:
        site.yard.promote("1.0")
        site.yard.promote("1.1")
        old, new, words = "1.1", "1.0", ("rollback", "production", "--yes")
    proxy.faults = killer
    killer.victim = process = site.start(*words, host=proxy.host)
    out, err = process.communicate(timeout=120)
    proxy.faults = None
    assert process.returncode == (-signal.SIGKILL if killer.struck else 0), err
    assert site.expect_the_truth() in (old, new)
    last = site.moves()[-1]
    if action == "rollback" and (last.version, last.state) == (new, "moved"):
        return killer.struck  # all was done and written down: another one would go further back
    code, out, err = site.run(*words, host=proxy.host)
    assert code == 0, err
    assert site.expect_the_truth() == new
    assert out.strip() == site.yard.has()
    assert [move for move in site.moves() if move.state == "pending"] == []
    return killer.struck


@pytest.mark.parametrize(
    ("action", "number", "done"), [("promote", 0, True), ("promote", 1, True), ("rollback", 1, True)]
)
def test_killed_where_something_is_written(site: Site, proxy: Proxy, action: str, number: int, done: bool) -> None:
    assert kill_and_run_again(site, proxy, Killer(number, method="PUT", done=done), action)


@pytest.mark.slow
@pytest.mark.parametrize("action", ["promote", "rollback"])
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_killed_at_any_request(site: Site, proxy: Proxy, action: str, done: bool) -> None:
    moments = range(0, 50, every(7))
    struck = [kill_and_run_again(site, proxy, Killer(number, done=done), action) for number in moments]
    assert sum(struck) > len(moments) / 2
    assert not struck[-1], "it is over by then"


APPENDS = """
import sys
from pathlib import Path
from builder.releases.chronicle import Memory, append, read_journal
from builder.releases.events import Event
from tests.support.releases import registry_yard
folder, host, name, who, count = sys.argv[1:]
with registry_yard(Path(folder) / who, host, name) as yard:
    for number in range(int(count)):
        journal = yard.journal()
        entry = append(yard.store, journal, Event("release", "2026-01-02T03:04:05Z", who, version=f"{who}.{number}"))
        print(entry.digest, " ".join(journal.heads), flush=True)
"""


@pytest.mark.parametrize(("people", "each"), [(3, 4), pytest.param(8, 10, marks=pytest.mark.slow)])
def test_many_who_write_at_once_lose_nothing(registry: RegistryServer, tmp_path: Path, people: int, each: int) -> None:
    name = f"processes/{uuid.uuid4().hex[:12]}"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", APPENDS, str(tmp_path), registry.host, name, f"p{number}", str(each)],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CODE), "HOME": str(tmp_path)},
            stdout=subprocess.PIPE, text=True,
        )
        for number in range(people)
    ]  # fmt: skip
    lines = [line.split() for one in running for line in one.communicate(timeout=300)[0].splitlines()]
    assert [one.returncode for one in running] == [0] * people
    written = {Digest(digest): {Digest(head) for head in heads} for digest, *heads in lines}
    assert len(written) == people * each
    with registry_yard(tmp_path / "reader", registry.host, name) as yard:
        journal = yard.journal()
        assert not journal.problems
        assert {entry.digest for entry in journal.entries} == written.keys()
        assert all(set(entry.saw) == written[entry.digest] for entry in journal.entries)
        named = {digest for entry in journal.entries for digest in entry.saw}
        assert named | set(journal.heads) == written.keys(), "every head was seen, or is one still"
        for who in {entry.event.by for entry in journal.entries}:
            own = [entry.event.version for entry in journal.entries if entry.event.by == who]
            assert own == [f"{who}.{number}" for number in range(each)]
        last = append(yard.store, journal, Event("release", "2026-01-02T03:04:05Z", "last", version="9"))
        assert read_journal(yard.store).heads == (last.digest,)


def causes(journal: Journal) -> dict[Digest, set[Digest]]:
    """For each entry all that it knew of, directly or not."""
    found: dict[Digest, set[Digest]] = {}
    for entry in journal.entries:
        found[entry.digest] = {one for cause in entry.saw for one in (cause, *found[cause])}
    return found


def expect_one_after_the_other(journal: Journal, moves: Sequence[Move]) -> None:
    """Of any two that happened, one began when it knew how the other had ended."""
    knew = causes(journal)
    for one, other in itertools.combinations([move for move in moves if move.happened], 2):
        assert one.ended is not None and other.ended is not None
        assert one.ended.digest in knew[other.entry.digest] or other.ended.digest in knew[one.entry.digest]


LOST = re.compile(
    r"error: ((ada|grace|joan|mary) is at production right now: promote of 1\.\d, begun .*"
    r"|production changed while this was prepared: it has 1\.\d, by (ada|grace|joan|mary), promote of .* now"
    r"|others keep beginning to change production at the same moment)"
)


@pytest.mark.parametrize(("people", "rounds"), [(2, 1), pytest.param(4, 6, marks=pytest.mark.slow)])
def test_operators_who_promote_at_once(site: Site, people: int, rounds: int) -> None:
    versions = ["1.1", "1.2", "1.3", "1.4"][:people]
    for version in versions[1:]:
        site.yard.release(version)
    site.yard.promote("1.0")
    names = ("ada", "grace", "joan", "mary")
    for _ in range(rounds):
        running = [
            site.start("promote", version, "production", "--yes", by=by)
            for by, version in zip(names, versions, strict=False)
        ]
        said = [one.communicate(timeout=120)[1] for one in running]
        codes = [one.returncode for one in running]
        assert set(codes) <= {0, 7}, said
        assert 0 in codes, said
        for code, text in zip(codes, said, strict=True):
            assert code == 0 or LOST.search(text), text
        has = site.expect_the_truth()
        assert has in {version for code, version in zip(codes, versions, strict=True) if code == 0}
        moves = site.moves()
        assert [move for move in moves if move.state == "pending"] == []
        current = stages_of(site.yard.journal())["production"].current
        assert current is not None and current.version == has
        expect_one_after_the_other(site.yard.journal(), moves)
        versions = versions[1:] + versions[:1]


def test_two_who_roll_back_at_once_go_back_once(site: Site) -> None:
    """Both saw the same failure: whoever comes second is told, or finds it done."""
    site.yard.release("1.2")
    site.yard.promote("1.2")
    proposals = [site.yard.propose("rollback", "production") for _ in range(2)]
    assert {one.record.version for one in proposals} == {"1.1"}
    running = [site.start("rollback", "production", "--yes", by=by) for by in ("ada", "grace")]
    said = [one.communicate(timeout=120)[1] for one in running]
    assert 0 in [one.returncode for one in running], said
    assert site.expect_the_truth() in ("1.1", "1.0")
    expect_one_after_the_other(site.yard.journal(), site.moves())
