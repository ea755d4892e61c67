"""A conda environment with a real R on a real Debian, in a container that runs a script with an R package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.pipeline import load, lock
from builder.pipeline.context import Context, host_platform
from builder.project import load_project
from tests.support.conda import PLACEHOLDER, Spec, indexed, serve_channel
from tests.support.progress import Heard
from tests.support.require import need

pytestmark = [pytest.mark.apt, pytest.mark.slow, pytest.mark.engine]

SUBDIR = {"amd64": "linux-64", "arm64": "linux-aarch64"}
HOME = Path("/usr/lib/R")  # of Debian's r-base-core
PACKAGES = '"bash", "coreutils", "dash", "debianutils", "libc-bin", "sed"'  # what its scripts call
UNWANTED = {"doc", "help", "html", "tcltk", "translations", "demo", "include", "po"}

SCRIPT = """\
library(greeter)
arguments <- commandArgs(trailingOnly = TRUE)
model <- lm(dist ~ speed, data = cars)
cat(greet("Zo\\u00eb"), "\\n", sep = "")
cat(R.home(), .libPaths(), Sys.getlocale("LC_CTYPE"), arguments, round(coef(model), 4), sep = "\\n")
"""


def own_r() -> Iterator[tuple[str, Spec]]:
    """The R of this machine as the files of a conda package, its texts with a placeholder for the prefix.

    The libraries that it needs lie beside its own, as conda's packages of them would.
    """
    libraries: dict[str, Path] = {}
    for path in sorted(HOME.rglob("*")):
        if not path.is_file() or UNWANTED & set(path.parts):
            continue
        data = _moved(path)
        yield f"lib/R/{path.relative_to(HOME)}", (data, 0o755 if os.access(path, os.X_OK) else 0o644)
        if data.startswith(b"\x7fELF"):
            listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
            found = re.findall(r"(/\S+/(lib\S+)) \(0x", listed)
            libraries |= {name: Path(file) for file, name in found if not re.match(r"lib(c|m|R|dl|pthread)\.so", name)}
    for name, library in libraries.items():
        if not (HOME / "lib" / name).exists():
            yield f"lib/R/lib/{name}", library.read_bytes()
    yield "bin/R", (_moved(Path("/usr/bin/R")), 0o755)
    yield "bin/Rscript", (Path("/usr/bin/Rscript").read_bytes(), 0o755)


def _moved(path: Path) -> bytes:
    data = path.read_bytes()
    return data if b"\0" in data else data.replace(str(HOME).encode(), f"{PLACEHOLDER}/lib/R".encode())


def r_package(folder: Path) -> Iterator[tuple[str, Spec]]:
    """A package in R, as R itself installs it: what a conda package for any platform holds."""
    source, library = folder / "greeter", folder / "library"
    (source / "R").mkdir(parents=True)
    library.mkdir()
    (source / "DESCRIPTION").write_text(
        "Package: greeter\nVersion: 1.0\nTitle: Greets\nDescription: Greets.\nAuthor: Ada\n"
        "Maintainer: Ada <ada@example.com>\nLicense: MIT\nEncoding: UTF-8\n"
    )
    (source / "NAMESPACE").write_text("export(greet)\n")
    (source / "R/greet.R").write_text('greet <- function(name) paste0("hello, ", name, " (", nchar(name), ")")\n')
    words = ["R", "CMD", "INSTALL", "--no-docs", f"--library={library}", str(source)]
    subprocess.run(words, check=True, capture_output=True, env={**os.environ, "R_LIBS": str(library)})
    for path in sorted(library.rglob("*")):
        if path.is_file():
            yield f"lib/R/library/{path.relative_to(library)}", path.read_bytes()


def test_a_container_runs_a_script(
    tmp_path: Path, engine: str, shared_cache: Cache, request: pytest.FixtureRequest
) -> None:
    host = host_platform()
    assert host is not None
    need("R", shutil.which("R") and HOME.is_dir(), "Debian's r-base-core is not installed")
    heard = Heard()
    context = Context(shared_cache, {**os.environ, "DOCKER_HOST": engine}, heard)
    with serve_channel(tmp_path / "channels") as channel:
        files = dict(own_r())
        channel.package("r-base", "4.2.2", files, subdir=SUBDIR[host.architecture])
        channel.package("r-greeter", files=dict(r_package(tmp_path)), noarch="generic", depends=["r-base >=4.2"])
        indexed(channel.folder)
        root = tmp_path / "project"
        root.mkdir()
        (root / "score.R").write_text(SCRIPT, encoding="utf-8")
        (root / "environment.yml").write_text(f"channels: [{channel.url}]\ndependencies: [r-base=4.2, r-greeter]\n")
        (root / "lockship.toml").write_text(
            'name = "r-runs"\nversion = "1.0"\n[python]\nconda = "environment.yml"\n'
            f'[image]\nplatforms = ["{host}"]\npackages = [{PACKAGES}]\nfiles = ["score.R"]\n'
            'command = ["Rscript", "score.R", "rows.csv"]\nenv = { RHOME = "/opt/venv/lib/R" }\n'
        )
        project = load_project(root / "lockship.toml")
        locked = lock(project, context).lock.platforms[0]
        loaded = load(project, replace(context, progress=Heard()))
    assert ({one.name for one in locked.conda}, locked.python) == ({"r-base", "r-greeter"}, "")
    docker = ["docker", "-H", engine]
    request.addfinalizer(lambda: subprocess.run([*docker, "rmi", "-f", loaded.name], check=True, capture_output=True))
    done = subprocess.run([*docker, "run", "--rm", loaded.image_id], capture_output=True, text=True, check=False)
    assert not [one for one in heard.warnings if "R is started" in one]
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "hello, Zoë (3)", "/opt/venv/lib/R", "/opt/venv/lib/R/library", "C.UTF-8", "rows.csv", "-17.5791", "3.9324",
    ]  # fmt: skip
