"""Byte code by the base's own interpreter."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.content import Platform
from builder.errors import LockError
from builder.layers import bytecode, deb
from builder.layers.bytecode import Interpreter
from builder.lock import debian
from builder.pipeline.context import host_platform
from builder.pipeline.making import interpreter_debs
from builder.progress import SILENT
from builder.project import Image
from tests.support.require import need

pytestmark = [pytest.mark.apt, pytest.mark.slow]

SITE = "/opt/venv/lib/python3.11/site-packages/demo"
SOURCES = [
    (
        f"{SITE}/a.py",
        b'"""Doc."""\nX = frozenset({"a", "b", "c"})\ndef f(): return X\n',
    ),
    (
        f"{SITE}/b.py",
        b"import os\nclass A:\n    name = 'a'\n    x = (1, 2.5, None)\n",
    ),
    (f"{SITE}/latin.py", "# coding: latin-1\ns = 'ä'\n".encode("latin-1")),
    (f"{SITE}/escape.py", b"s = '\\d'\nassert (1, 'always')\n"),
    # strings of one character are the process's own, and interned as soon as any module uses one as a name
    (f"{SITE}/star.py", b"from os.path import *\n_ = x = 1\n"),
    (f"{SITE}/text.py", b"A = '*'\nB = 'x'\nC = ('_', 'y', b'*', '')\nD = 'name'\n"),
    (f"{SITE}/names.py", b"def name(y): return [y.name for z in y]\n"),
]
BROKEN = (f"{SITE}/python2.py", b"print 'hello'\n")


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory, shared_cache: Cache) -> Interpreter:
    host = host_platform()
    need("Linux", host is not None, "the base's python runs on linux/amd64 and linux/arm64")
    assert host is not None
    image, root = Image(), tmp_path_factory.mktemp("root")
    base = debian.resolve_base(
        image, "3.11", host, root=root, environ=dict(os.environ), progress=SILENT, interpreter_only=True
    )
    chosen = interpreter_debs(base.artifacts)
    debian.fetch_debs(chosen, image, host, shared_cache, root=root, environ=dict(os.environ), progress=SILENT)
    for one in chosen:
        path = shared_cache.blob(one.digest)
        assert path is not None
        deb.unpack(path, root)
    return Interpreter(root, host, "3.11")


def test_the_interpreter_takes_its_own_byte_code_without_looking_at_the_source(
    interpreter: Interpreter, tmp_path: Path
) -> None:
    code = interpreter.compile([("/x/demo.py", b"VALUE = 'from byte code'\n")])["/x/demo.py"]
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/demo.cpython-311.pyc").write_bytes(code)
    (tmp_path / "demo.py").write_text("VALUE = 'from source'\n")
    done = subprocess.run(
        [*interpreter.command(), "-c", "import demo; print(demo.VALUE, demo.__cached__)"],
        env=interpreter.environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("from byte code")


def test_byte_code_depends_on_nothing_but_the_module(interpreter: Interpreter) -> None:
    whole = interpreter.compile(SOURCES)
    assert set(whole) == {path for path, _ in SOURCES}
    chosen = [[one] for one in SOURCES] + [random.Random(seed).sample(SOURCES, 3) for seed in range(5)]
    for some in chosen:
        bytecode._last.clear()  # what is remembered would hide what another process says
        assert interpreter.compile(some) == {path: whole[path] for path, _ in some}


def test_the_surroundings_do_not_matter(
    interpreter: Interpreter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = interpreter.compile(SOURCES)
    for name, value in (("PYTHONHASHSEED", "9"), ("PYTHONOPTIMIZE", "2"), ("TZ", "Asia/Tokyo"), ("PYTHONPATH", "/x")):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert interpreter.compile(SOURCES) == whole


def test_what_is_not_python_is_left_out(interpreter: Interpreter) -> None:
    assert set(interpreter.compile([*SOURCES, BROKEN])) == {path for path, _ in SOURCES}


def test_no_place_of_this_machine_is_in_it(interpreter: Interpreter) -> None:
    for code in interpreter.compile(SOURCES).values():
        assert str(interpreter.root).encode() not in code


def test_an_interpreter_that_cannot_run_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    missing = Interpreter(tmp_path, Platform.parse("linux/amd64"), "3.11")
    with pytest.raises(LockError, match="can't be started here") as caught:
        missing.compile(SOURCES)
    assert "bytecode = false" in (caught.value.hint or "")


def test_a_flat_interpreter_sees_nothing_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    for name in ("loader", "lib/libc.so.6", "lib/libpython3.11.so.1.0"):
        (tmp_path / name).touch()
    flat = Interpreter(tmp_path, Platform.parse("linux/amd64"), "3.11", flat=True)
    libraries = f"{tmp_path}/lib"
    assert flat.command() == [
        f"{tmp_path}/loader",
        "--inhibit-cache",
        "--inhibit-rpath",
        f":{libraries}/libc.so.6:{libraries}/libpython3.11.so.1.0",
        "--library-path",
        libraries,
        f"{tmp_path}/bin/python3.11",
    ]
    assert flat.environment()["PYTHONHOME"] == f"{tmp_path}/home"
    (tmp_path / "loader").unlink()
    assert flat.command() == [f"{tmp_path}/bin/python3.11"]
