"""A small world of its own for a project: a signed apt repository, a package index, a cache, and the command line.

Everything is real but small: real apt, real uv, real HTTP. Byte code is off by default, because the base's python
here is an empty shell.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from builder.cache import Cache
from builder.content import Digest
from builder.pipeline.context import Context
from builder.project import Project, load_project
from builder.registry.layout import Layout
from tests.support.apt_repository import AptRepository, Key, fill
from tests.support.index import Index, serve_index
from tests.support.wheels import make_wheel

__all__ = ["Finished", "World", "world"]

REPOSITORY = Path(__file__).parents[2]


class Finished:
    """A command that ended: its exit code, and what it wrote."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        """Standard output as the one document that ``--json`` promises."""
        return json.loads(self.out)

    def __repr__(self) -> str:
        return f"exit {self.code}\nstdout:\n{self.out}\nstderr:\n{self.err}"


class World:
    """A project `root` with files that can be changed, and what it depends on."""

    def __init__(self, folder: Path, key: Key, index: Index) -> None:
        self.folder = folder
        self.root = folder / "project"
        self.root.mkdir(exist_ok=True)
        self.index = index
        self.debs = AptRepository(folder / "archive", key)
        fill(self.debs)
        key.export(self.root / "keys.gpg")
        (folder / "apt.conf").write_text('Acquire::Retries "0";\n')
        self.cache = Cache(folder / "cache")
        (folder / "tmp").mkdir(exist_ok=True)
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(folder / "tmp"),
            "PYTHONPATH": str(REPOSITORY),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": index.simple,
            "LOCKSHIP_CACHE": str(self.cache.root),
            "APT_CONFIG": str(folder / "apt.conf"),
            "GIT_CONFIG_GLOBAL": os.environ.get("GIT_CONFIG_GLOBAL", os.devnull),
            "GIT_CEILING_DIRECTORIES": str(folder),
            "COVERAGE_PROCESS_START": os.environ.get("COVERAGE_PROCESS_START", ""),
        }
        for name in ("DOCKER_HOST", "PYTHONWARNINGS"):
            if name in os.environ:
                self.environ[name] = os.environ[name]

    def wheel(self, name: str, version: str = "1.0", files: Mapping[str, bytes] | None = None, **options: Any) -> Path:
        """Put a wheel on the index."""
        content = files if files is not None else {f"{name}/__init__.py": f"version = {version!r}\n".encode()}
        return make_wheel(self.index.folder, name, version, content, **options)

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def project(self, requirements: str = "", *, image: str = "", python: str = "", rest: str = "") -> Project:
        """Write the project file (and requirements.in) and load it. Arguments are further TOML lines of a table."""
        listed = 'requirements = ["requirements.in"]' if requirements else ""
        if requirements:
            self.write("requirements.in", requirements)
        platforms = "" if "platforms" in image else 'platforms = ["linux/amd64"]'
        code = "" if "bytecode" in python else "bytecode = false"
        self.write(
            "lockship.toml",
            f'name = "demo"\nversion = "1.0"\n\n[python]\nversion = "3.11"\n{code}\n{listed}\n{python}\n\n[image]\n'
            f'base = "debian:bookworm"\n{platforms}\n{image}\n\n'
            f'[[image.sources]]\nuri = "{self.debs.uri}"\nkeyring = "keys.gpg"\n\n{rest}\n',
        )
        return self.load()

    def load(self) -> Project:
        """The project as its file says now."""
        return load_project(self.root / "lockship.toml")

    @property
    def context(self) -> Context:
        """This machine, as the pipeline takes it."""
        return Context(self.cache, self.environ)

    @property
    def store(self) -> Layout:
        """The project's own store."""
        return Layout(self.root / ".lockship" / "store")

    def run(
        self, *words: str, environ: Mapping[str, str] | None = None, cwd: Path | None = None, stdin: str = ""
    ) -> Finished:
        """The command line, in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "builder", *words],
            cwd=cwd or self.root,
            env={**self.environ, **(environ or {})},
            capture_output=True,
            input=stdin.encode(),
            check=False,
        )
        return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())

    def docker_context(self, project: Project) -> Path:
        """The folder that `export dockerfile` writes, with a small pip from our own index."""
        from builder.image import dockerfile
        from builder.pipeline.exporting import export_dockerfile

        pip = self.wheel("pip", dockerfile.PIP[0].split("-")[1], {"pip/__init__.py": b""})
        patched = (pip.name, Digest.of(pip.read_bytes()))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("builder.pipeline.exporting.PIP", patched)
            patch.setattr(dockerfile, "PIP", patched)
            export_dockerfile(project, self.context, self.folder / "context")
        return self.folder / "context"

    def interrupt(self, *words: str, after: float, by: signal.Signals = signal.SIGINT) -> Finished:
        """The command line, with Ctrl-C `after` so many seconds: SIGINT to all its processes, as terminals do.

        Any other signal goes to the first process alone, as from `kill`.
        """
        process = subprocess.Popen(
            [sys.executable, "-m", "builder", *words],
            cwd=self.root,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        time.sleep(after)
        with suppress(ProcessLookupError):
            (os.killpg if by == signal.SIGINT else os.kill)(process.pid, by)
        out, err = process.communicate(timeout=60)
        return Finished(process.returncode, out.decode(), err.decode())

    def leftovers(self) -> list[str]:
        """Temporary files anywhere in this world."""
        places = (self.root, self.cache.root, self.folder / "tmp")
        return [
            str(path.relative_to(self.folder))
            for place in places
            for path in (place.rglob("*") if place.exists() else ())
            if (path.name.endswith(".tmp") and path.is_file()) or (place.name == "tmp" and path.parent == place)
        ]


@contextmanager
def world(folder: Path, key: Key) -> Iterator[World]:
    """A new world in `folder`."""
    with serve_index(folder / "index") as index:
        yield World(folder, key, index)
