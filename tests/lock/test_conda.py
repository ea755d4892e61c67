"""Conda environments locked: real conda-lock, real rattler, real HTTP, small packages."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.content import Digest, Platform
from builder.errors import (
    LockError,
    LockshipError,
    ProjectError,
    ResolutionError,
    StoreError,
    UsageError,
    VerificationError,
)
from builder.lock.conda import CondaResolution, resolve_conda
from builder.lock.conda_fetch import lock_conda_packages
from builder.lock.conda_file import CondaPin, parse_conda_lock
from builder.lock.conda_input import channel_name, read_environments
from builder.lock.indexes import from_environment
from builder.network import Network
from builder.progress import SILENT
from builder.project import Project, load_project
from tests.support.conda import PLACEHOLDER, Channel, indexed, serve_channel
from tests.support.real_conda import real_conda

pytestmark = pytest.mark.slow

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
BOTH = {AMD64: "2.36", ARM64: "2.36"}


class Lab:
    """A channel, and a project that uses it."""

    def __init__(self, folder: Path, channel: Channel) -> None:
        self.root = folder / "project"
        self.root.mkdir()
        self.channel = channel
        self.environ = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PIP_CONFIG_FILE": os.devnull}
        self.environ["LOCKSHIP_CACHE"] = str(folder / "cache")

    def project(self, *specs: str, python: str = "", channel: str = "") -> Project:
        listed = "".join(f"  - {spec}\n" for spec in specs)
        text = f"name: lab\nchannels:\n  - {channel or self.channel.url}\ndependencies:\n{listed}"
        (self.root / "environment.yml").write_text(text)
        (self.root / "lockship.toml").write_text(
            f'name = "demo"\nversion = "1"\n[python]\nconda = "environment.yml"\n{python}\n'
        )
        return load_project(self.root / "lockship.toml")

    def solve(self, project: Project, existing: str | None = None, **more: Any) -> CondaResolution:
        if any(self.channel.folder.rglob("*-*-*")):
            indexed(self.channel.folder)
        glibc = more.pop("glibc", BOTH)
        chosen = from_environment(self.environ)
        return resolve_conda(
            project, glibc, existing=existing, indexes=chosen, environ=self.environ, progress=SILENT, **more
        )

    def everywhere(self, name: str, version: str = "1.0", **more: Any) -> None:
        for subdir in ("linux-64", "linux-aarch64"):
            files = {f"share/{name}.txt": f"{subdir} {version} {PLACEHOLDER}\n"}
            self.channel.package(name, version, files, subdir=subdir, **more)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with serve_channel(tmp_path / "channels") as channel:
        yield Lab(tmp_path, channel)


def versions(found: CondaResolution, platform: Platform = AMD64) -> dict[str, str]:
    return {pin.name: pin.version for pin in found.pins[platform]}


def test_all_platforms_are_locked(lab: Lab) -> None:
    lab.everywhere("libfoo", "1.0")
    lab.everywhere("libfoo", "1.2")
    lab.everywhere("libfoo", "2.0", depends=["__glibc >=2.40"])
    lab.everywhere("python", "3.11.9", depends=["libfoo >=1", "__glibc >=2.17"])
    lab.channel.package("greeter", "1.1", noarch="python", depends=["python >=3.9"])
    found = lab.solve(lab.project("python=3.11", "greeter"))
    assert versions(found) == versions(found, ARM64) == {"python": "3.11.9", "greeter": "1.1", "libfoo": "1.2"}
    by_name = {pin.name: pin for pin in found.pins[ARM64]}
    assert by_name["libfoo"].subdir == "linux-aarch64"
    assert by_name["greeter"].subdir == "noarch"
    assert by_name["libfoo"].channel == "lab"
    assert by_name["libfoo"].file == "libfoo-1.2-0.conda"
    data = (lab.channel.folder / "linux-aarch64/libfoo-1.2-0.conda").read_bytes()
    assert by_name["libfoo"].digest == Digest.of(data)
    assert parse_conda_lock(found.text) == found.pins
    assert str(lab.root) not in found.text
    assert "/tmp" not in found.text


def test_the_file_is_the_same_wherever_it_is_made(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lab.everywhere("libfoo")
    project = lab.project("libfoo")
    first = lab.solve(project).text
    monkeypatch.chdir(tmp_path)
    lab.environ |= {"TZ": "Asia/Tokyo", "LC_ALL": "C", "LOCKSHIP_CACHE": str(tmp_path / "other")}
    lab.environ |= {"CONDA_OVERRIDE_GLIBC": "9.9", "CONDA_CHANNEL_PRIORITY": "disabled", "PYTHONHASHSEED": "7"}
    assert lab.solve(project).text == first


def test_what_is_locked_stays_until_it_is_upgraded(lab: Lab) -> None:
    for name in ("libfoo", "libbar"):
        lab.everywhere(name, "1.0")
    project = lab.project("libfoo", "libbar")
    first = lab.solve(project)
    for name in ("libfoo", "libbar", "libnew"):
        lab.everywhere(name, "1.1")
    assert versions(lab.solve(project, first.text)) == {"libfoo": "1.0", "libbar": "1.0"}
    one = lab.solve(project, first.text, upgrade_packages=["libbar"])
    assert versions(one) == versions(one, ARM64) == {"libfoo": "1.0", "libbar": "1.1"}
    more = lab.solve(lab.project("libfoo", "libbar", "libnew"), first.text)
    assert versions(more) == {"libfoo": "1.0", "libbar": "1.0", "libnew": "1.1"}
    moved = lab.solve(lab.project("libfoo >=1.1", "libbar"), first.text)
    assert versions(moved) == {"libfoo": "1.1", "libbar": "1.0"}
    assert versions(lab.solve(project, first.text, upgrade=True)) == {"libfoo": "1.1", "libbar": "1.1"}
    with pytest.raises(UsageError, match="nothing is not in the lock"):
        lab.solve(project, first.text, upgrade_packages=["nothing"])


def test_virtual_packages_are_the_projects(lab: Lab) -> None:
    lab.everywhere("torch", "2.0", build="cpu")
    lab.everywhere("torch", "2.1", build="cuda", depends=["__cuda >=12"])
    assert versions(lab.solve(lab.project("torch"))) == {"torch": "2.0"}
    assert versions(lab.solve(lab.project("torch", python='virtual-packages = { cuda = "12.4" }'))) == {"torch": "2.1"}
    lab.everywhere("tight", "1.0", depends=["__glibc >=2.37"])
    with pytest.raises(ResolutionError, match="__glibc") as caught:
        lab.solve(lab.project("tight"))
    assert "virtual-packages" in str(caught.value.hint)
    lab.solve(lab.project("tight", python='virtual-packages = { __glibc = "2.38" }'))


def test_nothing_fits_and_the_solver_says_why(lab: Lab) -> None:
    lab.everywhere("libfoo", "1.0")
    lab.everywhere("libfoo", "2.0")
    lab.everywhere("wants-one", depends=["libfoo <2"])
    lab.everywhere("wants-two", depends=["libfoo >=2"])
    with pytest.raises(ResolutionError) as caught:
        lab.solve(lab.project("wants-one", "wants-two"))
    said = str(caught.value)
    assert "linux/amd64" in said
    assert "wants-one" in said
    assert "libfoo" in said
    assert caught.value.file == "environment.yml"


def test_a_platform_without_builds(lab: Lab) -> None:
    lab.channel.package("only-here", "1.0", subdir="linux-64")
    lab.solve(lab.project("only-here"), glibc={AMD64: "2.36"})
    with pytest.raises(ResolutionError, match="linux/arm64") as caught:
        lab.solve(lab.project("only-here"))
    assert "no channel has only-here for linux/arm64" in str(caught.value.hint)


def test_an_unknown_channel(lab: Lab) -> None:
    url = lab.channel.url.replace("/lab", "/labb")
    with pytest.raises(LockshipError, match="there is no channel labb") as caught:
        lab.solve(lab.project("libfoo", channel=url))
    assert (caught.value.file, caught.value.line) == ("environment.yml", 3)


@pytest.mark.parametrize(
    "url", ["https://ada:secret@host.lab/forge", "https://host.lab/t/tk-secret-1/forge", "http://ada@host.lab/forge"]
)
def test_credentials_in_a_channels_address(lab: Lab, url: str) -> None:
    with pytest.raises(ProjectError, match="the channel forge holds credentials") as caught:
        read_environments(lab.project("libfoo", channel=url), Network())
    assert "secret" not in f"{caught.value} {caught.value.hint}"
    assert caught.value.line == 3


def test_credentials_are_taken_from_netrc(lab: Lab, tmp_path: Path) -> None:
    lab.everywhere("libfoo")
    indexed(lab.channel.folder)
    lab.channel.login = ("ada", "s3cret-pass")
    project = lab.project("libfoo")
    with pytest.raises(StoreError, match="refuses to be read") as caught:
        lab.solve(project)
    assert "netrc" in str(caught.value.hint)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ada password s3cret-pass\n")
    netrc.chmod(stat.S_IRUSR)
    lab.environ["NETRC"] = str(netrc)
    found = lab.solve(project)
    assert "s3cret" not in found.text
    cache = Cache_(tmp_path)
    chosen = from_environment(lab.environ)
    lock_conda_packages(found.pins, indexes=chosen, cache=cache, progress=SILENT)


def Cache_(folder: Path) -> Any:
    from builder.cache import Cache

    return Cache(folder / "blobs")


def test_packages_come_into_the_cache_verified(lab: Lab, tmp_path: Path) -> None:
    lab.everywhere("libfoo")
    found = lab.solve(lab.project("libfoo"))
    cache, chosen = Cache_(tmp_path), from_environment(lab.environ)
    packages = lock_conda_packages(found.pins, indexes=chosen, cache=cache, progress=SILENT)
    (one,) = packages[ARM64]
    data = (lab.channel.folder / "linux-aarch64/libfoo-1.0-0.conda").read_bytes()
    assert (one.kind, one.name, one.version, one.size) == ("conda", "libfoo", "1.0", len(data))
    assert (one.channel, one.subdir, one.digest) == ("lab", "linux-aarch64", Digest.of(data))
    other = Cache_(tmp_path / "other")
    (lab.channel.folder / "linux-aarch64/libfoo-1.0-0.conda").write_bytes(data + b"more")
    with pytest.raises(VerificationError, match=r"libfoo-1\.0-0\.conda from the channel lab is not what was locked"):
        lock_conda_packages(found.pins, indexes=chosen, cache=other, progress=SILENT)


@pytest.mark.parametrize(
    ("text", "complaint", "line"),
    [
        ("dependencies: [a]\n", "names no channel", None),
        ("channels: [defaults]\ndependencies: [a]\n", "differ from machine to machine", 1),
        ("channels: [x]\n", "lists no dependencies", None),
        ("channels: [x\n", "not valid YAML", 2),
        ("- a\n", "not an environment file", None),
        ("channels: [file:///srv/forge]\ndependencies: [a]\n", "not a channel's address", 1),
        ("channels: ['https://h/$TOKEN/f']\ndependencies: [a]\n", "not a channel's address", 1),
        ("channels: [../x]\ndependencies: [a]\n", "not a channel's name", 1),
        ("channels: [x]\ndependencies: ['=1']\n", "names no package", 2),
        ("channels: [x]\ndependencies: ['https://u:p@h/x::a']\n", "name from the list of channels", None),
        ("channels: [x]\ndependencies: [{pip: ['-e .']}]\n", "no package of an index", 2),
        ("channels: [x]\ndependencies: [{npm: [a]}]\n", "is no dependency", 2),
        ("channels: [x]\ndependencies: !!python/object:os.system [a]\n", "not valid YAML", 2),
    ],
)
def test_environment_files_that_are_wrong(lab: Lab, text: str, complaint: str, line: int | None) -> None:
    project = lab.project("libfoo")
    (lab.root / "environment.yml").write_text(text)
    with pytest.raises(ProjectError, match=complaint) as caught:
        read_environments(project, Network())
    assert caught.value.file == "environment.yml"
    assert line is None or caught.value.line == line


def test_channels_over_plain_http(lab: Lab) -> None:
    with pytest.raises(UsageError, match="http"):
        read_environments(lab.project("libfoo", channel="http://forge.lab/conda-forge"), Network())


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://conda.anaconda.org/conda-forge", "conda-forge"),
        ("https://mirror.lab/api/conda/conda-forge/", "conda-forge"),
        ("https://conda.anaconda.org/conda-forge/label/dev", "conda-forge/label/dev"),
        ("https://forge.lab/", "root"),
    ],
)
def test_channels_have_the_same_name_wherever_they_are(url: str, name: str) -> None:
    assert channel_name(url) == name


def test_another_solver_is_called(lab: Lab, tmp_path: Path) -> None:
    lab.everywhere("libfoo")
    (lab.root / "tools").mkdir()
    program = lab.root / "tools/micromamba"
    with pytest.raises(ProjectError, match="the solver tools/micromamba is not there"):
        lab.solve(lab.project("libfoo", python='solver = "tools/micromamba"'))
    program.write_text('#!/bin/sh\necho \'{"success": false, "message": "sister, it is full of conflicts"}\'\nexit 1\n')
    program.chmod(0o755)
    with pytest.raises(ResolutionError, match="sister, it is full of conflicts") as caught:
        lab.solve(lab.project("libfoo", python='solver = "tools/micromamba"'))
    assert "linux/amd64" in str(caught.value)
    assert "STDOUT" not in str(caught.value)


@pytest.mark.parametrize(
    ("stdout", "stderr", "kind", "words", "hint"),
    [
        (
            '{"solver_problems": ["nothing provides requested libfoo"], "success": false}',
            "error    libmamba Could not solve for environment specs\n"
            "    The following package could not be installed\n    └─ libfoo does not exist (perhaps a typo).",
            ResolutionError, "fits for linux/amd64:\nnothing provides requested libfoo\n    The following", "loosen",
        ),
        ("", "error    libmamba Could not resolve host: a.example", StoreError, "a channel can't be asked", "network"),
        ('{"exception_name": "NoSpaceLeftError", "message": "No space left."}', "", LockError, "No space left.", None),
        ("", "", LockError, "the solver failed for linux/amd64:\nit says nothing", None),
        ("Segmentation fault", "", LockError, "Segmentation fault", None),
    ],
)  # fmt: skip
def test_what_other_solvers_say(
    lab: Lab, stdout: str, stderr: str, kind: type[LockshipError], words: str, hint: str | None
) -> None:
    lab.everywhere("libfoo")
    (lab.root / "out").write_text(stdout)
    (lab.root / "err").write_text(stderr)
    program = lab.root / "micromamba"
    program.write_text(f"#!/bin/sh\ncat {lab.root}/out\ncat {lab.root}/err >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(kind) as caught:
        lab.solve(lab.project("libfoo", python='solver = "./micromamba"'))
    assert type(caught.value) is kind
    assert words in caught.value.message
    assert "success" not in caught.value.message
    assert hint is None or hint in str(caught.value.hint)


@pytest.mark.slow
@pytest.mark.index
def test_conda_itself_locks_the_same_and_says_why_not(lab: Lab, tmp_path: Path) -> None:
    lab.everywhere("libfoo", "1.0")
    lab.everywhere("libfoo", "2.0")
    lab.everywhere("wants-one", depends=["libfoo <2"])
    conda = f'solver = "{real_conda(tmp_path / "conda")}"'
    assert lab.solve(lab.project("wants-one", python=conda)).pins == lab.solve(lab.project("wants-one")).pins
    with pytest.raises(ResolutionError) as caught:
        lab.solve(lab.project("wants-one", "libfoo >=2", python=conda))
    said = caught.value.message.splitlines()
    assert said[0] == "no set of packages fits for linux/amd64:"
    assert "wants-one -> libfoo[version='<2']" in said
    assert "exception_name" not in caught.value.message, "what is for machines"
    assert caught.value.file == "environment.yml"
    with pytest.raises(ResolutionError) as caught:
        lab.solve(lab.project("not-there", python=conda))
    assert "no channel has not-there for linux/amd64" in str(caught.value.hint)
    url = lab.channel.url.replace("/lab", "/labb")
    with pytest.raises(ResolutionError, match="there is no channel labb") as caught:
        lab.solve(lab.project("libfoo", python=conda, channel=url))
    assert (caught.value.file, caught.value.line) == ("environment.yml", 3)


def test_a_lock_that_cannot_be_read_is_not_thrown_away(lab: Lab) -> None:
    for text in ("version: 2\n", "version: 1\n", "<<<<<<< HEAD\n", "[" * 5000):
        with pytest.raises(LockshipError, match="can't be read") as caught:
            lab.solve(lab.project("libfoo"), text)
        assert "delete it" in str(caught.value.hint)


def test_a_pin_has_no_login() -> None:
    text = """\
version: 1
metadata: {platforms: [linux-64]}
package:
- {name: a, version: '1', manager: conda, platform: linux-64, url: 'https://u:p@h/c/noarch/a-1-0.conda', hash: {}}
"""
    with pytest.raises(LockshipError, match="holds credentials"):
        parse_conda_lock(text)
    (pin,) = parse_conda_lock(text.replace("u:p@", ""))[AMD64]
    assert pin == CondaPin("a", "1", "conda", None, "https://h/c/noarch/a-1-0.conda")
    assert "https" not in repr(pin)
