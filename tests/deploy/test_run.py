from __future__ import annotations

import functools
import io
import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.deploy import docker
from builder.deploy.docker import Engine, Streams
from builder.errors import StoreError

pytestmark = pytest.mark.engine

# nothing here needs a network, and an engine may be without one
run = functools.partial(docker.run, network="none")


class Captured(Streams):
    def __init__(self, stdin: bytes | None = None) -> None:
        super().__init__(io.BytesIO(), io.BytesIO(), None if stdin is None else io.BytesIO(stdin))

    @property
    def out(self) -> bytes:
        assert isinstance(self.stdout, io.BytesIO)
        return self.stdout.getvalue()

    @property
    def err(self) -> bytes:
        assert isinstance(self.stderr, io.BytesIO)
        return self.stderr.getvalue()


def sh(engine: Engine, image: str, script: str, streams: Streams, **more: object) -> int:
    return run(engine, image, ["sh", "-c", script], streams=streams, **more)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def nothing_is_left(docker_engine: Engine, shell: str) -> object:
    yield
    assert docker_engine.api.containers(all=True, filters={"label": "dev.lockship.run", "ancestor": shell}) == []


def test_the_images_own_command(docker_engine: Engine, shell: str) -> None:
    streams = Captured()
    assert run(docker_engine, shell, streams=streams) == 0
    assert (streams.out, streams.err) == (b"own command\n", b"")


def test_streams_stay_apart_and_byte_true(docker_engine: Engine, shell: str) -> None:
    streams = Captured()
    status = sh(docker_engine, shell, r"printf '\000\377\r\n\001'; printf 'e\r\374' >&2; exit 7", streams)
    assert status == 7
    assert streams.out == b"\x00\xff\r\n\x01"
    assert streams.err == b"e\r\xfc"


def test_much_output(docker_engine: Engine, shell: str) -> None:
    streams = Captured()
    assert sh(docker_engine, shell, "i=0; while [ $i -lt 20000 ]; do echo $i line; i=$((i+1)); done", streams) == 0
    assert streams.out == b"".join(b"%d line\n" % number for number in range(20000))


def test_input_is_piped_and_ends(docker_engine: Engine, shell: str) -> None:
    data = os.urandom(3_000_000)
    streams = Captured(data)
    assert run(docker_engine, shell, ["cat"], streams=streams) == 0
    assert streams.out == data
    empty = Captured(b"")
    assert run(docker_engine, shell, ["cat"], streams=empty) == 0
    assert empty.out == b""


def test_no_input_is_an_empty_one(docker_engine: Engine, shell: str) -> None:
    streams = Captured()
    assert run(docker_engine, shell, ["cat"], streams=streams) == 0
    assert streams.out == b""


def test_a_command_that_ignores_its_input(docker_engine: Engine, shell: str) -> None:
    streams = Captured(b"x" * 10_000_000)
    assert sh(docker_engine, shell, "exit 3", streams) == 3


def test_environment_and_volumes(docker_engine: Engine, shell: str, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("1,2\n")
    tmp_path.chmod(0o777)
    streams = Captured()
    script = "echo $FROM_IMAGE $GIVEN; cat /data/in.csv; echo done > /data/out.csv"
    assert sh(docker_engine, shell, script, streams, env={"GIVEN": "a b=c"}, volumes=[f"{tmp_path}:/data"]) == 0
    assert streams.out == b"yes a b=c\n1,2\n"
    assert (tmp_path / "out.csv").read_text() == "done\n"
    read_only = Captured()
    assert sh(docker_engine, shell, "echo > /data/x", read_only, volumes=[f"{tmp_path}:/data:ro"]) != 0


def test_it_runs_as_nobody_in_particular(docker_engine: Engine, shell: str) -> None:
    streams = Captured()
    assert sh(docker_engine, shell, "cat /proc/self/status", streams) == 0
    assert b"Uid:\t65532\t65532" in streams.out


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        (["nothing-of-the-kind"], 127, b"error: 'nothing-of-the-kind' is not in the image, or not on its PATH\n"),
        (["/no/such"], 127, b"error: '/no/such' is not in the image, or not on its PATH\n"),
        (["/etc"], 126, b"error: '/etc' can't be executed in the image\n"),
    ],
)
def test_a_command_that_cannot_start(
    docker_engine: Engine, shell: str, command: list[str], status: int, message: bytes
) -> None:
    streams = Captured()
    assert run(docker_engine, shell, command, streams=streams) == status
    assert (streams.out, streams.err) == (b"", message)


def test_an_image_that_is_not_loaded(docker_engine: Engine) -> None:
    with pytest.raises(StoreError, match="has no image lockship-test:none") as caught:
        run(docker_engine, "lockship-test:none", streams=Captured())
    assert caught.value.hint is not None
    assert "lockship load" in caught.value.hint


def test_what_the_engine_refuses_is_said(docker_engine: Engine, shell: str) -> None:
    with pytest.raises(StoreError, match="invalid") as caught:
        run(docker_engine, shell, ["env"], streams=Captured(), volumes=["not/absolute:also/not"])
    assert caught.value.exit_code == 5


def test_a_reader_that_goes_away(docker_engine: Engine, shell: str) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "wb", buffering=0) as stdout, pytest.raises(BrokenPipeError):
        sh(docker_engine, shell, "while :; do echo x; done", Streams(stdout, io.BytesIO()))


@contextmanager
def _child(engine: str, image: str, script: str) -> Iterator[subprocess.Popen[bytes]]:
    program = textwrap.dedent(
        f"""
        import signal, sys, threading
        from builder.deploy.docker import Streams, connect, run
        def get():
            for line in sys.stdin:  # the number of a signal that this thread is to get, not the main one
                signal.pthread_kill(threading.get_ident(), int(line))
        threading.Thread(target=get, daemon=True).start()
        engine = connect({{"DOCKER_HOST": {engine!r}, "HOME": "/nowhere"}})
        sys.exit(run(engine, {image!r}, ["sh", "-c", {script!r}], streams=Streams(), network="none"))
        """
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", program]
    with subprocess.Popen(words, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_go_to_the_command(engine: str, shell: str, number: signal.Signals) -> None:
    script = f"trap 'echo got {number.name}; exit 42' {number.name[3:]}; echo ready; while :; do sleep 0.1; done"
    with _child(engine, shell, script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.stdout.read() == f"got {number.name}\n".encode()
        assert process.wait(60) == 42


def test_a_signal_that_another_thread_got_goes_to_the_command(engine: str, shell: str) -> None:
    """The kernel gives one to any thread when the main one has others to handle, and that one sleeps on."""
    with _child(engine, shell, "trap 'exit 42' TERM; echo ready; while :; do sleep 0.1; done") as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.stdin.write(b"%d\n" % signal.SIGTERM)
        assert process.wait(60) == 42


def test_a_command_that_ignores_signals_is_killed_at_the_third(engine: str, shell: str) -> None:
    with _child(engine, shell, "trap '' HUP INT TERM; echo ready; while :; do sleep 0.1; done") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # equal ones that are pending count as one
            process.send_signal(number)
        assert process.wait(60) == 137


def _expect(process: subprocess.Popen[bytes], terminal: int, text: bytes) -> None:
    """Read until `text` comes, as long as the process lives."""
    seen = b""
    while text not in seen:
        ended = process.poll() is not None
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 1000)
        else:
            assert not ended, seen


def test_a_terminal(engine: str, shell: str) -> None:
    """The container sees a terminal of the same size, and keys arrive."""
    import fcntl
    import pty
    import struct
    import termios

    program = textwrap.dedent(
        f"""
        import sys
        from builder.deploy.docker import Streams, connect, run
        engine = connect({{"DOCKER_HOST": {engine!r}, "HOME": "/nowhere"}})
        wait = "n=300; until [ \\"$(stty size)\\" = '44 99' ] || [ $n = 0 ]; do sleep 0.1; n=$((n - 1)); done"
        script = "[ -t 0 ] && [ -t 1 ] && echo terminal; read l; stty size; read l; echo got $l; "
        script += wait + "; stty size; exit 5"
        streams = Streams(stdin=sys.stdin.buffer, tty=True)
        sys.exit(run(engine, {shell!r}, ["sh", "-c", script], streams=streams, network="none"))
        """
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen([sys.executable, "-c", program], env=environ, stdin=theirs, stdout=theirs, stderr=theirs)
    _expect(process, ours, b"terminal")
    os.write(ours, b"go\r")
    _expect(process, ours, b"33 77\r\n")
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 99, 0, 0))
    process.send_signal(signal.SIGWINCH)  # as the kernel does for the terminal's own processes
    os.write(ours, b"hello\r")
    _expect(process, ours, b"got hello\r\n44 99\r\n")
    assert process.wait() == 5
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)
