"""Git repositories with several projects, as folders of files."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

from builder.cache import Cache
from builder.cli.app import invoke
from builder.lock.file import read_lock
from builder.registry.layout import Layout
from tests.support.world import Finished, World

__all__ = ["Grounds", "Yard"]


class Grounds:
    """A git repository at `root`, `new` or there already; git runs with the environment of the test."""

    def __init__(self, root: Path, *, new: bool = True) -> None:
        self.root = root
        if new:
            root.mkdir(parents=True, exist_ok=True)
            self.git("init", "-q", "-b", "main")

    def git(self, *words: str, cwd: Path | None = None) -> str:
        """Run git; what it printed."""
        done = subprocess.run(["git", *words], cwd=cwd or self.root, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def write(self, files: Mapping[str, str]) -> None:
        """Write files, by their path from the root."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def project(self, folder: str, text: str = "", *, name: str = "") -> Path:
        """A project file with a name and a version; `text` follows them."""
        file = self.root / folder / "lockship.toml"
        title = name or folder.rpartition("/")[2]
        self.write({f"{folder}/lockship.toml": f'name = "{title}"\nversion = "1.0"\n{text}'})
        return file

    def commit(self) -> str:
        """Commit all that is there; its id."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "a change")
        return self.git("rev-parse", "HEAD")

    @property
    def environ(self) -> dict[str, str]:
        """This test's environment."""
        return dict(os.environ)


class Yard(Grounds):
    """A repository with locked projects in a small world: `features`, `churn` that depends on it, `fraud`, `report`.

    All but `report`, which installs nothing, have the wheel ``alpha``; ``churn`` has ``beta``, ``fraud`` ``gamma``.
    """

    def __init__(self, root: Path, world: World, cache: Path) -> None:
        super().__init__(root, new=not (root / ".git").exists())
        self.world = world
        self.cache = cache

    @property
    def environ(self) -> dict[str, str]:
        """The world's, with git's settings and the home of this test."""
        own = {name: os.environ[name] for name in ("HOME", "GIT_CONFIG_GLOBAL") if name in os.environ}
        return {**self.world.environ, **own, "LOCKSHIP_CACHE": str(self.cache), "SOURCE_DATE_EPOCH": "1700000000"}

    def fill(self) -> None:
        """Write the projects, lock them, commit all."""
        for name in ("alpha", "beta", "gamma"):
            self.world.wheel(name)
        self.write({".gitignore": ".lockship/\n", "packages.txt": "alpha<3\n"})
        needs = {"features": "alpha\n", "churn": "alpha\nbeta\n", "fraud": "alpha\ngamma\n", "report": ""}
        for name, requirements in needs.items():
            self._write(name, requirements, 'depends-on = ["../features"]\n' if name == "churn" else "")
            done = self.run("lock", "-C", name)
            assert done.code == 0, done
        self.commit()

    def _write(self, name: str, requirements: str, first: str) -> None:
        shutil.copy2(self.world.root / "keys.gpg", self.root)
        listed = 'requirements = ["requirements.in"]\nconstraints = ["../packages.txt"]\n' if requirements else ""
        self.project(
            name,
            f'{first}\n[python]\nbytecode = false\n{listed}\n[image]\nfiles = ["code/"]\n\n'
            f'[[image.sources]]\nuri = "{self.world.debs.uri}"\nkeyring = "../keys.gpg"\n',
        )
        self.write({f"{name}/code/main.py": f"print({name!r})\n", f"{name}/requirements.in": requirements})

    def copy(self, folder: Path) -> Yard:
        """The same in `folder`, with a cache of its own."""
        shutil.copytree(self.root, folder / "repo")
        shutil.copytree(self.cache, folder / "own-cache", copy_function=os.link)
        return Yard(folder / "repo", self.world, folder / "own-cache")

    def run(self, *words: str) -> Finished:
        """The command line in this process, which is quicker than in one of its own."""
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.environ, clear=True),
            contextlib.chdir(self.root),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = invoke(list(words))
        return Finished(code, out.getvalue(), err.getvalue())

    def store(self, name: str) -> Layout:
        """A project's own store."""
        return Layout(self.root / name / ".lockship" / "store")

    def forget(self, *names: str) -> None:
        """As if these wheels had never been downloaded, and their layers never made."""
        cache = Cache(self.cache)
        locks = [read_lock(file) for file in self.root.glob("*/lockship.lock")]
        for locked in (locked for lock in locks if lock is not None for locked in lock.platforms):
            for wheel in locked.wheels:
                if wheel.name in names:
                    cache.forget(wheel.digest)
            for layer in locked.layers:
                if set(names) & set(layer.holds):
                    cache.forget(layer.digest)
                    (self.cache / "keys" / layer.key).unlink(missing_ok=True)

    def append(self, path: str, text: str) -> None:
        """Write more into a file."""
        with (self.root / path).open("a", encoding="utf-8") as file:
            file.write(text)
