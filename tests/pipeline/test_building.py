"""Building, end to end: the plan's digest comes true, on any machine, and nothing is done twice."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.content import Digest
from builder.errors import ArtifactError, ProjectError, StaleLockError, StoreError, VerificationError
from builder.lock.file import read_lock
from builder.pipeline import build, lock, plan, prepare, verify
from builder.pipeline.building import build_prepared
from builder.pipeline.context import Context
from builder.project import load_project
from tests.support.progress import Heard
from tests.support.world import World

pytestmark = pytest.mark.apt

IMAGE = """
platforms = ["linux/amd64", "linux/arm64"]
files = ["code/", "settings.json"]
command = ["python", "-m", "code"]
env = { B = "2", A = "1" }
"""


@pytest.fixture
def ready(here: World) -> World:
    """A project with two wheels, code and a model, locked."""
    here.wheel("alpha", requires=["beta"], entry_points="[console_scripts]\nalpha = alpha:main\n")
    here.wheel("beta")
    here.write("code/__init__.py", "")
    here.write("code/deep/module.py", "x = 1\n")
    here.write("settings.json", "{}")
    here.write("model.onnx", "not really a model")
    lock(here.project("alpha\n", image=IMAGE, rest='[model]\nsource = "model.onnx"'), here.context)
    return here


def test_a_build_gives_the_digest_that_the_plan_announced(ready: World) -> None:
    planned = plan(ready.load(), ready.context)
    assert not ready.store.tags()
    built = build(ready.load(), ready.context)
    assert built.plan.descriptor == planned.descriptor
    assert ready.store.tags() == {"1.0": planned.descriptor.digest}
    index = json.loads(ready.store.manifest("1.0").data)  # type: ignore[union-attr]
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]
    for entry in index["manifests"]:
        manifest = json.loads(ready.store.manifest(Digest(entry["digest"])).data)  # type: ignore[union-attr]
        for descriptor in (manifest["config"], *manifest["layers"]):
            data = b"".join(ready.store.read_blob(Digest(descriptor["digest"])))
            assert len(data) == descriptor["size"]


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="no skopeo")
def test_another_tool_reads_the_store(ready: World) -> None:
    build(ready.load(), ready.context)
    layout = ready.root / ".lockship" / "store"
    copied = ready.folder / "copied"
    subprocess.run(["skopeo", "copy", "-q", "--all", f"oci:{layout}:1.0", f"dir:{copied}"], check=True)
    shown = subprocess.run(["skopeo", "inspect", f"oci:{layout}:1.0"], capture_output=True, check=True).stdout
    assert json.loads(shown)["Env"][-2:] == ["A=1", "B=2"]


def test_building_again_does_nothing(ready: World) -> None:
    build(ready.load(), ready.context)
    layout = ready.root / ".lockship" / "store"

    def files() -> dict[Path, tuple[int, int]]:
        """Nothing is written anew: files that are replaced are other ones. (Blobs in use are touched, for gc.)"""
        return {path: (path.stat().st_ino, path.stat().st_size) for path in layout.rglob("*") if path.is_file()}

    before, index = files(), (layout / "index.json").stat().st_mtime_ns
    built = build(ready.load(), ready.context)
    assert not built.written
    assert files() == before
    assert (layout / "index.json").stat().st_mtime_ns == index


def test_changed_code_writes_the_code_alone(ready: World) -> None:
    first = build(ready.load(), ready.context)
    ready.write("code/deep/module.py", "x = 2\n")
    second = build(ready.load(), ready.context)
    assert [layer.kind for layer in second.written] == ["code"]
    assert second.previous == first.plan.descriptor.digest


def test_a_model_of_its_own_layer_uncompressed(ready: World) -> None:
    planned = plan(ready.load(), ready.context)
    (model,) = [layer for layer in planned.images[0].layers if layer.kind == "model"]
    assert model.digest == model.diff_id
    assert model.media_type == "application/vnd.oci.image.layer.v1.tar"
    kinds = [layer.kind for layer in planned.images[0].layers]
    order = ["system", "deb", "venv", "wheel", "model", "code"]
    assert kinds == sorted(kinds, key=order.index)


def test_an_empty_cache_fetches_and_makes_what_is_missing(ready: World) -> None:
    first = build(ready.load(), ready.context)
    shutil.rmtree(ready.root / ".lockship")
    shutil.rmtree(ready.cache.root)
    again = build(ready.load(), ready.context)
    assert again.plan.descriptor == first.plan.descriptor
    assert {layer.digest for layer in again.written} == {layer.digest for layer in first.written}


def test_layers_in_the_store_are_not_made_or_fetched(ready: World) -> None:
    build(ready.load(), ready.context)
    shutil.rmtree(ready.cache.root)
    asked = len(ready.index.requests)
    ready.write("code/new.py", "")
    assert [layer.kind for layer in build(ready.load(), ready.context).written] == ["code"]
    assert len(ready.index.requests) == asked


def test_a_deb_that_the_mirror_dropped_comes_from_the_store_or_not_at_all(ready: World) -> None:
    build(ready.load(), ready.context)
    shutil.rmtree(ready.cache.root)
    ready.debs.drop("netbase", "6.4")
    ready.debs.publish()
    assert not build(ready.load(), ready.context).written
    shutil.rmtree(ready.root / ".lockship")
    with pytest.raises(ArtifactError, match="netbase") as caught:
        build(ready.load(), ready.context)
    assert "lock" in (caught.value.hint or "")
    assert caught.value.exit_code == 3


def test_one_platform_alone(ready: World) -> None:
    whole = plan(ready.load(), ready.context)
    arm = whole.images[1]
    built = build(ready.load(), ready.context, [arm.platform])
    assert [image.descriptor for image in built.plan.images] == [arm.descriptor]


def test_an_unknown_platform_is_an_error(here: World) -> None:
    project = here.project()
    lock(project, here.context)
    from builder.content import Platform

    with pytest.raises(ProjectError, match="linux/arm64 is not among"):
        plan(project, here.context, [Platform.parse("linux/arm64")])


def test_a_stale_lock_builds_nothing(ready: World) -> None:
    ready.write("requirements.in", "alpha\nbeta\n")
    with pytest.raises(StaleLockError):
        build(ready.load(), ready.context)
    assert not (ready.root / ".lockship").exists()


@pytest.mark.parametrize("missing", ["settings.json", "model.onnx", "code"])
def test_a_missing_file_is_named(ready: World, missing: str) -> None:
    path = ready.root / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ProjectError, match=missing):
        plan(ready.load(), ready.context)


PLAN = """
import os, sys
from pathlib import Path
from builder.cache import Cache
from builder.pipeline import Context, build
from builder.project import load_project
os.umask(int(sys.argv[3], 8))
root = Path(sys.argv[1])
context = Context(Cache(Path(sys.argv[2])), dict(os.environ))
print(build(load_project(root / "lockship.toml"), context).plan.descriptor.digest)
"""


@pytest.mark.parametrize(
    "variation",
    [
        {"TZ": "Asia/Kathmandu", "LC_ALL": "C"},
        {"PYTHONHASHSEED": "11", "PYTHONUTF8": "0", "LANG": "tr_TR.UTF-8"},
        {"umask": "077", "cwd": "/", "HOME": "/nonexistent"},
    ],
    ids=["clock and locale", "hash seed", "umask and place"],
)
def test_another_machine_gives_the_same_digest(ready: World, variation: dict[str, str]) -> None:
    """A fresh copy at another place, an empty cache, other surroundings: every blob is made anew."""
    expected = plan(ready.load(), ready.context).descriptor.digest
    elsewhere = ready.folder / "other machine"
    shutil.copytree(ready.root, elsewhere / "checkout")
    for path in (elsewhere / "checkout").rglob("*"):
        os.utime(path, (5, 5))
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PLAN,
            str(elsewhere / "checkout"),
            str(elsewhere / "cache"),
            variation.pop("umask", "022"),
        ],
        cwd=variation.pop("cwd", str(elsewhere)),
        env={**ready.environ, **variation},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == expected, done.stderr


def test_the_commit_is_in_the_image_and_the_clock_is_not(ready: World) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words], cwd=ready.root, check=True)

    git("init", "-q")
    (ready.root / ".gitignore").write_text(".lockship/\n")
    git("add", "-A")
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "one"],
        cwd=ready.root,
        env={**os.environ, "GIT_COMMITTER_DATE": "2020-01-02T03:04:05Z", "GIT_AUTHOR_DATE": "2020-01-02T03:04:05Z"},
        check=True,
    )
    (image, _) = plan(ready.load(), ready.context).images
    config = json.loads(image.config)
    assert config["created"] == "2020-01-02T03:04:05Z"
    assert len(config["config"]["Labels"]["org.opencontainers.image.revision"]) == 40
    context = Context(ready.cache, {**ready.environ, "SOURCE_DATE_EPOCH": "86400"})
    (image, _) = plan(ready.load(), context).images
    assert json.loads(image.config)["created"] == "1970-01-02T00:00:00Z"
    for epoch in ("yesterday", "-1", "9" * 30):
        with pytest.raises(ProjectError, match="SOURCE_DATE_EPOCH") as caught:
            plan(ready.load(), Context(ready.cache, {**ready.environ, "SOURCE_DATE_EPOCH": epoch}))
        assert caught.value.hint


def test_verify_builds_again_and_agrees(ready: World) -> None:
    built = build(ready.load(), ready.context)
    found = verify(ready.load(), ready.context)
    assert found.plan.descriptor == built.plan.descriptor
    assert found.stored
    assert found.blobs == len({layer.digest for image in built.plan.images for layer in image.layers}) + 2 * 2 + 1
    assert ready.leftovers() == []


def test_verify_names_the_first_difference(ready: World) -> None:
    build(ready.load(), ready.context)
    ready.write("code/deep/module.py", "x = 2\n")
    with pytest.raises(VerificationError, match=r"app/code/deep/module\.py") as caught:
        verify(ready.load(), ready.context)
    assert caught.value.exit_code == 6


def test_verify_finds_a_damaged_blob(ready: World) -> None:
    built = build(ready.load(), ready.context)
    layer = next(one for one in built.plan.images[0].layers if one.kind == "wheel")
    blob = ready.root / ".lockship/store/blobs/sha256" / layer.digest.hex
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.unlink()
    blob.write_bytes(bytes(data))
    with pytest.raises(VerificationError, match=layer.digest.hex[:12]):
        verify(ready.load(), ready.context)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
@pytest.mark.parametrize("options", ["size=200k", "ro"])
def test_a_full_or_read_only_cache_is_an_error_with_a_way_out(ready: World, options: str) -> None:
    small = ready.folder / "small"
    small.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(small)], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("tmpfs can't be mounted here")
    try:
        if "size" in options:
            (small / "ballast").write_bytes(bytes(190_000))
        with pytest.raises(StoreError) as caught:
            build(ready.load(), Context(Cache(small), ready.environ))
        assert "LOCKSHIP_CACHE" in (caught.value.hint or "")
        assert caught.value.exit_code == 5
        assert "1.0" not in ready.store.tags()
    finally:
        subprocess.run(["umount", str(small)], check=True)
    build(ready.load(), ready.context)


def test_a_full_store_is_an_error_and_leaves_no_tag(ready: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", full)
        patched.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left"):
            build(ready.load(), ready.context)
    assert not ready.store.tags()
    build(ready.load(), ready.context)


def test_pyproject_holds_a_project_too(here: World) -> None:
    here.wheel("alpha")
    here.project("alpha\n")
    text = (here.root / "lockship.toml").read_text()
    (here.root / "lockship.toml").unlink()
    tables = text.replace("[python]", "[tool.lockship.python]").replace("[image]", "[tool.lockship.image]")
    tables = tables.replace("[[image.sources]]", "[[tool.lockship.image.sources]]").replace(
        "requirements.in", "pyproject.toml"
    )
    head = '[project]\nname = "demo"\nversion = "1.0"\ndependencies = ["alpha"]\n\n[tool.lockship]\n'
    here.write("pyproject.toml", head + tables.split("\n", 2)[2])
    project = load_project(here.root / "pyproject.toml")
    lock(project, here.context)
    assert build(project, here.context).tag == "1.0"


def test_a_new_version_is_compared_with_the_highest(ready: World) -> None:
    from builder.pipeline.comparing import outlook
    from builder.pipeline.planning import prepare

    for version in ("1.9", "1.10", "0.2"):
        text = (ready.root / "lockship.toml").read_text()
        ready.write("lockship.toml", f'name = "demo"\nversion = "{version}"\n' + text.split("\n", 2)[2])
        build(ready.load(), ready.context)
    ready.write("lockship.toml", (ready.root / "lockship.toml").read_text().replace('"0.2"', '"2.0"', 1))
    found = outlook(prepare(ready.load(), ready.context), ready.context)
    assert found.comparison is not None
    assert found.comparison.tag == "1.10"
    assert {use.state for use in found.layers} == {"reused"}


def flip(path: Path) -> None:
    """One bit of a file that nobody should write to."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(bytes(data))


def test_a_layer_that_went_bad_in_the_cache_does_not_reach_the_store(ready: World) -> None:
    heard = Heard()
    planned = plan(ready.load(), ready.context)
    layer = next(one for one in planned.images[0].layers if one.kind == "wheel")
    path = ready.cache.blob(layer.digest)
    assert path is not None
    flip(path)
    build(ready.load(), Context(ready.cache, ready.environ, heard))
    assert any(layer.digest in warning and "made again" in warning for warning in heard.warnings)
    assert len(b"".join(ready.store.read_blob(layer.digest))) == layer.size


def test_a_wheel_that_went_bad_in_the_cache_is_an_error_once(ready: World) -> None:
    locked = read_lock(ready.root / "lockship.lock")
    assert locked is not None
    expected = plan(ready.load(), ready.context)
    layer = next(one for one in expected.images[0].layers if one.holds[0][0] == "alpha")
    ready.cache.forget(layer.digest)
    path = ready.cache.blob(locked.platforms[0].wheels[0].digest)
    assert path is not None
    flip(path)
    with pytest.raises(VerificationError, match="the cache was damaged"):
        build(ready.load(), ready.context)
    assert not ready.store.tags()
    assert build(ready.load(), ready.context).plan.descriptor == expected.descriptor


def test_several_builds_of_one_project_at_once(ready: World) -> None:
    """They share the cache and the store; each ends well, with the same digest."""
    expected = plan(ready.load(), ready.context).descriptor.digest
    shutil.rmtree(ready.cache.root)
    words = [sys.executable, "-m", "builder", "build"]
    running = [
        subprocess.Popen(words, cwd=ready.root, env=ready.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in running:
        out, err = process.communicate()
        assert (process.returncode, out.decode().strip()) == (0, expected), err.decode()
    assert ready.leftovers() == []
    verify(ready.load(), ready.context)


def test_a_file_that_changes_during_the_build_is_an_error(ready: World) -> None:
    for text in ("xx", "longer than before"):
        ready.write("settings.json", "{}")
        prepared = prepare(ready.load(), ready.context)
        ready.write("settings.json", text)
        with pytest.raises(VerificationError, match="changed while it was built") as caught:
            build_prepared(prepared, ready.context, ready.store)
        assert caught.value.hint
    assert not ready.store.tags()


def test_models_code_and_base_do_not_replace_each_other(ready: World) -> None:
    ready.write("other/model.onnx", "another model")
    toml = ready.root / "lockship.toml"
    text = toml.read_text()
    toml.write_text(text + '\n[models.other]\nsource = "other/model.onnx"\n')
    with pytest.raises(ProjectError, match=r"other/model\.onnx and model\.onnx both have /app/model\.onnx"):
        plan(ready.load(), ready.context)
    toml.write_text(text.replace('"settings.json"]', '{ source = "settings.json", target = "/etc/passwd" }]'))
    with pytest.raises(ProjectError, match="the base both have /etc/passwd"):
        plan(ready.load(), ready.context)
    toml.write_text(text.replace('"settings.json"]', '"model.onnx"]'))
    kinds = [layer.kind for layer in plan(ready.load(), ready.context).images[0].layers]
    assert (kinds.count("model"), kinds.count("code")) == (1, 1)


def test_a_secret_in_a_setting_is_a_warning_without_the_secret(ready: World) -> None:
    toml = ready.root / "lockship.toml"
    toml.write_text(toml.read_text().replace('A = "1"', 'DB_PASSWORD = "correct-horse"'))
    warnings = prepare(ready.load(), ready.context).warnings
    assert warnings == ("DB_PASSWORD looks like a password, and goes into the image for everybody to read",)


def test_a_platform_that_is_named_twice_counts_once(ready: World) -> None:
    (target,) = {image.platform for image in plan(ready.load(), ready.context).images if "arm64" in str(image.platform)}
    assert len(plan(ready.load(), ready.context, [target, target]).images) == 1


def test_nothing_but_the_base(here: World) -> None:
    """No requirements, no files, no command, root."""
    project = here.project(image="user = 0")
    assert lock(project, here.context).lock.outputs == {}
    built = build(project, here.context)
    (image,) = built.plan.images
    assert {layer.kind for layer in image.layers} == {"system", "deb", "venv"}
    config = json.loads(image.config)["config"]
    assert (config["User"], config["Cmd"]) == ("0:0", ["python"])
    assert not (here.root / "requirements.lock").exists()
    verify(project, here.context)


def test_every_layer_has_its_line_of_history(ready: World) -> None:
    import gzip

    for image in build(ready.load(), ready.context).plan.images:
        config = json.loads(image.config)
        assert config["rootfs"]["diff_ids"] == [layer.diff_id for layer in image.layers]
        assert len(config["history"]) == len(image.layers)
        assert not any(line.get("empty_layer") for line in config["history"])
        for layer in image.layers:
            blob = b"".join(ready.store.read_blob(layer.digest))
            plain = gzip.decompress(blob) if layer.media_type.endswith("+gzip") else blob
            assert Digest.of(plain) == layer.diff_id


@pytest.mark.parametrize("place", ["with spaces", "mit Ümläuten"])
def test_a_project_may_lie_anywhere(ready: World, place: str) -> None:
    expected = build(ready.load(), ready.context).plan.descriptor
    moved = ready.folder / place / "x"
    shutil.copytree(ready.root, moved)
    shutil.rmtree(moved / ".lockship")
    (ready.folder / "link").symlink_to(moved)
    for spelling in (moved, ready.folder / "link", moved / ".." / "x"):
        assert build(load_project(spelling / "lockship.toml"), ready.context).plan.descriptor == expected
