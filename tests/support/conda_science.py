"""Conda packages of this machine's Python and of what the package index has: real ones, for want of conda-forge's."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from builder.cache import Cache
from builder.pipeline.context import host_platform
from tests.support.conda import Channel, Spec
from tests.support.packages import interpreter_with

__all__ = ["SUBDIR", "own_python", "science"]

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
UNWANTED = {"site-packages", "test", "idlelib", "__pycache__", "ensurepip", "tkinter", "lib2to3", "turtledemo"}
SUBDIR = {"amd64": "linux-64", "arm64": "linux-aarch64"}[getattr(host_platform(), "architecture", "amd64")]


def own_python() -> Iterator[tuple[str, Spec]]:
    """The Python that runs the tests as the files of a conda package, its prefix for a placeholder."""
    prefix = Path(sys.base_prefix)
    program = prefix / f"bin/python{VERSION}"
    yield f"bin/python{VERSION}", (program.read_bytes(), 0o755)
    yield "bin/python", ("link", f"python{VERSION}")
    for path in sorted(prefix.glob("lib/libpython*.so*")):
        yield f"lib/{path.name}", path.read_bytes()
    for path in sorted((prefix / f"lib/python{VERSION}").rglob("*")):
        if path.is_file() and not UNWANTED & set(path.parts) and path.suffix in (".py", ".so"):
            yield path.relative_to(prefix).as_posix(), path.read_bytes()


_DISTRIBUTIONS = """
import importlib.metadata
for one in importlib.metadata.distributions():
    print(one.name.lower(), one.version, one._path)
"""


def science(channel: Channel, wanted: Sequence[str], cache: Cache, environ: Mapping[str, str]) -> dict[str, str]:
    """A python, and a conda package of every wheel that `wanted` (requirements) come to; their versions by name."""
    full = ".".join(str(part) for part in sys.version_info[:3])
    channel.package("python", full, dict(own_python()), subdir=SUBDIR)
    channel.package("pip", "24.0", {"site-packages/pip.py": ""}, noarch="python", depends=["python"])
    interpreter = interpreter_with(wanted, cache, environ)
    command = [str(interpreter), "-I", "-c", _DISTRIBUTIONS]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    versions = {}
    for name, version, place in (line.split() for line in listed.splitlines()):
        site = Path(place).parent
        with (Path(place) / "RECORD").open(newline="") as record:
            paths = [row[0] for row in csv.reader(record)]
        kept = [path for path in paths if not path.startswith("..") and "__pycache__" not in path]
        files = {f"lib/python{VERSION}/site-packages/{path}": (site / path).read_bytes() for path in kept}
        channel.package(name, version, files, subdir=SUBDIR, depends=["python"])
        versions[name] = version
    return versions
