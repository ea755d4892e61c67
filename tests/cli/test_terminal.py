"""What reaches people: sizes, plurals, bars, and errors with their places."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.cli.table import table
from builder.cli.terminal import Terminal
from builder.errors import ProjectError, StoreError
from builder.words import human_size, plural


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (104_200_000, "104.2 MB"), (2.1e9, "2.1 GB"), (3e15, "3000.0 TB")],
)
def test_sizes_are_in_powers_of_ten(size: float, text: str) -> None:
    assert human_size(size) == text


def test_plurals() -> None:
    assert [plural(count, "layer") for count in (0, 1, 2)] == ["0 layers", "1 layer", "2 layers"]


def test_columns_line_up_whatever_the_script() -> None:
    lines = table(("name", "size"), [("a", "1"), ("日本", "22")], right=(1,)).splitlines()
    assert lines == ["name  size", "a        1", "日本    22"]


def test_bars_of_bytes_and_of_pieces_live_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(live=True)
    with terminal.task("pieces", 3, unit="layers") as pieces, terminal.task("bytes", 10) as sizes:
        pieces.advance(1)
        sizes.grow(90)
        sizes.advance(50)
        terminal.note("a line between")
        with terminal.task("unknown"):
            pass
    with terminal.task("again", 1):
        pass
    assert "a line between" in capsys.readouterr().err


def test_a_failure_names_its_place_as_short_as_it_gets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = Terminal().fail(ProjectError("is wrong", hint="do it right", file=tmp_path / "sub/lockship.toml", line=3))
    assert code == 2
    assert capsys.readouterr().err == "error: sub/lockship.toml:3: is wrong\n  do it right\n"


def test_a_failure_is_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert Terminal(json=True).fail(StoreError("is full")) == 5
    document = json.loads(capsys.readouterr().out)
    assert document["error"] == {"kind": "StoreError", "message": "is full", "hint": None, "file": None, "line": None}
    assert (document["ok"], document["exit_code"]) == (False, 5)


def test_a_result_holds_the_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(json=True)
    terminal.warn("no byte code")
    terminal.result("lock", {"written": True}, "text")
    document = json.loads(capsys.readouterr().out)
    assert document == {"schema": "dev.lockship.lock/v1", "ok": True, "written": True, "warnings": ["no byte code"]}


def test_somebody_elses_words_do_nothing_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.fail(StoreError("it said \x1b[2J\x9bm \r\x07yes", hint="one\n\ttwo\x00"))
    terminal.warn("\x1b]0;title\x07")
    said = capsys.readouterr().err
    assert said == "error: it said �[2J�m ��yes\n  one\n\ttwo�\nwarning: �]0;title�\n"


def test_quiet_drops_notes_and_keeps_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(quiet=True)
    terminal.note("a note")
    terminal.warn("a warning")
    assert capsys.readouterr().err == "warning: a warning\n"
    assert terminal.warnings == ["a warning"]


def test_a_bug_of_ours_shows_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ZeroDivisionError("division by zero")
    except ZeroDivisionError as error:
        assert Terminal().crash(error) == 1
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    log = Path(shown.rpartition("the details are in ")[2].strip())
    assert "Traceback" in log.read_text()
    log.unlink()
