"""The same bytes under everything that must not matter: place, umask, time zone, locale, user, seed, clock, processor,
and the version of Python that makes them."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.layers import deb
from builder.layers.bytecode import Interpreter
from builder.lock import debian
from builder.pipeline.context import host_platform
from builder.progress import SILENT
from builder.project import Image
from tests.support import apt_repository
from tests.support.require import need
from tests.support.wheels import make_wheel

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "layers" / "golden"
PROGRAM = "tests.support.layer_digests"


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels with text, noise and scripts, a conda package, and a folder of code. One wheel is a committed file, so
    that its streams don't depend on this machine's zlib, and so is the conda package."""
    folder = tmp_path_factory.mktemp("artifacts")
    folder.chmod(0o755)
    shutil.copy(GOLDEN / "gamma-1.0-py3-none-any.whl", folder)
    shutil.copy(GOLDEN / "kappa-1.0-0.tar.bz2", folder)
    noise = random.Random(7)
    words = [bytes(noise.choices(b"abcdefgh", k=noise.randint(2, 9))) for _ in range(500)]
    text = b"\n".join(b" ".join(noise.choices(words, k=12)) for _ in range(4000))
    make_wheel(
        folder,
        "alpha",
        "1.0",
        {"alpha/__init__.py": b"x = 1\n", "alpha/text.txt": text, "alpha/noise.bin": noise.randbytes(300_000)},
        data={"scripts/alpha-tool": b"#!python\nprint()\n"},
        entry_points="[console_scripts]\nalpha = alpha:main\n",
    )
    make_wheel(folder, "beta", "2.0", {f"beta/module_{number}.py": text[number * 50 :][:5000] for number in range(60)})
    (folder / "delta_1.0_amd64.deb").write_bytes(
        apt_repository.deb(
            "delta",
            "1.0",
            [
                apt_repository.folder("usr"),
                apt_repository.regular("usr/bin/delta", noise.randbytes(5000), 0o4755),
                apt_repository.regular("lib/delta.so", text[:50_000]),
                apt_repository.soft("usr/bin/d", "delta"),
            ],
        )
    )
    for name in ("a.py", "z/b.py", "z/run.sh", "ünïcode/ñ.txt"):
        path = folder / "code" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text[: 1000 + len(name)])
    (folder / "code/z/run.sh").chmod(0o755)
    return folder


def run(
    folder: Path,
    *,
    prefix: tuple[str, ...] = (),
    python: tuple[str, ...] = (sys.executable,),
    environ: Mapping[str, str] | None = None,
    **options: object,
) -> str:
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", **(environ or {})}
    done = subprocess.run(
        [*prefix, *python, "-m", PROGRAM, str(folder)],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        **options,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def expected(artifacts: Path) -> str:
    return run(artifacts)


def test_golden(expected: str) -> None:
    """Fixed for all time: other bytes here are a new layer format, and need a new `FORMAT`."""
    golden = (GOLDEN / "layers.txt").read_text(encoding="utf-8").splitlines()
    assert set(golden) <= set(expected.splitlines())


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/St_Johns", "UTC-14"])
def test_time_zone(artifacts: Path, expected: str, zone: str) -> None:
    assert run(artifacts, environ={"TZ": zone}) == expected


@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0"}]
)
def test_locale(artifacts: Path, expected: str, locale: dict[str, str]) -> None:
    assert run(artifacts, environ=locale) == expected


@pytest.mark.parametrize("seed", ["0", "1", "4294967295"])
def test_hash_seed(artifacts: Path, expected: str, seed: str) -> None:
    assert run(artifacts, environ={"PYTHONHASHSEED": seed}) == expected


def test_working_directory_and_umask(artifacts: Path, expected: str) -> None:
    assert run(artifacts, cwd="/", umask=0o077) == expected


def test_place(artifacts: Path, expected: str, tmp_path: Path) -> None:
    moved = tmp_path / "some where" / "else"
    shutil.copytree(artifacts, moved)
    assert run(moved) == expected


def test_modes_and_times_of_the_checkout(artifacts: Path, expected: str, tmp_path: Path) -> None:
    moved = tmp_path / "checkout"
    shutil.copytree(artifacts, moved)
    for path in moved.rglob("*"):
        os.utime(path, (1_000_000_000, 2_000_000_000))
        if path.is_file():
            path.chmod(0o700 if path.stat().st_mode & 0o100 else 0o664)
    assert run(moved) == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_user(artifacts: Path, expected: str) -> None:
    readable = Path(tempfile.mkdtemp(prefix="lockship-user-"))  # pytest's own folders are closed to others
    try:
        shutil.copytree(artifacts, readable, dirs_exist_ok=True)
        readable.chmod(0o755)
        assert run(readable, environ={"BECOME": "65534"}) == expected
    finally:
        shutil.rmtree(readable)


@pytest.mark.slow
@pytest.mark.parametrize("cpu", ["Nehalem", "Haswell", "max", "qemu64"])
def test_processor(artifacts: Path, expected: str, cpu: str) -> None:
    qemu = shutil.which("qemu-x86_64")
    need("qemu-user", qemu is not None and os.uname().machine == "x86_64", "qemu-x86_64 emulates other processors")
    assert qemu is not None
    assert run(artifacts, prefix=(qemu, "-cpu", cpu)) == expected


@pytest.mark.slow
@pytest.mark.apt
def test_python_version(
    artifacts: Path, expected: str, shared_cache: Cache, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Debian trixie's Python 3.13, unpacked, with this environment's packages (deflate is built for the stable ABI)."""
    host = host_platform()
    need("Linux", host is not None, "Debian's python runs on linux/amd64 and linux/arm64")
    assert host is not None
    root, image, environ = tmp_path_factory.mktemp("trixie"), Image(base="debian:trixie"), dict(os.environ)
    base = debian.resolve_base(image, "3.13", host, root=root, environ=environ, progress=SILENT)
    debian.fetch_debs(
        base.artifacts, image, host, shared_cache, root=root, environ=environ, progress=SILENT, locations=base.locations
    )
    for one in base.artifacts:
        path = shared_cache.blob(one.digest)
        assert path is not None
        deb.unpack(path, root)
    other = Interpreter(root, host, "3.13")
    places = f"{ROOT}:{sysconfig.get_path('purelib')}"
    found = run(artifacts, python=tuple(other.command()), environ={**other.environment(), "PYTHONPATH": places})
    assert found == expected
