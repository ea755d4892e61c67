"""Output that nobody takes, and names that no encoding has: one line at most, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.world import REPOSITORY

pytestmark = pytest.mark.slow


def shell(script: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Run `script`, in which ``lockship`` is the command line."""
    program = f'lockship() {{ "{sys.executable}" -m builder "$@"; }}\n'
    surroundings = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(REPOSITORY), **environ}
    return subprocess.run(
        ["bash", "-c", program + script], cwd=folder, env=surroundings, capture_output=True, check=False
    )


@pytest.mark.parametrize("words", ["--help", "init --json", "plan --json", "bulid --json"])
def test_a_reader_that_left(tmp_path: Path, words: str) -> None:
    (tmp_path / "a.py").write_text("")
    done = shell(f"( sleep 0.3; lockship {words}; echo $? >&2 ) | true", tmp_path)
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr
    assert done.stderr.split()[-1:] == [b"141"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("words", ["init", "init --json", "plan --json"])
def test_a_full_disk_behind_standard_output(tmp_path: Path, words: str) -> None:
    done = shell(f"lockship {words} > /dev/full", tmp_path)
    assert done.returncode == 5, done.stderr
    assert "error: cannot write to standard output: No space left" in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(tmp_path: Path, closed: str) -> None:
    done = shell(f"lockship init {closed}", tmp_path)
    assert done.returncode == 0, done
    assert b"Traceback" not in done.stderr
    assert (tmp_path / "lockship.toml").read_text().startswith("#"), "nothing of ours went into it"


def test_names_that_are_not_text_are_shown_all_the_same(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    Path(os.fsdecode(folder)).mkdir()
    for words in ("plan -C caf*", "plan --json -C caf*"):
        done = shell(f"lockship {words}", tmp_path, PYTHONIOENCODING="utf-8:strict")
        assert done.returncode == 2, done
        assert b"Traceback" not in done.stderr
        assert rb"caf\udce9" in done.stderr + done.stdout


def test_words_for_the_program_are_not_ours(tmp_path: Path) -> None:
    done = shell("lockship run -- --json", tmp_path)
    assert done.stdout == b""
    assert done.stderr.startswith(b"error: ")
    assert json.loads(shell("lockship plan --json -C .", tmp_path).stdout)["ok"] is False


@pytest.mark.parametrize("where", ["builder.cli.app", "builder.cli.plan"])
def test_ctrl_c_while_a_class_is_made(tmp_path: Path, where: str) -> None:
    """Python says RuntimeError then: as the command line starts, and as a command does."""
    program = f"""
import importlib.abc, sys

class Interrupts:
    def __set_name__(self, owner, name):
        raise KeyboardInterrupt

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {where!r}:
            type("Made", (), {{"value": Interrupts()}})

sys.meta_path.insert(0, Finder())
sys.argv[1:] = ["plan"]
from builder.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "interrupted")
