"""``python -m bench.many``: a repository of many projects over one stack, built at once; prints Markdown.

Each project is small: the same stack, four packages of a pool, code of its own. Wheels and debs are real, downloaded
and locked once; with ``--work`` they stay for the next run. Cold means that no layer was ever made, warm that all are
in the cache and no project has been built; downloads are there in any case.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.measure import CommandError, Cost, run
from bench.project import ROOT
from bench.stage import say
from bench.tables import table
from builder.cache import Cache
from builder.lock.file import LOCK_FILE, LockedLayer, read_lock
from builder.pipeline.context import Context
from builder.pipeline.locking import lock
from builder.project import load_project

__all__ = ["Yard", "locked_yard", "main"]

_STACK: Final = ("numpy", "onnxruntime", "pandas", "scikit-learn")
_POOL: Final = (
    "attrs", "certifi", "charset-normalizer", "click", "cloudpickle", "h11", "httptools", "idna", "jinja2",
    "markupsafe", "msgpack", "narwhals", "orjson", "packaging", "prometheus-client", "python-dotenv", "pyyaml",
    "requests", "rich", "starlette", "tabulate", "tqdm", "urllib3", "uvicorn", "websockets",
)  # fmt: skip
_OWN: Final = 4  # packages of the pool that each project takes
_COMMON: Final = "packages.txt"


@dataclass(frozen=True, slots=True)
class Yard:
    """A repository in `folder` with projects, all locked, and the cache that their builds use."""

    folder: Path
    cache: Path
    environ: Mapping[str, str]

    @property
    def projects(self) -> list[Path]:
        """Their folders."""
        return sorted(path.parent for path in self.folder.glob("*/lockship.toml"))

    def layers(self, project: Path) -> list[LockedLayer]:
        """What a project's lock says of layers."""
        found = read_lock(project / LOCK_FILE)
        assert found is not None
        return [layer for pinned in found.platforms for layer in pinned.layers]

    def distinct(self) -> int:
        """Bytes of all locked layers, each once."""
        return sum({one.digest: one.size for project in self.projects for one in self.layers(project)}.values())

    def largest(self) -> Path:
        """The project with the most bytes of layers."""
        return max(self.projects, key=lambda project: sum(layer.size for layer in self.layers(project)))

    def forget(self, *, layers: bool = False) -> None:
        """As if nothing had been built here, and, with `layers`, none of them ever made."""
        cache = Cache(self.cache)
        for project in self.projects:
            shutil.rmtree(project / ".lockship", ignore_errors=True)
            for layer in self.layers(project) if layers else ():
                cache.forget(layer.digest)
                (self.cache / "keys" / layer.key).unlink(missing_ok=True)

    def stored(self) -> int:
        """Bytes on the disk in all stores; a file that several of them link to counts once."""
        files = [path.stat() for path in self.folder.glob("*/.lockship/store/**/*") if path.is_file()]
        return sum({(one.st_dev, one.st_ino): one.st_size for one in files}.values())

    def call(self, *words: str) -> Cost:
        """Run a lockship command in the repository."""
        return run([sys.executable, "-m", "builder", *words], self.environ, cwd=self.folder)

    def first(self, count: int) -> Yard:
        """A repository of its own with the first `count` projects, all committed."""
        folder = self.folder.parent / f"first-{count}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copy2(self.folder / _COMMON, folder)
        (folder / ".gitignore").write_text(".lockship/\n")
        for project in self.projects[:count]:
            shutil.copytree(project, folder / project.name, ignore=shutil.ignore_patterns(".lockship"))
        git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all of them"]):
            run([*git, *words], self.environ, cwd=folder, settle=False)
        return Yard(folder, self.cache, self.environ)


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Measure; 0 when every build went well."""
    parser = argparse.ArgumentParser(prog="python -m bench.many", description="Many projects at once.")
    parser.add_argument("--work", type=Path, help="keep repository and cache in this folder")
    parser.add_argument("--counts", default="1,10,50,100", help="how many projects; several with commas")
    options = parser.parse_args(arguments)
    counts = sorted(int(count) for count in options.counts.split(","))
    with tempfile.TemporaryDirectory(prefix="lockship-many-") as temporary:
        try:
            yard = locked_yard((options.work or Path(temporary)).absolute(), max(counts), environ)
            sys.stdout.write(f"{_page(yard, counts)}\n")
        except CommandError as error:
            say(f"error: {error}")
            return 1
    return 0


def locked_yard(folder: Path, count: int, environ: Mapping[str, str]) -> Yard:
    """The repository with `count` projects; those that are there and locked stay."""
    cache = folder / "cache"
    yard = Yard(
        folder / "all",
        cache,
        {**environ, "LOCKSHIP_CACHE": str(cache), "PYTHONPATH": str(ROOT), "GIT_CONFIG_COUNT": "0"},
    )
    yard.folder.mkdir(parents=True, exist_ok=True)
    if not (yard.folder / _COMMON).exists():
        (yard.folder / _COMMON).write_text(_pins(yard.environ))
    context = Context(Cache(cache), dict(yard.environ))
    for number in range(count):
        project = yard.folder / f"project-{number:03}"
        if not (project / LOCK_FILE).exists():
            say(f"locking {project.name}")
            _write(project, number)
            lock(load_project(project / "lockship.toml"), context)
    return yard


def _pins(environ: Mapping[str, str]) -> str:
    """The versions of all packages, so that what is locked at another moment is the same."""
    import uv

    argv = [uv.find_uv_bin(), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--only-binary", ":all:",
            "--python-version", "3.11", "--python-platform", "linux", "-"]  # fmt: skip
    done = subprocess.run(
        argv, env=dict(environ), input="\n".join((*_STACK, *_POOL)), capture_output=True, text=True, check=True
    )
    return done.stdout


def _write(project: Path, number: int) -> None:
    own = sorted({_POOL[(number * 7 + step * (1 + number // len(_POOL))) % len(_POOL)] for step in range(_OWN)})
    (project / "code").mkdir(parents=True, exist_ok=True)
    (project / "code" / "__init__.py").write_text(f"number = {number}\n" * 50)
    (project / "requirements.in").write_text("\n".join((*_STACK, *own)) + "\n")
    (project / "lockship.toml").write_text(
        f'name = "{project.name}"\nversion = "1.0.0"\n\n[python]\nrequirements = ["requirements.in"]\n'
        f'constraints = ["../{_COMMON}"]\n\n[image]\nfiles = ["code/"]\ncommand = ["python", "-m", "code"]\n'
    )


def _page(yard: Yard, counts: Sequence[int]) -> str:
    rows = []
    for count in counts:
        say(f"{count} projects")
        some = yard.first(count)
        some.forget(layers=True)
        alone = some.call("build", "-C", some.largest().name).seconds
        some.forget(layers=True)
        cold = some.call("build", "--all").seconds
        stored, distinct = some.stored(), some.distinct()
        some.forget()
        warm = some.call("build", "--all")
        again = some.call("build", "--all")
        rows.append((
            str(count), f"{alone:.1f} s", f"{cold:.1f} s", f"{cold / alone:.2f}", _spent(warm), _spent(again),
            f"{stored / 1e6:.1f} MB", f"{distinct / 1e6:.1f} MB", f"{stored / distinct:.3f}",
        ))  # fmt: skip
        some.forget()
    head = ("projects", "the largest alone, cold", "all, cold", "ratio", "all, layers made before", "nothing changed",
            "stored", "distinct layers", "ratio")  # fmt: skip
    return table(head, rows)


def _spent(cost: Cost) -> str:
    """By the clock, and of processors: the second says more on a machine that has other things to do."""
    return f"{cost.seconds:.2f} s ({cost.user + cost.system:.2f} s)"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:], os.environ))
