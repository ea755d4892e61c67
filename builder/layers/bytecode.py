"""Byte code by the image's own interpreter, run on this machine from the unpacked base.

The files are unchecked hash-based ones (PEP 552): no time in them, never looked at again.

`marshal` tells on the process that it runs in. It marks every object with more than one reference, wherever that
reference comes from; so each object is held once more while it is written, and all are marked. And it marks strings
that are interned; those of one character are shared by the whole process and interned when the first module uses them
as a name, so all of them are interned beforehand. What is left depends on the module and its path alone.
"""

from __future__ import annotations

import hashlib
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from builder.content import Platform
from builder.errors import LockError

__all__ = ["Interpreter"]

_FRAME: Final = struct.Struct("<I")

# Runs in the base's interpreter: only what is built in or loaded anyway, so that no import of its own leaves traces.
_PROGRAM: Final = """
import sys
from _frozen_importlib_external import _code_to_hash_pyc, _RAW_MAGIC_NUMBER
from _imp import source_hash
read, write = sys.stdin.buffer.read, sys.stdout.buffer.write
shared = [sys.intern(chr(one)) for one in range(256)] + [sys.intern("")]
def hold(code, held):
    held += (code.co_filename, code.co_name, code.co_qualname, code.co_linetable, code.co_exceptiontable)
    held += (code.co_names, code.co_varnames, code.co_cellvars, code.co_freevars)
    hold_all(code.co_consts, held)
def hold_all(constants, held):
    held.append(constants)
    for one in constants:
        held.append(one)
        if type(one) is tuple or type(one) is frozenset:
            hold_all(one, held)
        elif type(one) is CODE:
            hold(one, held)
CODE = type(hold.__code__)
def frame():
    size = read(4)
    return read(int.from_bytes(size, "little")) if size else None
while (path := frame()) is not None:
    path = path.decode("utf-8", "surrogateescape")
    source = frame()
    try:
        code = compile(source, path, "exec", 0, True, 0)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        data = b""
    else:
        hold(code, held := [])
        data = bytes(_code_to_hash_pyc(code, source_hash(_RAW_MAGIC_NUMBER, source), False))
        code = held = None
    write(len(data).to_bytes(4, "little"))
    write(data)
    data = None
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A base's python, unpacked at `root` on this machine, for which it was made: `platform`; `minor` is ``3.11``.

    Laid out as Debian packages are or, when `flat`, with all that it needs in ``bin``, ``lib``, ``home`` and
    ``loader`` (none for a static program).
    """

    root: Path
    platform: Platform
    minor: str
    flat: bool = False

    def command(self) -> list[str]:
        """How to start it: through its own loader, with its own libraries."""
        if self.flat:
            return self._flat_command()
        libraries = self.root / "usr/lib" / self.platform.multiarch
        loader = {
            "amd64": self.root / "usr/lib64/ld-linux-x86-64.so.2",
            "arm64": self.root / "usr/lib/ld-linux-aarch64.so.1",
        }[self.platform.architecture]
        if not loader.exists():  # Debian keeps it with the libraries; lib64 only holds a link
            loader = libraries / loader.name
        return [str(loader), "--library-path", str(libraries), str(self.root / f"usr/bin/python{self.minor}")]

    def _flat_command(self) -> list[str]:
        program, libraries = str(self.root / f"bin/python{self.minor}"), self.root / "lib"
        if not (self.root / "loader").exists():
            return [program]
        # what programs and libraries say of other folders means the image's: here it would lead to this machine's own
        # (the empty name is the program's, see ld.so(8) and glibc's elf/dl-load.c)
        objects = ["", *(str(path) for path in sorted(libraries.glob("*")))]
        options = ["--inhibit-cache", "--inhibit-rpath", ":".join(objects), "--library-path", str(libraries)]
        return [str(self.root / "loader"), *options, program]

    def environment(self) -> dict[str, str]:
        """All it may see of this machine."""
        return {
            "PYTHONHOME": str(self.root / ("home" if self.flat else "usr")),
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONWARNINGS": "ignore",
            "LC_ALL": "C.UTF-8",
        }

    def compile(self, sources: Sequence[tuple[str, bytes]]) -> Mapping[str, bytes]:
        """Byte code by path for (absolute path in the image, source) pairs; what isn't valid Python is left out.

        Raises LockError when the interpreter can't be run here.
        """
        ordered = sorted(sources)
        found = dict.fromkeys((path for path, _ in ordered), b"")
        marks = {path: (self, path, hashlib.sha256(source).digest()) for path, source in ordered}
        remembered = {path: _last[mark] for path, mark in marks.items() if mark in _last}
        found.update(remembered)
        _last.clear()  # before more is compiled: two packages' byte code would be in memory otherwise
        found.update(self._run([one for one in ordered if one[0] not in remembered]))
        _last.update({marks[path]: code for path, code in found.items()})
        return {path: code for path, code in found.items() if code}

    def _run(self, ordered: Sequence[tuple[str, bytes]]) -> Mapping[str, bytes]:
        """Byte code by path, empty for what doesn't compile, from one process."""
        if not ordered:
            return {}
        command = [*self.command(), "-S", "-s", "-P", "-X", "utf8", "-c", _PROGRAM]
        with tempfile.TemporaryFile() as complaints:
            try:
                process = subprocess.Popen(
                    command, env=self.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints
                )
            except OSError as error:
                raise LockError(f"the base's python can't be started here: {error.strerror}", hint=_HINT) from error
            assert process.stdin is not None
            assert process.stdout is not None
            with process:
                feeder = threading.Thread(target=_feed, args=(process.stdin, ordered), daemon=True)
                feeder.start()
                try:
                    found = dict(_answers(ordered, process.stdout))
                except BaseException:
                    process.kill()
                    raise
                finally:
                    feeder.join()
            if process.returncode or len(found) < len(ordered):
                complaints.seek(0)
                lines = complaints.read().decode("utf-8", "replace").strip().splitlines()
                reason = lines[-1] if lines else f"status {process.returncode}"
                raise LockError(f"the base's python failed to compile: {reason}", hint=_HINT)
        return found


_HINT: Final = "set `bytecode = false` under [python], or build on Linux on one of the project's platforms"

# What the last package compiled to. The wheels of one release for several platforms hold nearly the same modules, and
# what a module compiles to depends on nothing but itself and its path.
_last: Final[dict[tuple[Interpreter, str, bytes], bytes]] = {}


def _feed(pipe: IO[bytes], sources: Iterable[tuple[str, bytes]]) -> None:
    """Send the sources, one after the other, as fast as they are taken."""
    with suppress(BrokenPipeError), pipe:  # whoever reads the answers finds out why
        for path, source in sources:
            for raw in (path.encode("utf-8", "surrogateescape"), source):
                pipe.write(_FRAME.pack(len(raw)))
                pipe.write(raw)


def _answers(sources: Iterable[tuple[str, bytes]], pipe: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """Byte code by path, until all has come or the pipe ends."""
    for path, _ in sources:
        head = pipe.read(_FRAME.size)
        if len(head) < _FRAME.size:
            return
        (size,) = _FRAME.unpack(head)
        data = pipe.read(size)
        if len(data) < size:
            return
        yield path, data
