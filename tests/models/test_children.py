"""Jobs in other interpreters: what they get to see, and how they end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.errors import ModelError
from builder.models import children
from builder.models.children import Child, ChildError, isolation

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]

# without our own packages, as environments for models are
PYTHON = Path(getattr(sys, "_base_executable", sys.executable))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def child(folder: Path, **environ: str) -> Child:
    return Child(PYTHON, folder, "the test's environment", {"PATH": os.environ["PATH"], **environ})


def entry(folder: Path, body: str) -> dict[str, object]:
    """A job that runs `body`, in the project's folder."""
    root = folder.parent / "project"
    root.mkdir(exist_ok=True)
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    (root / "train.py").write_text(f"import json, os, signal, socket, subprocess, sys, time\n\ndef fit():\n{lines}")
    model = {"name": "churn", "format": "entry", "entry": "train:fit", "root": str(root), "path": None}
    return {"model": model}


def test_the_answer(folder: Path) -> None:
    answer = child(folder).run("load", entry(folder, "print('told')\nreturn 1"))
    assert answer.result == {"class": "builtins.int"}
    assert answer.isolation == isolation()
    assert not (folder.parent / "project" / "__pycache__").exists()


def test_a_problem_is_an_error_of_ours(folder: Path) -> None:
    with pytest.raises(ChildError) as caught:
        child(folder).run("load", entry(folder, "x = 1\nraise ValueError('no data')"))
    assert caught.value.message == "train:fit failed: ValueError: no data (train.py:5)"
    assert caught.value.exit_code == 4
    assert isinstance(caught.value.__cause__, type(None))


def test_it_sees_nothing_of_the_caller(folder: Path) -> None:
    """No secrets, no home, no modules of other folders, and not us."""
    body = f"""\
with open({str(folder / "seen.json")!r}, "w") as file:
    json.dump({{"environ": dict(os.environ), "path": sys.path, "cwd": os.getcwd(), "in": sys.stdin.read()}}, file)
return 1"""
    secret = {"LOCKSHIP_REGISTRY_PASSWORD": "hunter2", "PIP_INDEX_URL": "https://me:hunter2@example.com/"}
    caller = {**secret, "PYTHONPATH": str(REPOSITORY), "HOME": os.environ["HOME"], "OMP_NUM_THREADS": "3"}
    child(folder, **caller).run("load", entry(folder, body))
    seen = json.loads((folder / "seen.json").read_text())
    assert "hunter2" not in json.dumps(seen)
    assert seen["environ"]["OMP_NUM_THREADS"] == "3"
    assert seen["environ"]["HOME"] == str(folder / "home")
    assert str(REPOSITORY) not in seen["path"]
    assert seen["cwd"] == str(folder)
    assert seen["in"] == ""


def test_what_is_ours_in_there_is_only_what_is_meant_to_be(folder: Path) -> None:
    body = """\
import importlib.util
assert importlib.util.find_spec("builder.models.inside.load")
return str(importlib.util.find_spec("builder.models.children"))"""
    assert child(folder).run("load", entry(folder, body)).result == {"class": "builtins.str"}
    assert not list((folder / "program").rglob("children.py"))


@pytest.mark.skipif(isolation() == "none", reason="no network namespaces for users here")
def test_it_reaches_no_network(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        job = entry(folder, f"socket.create_connection(('127.0.0.1', {port}), 5)\nreturn 1")
        with pytest.raises(ChildError, match=r"Network is unreachable|refused"):
            child(folder).run("load", job)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_without_namespaces_it_runs_and_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "isolation", lambda: "none")
    assert child(folder).run("load", entry(folder, "return 1")).isolation == "none"


def test_a_crash_is_told_in_a_few_words(folder: Path) -> None:
    job = entry(folder, "for n in range(50000): print('word', n)\nsys.stdout.flush()\nos._exit(7)")
    with pytest.raises(ModelError, match="load ended with 7 in the test's environment") as caught:
        child(folder).run("load", job)
    lines = caught.value.message.splitlines()
    assert lines[-1].strip() == "word 49999"
    assert len(lines) < 15


def test_a_child_that_is_killed(folder: Path) -> None:
    with pytest.raises(ModelError, match="was ended by SIGKILL") as caught:
        child(folder).run("load", entry(folder, "os.kill(os.getpid(), signal.SIGKILL)"))
    assert "out of memory" in str(caught.value.hint)


def test_no_traceback_reaches_a_person(folder: Path) -> None:
    with pytest.raises(ModelError, match="KeyError") as caught:
        child(folder).run("sample", {})
    assert "Traceback" not in caught.value.message
    assert "File " not in caught.value.message
    log = Path(str(caught.value.hint).rpartition(" ")[2])
    assert "Traceback" in log.read_text()
    log.unlink()


@pytest.mark.parametrize("answer", ["", "{", "[]", '{"result": 3}', '{"problem": {}}', "[" * 100000])
def test_an_answer_that_is_none(folder: Path, answer: str) -> None:
    """A model may write what it likes, where it likes."""
    body = f"open(sys.argv[1], 'w').write({answer!r})\nos._exit(0)"
    with pytest.raises(ModelError, match="load ended with 0"):
        child(folder).run("load", entry(folder, body))


def test_time_is_limited_and_nothing_outlives_it(folder: Path) -> None:
    body = "p = subprocess.Popen(['sleep', '600'])\nopen('pid', 'w').write(str(p.pid))\ntime.sleep(600)"
    with pytest.raises(ModelError, match="took longer than 5 s"):
        child(folder).run("load", entry(folder, body), time_limit=5)
    _gone(int((folder / "pid").read_text()))


def test_it_ends_with_us(folder: Path) -> None:
    """Ctrl-C goes to us alone: the child has a session of its own."""
    job = entry(folder, "open('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)")
    (folder / "job.json").write_text(json.dumps(job))
    program = f"""
import json, os, sys
from pathlib import Path
from builder.models.children import Child
job = json.loads(Path({str(folder / "job.json")!r}).read_text())
Child(Path({str(PYTHON)!r}), Path({str(folder)!r}), "it", dict(os.environ)).run("load", job)
"""
    for number in (signal.SIGINT, signal.SIGKILL):
        process = subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, stderr=subprocess.DEVNULL)
        pid = _started(folder / "pid")
        process.send_signal(number)
        process.wait(60)
        _gone(pid)
        (folder / "pid").unlink()


def _started(file: Path) -> int:
    for _ in range(600):
        if file.exists() and (text := file.read_text()):
            return int(text)
        time.sleep(0.1)
    raise AssertionError("it never started")


def _gone(pid: int) -> None:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("it is still there")


def test_several_at_once_share_a_folder(folder: Path) -> None:
    job = entry(folder, "return 1")
    child(folder).run("load", job)
    results: list[object] = []
    threads = [threading.Thread(target=lambda: results.append(child(folder).run("load", job).result)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [{"class": "builtins.int"}] * 3


@pytest.fixture(autouse=True)
def _no_logs(tmp_path: Path) -> Iterator[None]:
    yield
    for log in (tmp_path / "tmp").glob("lockship-*.log"):
        log.unlink()
