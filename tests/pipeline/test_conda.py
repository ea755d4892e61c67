"""Conda environments, from the environment file to an image: real apt, conda-lock and rattler, small packages."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest

from builder.content import Digest, Platform
from builder.errors import ArtifactError, ProjectError, StaleLockError, UsageError, VerificationError
from builder.layers.order import MAX_LAYERS
from builder.lock.file import parse_lock
from builder.pipeline import build, check, lock, plan
from builder.pipeline.bundling import export_bundle
from builder.pipeline.evidence import components_of
from builder.pipeline.exporting import export_dockerfile
from builder.pipeline.planning import prepare
from builder.project import Project, load_project
from tests.support.conda import PLACEHOLDER, Channel, indexed, installed_by_rattler, serve_channel
from tests.support.progress import Heard
from tests.support.world import World

pytestmark = pytest.mark.apt

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


class Lab:
    """A world, and a channel with a python."""

    def __init__(self, here: World, channel: Channel) -> None:
        self.here, self.channel = here, channel
        for subdir in ("linux-64", "linux-aarch64"):
            self.package("libfoo", files={"lib/libfoo.so": f"\x7fELF{PLACEHOLDER}/lib\0{subdir}"}, subdir=subdir)
            files = {"bin/python3.11": (b"\x7fELF", 0o755), "bin/python": ("link", "python3.11")}
            self.package("python", "3.11.9", files, subdir=subdir, depends=["libfoo", "__glibc >=2.17"])
        self.package("pip", "24.0", {"site-packages/pip.py": ""}, noarch="python", depends=["python"])
        files = {"site-packages/greeter.py": "def main(): print('hi')\n"}
        self.package(
            "greeter", files=files, noarch="python", depends=["python >=3.9"], entry_points=["greet = greeter:main"]
        )

    def package(self, *words: Any, **more: Any) -> None:
        self.channel.package(*words, **more)
        indexed(self.channel.folder)

    def project(
        self, *specs: str, python: str = "", image: str = 'platforms = ["linux/amd64", "linux/arm64"]'
    ) -> Project:
        listed = "".join(f"  - {spec}\n" for spec in specs)
        self.here.write("environment.yml", f"channels:\n  - {self.channel.url}\ndependencies:\n{listed}")
        self.here.write(
            "lockship.toml",
            f'name = "demo"\nversion = "1.0"\n\n[python]\nconda = "environment.yml"\n{python}\n\n[image]\n{image}\n'
            f'[[image.sources]]\nuri = "{self.here.debs.uri}"\nkeyring = "keys.gpg"\n',
        )
        return load_project(self.here.root / "lockship.toml")


@pytest.fixture
def lab(here: World) -> Iterator[Lab]:
    with serve_channel(here.folder / "channels") as channel:
        yield Lab(here, channel)


def files_of(lab: Lab, project: Project, platform: Platform) -> dict[str, tarfile.TarInfo]:
    (image,) = plan(project, lab.here.context, [platform]).images
    found = {}
    for layer in image.layers:
        blob = lab.here.store.read_blob(layer.descriptor.digest)
        with tarfile.open(fileobj=BytesIO(b"".join(blob))) as archive:
            found.update({info.name: info for info in archive if not info.isdir()})
    return found


def test_an_environment_becomes_an_image(lab: Lab) -> None:
    project = lab.project("python=3.11", "greeter")
    report = lock(project, lab.here.context)
    for locked in report.lock.platforms:
        assert {one.name for one in locked.conda} == {"python", "libfoo", "greeter"}
        assert (locked.python, locked.wheels, locked.bytecode) == ("3.11.9", (), "")
        assert {one.name for one in locked.debs} >= {"libc6", "base-files"}
        assert not any("python" in one.name for one in locked.debs)
        assert {layer.kind for layer in locked.layers} == {"deb", "conda"}
    check(project)
    text = (lab.here.root / "lockship.lock").read_text()
    assert "127.0.0.1" not in text
    assert parse_lock(text.encode()) == report.lock
    build(project, lab.here.context)
    packages = [next(lab.channel.folder.rglob(f"{name}-*.conda")) for name in ("python", "libfoo", "greeter")]
    theirs = installed_by_rattler(packages, lab.here.folder)
    wanted = {
        path.relative_to(theirs).as_posix() for path in theirs.rglob("*") if not path.is_dir() or path.is_symlink()
    }
    ours = files_of(lab, project, AMD64)
    assert {name for name in ours if name.startswith("opt/venv/")} == wanted - {"opt/venv/CACHEDIR.TAG"}
    assert "opt/venv/pyvenv.cfg" not in ours
    config = json.loads(plan(project, lab.here.context, [AMD64]).images[0].config)["config"]
    environment = dict(one.split("=", 1) for one in config["Env"])
    assert environment["PATH"].startswith("/opt/venv/bin:")
    assert environment["CONDA_PREFIX"] == "/opt/venv"
    assert "VIRTUAL_ENV" not in environment


def test_one_package_that_moves_moves_one_layer(lab: Lab) -> None:
    project = lab.project("python=3.11", "greeter")
    first = lock(project, lab.here.context).lock
    assert not lock(project, lab.here.context).written
    lab.package("greeter", "2.0", {"site-packages/greeter.py": "new\n"}, noarch="python", depends=["python >=3.9"])
    assert not lock(project, lab.here.context).written
    report = lock(project, lab.here.context, upgrade_packages=["greeter"])
    assert [(one.kind, one.name, one.before, one.after) for one in report.changes] == [
        ("conda", "greeter", "1.0", "2.0")
    ]
    before, after = ({one.digest for one in found.platform(ARM64).layers} for found in (first, report.lock))
    assert len(after - before) == len(before - after) == 1


def test_two_caches_give_the_same_lock(lab: Lab) -> None:
    project = lab.project("python=3.11", "greeter")
    lock(project, lab.here.context)
    first = [(lab.here.root / name).read_bytes() for name in ("lockship.lock", "conda-lock.yml")]
    for name in ("lockship.lock", "conda-lock.yml"):
        (lab.here.root / name).unlink()
    shutil.rmtree(lab.here.cache.root)
    lock(project, lab.here.context)
    assert [(lab.here.root / name).read_bytes() for name in ("lockship.lock", "conda-lock.yml")] == first


def test_a_check_is_offline_and_names_what_moved(lab: Lab) -> None:
    project = lab.project("python=3.11")
    lock(project, lab.here.context)
    before = len(lab.channel.requests)
    check(project)
    lab.here.write("environment.yml", (lab.here.root / "environment.yml").read_text() + "  - greeter\n")
    with pytest.raises(StaleLockError, match=r"environment\.yml changed"):
        check(project)
    lock(project, lab.here.context)
    (lab.here.root / "conda-lock.yml").write_text("version: 1\n")
    with pytest.raises(StaleLockError, match=r"conda-lock\.yml changed"):
        check(project)
    project = lab.project("python=3.11", python='virtual-packages = { cuda = "12" }')
    with pytest.raises(StaleLockError, match="virtual-packages"):
        check(project)
    assert len([one for one in lab.channel.requests[before:] if "cuda" in one]) == 0


def test_what_is_missing_is_fetched_again(lab: Lab) -> None:
    project = lab.project("python=3.11", "greeter")
    expected = lock(project, lab.here.context).lock
    shutil.rmtree(lab.here.cache.root)
    build(project, lab.here.context, platforms=[AMD64])
    assert all(lab.here.store.has_blob(one.digest) for one in expected.platform(AMD64).layers)
    shutil.rmtree(lab.here.cache.root)
    shutil.rmtree(lab.here.store.root)
    for path in lab.channel.folder.rglob("greeter*.conda"):
        path.write_bytes(path.read_bytes() + b"tampered")
    with pytest.raises(VerificationError, match=r"greeter-1\.0-0\.conda from the channel lab is not what was locked"):
        build(project, lab.here.context)


def test_scripts_are_named_and_refused(lab: Lab) -> None:
    for subdir in ("linux-64", "linux-aarch64"):
        lab.package("noisy", files={"bin/.noisy-post-link.sh": (b"#!/bin/sh\nexit 1\n", 0o755)}, subdir=subdir)
    with pytest.raises(ArtifactError, match=r"noisy-1\.0-0\.conda \(post-link\)") as caught:
        lock(lab.project("noisy"), lab.here.context)
    assert 'skip-scripts = ["noisy"]' in str(caught.value.hint)
    assert not (lab.here.root / "lockship.lock").exists()
    report = lock(lab.project("noisy", python='skip-scripts = ["noisy"]'), lab.here.context)
    assert [(one.name, one.version) for one in report.lock.platform(AMD64).conda] == [("noisy", "1.0")]
    assert report.lock.platform(AMD64).python == ""
    build(load_project(lab.here.root / "lockship.toml"), lab.here.context)


def test_two_packages_that_own_one_path(lab: Lab) -> None:
    for name, text in (("one", "1"), ("other", "2"), ("twin", "1")):
        lab.package(name, files={"share/common.txt": text}, noarch="generic")
    lock(lab.project("one", "twin"), lab.here.context)
    with pytest.raises(ArtifactError, match=r"one-1\.0-0\.conda and other-1\.0-0\.conda both install /opt/venv/share"):
        lock(lab.project("one", "other"), lab.here.context)


def test_a_package_that_climbs_out(lab: Lab) -> None:
    lab.package("climber", files={"../../etc/cron.d/x": "x"}, noarch="generic")
    with pytest.raises(ArtifactError, match=r"climber-1\.0-0\.conda: unsafe path"):
        lock(lab.project("climber"), lab.here.context)


def test_many_packages_share_layers(lab: Lab) -> None:
    for number in range(70):
        lab.channel.package(f"p{number}", files={f"share/p{number}": "x" * number}, noarch="generic")
    lab.package("last", noarch="generic", depends=[f"p{number}" for number in range(70)])
    project = lab.project("last", image='platforms = ["linux/amd64"]')
    lock(project, lab.here.context)
    (image,) = plan(project, lab.here.context).images
    assert len(image.layers) < MAX_LAYERS
    held = [one for layer in image.layers if layer.kind == "conda" for one in layer.holds]
    assert len(held) == 71


def test_why_names_the_file_that_the_packages_are_in(lab: Lab) -> None:
    project = lab.project("python=3.11", "greeter")
    lock(project, lab.here.context)
    build(project, lab.here.context)
    lab.package("greeter", "2.0", {"site-packages/greeter.py": ""}, noarch="python", depends=["python >=3.9"])
    lock(project, lab.here.context, upgrade=True)
    told = lab.here.run("why", "--against", "1.0")
    assert "  packages: greeter 1.0 → 2.0\n    because of conda-lock.yml\n" in told.out, told


def test_a_pip_section(lab: Lab) -> None:
    lab.here.wheel("alpha", "1.0", requires=["beta"])
    lab.here.wheel("beta", "2.0")
    project = lab.project("python=3.11", "pip", "pip: [alpha]")
    report = lock(project, lab.here.context)
    for locked in report.lock.platforms:
        assert {one.name: one.version for one in locked.wheels} == {"alpha": "1.0", "beta": "2.0"}
    text = (lab.here.root / "conda-lock.yml").read_text()
    assert "manager: pip" in text
    build(project, lab.here.context)
    assert "opt/venv/lib/python3.11/site-packages/alpha/__init__.py" in files_of(lab, project, ARM64)


def test_a_pip_section_and_an_index_with_a_login(lab: Lab) -> None:
    lab.here.wheel("alpha", "1.0")
    lab.here.index.login = "ada:s3cret-pass"
    netrc = lab.here.folder / "netrc"
    netrc.write_text("machine 127.0.0.1 login ada password s3cret-pass\n")
    netrc.chmod(0o600)
    lab.here.environ["NETRC"] = str(netrc)
    report = lock(lab.project("python=3.11", "pip", "pip: [alpha]"), lab.here.context)
    assert [one.name for one in report.lock.platform(AMD64).wheels] == ["alpha"]
    assert "s3cret" not in (lab.here.root / "conda-lock.yml").read_text()


def test_what_does_not_go_together(lab: Lab) -> None:
    with pytest.raises(ProjectError, match="put together from packages"):
        lock(lab.project("python", image='base = "docker.io/library/python:3.11-slim"'), lab.here.context)
    with pytest.raises(ProjectError, match="chooses among requirements"):
        lock(lab.project("python", image='runtime = "onnx"'), lab.here.context)
    with pytest.raises(ProjectError, match=r"version is 3\.12, and the environment has python 3\.11\.9"):
        lock(lab.project("python", python='version = "3.12"'), lab.here.context)
    project = lab.project("python")
    lock(project, lab.here.context)
    with pytest.raises(UsageError, match="can't be exported as a Dockerfile"):
        export_dockerfile(project, lab.here.context, lab.here.folder / "context")


def test_from_requirements_to_an_environment_and_back(lab: Lab) -> None:
    lab.here.wheel("alpha")
    lock(lab.here.project("alpha\n"), lab.here.context)
    report = lock(lab.project("python=3.11"), lab.here.context)
    assert report.lock.platform(AMD64).conda
    assert not any("python" in one.name for one in report.lock.platform(AMD64).debs)
    report = lock(lab.here.project("alpha\n"), lab.here.context)
    assert not report.lock.platform(AMD64).conda
    assert [one.name for one in report.lock.platform(AMD64).wheels] == ["alpha"]


def test_a_bill_lists_the_packages(lab: Lab) -> None:
    project = lab.project("python=3.11", "greeter")
    lock(project, lab.here.context)
    prepared = prepare(project, lab.here.context, [ARM64])
    found = components_of(prepared, prepared.plan.images[0])
    layers = {str(layer.digest) for layer in prepared.plan.images[0].layers}
    packages = {one.name: one for one in found if one.kind == "conda"}
    assert {name: one.version for name, one in packages.items()} == {
        "python": "3.11.9",
        "libfoo": "1.0",
        "greeter": "1.0",
    }
    assert packages["libfoo"].qualifiers == {"channel": "lab", "subdir": "linux-aarch64"}
    assert {one.layer for one in packages.values()} <= layers


def test_a_bundle_is_enough_to_build(lab: Lab) -> None:
    project = lab.project("python=3.11", "greeter")
    lock(project, lab.here.context)
    expected = build(project, lab.here.context).plan.descriptor.digest
    bundle = lab.here.folder / "demo.tar"
    done = export_bundle(project, lab.here.context, bundle)
    shutil.rmtree(lab.here.cache.root)
    shutil.rmtree(lab.here.store.root)
    shutil.rmtree(lab.channel.folder)
    done = lab.here.run("import", "bundle", str(bundle))
    assert done.code == 0, done
    assert build(project, lab.here.context).plan.descriptor.digest == expected


def test_the_command_line(lab: Lab) -> None:
    lab.project("python=3.11", "greeter")
    done = lab.here.run("lock")
    assert done.code == 0, done
    assert "3 conda packages" in done.out + done.err
    done = lab.here.run("lock", "--check")
    assert done.code == 0, done
    lab.project("python=3.11", "greeter", "missing-thing")
    done = lab.here.run("lock")
    assert done.code == 3
    assert "missing-thing" in done.err
    assert "Traceback" not in done.err


def test_the_digest_of_a_layer_is_the_locks(lab: Lab) -> None:
    project = lab.project("python=3.11")
    locked = lock(project, lab.here.context).lock.platform(ARM64)
    for layer in locked.layers:
        blob = lab.here.cache.blob(layer.digest)
        assert blob is not None
        assert Digest.of(blob.read_bytes()) == layer.digest


def test_r_without_a_shell_is_a_warning_that_names_what_is_missing(lab: Lab) -> None:
    heard = Heard()
    context = replace(lab.here.context, progress=heard)
    lock(lab.project("python=3.11"), context)
    assert not [one for one in heard.warnings if "R is started" in one]
    lab.package("r-base", "4.2.2", {"bin/R": ("#!/bin/sh\n", 0o755)}, depends=["libfoo"])
    found = lock(lab.project("r-base=4.2", image='platforms = ["linux/amd64"]'), context).lock.platforms[0]
    assert found.python == ""
    [warning] = [one for one in heard.warnings if "R is started" in one]
    assert "lacks dash and libc-bin" in warning
