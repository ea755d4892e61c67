"""Running commands and saying what they cost: seconds, processor seconds, memory."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CommandError", "Cost", "Memory", "median", "paired_ratio", "run", "run_watched"]

_PAGE = os.sysconf("SC_PAGE_SIZE")
_INTERVAL = 0.01  # seconds between two looks at the processes


class CommandError(Exception):
    """A measured command failed; there is nothing to measure then."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run took: seconds, by the clock and of processors, and what it printed to stdout and stderr.

    `user` and `system` are seconds of processors, of the command and of what it started and waited for.
    """

    seconds: float
    stdout: str
    stderr: str
    user: float = 0.0
    system: float = 0.0


@dataclass(frozen=True, slots=True)
class Memory:
    """The peaks of a process tree in bytes.

    `rss` sums the resident pages of all processes and so counts shared pages several times; `pss` shares them out;
    `largest` is the resident size of the largest single process.
    """

    rss: int
    pss: int
    largest: int


def run(argv: Sequence[str], environ: Mapping[str, str], *, cwd: Path | None = None, settle: bool = True) -> Cost:
    """Run a command to its end; raises CommandError with the end of its stderr when it fails.

    With `settle`, what earlier commands wrote is brought to the disk first, so that each pays for itself only.
    """
    if settle:
        os.sync()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(argv, env=environ, cwd=cwd, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-25:])
        raise CommandError(f"{' '.join(argv[:6])} … ended with status {done.returncode}:\n{tail}")
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return Cost(seconds, done.stdout, done.stderr, user, system)


def run_watched(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[Cost, Memory]:
    """As `run`, watching the memory of the command and of everything it starts; watching costs time."""
    start = time.perf_counter()
    process = subprocess.Popen(
        argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    watcher = _Watcher(process.pid)
    watcher.start()
    stdout, stderr = process.communicate()
    watcher.stop()
    if process.returncode:
        raise CommandError(f"{' '.join(argv[:6])} … ended with status {process.returncode}:\n{stderr[-2000:]}")
    return Cost(time.perf_counter() - start, stdout, stderr), watcher.peak


class _Watcher(threading.Thread):
    """Looks at every process of a session, again and again."""

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self._session = session
        self._ended = threading.Event()
        self.peak = Memory(0, 0, 0)

    def run(self) -> None:
        while not self._ended.is_set():
            self._look()
            self._ended.wait(_INTERVAL)

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def _look(self) -> None:
        rss: list[int] = []
        pss = 0
        for name in os.listdir("/proc"):  # noqa: PTH208  (many times a second)
            if not name.isdigit():
                continue
            with suppress(OSError, ValueError, IndexError):
                # the program's name may hold anything, even ")": fields are counted from the last one
                stat = _read(f"/proc/{name}/stat").rpartition(")")[2].split()
                if int(stat[3]) != self._session:
                    continue
                rss.append(int(_read(f"/proc/{name}/statm").split()[1]) * _PAGE)
                pss += _pss(name)
        if rss:
            self.peak = Memory(max(self.peak.rss, sum(rss)), max(self.peak.pss, pss), max(self.peak.largest, *rss))


def _pss(name: str) -> int:
    for line in _read(f"/proc/{name}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: str) -> str:
    with open(path, errors="replace") as file:  # noqa: PTH123  (as above)
        return file.read()


def median(samples: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(samples)


def paired_ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """How many times longer theirs took, run by run.

    Each repetition ran one after the other, so what else the machine did meanwhile hit both.
    """
    return statistics.median(their / our for their, our in zip(theirs, ours, strict=True))
