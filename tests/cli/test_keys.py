"""`lockship keys`: from the command line, with and without a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.releases.keys import PASSWORD_VARIABLE, read_private, read_public

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
PASSWORD = "correct-horse"


def ignore(warning: str) -> None:
    pass


def run(folder: Path, *words: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "builder", "keys", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(environ or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def typed(folder: Path, *words: str, lines: list[str]) -> tuple[int, str]:
    """Run on a terminal where somebody types `lines`, each when asked; the exit code, and all that was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "builder", "keys", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown, waiting = b"", list(lines)
    while True:
        ready, _, _ = select.select([ours], [], [], 60)
        assert ready, shown
        try:
            more = os.read(ours, 4096)
        except OSError:  # Linux's word for the end of a terminal
            break
        if not more:
            break
        shown += more
        if shown.endswith(b": ") and waiting:
            os.write(ours, waiting.pop(0).encode() + b"\n")
    os.close(ours)
    return process.wait(), shown.decode()


def test_a_pair_from_a_job(tmp_path: Path) -> None:
    done = run(tmp_path, "create", environ={PASSWORD_VARIABLE: PASSWORD})
    assert done.returncode == 0, done
    public = read_public(tmp_path / "cosign.pub")
    assert done.stdout == f"cosign.key\ncosign.pub\n{public.fingerprint}\n"
    assert "[signing] key" in done.stderr
    assert read_private(tmp_path / "cosign.key", PASSWORD, warn=ignore).public == public
    assert PASSWORD not in done.stdout + done.stderr
    shown = run(tmp_path, "show", "cosign.pub")
    assert (shown.stdout, shown.stderr) == (f"{public.fingerprint}\n", "")
    shown = run(tmp_path, "show", "cosign.key", environ={PASSWORD_VARIABLE: PASSWORD})
    assert (shown.stdout, shown.stderr) == (f"{public.fingerprint}\n", "")


def test_documents(tmp_path: Path) -> None:
    done = run(tmp_path, "create", "release", "-o", "secret/keys", "--json", environ={PASSWORD_VARIABLE: PASSWORD})
    document = json.loads(done.stdout)
    fingerprint = read_public(tmp_path / "secret/keys/release.pub").fingerprint
    assert document == {
        "schema": "dev.lockship.keys-create/v1",
        "ok": True,
        "private": "secret/keys/release.key",
        "public": "secret/keys/release.pub",
        "fingerprint": fingerprint,
        "encrypted": True,
        "warnings": [],
    }
    shown = json.loads(run(tmp_path, "show", "secret/keys/release.pub", "--json").stdout)
    assert (shown["schema"], shown["fingerprint"]) == ("dev.lockship.keys-show/v1", fingerprint)


def test_without_a_password_only_by_name(tmp_path: Path) -> None:
    done = run(tmp_path, "create")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--no-password" in done.stderr
    assert list(tmp_path.iterdir()) == []
    done = run(tmp_path, "create", "--no-password", environ={PASSWORD_VARIABLE: PASSWORD})
    assert done.returncode == 0, done
    assert "warning: cosign.key is not encrypted" in done.stderr
    assert read_private(tmp_path / "cosign.key", None, warn=ignore).public == read_public(tmp_path / "cosign.pub")


def test_on_a_terminal_it_asks_twice_and_shows_nothing(tmp_path: Path) -> None:
    code, shown = typed(tmp_path, "create", lines=[PASSWORD, PASSWORD])
    assert code == 0, shown
    assert PASSWORD not in shown
    assert read_private(tmp_path / "cosign.key", PASSWORD, warn=ignore)
    code, shown = typed(tmp_path, "show", "cosign.key", lines=[PASSWORD])
    assert code == 0, shown
    assert read_public(tmp_path / "cosign.pub").fingerprint in shown


@pytest.mark.parametrize(
    ("lines", "said"), [([PASSWORD, "c0rrect-horse"], "passwords differ"), ([""], "there is no password")]
)
def test_a_slip_of_the_finger(tmp_path: Path, lines: list[str], said: str) -> None:
    code, shown = typed(tmp_path, "create", lines=lines)
    assert code == 2, shown
    assert said in shown
    assert list(tmp_path.iterdir()) == []


def test_nobody_types_a_password_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "cosign.pub").write_text("mine")
    code, shown = typed(tmp_path, "create", lines=[])
    assert code == 7, shown
    assert "is there already" in shown


@pytest.mark.parametrize(
    ("code", "words", "said"),
    [
        (7, ("create", "taken", "--no-password"), "is there already"),
        (2, ("create", "../elsewhere", "--no-password"), "not a name for a key"),
        (2, ("create", "-o", "taken.pub", "--no-password"), "cannot write the keys"),
        (2, ("show", "nowhere"), "cannot be read"),
        (2, ("show", "note.txt"), "is no private key"),
        (2, ("show", "sealed.key"), "no password"),
    ],
)
def test_failures_are_documents_too(tmp_path: Path, code: int, words: tuple[str, ...], said: str) -> None:
    (tmp_path / "taken.pub").write_text("mine")
    (tmp_path / "note.txt").write_text("not a key")
    assert run(tmp_path, "create", "sealed", environ={PASSWORD_VARIABLE: PASSWORD}).returncode == 0
    plain = run(tmp_path, *words)
    assert (plain.returncode, plain.stdout) == (code, "")
    assert said in plain.stderr
    assert "Traceback" not in plain.stderr
    document = json.loads(run(tmp_path, *words, "--json").stdout)
    assert (document["exit_code"], document["ok"]) == (code, False)
    assert said in document["error"]["message"]
    assert document["error"]["hint"]
