"""`promote`, `rollback` and `approve` as people call them: from an empty folder, on a terminal and without one."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from builder.pipeline.identity import wall_clock
from builder.releases.chronicle import Memory
from builder.releases.keys import create
from builder.releases.stages import stages_of
from tests.support.releases import Yard, layout_yard

pytestmark = pytest.mark.slow

CODE = Path(__file__).parents[2]

# Ctrl-C comes from the terminal that a process belongs to
_ON_THE_LINE = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@dataclass
class Desk:
    """A folder with nothing in it, and a store elsewhere whose production stage had 1.0 and 1.1."""

    yard: Yard
    folder: Path
    environ: dict[str, str]

    def words(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "builder", *words, "--repository", self.yard.target.name]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Without a terminal."""
        return subprocess.run(
            self.words(*words), cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False,
        )  # fmt: skip

    def talk(self, *words: str, answer: bytes) -> tuple[int, str]:
        """On a terminal, where somebody answers the first question; the exit code, and all that was on the screen."""
        terminal, line = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-c", _ON_THE_LINE, *self.words(*words)],
            cwd=self.folder, env=self.environ, stdin=line, stdout=line, stderr=line, start_new_session=True,
        )  # fmt: skip
        os.close(line)
        screen, answered = b"", False
        with suppress(OSError):  # Linux says EIO when the other side is closed
            while True:
                if answer == b"\x03" and answered and not select.select([terminal], [], [], 5)[0]:
                    os.write(terminal, answer)  # it came just before Python waited for input, which goes on then: again
                if not (read := os.read(terminal, 1 << 16)):
                    break
                screen += read
                if not answered and b"[y/N]" in screen:
                    answered = True
                    os.write(terminal, answer)
        os.close(terminal)
        return process.wait(120), screen.decode().replace("\r\n", "\n")

    @property
    def has(self) -> str | None:
        tag = self.yard.has()
        return next((one for one in ("1.0", "1.1", "1.2") if self.yard.store.resolve(one) == tag), None)

    @property
    def entries(self) -> int:
        return len(self.yard.journal().entries)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    yard = layout_yard(tmp_path)
    yard.clock.now = wall_clock() - 1000
    for version in ("1.0", "1.1"):
        yard.release(version)
        yard.promote(version)
    yard.release("1.2")
    (tmp_path / "empty").mkdir()
    environ = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "LOCKSHIP_CACHE": str(tmp_path / "cache"), "NO_COLOR": "1",
        "LOCKSHIP_USER": "grace", "PYTHONPATH": str(CODE), "TERM": "dumb",
    }  # fmt: skip
    return Desk(yard, tmp_path / "empty", environ)


def test_rolled_back_from_an_empty_folder(desk: Desk) -> None:
    done = desk.run("rollback", "production", "--yes", "--reason", "it was slow")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == desk.yard.store.resolve("1.0")
    assert "production: 1.1 (" in done.stderr and "production has 1.0 now" in done.stderr
    assert desk.has == "1.0"
    last = stages_of(desk.yard.journal())["production"].moves[-1].entry.event
    assert (last.by, last.kind, last.notes["reason"]) == ("grace", "rollback", "it was slow")
    assert list(desk.folder.iterdir()) == []


def document(done: subprocess.CompletedProcess[str], code: int) -> dict[str, Any]:
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["ok"] is (code == 0)
    return found


def test_documents(desk: Desk) -> None:
    moved = document(desk.run("rollback", "production", "--yes", "--json"), 0)
    assert moved["schema"] == "dev.lockship.rollback/v1"
    assert (moved["stage"], moved["version"], moved["changed"], moved["healthy"]) == ("production", "1.0", True, None)
    assert moved["previous"] == {"digest": desk.yard.store.resolve("1.1"), "version": "1.1"}
    assert moved["entry"] in {one.digest for one in desk.yard.journal().entries}
    again = document(desk.run("rollback", "production", "--yes", "--json"), 7)
    assert again["schema"] == "dev.lockship.error/v1" and again["exit_code"] == 7
    assert again["error"]["kind"] == "RefusedError" and "nothing to roll back to" in again["error"]["message"]
    there = document(desk.run("promote", "1.0", "production", "--json"), 0)
    assert there["schema"] == "dev.lockship.promote/v1"
    assert (there["changed"], there["entry"], there["why"]) == (False, None, "the stage has it already")


def test_a_version_that_is_not_there(desk: Desk) -> None:
    entries = desk.entries
    missing = document(desk.run("rollback", "production", "--to", "9.9", "--yes", "--json"), 5)
    assert "no release '9.9': production stays as it is" in missing["error"]["message"]
    assert missing["error"]["hint"] == "releases that are there: 1.2, 1.1, 1.0"
    assert (desk.has, desk.entries) == ("1.1", entries)


def test_without_a_terminal_nobody_is_asked(desk: Desk) -> None:
    entries = desk.entries
    for words in (("rollback", "production"), ("promote", "1.2", "production"), ("rollback", "production", "--json")):
        done = desk.run(*words)
        assert done.returncode == 2, done.stderr
        assert "nobody is here to say that production may change" in done.stderr and "--yes" in done.stderr
    assert (desk.has, desk.entries) == ("1.1", entries)


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 7), (b"\n", 7), (b"\x04", 130), (b"\x03", 130)])
def test_somebody_who_doubts_changes_nothing(desk: Desk, answer: bytes, code: int) -> None:
    """No, nothing at all, the end of input, Ctrl-C."""
    entries = desk.entries
    got, screen = desk.talk("rollback", "production", answer=answer)
    assert got == code, screen
    shown, _, _ = screen.partition("[y/N]")
    assert "production: 1.1 (" in shown and "→ 1.0 (" in shown, "what changes is shown first"
    assert "rollback production to 1.0?" in shown
    assert "Traceback" not in screen
    assert (desk.has, desk.entries) == ("1.1", entries)


def test_somebody_who_says_yes(desk: Desk) -> None:
    code, screen = desk.talk("promote", "1.2", "production", answer=b"y\n")
    assert code == 0, screen
    assert "production has 1.2 now" in screen
    assert desk.has == "1.2"


def test_a_damaged_journal_wants_a_name(desk: Desk) -> None:
    desk.yard.store.delete(desk.yard.journal().entries[1].digest)
    desk.yard.target = replace(desk.yard.target, memory=Memory())
    failed = desk.run("rollback", "production", "--yes")
    assert failed.returncode == 6 and "the journal is not whole" in failed.stderr and "--to" in failed.stderr
    assert desk.has == "1.1"
    done = desk.run("rollback", "production", "--to", "1.0", "--yes")
    assert done.returncode == 0, done.stderr
    assert "warn: journal: it is not whole" in done.stderr
    assert desk.has == "1.0"


def test_words_that_are_no_text(desk: Desk) -> None:
    """A byte that is no UTF-8, as shells pass it on: a sentence, and nothing is written."""
    entries = desk.entries
    done = subprocess.run(
        [*map(os.fsencode, desk.words("rollback", "production", "--yes", "--reason")), b"\xff\xfe"],
        cwd=desk.folder, env=desk.environ, stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr and b"bug" not in done.stderr
    assert done.returncode == 2, done.stderr
    assert (desk.has, desk.entries) == ("1.1", entries)


def test_an_approval_for_a_stage_that_is_not_there(desk: Desk, tmp_path: Path) -> None:
    private, _, _ = create(tmp_path / "keys", "ada", None)
    failed = document(desk.run("approve", "1.0", "prodution", "--key", str(private), "--json"), 2)
    assert "no stage 'prodution'" in failed["error"]["message"]
    assert failed["error"]["hint"] == "there are: production, staging"
    approved = document(desk.run("approve", "1.0", "production", "--key", str(private), "--json"), 0)
    assert (approved["version"], approved["stage"], approved["by"]) == ("1.0", "production", "grace")
