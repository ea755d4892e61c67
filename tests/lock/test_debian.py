"""Resolving and fetching a base, against repositories made here and, at the end, Debian's own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest

from builder.cache import Cache
from builder.content import Digest, Platform
from builder.errors import ArtifactError, LockError, ProjectError, ResolutionError, StoreError, VerificationError
from builder.lock.debian import Base, fetch_debs, resolve_base, suite_of
from builder.lock.pins import Artifact
from builder.project import Image, Source
from tests.support.apt_repository import BASE, AptRepository, Key, fill, regular, serve
from tests.support.progress import Heard
from tests.support.require import need

AMD64 = Platform.parse("linux/amd64")
ARM64 = Platform.parse("linux/arm64")


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_suites(suite: str) -> None:
    assert suite_of(f"debian:{suite}") == suite


@pytest.mark.parametrize(
    "base", ["debian:bullseye", "debian", "docker.io/library/python:3.11-slim", "ubuntu:24.04", ""]
)
def test_what_can_not_be_a_base(base: str, tmp_path: Path) -> None:
    file = tmp_path / "lockship.toml"
    file.write_text(f'[image]\nbase = "{base}"\n')
    with pytest.raises(ProjectError) as caught:
        suite_of(base, file=file)
    assert caught.value.exit_code == 2
    assert 'base = "debian:bookworm" or "debian:trixie"' in (caught.value.hint or "")
    assert (caught.value.file, caught.value.line) == (str(file), 2)


@pytest.fixture(scope="module")
def key() -> Iterator[Key]:
    need("apt and gpg", shutil.which("apt-get") and shutil.which("gpg"), "this machine lacks them")
    with Key() as made:
        yield made


class Bench:
    """A project beside a repository."""

    def __init__(self, folder: Path, key: Key) -> None:
        self.root = folder / "project"
        self.root.mkdir()
        (folder / "tmp").mkdir()
        self.tmp = folder / "tmp"
        configuration = folder / "apt.conf"
        configuration.write_text('Acquire::http::Proxy::127.0.0.1 "DIRECT";\nAcquire::Retries "0";\n')
        self.environ = {**os.environ, "TMPDIR": str(self.tmp), "APT_CONFIG": str(configuration)}
        key.export(self.root / "keys.gpg")
        self.repository = AptRepository(folder / "archive", key)
        fill(self.repository)
        self.cache = Cache(folder / "cache")
        self.heard = Heard()
        self.uri = self.repository.uri
        self.snapshot: str | None = None

    def image(self, *packages: str) -> Image:
        sources = (Source(uri=self.uri, keyring="keys.gpg"),)
        return Image(packages=packages, sources=sources, snapshot=self.snapshot)

    def resolve(
        self,
        *packages: str,
        python: str = "3.11",
        platform: Platform = AMD64,
        keep: tuple[Artifact, ...] = (),
        interpreter_only: bool = False,
    ) -> Base:
        return resolve_base(
            self.image(*packages),
            python,
            platform,
            root=self.root,
            environ=self.environ,
            keep=keep,
            progress=self.heard,
            interpreter_only=interpreter_only,
        )

    def fetch(self, base: Base, *, located: bool = False) -> None:
        fetch_debs(
            base.artifacts,
            self.image(),
            AMD64,
            self.cache,
            root=self.root,
            environ=self.environ,
            progress=self.heard,
            locations=base.locations if located else None,
        )


@pytest.fixture
def bench(tmp_path: Path, key: Key) -> Iterator[Bench]:
    made = Bench(tmp_path, key)
    yield made
    assert not list(made.tmp.iterdir()), "temporary files were left behind"


def versions(base: Base) -> dict[str, str]:
    return {one.name: one.version for one in base.artifacts}


@pytest.mark.apt
def test_a_base_is_resolved_and_pinned(bench: Bench) -> None:
    base = bench.resolve()
    assert [one.name for one in base.artifacts] == sorted(name for name, *_ in BASE)
    assert (base.python, base.glibc) == ("3.11.2", "2.36")
    assert base.tools.keys() == {"apt"}
    zlib = next(one for one in base.artifacts if one.name == "zlib1g")
    data = bench.repository.pool("zlib1g", "1.2.13.dfsg-1").read_bytes()
    assert zlib == Artifact(
        "deb", "zlib1g", "1:1.2.13.dfsg-1", "zlib1g_1.2.13.dfsg-1_amd64.deb", Digest.of(data), len(data)
    )
    stdlib = next(one for one in base.artifacts if one.name == "libpython3.11-stdlib")
    assert stdlib.file == "libpython3.11-stdlib_3.11.2-6+deb12u1_amd64.deb"
    assert not bench.heard.warnings


@pytest.mark.apt
def test_the_interpreter_alone(bench: Bench) -> None:
    base = bench.resolve("netbase", interpreter_only=True)
    assert versions(base).keys() == {"python3.11-minimal", "libpython3.11-minimal", "libc6"}


@pytest.mark.apt
def test_two_platforms_at_once(bench: Bench) -> None:
    with ThreadPoolExecutor() as pool:
        amd64, arm64 = pool.map(lambda platform: bench.resolve(platform=platform), (AMD64, ARM64))
    assert versions(amd64) == versions(arm64)
    assert {one.file.rpartition("_")[2] for one in arm64.artifacts} == {"arm64.deb", "all.deb"}
    assert bench.resolve(platform=ARM64) == arm64


@pytest.mark.apt
def test_what_is_kept_and_what_moves(bench: Bench) -> None:
    bench.repository.add("libfoo", "1.0", depends="libbar")
    bench.repository.add("libbar", "1.0")
    bench.repository.publish()
    old = bench.resolve("libfoo")
    bench.repository.add("libfoo", "1.1", depends="libbar")
    bench.repository.add("libbar", "1.1")
    bench.repository.drop("libbar", "1.0")
    bench.repository.publish()
    kept = versions(bench.resolve("libfoo", keep=old.artifacts))
    assert (kept["libfoo"], kept["libbar"]) == ("1.0", "1.1")
    assert versions(bench.resolve("libfoo"))["libfoo"] == "1.1"


@pytest.mark.apt
def test_kept_versions_that_no_longer_fit_give_way(bench: Bench) -> None:
    bench.repository.add("libbar", "1.0")
    bench.repository.publish()
    old = bench.resolve("libbar")
    bench.repository.add("libbar", "1.1")
    bench.repository.add("libfoo", "1.1", depends="libbar (>= 1.1)")
    bench.repository.publish()
    found = versions(bench.resolve("libfoo", "libbar", keep=old.artifacts))
    assert (found["libfoo"], found["libbar"]) == ("1.1", "1.1")
    assert "choosing anew" in bench.heard.notes[0]


@pytest.mark.apt
def test_an_unknown_package_is_named(bench: Bench) -> None:
    (bench.root / "lockship.toml").write_text('[image]\npackages = ["netbase",\n  "netbaze"]\n')
    with pytest.raises(ProjectError, match="has no package 'netbaze' for amd64") as caught:
        bench.resolve("netbase", "netbaze")
    assert "'netbase'" in (caught.value.hint or "")
    assert (caught.value.file, caught.value.line) == (str(bench.root / "lockship.toml"), 3)


@pytest.mark.apt
def test_a_python_that_the_suite_lacks(bench: Bench) -> None:
    with pytest.raises(ProjectError, match=r"debian:bookworm has no Python 3\.13; it has 3\.11") as caught:
        bench.resolve(python="3.13")
    assert "debian:trixie has 3.13" in (caught.value.hint or "")


@pytest.mark.apt
def test_packages_that_exclude_each_other(bench: Bench) -> None:
    bench.repository.add("libfoo", depends="libbar (>= 2)")
    bench.repository.add("libbar", "1.0")
    bench.repository.publish()
    with pytest.raises(ResolutionError, match=r"libfoo.*Depends: libbar \(>= 2\)") as caught:
        bench.resolve("libfoo")
    assert caught.value.exit_code == 3


@pytest.mark.apt
def test_the_machines_own_sources_and_nobody_elses_packages(bench: Bench, tmp_path: Path, key: Key) -> None:
    stranger = AptRepository(tmp_path / "stranger", key, origin="Stranger, Ltd.")
    stranger.add("netbase", "99", architectures=("all",))
    stranger.publish()
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    keyring = bench.root / "keys.gpg"
    (parts / "all.list").write_text(
        f"deb [signed-by={keyring}] {bench.uri} bookworm main\ndeb [signed-by={keyring}] {stranger.uri} bookworm main\n"
    )
    Path(bench.environ["APT_CONFIG"]).write_text(f'Dir::Etc::sourcelist "none";\nDir::Etc::sourceparts "{parts}";\n')
    base = resolve_base(Image(), "3.11", AMD64, root=bench.root, environ=bench.environ, progress=bench.heard)
    assert versions(base)["netbase"] == "6.4"
    assert "lack bookworm-security" in bench.heard.warnings[0]


@pytest.mark.apt
def test_sources_that_the_project_names_are_all_used(bench: Bench, tmp_path: Path, key: Key) -> None:
    team = AptRepository(tmp_path / "team", key, origin="The team, and others")
    team.add("libteam", "1")
    team.publish()
    named = tuple(Source(uri=one.uri, keyring="keys.gpg") for one in (bench.repository, team))
    image = Image(packages=("libteam",), sources=named)
    base = resolve_base(image, "3.11", AMD64, root=bench.root, environ=bench.environ, progress=bench.heard)
    assert versions(base)["libteam"] == "1"


# fetching


@pytest.mark.apt
@pytest.mark.parametrize("over_http", [False, True])
@pytest.mark.parametrize("located", [False, True])
def test_debs_are_fetched_once(bench: Bench, over_http: bool, located: bool) -> None:
    with serve(bench.repository.root) as url:
        bench.uri = url if over_http else bench.uri
        base = bench.resolve()
        bench.fetch(base, located=located)
        step = bench.heard.steps[-1]
        assert step.done == step.total == sum(one.size for one in base.artifacts)
    for one in base.artifacts:
        path = bench.cache.blob(one.digest)
        assert path is not None
        assert not path.is_symlink()
        assert Digest.of(path.read_bytes()) == one.digest
    # nobody is asked for what is there
    bench.uri = "http://127.0.0.1:1/"
    bench.fetch(base)


@pytest.mark.apt
@pytest.mark.parametrize("same_size", [False, True])
@pytest.mark.parametrize("located", [False, True])
@pytest.mark.parametrize("over_http", [False, True])
def test_a_tampered_deb_is_refused(bench: Bench, same_size: bool, located: bool, over_http: bool) -> None:
    with serve(bench.repository.root) as url:
        bench.uri = url if over_http else bench.uri
        base = bench.resolve()
        path = bench.repository.pool("netbase", "6.4", "all")
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if same_size else data + b"more")
        with pytest.raises(VerificationError, match=r"netbase_6\.4_all\.deb is not what the lock says") as caught:
            bench.fetch(base, located=located)
    assert caught.value.exit_code == 6
    netbase = next(one for one in base.artifacts if one.name == "netbase")
    assert bench.cache.blob(netbase.digest) is None


@pytest.mark.apt
def test_a_mirror_that_serves_another_deb_under_the_same_version(bench: Bench) -> None:
    base = bench.resolve()
    bench.repository.add("netbase", "6.4", [regular("etc/other")], architectures=("all",))
    bench.repository.publish()
    with pytest.raises(VerificationError, match="netbase") as caught:
        bench.fetch(base)
    assert caught.value.exit_code == 6


def _superseded(bench: Bench, *, from_pool: bool) -> Base:
    base = bench.resolve()
    bench.repository.drop("libc6", "2.36-9+deb12u1", from_pool=from_pool)
    bench.repository.add("libc6", "2.36-9+deb12u2", architectures=("amd64", "arm64"))
    bench.repository.publish()
    return base


@pytest.mark.apt
@pytest.mark.parametrize("located", [False, True])
def test_a_dropped_deb_is_missed_with_advice(bench: Bench, located: bool) -> None:
    base = _superseded(bench, from_pool=True)
    with pytest.raises(ArtifactError, match=r"don't have libc6_2\.36-9\+deb12u1_amd64\.deb any longer") as caught:
        bench.fetch(base, located=located)
    assert caught.value.exit_code == 3
    assert "lockship lock --upgrade" in (caught.value.hint or "")
    assert "snapshot" in (caught.value.hint or "")


@pytest.mark.apt
def test_a_deb_that_is_only_gone_from_the_index(bench: Bench) -> None:
    base = _superseded(bench, from_pool=False)
    bench.fetch(base)
    assert all(bench.cache.blob(one.digest) for one in base.artifacts)


@pytest.mark.apt
@pytest.mark.parametrize("kind", ["archive", "flat", "path"])
def test_a_dropped_deb_comes_from_the_snapshot(bench: Bench, tmp_path: Path, kind: str) -> None:
    if kind == "archive":
        shutil.copytree(bench.repository.root, tmp_path / "then")
        bench.snapshot = (tmp_path / "then").as_uri() + "/"
    else:
        there = bench.root / "debs"
        there.mkdir()
        shutil.copy(bench.repository.pool("libc6", "2.36-9+deb12u1"), there)
        bench.snapshot = there.as_uri() if kind == "flat" else "debs"
    base = _superseded(bench, from_pool=True)
    bench.fetch(base)
    assert all(bench.cache.blob(one.digest) for one in base.artifacts)


@pytest.mark.apt
def test_a_dropped_deb_that_the_snapshot_lacks_too(bench: Bench) -> None:
    bench.snapshot = "file:///nonexistent/archive"
    base = _superseded(bench, from_pool=True)
    with pytest.raises(ArtifactError, match="neither the repositories nor the snapshot have libc6") as caught:
        bench.fetch(base)
    assert "--upgrade" in (caught.value.hint or "")


@pytest.mark.apt
@pytest.mark.parametrize("located", [False, True])
def test_offline(bench: Bench, located: bool) -> None:
    base = bench.resolve()
    bench.uri = "http://u:secret@127.0.0.1:1/debian"
    base = replace(base, locations={one: f"{bench.uri}/{one.hex}" for one in base.locations})
    with pytest.raises(StoreError) as caught:
        bench.fetch(base, located=located)
    assert caught.value.exit_code == 5
    assert "secret" not in str(caught.value)


@pytest.mark.apt
def test_what_a_maintainer_script_would_have_linked_is_said(bench: Bench) -> None:
    script = b"#!/bin/sh\nupdate-alternatives \\\n  --install /usr/bin/vi vi /usr/bin/vim.tiny 15\nldconfig\n"
    bench.repository.add("vim-tiny", "9.0", scripts={"postinst": script})
    bench.repository.publish()
    bench.fetch(bench.resolve("vim-tiny"))
    (warning,) = bench.heard.warnings
    assert warning.startswith("vim-tiny would have set up /usr/bin/vi when installed")


_SLOW = """
import os, sys
from pathlib import Path
from builder.cache import Cache
from builder.content import Digest, Platform
from builder.lock.debian import fetch_debs
from builder.lock.pins import Artifact
from builder.progress import SILENT
from builder.project import Image
deb = Artifact("deb", "slow", "1", "slow_1_amd64.deb", Digest.of(b""), 1000)
fetch_debs([deb], Image(), Platform.parse("linux/amd64"), Cache(Path(sys.argv[2])), root=Path(), environ=os.environ,
           progress=SILENT, locations={deb.digest: sys.argv[1] + "/slow_1_amd64.deb"})
"""


class _Stalling(SimpleHTTPRequestHandler):
    """Sends the beginning of a file, then nothing."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x" * 10)
        self.wfile.flush()
        self.rfile.read(1)  # until the other side goes away

    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.apt
def test_interrupted_in_the_middle_nothing_stays(bench: Bench, tmp_path: Path) -> None:
    _Stalling.asked = []
    with serve(tmp_path, _Stalling) as url:
        command = [sys.executable, "-c", _SLOW, url, str(tmp_path / "cache")]
        process = subprocess.Popen(command, env=bench.environ, stderr=subprocess.PIPE)
        try:
            for _ in range(600):
                if _Stalling.asked:
                    break
                time.sleep(0.05)
            assert _Stalling.asked
            assert _children(bench.tmp)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
    assert b"KeyboardInterrupt" in errors
    assert not _children(bench.tmp)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def _children(folder: Path) -> list[str]:
    """The running processes that were started for something in `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) + b"/lockship-apt-" in line:
            found.append(line.decode(errors="replace"))
    return found


# Debian's own


@pytest.mark.apt
@pytest.mark.slow
@pytest.mark.parametrize(("suite", "python", "glibc"), [("bookworm", "3.11", "2.36"), ("trixie", "3.13", "2.41")])
def test_debian_itself(tmp_path: Path, shared_cache: Cache, suite: str, python: str, glibc: str) -> None:
    image = Image(base=f"debian:{suite}", packages=("libgomp1",))

    def resolve(platform: Platform) -> Base:
        return resolve_base(image, python, platform, root=tmp_path, environ=os.environ, progress=Heard())

    need("apt", shutil.which("apt-get"), "this machine lacks it")
    try:
        with ThreadPoolExecutor() as pool:
            bases = dict(zip((AMD64, ARM64), pool.map(resolve, (AMD64, ARM64)), strict=True))
    except (LockError, StoreError) as error:
        need("a Debian mirror", None, str(error))
        raise
    for platform, base in bases.items():
        assert base.python.startswith(python + ".")
        assert base.glibc == glibc
        assert {"libgomp1", "libgcc-s1", "tzdata", "ca-certificates"} <= versions(base).keys()
        assert not {"perl", "openssl", "bash", "apt", "python3"} & versions(base).keys()
        assert all(one.file.endswith((f"_{platform.debian}.deb", "_all.deb")) for one in base.artifacts)
        heard = Heard()
        fetch_debs(
            base.artifacts,
            image,
            platform,
            shared_cache,
            root=tmp_path,
            environ=os.environ,
            progress=heard,
            locations=base.locations,
        )
        assert all(shared_cache.blob(one.digest) for one in base.artifacts)
        assert not heard.warnings
