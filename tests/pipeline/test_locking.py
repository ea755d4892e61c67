"""Locking, end to end: real apt, real uv, real HTTP, small packages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest

from builder.content import Digest, Platform
from builder.errors import (
    ArtifactError,
    LockError,
    ProjectError,
    ResolutionError,
    StaleLockError,
    StoreError,
    VerificationError,
)
from builder.layers.order import MAX_LAYERS
from builder.lock.file import read_lock
from builder.lock.requirements import parse
from builder.pipeline import build, check, lock, plan
from tests.support.folders import read_only
from tests.support.world import World

pytestmark = pytest.mark.apt


def versions(world: World, platform: str = "linux/amd64") -> dict[str, str]:
    found = read_lock(world.root / "lockship.lock")
    assert found is not None
    return {one.name: one.version for one in found.platform(Platform.parse(platform)).wheels}


def test_a_lock_pins_everything_and_fits(here: World) -> None:
    here.wheel("alpha", requires=["beta>=1"])
    here.wheel("beta", "1.0")
    here.wheel("beta", "1.1")
    project = here.project("alpha\n", image='platforms = ["linux/amd64", "linux/arm64"]')
    report = lock(project, here.context)
    assert report.written
    assert versions(here) == versions(here, "linux/arm64") == {"alpha": "1.0", "beta": "1.1"}
    check(project)
    text = (here.root / "lockship.lock").read_text()
    for word in (here.index.url, str(here.folder), here.debs.uri, "127.0.0.1"):
        assert word not in text
        assert word not in (here.root / "requirements.lock").read_text()
    for locked in report.lock.platforms:
        assert {one for layer in locked.layers for one in layer.holds} == {
            one.name for one in (*locked.debs, *locked.wheels)
        }
        for layer in locked.layers:
            blob = here.cache.blob(layer.digest)
            assert blob is not None
            assert Digest.of(blob.read_bytes()) == layer.digest
            assert blob.stat().st_size == layer.size


def test_two_caches_give_the_same_lock(here: World) -> None:
    here.wheel("alpha", files={"alpha/__init__.py": b"x\n", "alpha/data.bin": bytes(range(256)) * 999})
    project = here.project("alpha\n")
    lock(project, here.context)
    first = (here.root / "lockship.lock").read_bytes()
    (here.root / "lockship.lock").unlink()
    shutil.rmtree(here.cache.root)
    lock(project, here.context)
    assert (here.root / "lockship.lock").read_bytes() == first


def test_locking_again_does_nothing(here: World) -> None:
    here.wheel("alpha")
    project = here.project("alpha\n")
    lock(project, here.context)
    before = len(here.index.requests)
    assert not lock(project, here.context).written
    assert len(here.index.requests) == before


def test_the_least_change_and_upgrades(here: World) -> None:
    for name in ("alpha", "beta"):
        here.wheel(name, "1.0")
    project = here.project("alpha\nbeta\n")
    lock(project, here.context)
    for name in ("alpha", "beta", "gamma"):
        here.wheel(name, "2.0")
    here.write("requirements.in", "alpha\nbeta\ngamma\n")
    report = lock(project, here.context)
    assert versions(here) == {"alpha": "1.0", "beta": "1.0", "gamma": "2.0"}
    assert [(one.name, one.before, one.after) for one in report.changes] == [("gamma", "", "2.0")]
    lock(project, here.context, upgrade_packages=["beta"])
    assert versions(here) == {"alpha": "1.0", "beta": "2.0", "gamma": "2.0"}
    lock(project, here.context, upgrade=True)
    assert versions(here) == {"alpha": "2.0", "beta": "2.0", "gamma": "2.0"}


def test_a_newer_deb_is_taken_only_when_asked(here: World) -> None:
    project = here.project()
    lock(project, here.context)
    here.debs.add("netbase", "6.5", (), architectures=("all",))
    here.debs.publish()
    here.write(
        "lockship.toml",
        (here.root / "lockship.toml").read_text().replace("[image]\n", '[image]\npackages = ["zlib1g"]\n'),
    )
    report = lock(here.load(), here.context)
    assert not report.changes  # zlib1g was there already, netbase stays
    report = lock(here.load(), here.context, upgrade_packages=["netbase"])
    assert [(one.name, one.after) for one in report.changes] == [("netbase", "6.5")]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda world: world.write("requirements.in", "alpha\nbeta\n"), "requirements.in"),
        (lambda world: world.write("more.in", "beta\n"), "more.in"),
        (lambda world: world.write("packages.txt", "beta<2\n"), "packages.txt"),
        (
            lambda world: world.write(
                "lockship.toml", (world.root / "lockship.toml").read_text().replace("debian:bookworm", "debian:trixie")
            ),
            "[image] base",
        ),
        (lambda world: world.write("requirements.lock", "alpha==1.0\n"), "requirements.lock"),
        (lambda world: (world.root / "requirements.lock").unlink(), "requirements.lock"),
    ],
)
def test_check_names_what_moved(here: World, change: object, named: str) -> None:
    here.wheel("alpha")
    here.wheel("beta")
    here.write("more.in", "alpha\n")
    here.write("packages.txt", "alpha<2\n")
    project = here.project("-r more.in\n", python='constraints = ["packages.txt"]')
    lock(project, here.context)
    asked = len(here.index.requests)
    change(here)  # type: ignore[operator]
    with pytest.raises(StaleLockError, match=re.escape(named)) as caught:
        check(here.load())
    assert "lockship lock" in (caught.value.hint or "")
    assert len(here.index.requests) == asked  # offline


def test_what_does_not_matter_stales_nothing(here: World) -> None:
    here.wheel("alpha")
    project = here.project("alpha\n")
    lock(project, here.context)
    text = (here.root / "lockship.toml").read_text()
    here.write("lockship.toml", "# a comment\n" + text.replace("[image]\n", '[image]\nenv = { A = "1" }\n'))
    check(here.load())


def test_a_hand_edited_requirements_lock_is_where_locking_starts(here: World) -> None:
    here.wheel("alpha", "1.0")
    here.wheel("alpha", "2.0")
    project = here.project("alpha\n")
    lock(project, here.context)
    here.write("requirements.lock", "alpha==1.0\n")
    lock(project, here.context)
    assert versions(here) == {"alpha": "1.0"}
    check(project)


def test_no_lock_yet(here: World) -> None:
    with pytest.raises(StaleLockError, match="no lock") as caught:
        check(here.project())
    assert caught.value.hint == "run `lockship lock`"


def test_a_damaged_lock_is_written_anew_and_a_newer_one_is_not(here: World) -> None:
    project = here.project()
    here.write("lockship.lock", "<<<<<<< HEAD\n")
    assert lock(project, here.context).written
    path = here.root / "lockship.lock"
    path.write_text(path.read_text().replace("format = 1", "format = 99", 1))
    with pytest.raises(LockError, match="format 99"):
        lock(project, here.context)
    assert "format = 99" in path.read_text()


def test_two_wheels_with_different_bytes_for_one_path(here: World) -> None:
    here.wheel("alpha", files={"shared/__init__.py": b"", "shared/tool.py": b"one\n"})
    here.wheel("beta", files={"shared/__init__.py": b"", "shared/tool.py": b"two\n"})
    with pytest.raises(ArtifactError, match=r"alpha-1\.0.*beta-1\.0.*shared/tool\.py.*different"):
        lock(here.project("alpha\nbeta\n"), here.context)
    assert not (here.root / "lockship.lock").exists()
    assert not (here.root / "requirements.lock").exists()


def test_equal_bytes_for_one_path_are_fine(here: World) -> None:
    here.wheel("alpha", files={"space/__init__.py": b"# same\n", "space/a.py": b""})
    here.wheel("beta", files={"space/__init__.py": b"# same\n", "space/b.py": b""})
    assert lock(here.project("alpha\nbeta\n"), here.context).written


def test_a_file_where_another_wheel_has_a_folder(here: World) -> None:
    here.wheel("alpha", files={"shared/deep/tool.py": b""})
    here.wheel("beta", files={"shared/deep": b""})
    with pytest.raises(ArtifactError, match=r"beta-1\.0.*alpha-1\.0.*shared/deep: a file there, a folder here"):
        lock(here.project("alpha\nbeta\n"), here.context)
    assert not (here.root / "lockship.lock").exists()


@pytest.mark.parametrize("name", ["lockship.lock", "requirements.lock"])
def test_a_folder_in_the_locks_place(here: World, name: str) -> None:
    here.wheel("alpha")
    project = here.project("alpha\n")
    (here.root / name).mkdir()
    with pytest.raises((StoreError, ProjectError)) as caught:
        lock(project, here.context)
    assert caught.value.hint
    assert name in str(caught.value)
    (here.root / name).rmdir()
    assert lock(project, here.context).written


def test_a_project_on_a_read_only_disk(here: World) -> None:
    here.wheel("alpha")
    project = here.project("alpha\n")
    with read_only(here.root), pytest.raises(StoreError, match="cannot write the lock") as caught:
        lock(project, here.context)
    assert "writable" in (caught.value.hint or "")
    assert not (here.root / "requirements.lock").exists()


def test_requirements_that_are_not_text(here: World) -> None:
    here.wheel("alpha")
    project = here.project("alpha\n")
    (here.root / "requirements.lock").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProjectError, match="not UTF-8") as caught:
        lock(project, here.context)
    assert caught.value.hint


def test_byte_code_needs_one_interpreter_for_all_platforms(here: World) -> None:
    """Whichever of two would compile would decide what both platforms get."""
    project = here.project(image='platforms = ["linux/amd64", "linux/arm64"]', python="bytecode = true")
    newer = "3.11.2-6+deb12u2"
    for package in ("python3.11-minimal", "libpython3.11-minimal"):
        here.debs.add(package, newer, (), architectures=("arm64",), depends="libc6")
    here.debs.publish()
    with pytest.raises(StaleLockError, match=r"but 3\.11\.2-6\+deb12u2 for linux/arm64") as caught:
        lock(project, here.context)
    assert "bytecode = false" in (caught.value.hint or "")


def test_a_mirror_that_does_not_answer_is_named_without_credentials(here: World) -> None:
    here.project()
    text = (here.root / "lockship.toml").read_text()
    (here.root / "lockship.toml").write_text(text.replace(here.debs.uri, "http://me:s3cr3t@127.0.0.1:9/debian"))
    with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:9/debian.*[Cc]onnect") as caught:
        lock(here.load(), here.context)
    assert "s3cr3t" not in str(caught.value) + str(caught.value.hint) + repr(caught.value.__cause__)
    kept = [path for place in (here.cache.root, here.folder / "tmp") for path in place.rglob("*") if path.is_file()]
    assert not [path for path in kept if b"s3cr3t" in path.read_bytes()]


def test_two_that_lock_at_once(here: World) -> None:
    for name in ("alpha", "beta"):
        here.wheel(name)
    here.project("alpha\nbeta\n")
    words = [sys.executable, "-m", "builder", "lock"]
    running = [
        subprocess.Popen(words, cwd=here.root, env=here.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in running:
        _, err = process.communicate()
        assert process.returncode == 0, err.decode()
    check(here.load())
    assert here.leftovers() == []


def test_a_hostile_wheel_ends_the_lock_and_leaves_nothing(here: World) -> None:
    import zipfile

    path = here.wheel("alpha")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../etc/cron.d/evil", b"x")
    with pytest.raises(ArtifactError, match=r"alpha-1\.0.*unsafe path"):
        lock(here.project("alpha\n"), here.context)
    assert not (here.root / "lockship.lock").exists()
    assert here.leftovers() == []


def test_the_index_lies_about_a_hash(here: World) -> None:
    path = here.wheel("alpha")
    here.index.lies[path.name] = "0" * 64
    with pytest.raises((VerificationError, ResolutionError)):
        lock(here.project("alpha\n"), here.context)
    assert not (here.root / "lockship.lock").exists()
    assert here.leftovers() == []


def test_the_index_is_down(here: World) -> None:
    here.wheel("alpha")
    project = here.project("alpha\n")
    context = here.context
    context.environ["PIP_INDEX_URL"] = "http://127.0.0.1:9/simple"  # type: ignore[index]
    context.environ["PIP_RETRIES"] = "1"  # type: ignore[index]
    with pytest.raises((StoreError, ResolutionError)) as caught:
        lock(project, context)
    assert caught.value.hint
    assert not (here.root / "lockship.lock").exists()


def test_three_hundred_packages_fit_the_layer_budget(here: World) -> None:
    names = [f"package{number:03}" for number in range(300)]
    for name in names:
        here.wheel(name, files={f"{name}.py": name.encode() * (len(name) + int(name[-3:]))})
    project = here.project("".join(f"{name}\n" for name in names))
    report = lock(project, here.context)
    (locked,) = report.lock.platforms
    assert len(locked.wheels) == 300
    (image,) = plan(project, here.context).images
    assert len(image.layers) <= MAX_LAYERS
    assert {name for layer in locked.layers for name in layer.holds} >= set(names)
    # one pin moves: one layer of wheels moves
    here.wheel("package150", "2.0", files={"package150.py": b"package150" * 160})
    moved = lock(project, here.context, upgrade_packages=["package150"]).lock.platforms[0]
    assert len({layer.digest for layer in moved.layers} - {layer.digest for layer in locked.layers}) == 1


def test_the_lock_is_plain_data(here: World) -> None:
    """Anybody's TOML reader sees the same facts."""
    import tomllib

    here.wheel("alpha")
    lock(here.project("alpha\n"), here.context)
    document = tomllib.loads((here.root / "lockship.lock").read_text())
    (wheel,) = document["platform"]["linux/amd64"]["wheels"]
    assert wheel["name"] == "alpha"
    assert wheel["sha256"] in (here.root / "requirements.lock").read_text()
    json.dumps(document)


def test_a_lock_of_another_layer_format_is_refused_and_written_anew(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.wheel("alpha", "1.0")
    project = here.project("alpha\n")
    lock(project, here.context)
    here.wheel("alpha", "2.0")
    monkeypatch.setattr("builder.layers.recipe.FORMAT", 2)
    with pytest.raises(StaleLockError, match="another format") as caught:
        plan(project, here.context)
    assert "lockship lock" in (caught.value.hint or "")
    report = lock(project, here.context)
    assert report.written
    assert versions(here) == {"alpha": "1.0"}  # pins stay as they are
    plan(project, here.context)


def test_what_the_lock_before_says_of_a_layer_holds(here: World) -> None:
    """A machine with an empty cache relocks, though the mirror dropped a deb: its layer is in the store."""
    here.wheel("alpha")
    here.wheel("beta")
    project = here.project("alpha\n")
    first = lock(project, here.context).lock
    build(project, here.context)
    shutil.rmtree(here.cache.root)
    here.debs.drop("netbase", "6.4")
    here.debs.publish()
    here.write("requirements.in", "alpha\nbeta\n")
    second = lock(project, here.context).lock
    assert set(first.platforms[0].layers) < set(second.platforms[0].layers)
    assert [layer.title for layer in build(project, here.context).written] == ["beta 1.0"]


def test_an_image_that_only_runs_models_gets_what_they_need(here: World) -> None:
    """requirements.lock stays whole: it is where the original model is at home."""
    here.wheel("numpy")
    here.wheel("flatbuffers")
    here.wheel("onnxruntime", requires=["numpy", "flatbuffers"])
    here.wheel("training", requires=["numpy"])
    here.project("onnxruntime\ntraining\n")
    assert here.run("lock").code == 0
    assert versions(here).keys() == {"numpy", "flatbuffers", "onnxruntime", "training"}
    here.project("onnxruntime\ntraining\n", image='runtime = "onnx"')
    stale = here.run("lock", "--check")
    assert stale.code == 3
    assert "[image] runtime" in stale.err
    assert here.run("lock").code == 0
    assert versions(here).keys() == {"numpy", "flatbuffers", "onnxruntime"}
    assert "training==1.0" in (here.root / "requirements.lock").read_text()
    assert here.run("build").code == 0
    docker = here.docker_context(here.load())
    asked = {pin.name for pin in parse((docker / "requirements.lock").read_text(), "requirements.lock")}
    brought = {wheel.name.partition("-")[0] for wheel in (docker / "wheels").iterdir()}
    assert asked == brought == {"numpy", "flatbuffers", "onnxruntime"}
    here.project("training\n", image='runtime = "onnx"')
    refused = here.run("lock")
    assert refused.code == 2
    assert "onnxruntime" in refused.err
