"""Projects on base images, end to end: a real registry, real uv, and bases whose python only looks like one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from builder.cache import Cache
from builder.content import Digest, Platform
from builder.errors import LockError, ProjectError, StoreError, VerificationError
from builder.image.layer import files_of
from builder.lock.file import Lock, read_lock
from builder.pipeline import build, check, lock, plan, prepare, verify
from builder.pipeline.comparing import outlook
from builder.pipeline.context import Context, host_platform
from builder.pipeline.pushing import push
from builder.pipeline.remaking import make_missing
from builder.pipeline.stores import open_registry
from builder.project import Project
from builder.registry.client import Registry
from builder.registry.reference import Repository
from builder.registry.store import Manifest
from tests.support.bases import AMD64, ARM64, DOCKER, Member, entry, files, layer, put_base, put_index, python
from tests.support.progress import Heard
from tests.support.proxy import fault_proxy
from tests.support.registry import RegistryServer, serve_registry
from tests.support.world import World

pytestmark = pytest.mark.apt

BOTH = 'platforms = ["linux/amd64", "linux/arm64"]\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with serve_registry(tmp_path_factory.mktemp("registry")) as made:
        yield made


@pytest.fixture
def bases(server: RegistryServer, here: World, request: pytest.FixtureRequest) -> Iterator[Registry]:
    """A repository of the test's own, for bases."""
    name = "bases/" + Digest.of(request.node.nodeid.encode()).short
    with open_registry(Repository(server.host, name), here.context, push=True) as store:
        yield store


def put(store: Registry, tag: str | None = "1", members: list[Member] | None = None, **more: Any) -> Manifest:
    """A base with a python, and `members` above it."""
    platform = more.get("platform", AMD64)
    below = layer(files(python(architecture=platform.architecture)))
    return put_base(store, [below, layer(members or [])], tag=tag, **more)


def put_both(store: Registry, tag: str = "1", **more: Any) -> Manifest:
    images = [put(store, tag=None, platform=one, **more) for one in (AMD64, ARM64)]
    return put_index(store, *images, tag=tag)


def project(
    here: World,
    store: Registry,
    requirements: str = "",
    *,
    tag: str = "1",
    image: str = "",
    python: str = "",
    rest: str = "",
) -> Project:
    here.project(requirements, image=image, python=python, rest=rest)
    file = here.root / "lockship.toml"
    text = file.read_text().split("[[image.sources]]")[0] + rest
    file.write_text(text.replace('"debian:bookworm"', f'"{store.repository}:{tag}"'))
    return here.load()


def locked(here: World) -> Lock:
    found = read_lock(here.root / "lockship.lock")
    assert found is not None
    return found


def stored(here: World, platform: Platform = AMD64) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest and configuration of what was built."""
    index = json.loads(here.store.manifest("1.0").data)  # type: ignore[union-attr]
    for one in index["manifests"]:
        if one["platform"]["architecture"] == platform.architecture:
            manifest = json.loads(here.store.manifest(Digest(one["digest"])).data)  # type: ignore[union-attr]
            config = json.loads(b"".join(here.store.read_blob(Digest(manifest["config"]["digest"]))))
            return manifest, config
    raise AssertionError(platform)


def kinds(manifest: Mapping[str, Any]) -> list[str]:
    return [one["annotations"]["dev.lockship.kind"] for one in manifest["layers"]]


def members(here: World, manifest: Mapping[str, Any], kind: str) -> set[str]:
    (one,) = [part for part in manifest["layers"] if part["annotations"]["dev.lockship.kind"] == kind]
    return set(files_of(here.store.read_blob(Digest(one["digest"]))))


@pytest.mark.parametrize("media", ["oci", "docker"])
def test_the_bases_layers_come_first_as_they_are(here: World, bases: Registry, media: str) -> None:
    base = put(bases, media=DOCKER) if media == "docker" else put(bases)
    here.wheel("alpha")
    here.write("code/x.py", "x = 1\n")
    one = project(here, bases, "alpha\n", image='files = ["code/"]')
    lock(one, here.context)
    check(one)
    announced = plan(one, here.context)
    built = build(one, here.context)
    assert built.plan.descriptor == announced.descriptor
    manifest, config = stored(here)
    assert kinds(manifest) == ["base", "base", "venv", "wheel", "code"]
    theirs = json.loads(base.data)["layers"]
    assert [part["digest"] for part in manifest["layers"][:2]] == [part["digest"] for part in theirs]
    assert {part["mediaType"] for part in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar+gzip"}
    assert [one.get("created_by") for one in config["history"][:3]] == [
        "RUN step 0",
        "RUN step 1",
        "lockship layer venv venv",
    ]
    assert len(config["history"]) == len(config["rootfs"]["diff_ids"]) == 5
    assert manifest["annotations"]["org.opencontainers.image.base.name"] == f"{bases.repository}:1"
    assert manifest["annotations"]["org.opencontainers.image.base.digest"] == base.descriptor.digest
    assert verify(one, here.context).stored


def test_what_the_image_inherits_and_what_it_does_not(here: World, bases: Registry) -> None:
    settings = {
        "Env": ["PATH=/opt/tools:/usr/local/bin", "LANG=de_DE.UTF-8", "MINE=no", "THEIRS=yes"],
        "User": "app",
        "Entrypoint": ["/tini", "--"],
        "Cmd": ["bash"],
        "WorkingDir": "/srv",
        "Labels": {"team": "x", "mine": "no", "org.opencontainers.image.title": "the base"},
        "ExposedPorts": {"53/udp": {}},
        "Volumes": {"/data": {}},
        "StopSignal": "SIGINT",
        "Healthcheck": {"Test": ["CMD", "true"]},
    }
    put(bases, config=settings)
    image = 'env = { MINE = "yes" }\nlabels = { mine = "yes" }\nports = [80]\n'
    heard = Heard()
    one = project(here, bases, image=image)
    lock(one, Context(here.cache, here.environ, heard))
    assert [text for text in heard.warnings if "HEALTHCHECK" in text]
    build(one, here.context)
    config = stored(here)[1]["config"]
    assert config["Env"] == [
        "PATH=/opt/venv/bin:/opt/tools:/usr/local/bin",
        "LANG=C.UTF-8",
        "MINE=yes",
        "THEIRS=yes",
        "VIRTUAL_ENV=/opt/venv",
        "PYTHONUNBUFFERED=1",
        "PYTHONDONTWRITEBYTECODE=1",
    ]
    assert (config["User"], config["Entrypoint"], config["Cmd"]) == ("app", ["/tini", "--"], ["python"])
    assert (config["WorkingDir"], config["StopSignal"], config["Volumes"]) == ("/app", "SIGINT", {"/data": {}})
    assert config["ExposedPorts"] == {"53/udp": {}, "80/tcp": {}}
    assert (config["Labels"]["team"], config["Labels"]["mine"]) == ("x", "yes")
    assert config["Labels"]["org.opencontainers.image.title"] == "demo"
    one = project(here, bases, image="user = 7\nentrypoint = []\n")
    build(one, here.context)
    config = stored(here)[1]["config"]
    assert config["User"] == "7:7"
    assert "Entrypoint" not in config


@pytest.mark.parametrize("user", ["", "root", "0", "0:0", "root:wheel"])
def test_a_base_that_runs_as_root_does_not_make_the_image_do_so(here: World, bases: Registry, user: str) -> None:
    put(bases, config={"User": user})
    one = project(here, bases)
    lock(one, here.context)
    build(one, here.context)
    assert stored(here)[1]["config"]["User"] == "65532:65532"


def test_an_environment_of_the_base_in_our_place_is_hidden_and_said(here: World, bases: Registry) -> None:
    put(bases, members=files({"opt/venv/lib/python3.11/site-packages/old.py": b"", "opt/venv/pyvenv.cfg": b""}))
    heard = Heard()
    one = project(here, bases)
    lock(one, Context(here.cache, here.environ, heard))
    assert [text for text in heard.warnings if "/opt/venv of its own" in text]
    build(one, here.context)
    assert "opt/venv/.wh..wh..opq" in members(here, stored(here)[0], "venv")
    assert 'RUN ["rm", "-rf", "/opt/venv"]' in _dockerfile(one, here)


def test_no_environment_to_hide(here: World, bases: Registry) -> None:
    put(bases)
    one = project(here, bases)
    lock(one, here.context)
    build(one, here.context)
    found = members(here, stored(here)[0], "venv")
    assert {"opt/venv/bin/python", "opt/venv/pyvenv.cfg"} <= found
    assert not any(".wh." in path for path in found)


def test_locking_again_keeps_the_digest_until_an_upgrade_or_another_tag(here: World, bases: Registry) -> None:
    first = put(bases)
    one = project(here, bases)
    lock(one, here.context)
    second = put(bases, members=files({"new": b""}))
    put(bases, tag="2")
    here.wheel("alpha")
    one = project(here, bases, "alpha\n")
    assert [change.kind for change in lock(one, here.context).changes] == ["wheel"]
    assert locked(here).base_digest == first.descriptor.digest
    one = project(here, bases, "alpha\n", python="bytecode = false")
    assert not lock(one, here.context).changes
    short = str(bases.repository)
    report = lock(one, here.context, upgrade_packages=[short])
    name = f"{bases.repository}:1"
    assert [(change.kind, change.name, change.before, change.after) for change in report.changes] == [
        ("base", name, first.descriptor.digest, second.descriptor.digest)
    ]
    put(bases, members=files({"newer": b""}))
    assert lock(one, here.context, upgrade=True).changes
    one = project(here, bases, "alpha\n", tag="2")
    lock(one, here.context)
    assert locked(here).base_digest == first.descriptor.digest


def test_locking_again_looks_into_nothing_that_it_knows(here: World, bases: Registry, server: RegistryServer) -> None:
    put_both(bases)
    lock(project(here, bases, image=BOTH), here.context)
    before = (here.root / "lockship.lock").read_bytes()
    here.cache = Cache(here.folder / "another")
    asked = server.said().count("/blobs/")
    here.write("requirements.in", "")
    lock(
        project(here, bases, image=BOTH + "files = []\n", python='constraints = []\nallow-build = ["x"]'), here.context
    )
    assert server.said().count("/blobs/") == asked
    assert locked(here).platforms == _parsed(before, here).platforms


def _parsed(data: bytes, here: World) -> Lock:
    (here.folder / "before.lock").write_bytes(data)
    found = read_lock(here.folder / "before.lock")
    assert found is not None
    return found


def test_two_machines_give_the_same_lock(here: World, bases: Registry) -> None:
    put_both(bases)
    one = project(here, bases, image=BOTH)
    lock(one, here.context)
    first = (here.root / "lockship.lock").read_bytes()
    (here.root / "lockship.lock").unlink()
    lock(one, Context(Cache(here.folder / "another"), here.environ))
    assert (here.root / "lockship.lock").read_bytes() == first


def test_all_platforms_of_an_index(here: World, bases: Registry) -> None:
    index = put_both(bases)
    one = project(here, bases, image=BOTH)
    lock(one, here.context)
    built = build(one, here.context)
    assert [image.platform for image in built.plan.images] == [AMD64, ARM64]
    for platform in (AMD64, ARM64):
        manifest, config = stored(here, platform)
        assert config["architecture"] == platform.architecture
        assert manifest["annotations"]["org.opencontainers.image.base.digest"] == index.descriptor.digest
    # planning one of them plans the same image
    (alone,) = plan(one, here.context, [ARM64]).images
    assert alone.descriptor == built.plan.images[1].descriptor


def test_a_platform_that_the_base_has_not(here: World, bases: Registry) -> None:
    put(bases)
    with pytest.raises(ProjectError, match="has no image for linux/arm64; it has linux/amd64") as caught:
        lock(project(here, bases, image=BOTH), here.context)
    assert caught.value.exit_code == 2
    assert not (here.root / "lockship.lock").exists()


def test_python_of_another_version(here: World, bases: Registry) -> None:
    put_base(bases, [layer(files(python("3.12.1")))], tag="1")
    run = project(here, bases) and here.run("lock")
    assert run.code == 2
    assert "has Python 3.12.1 (/usr/local/bin/python3.12), the project wants 3.11" in run.err
    assert "lockship.toml" in run.err


@pytest.mark.parametrize("image", ['packages = ["libgomp1"]', 'snapshot = "https://archive.example.com/"'])
def test_debian_packages_do_not_go_into_an_image(here: World, bases: Registry, image: str) -> None:
    put(bases)
    with pytest.raises(ProjectError, match=r"image\.(packages|snapshot)") as caught:
        lock(project(here, bases, image=image), here.context)
    assert "into the base image itself" in (caught.value.hint or "")


def test_a_base_that_is_not_there_and_a_registry_that_is_not(here: World, bases: Registry) -> None:
    with pytest.raises(ProjectError, match="there is no"):
        lock(project(here, bases, tag="nothing"), here.context)
    one = project(here, bases)
    (here.root / "lockship.toml").write_text(one.file.read_text().replace(bases.repository.host, "127.0.0.1:9"))
    with pytest.raises(StoreError):
        lock(here.load(), here.context)


def test_a_missing_layer_of_the_base_comes_from_its_repository(here: World, bases: Registry) -> None:
    put(bases)
    one = project(here, bases)
    lock(one, here.context)
    prepared = prepare(one, here.context)
    assert set(prepared.sources.values()) == {bases.repository}
    below = [layer for layer in prepared.plan.images[0].layers if layer.kind == "base"]
    empty = Context(Cache(here.folder / "another"), here.environ)
    make_missing(prepared, empty, below)
    for each in below:
        path = empty.cache.blob(each.digest)
        assert path is not None
        assert path.stat().st_size == each.size


def test_a_push_mounts_the_base_and_downloads_none_of_it(here: World, server: RegistryServer) -> None:
    with fault_proxy(server.host) as between:
        locked_upon_a_base(here, between.host, between.host)
        between.clear()
        first = push(here.load(), machine(here, "second"))
        assert (first.mounted, [layer.kind for layer in first.sent]) == (2, ["venv", "code"])
        assert between.asked("GET", "/blobs/") == []
        between.clear()
        another_version(here)
        second = push(here.load(), machine(here, "third"))
        assert (second.mounted, [layer.kind for layer in second.sent]) == (0, ["code"])
        assert between.asked("GET", "/blobs/") == between.asked("POST", "mount=") == []


def test_a_base_of_another_registry_is_asked_for_once(
    here: World, server: RegistryServer, registry: RegistryServer
) -> None:
    with fault_proxy(server.host) as between:
        locked_upon_a_base(here, between.host, registry.host)
        between.clear()
        first = push(here.load(), machine(here, "second"))
        assert [layer.kind for layer in first.sent] == ["base", "base", "venv", "code"]
        assert len(between.asked("GET", "/blobs/")) == 2
        between.clear()
        another_version(here)
        second = push(here.load(), machine(here, "third"))
        assert [layer.kind for layer in second.sent] == ["code"]
        assert between.log == []


def locked_upon_a_base(here: World, base: str, target: str) -> None:
    """A locked project with a base on the host `base`, and a repository on the host `target`."""
    name = f"pushed/{Digest.of(str(here.root).encode()).short}"
    here.write("code/x.py", "x = 1\n")
    with open_registry(Repository(base, f"{name}/base"), here.context, push=True) as store:
        put(store)
        rest = f'[store]\nrepository = "{target}/{name}"\n'
        lock(project(here, store, image='files = ["code/"]', rest=rest), here.context)


def machine(here: World, name: str) -> Context:
    """Another machine, its cache empty."""
    return Context(Cache(here.folder / name), here.environ)


def another_version(here: World) -> None:
    file = here.root / "lockship.toml"
    file.write_text(file.read_text().replace('version = "1.0"', 'version = "1.1"'))
    here.write("code/x.py", "x = 2\n")


def test_a_damaged_layer_of_the_base_is_never_believed(here: World, bases: Registry, server: RegistryServer) -> None:
    manifest = put(bases, members=files({"only-here": b"damaged"}))
    last = json.loads(manifest.data)["layers"][-1]
    file = server.blob_file(last["digest"])
    file.chmod(0o644)
    file.write_bytes(bytes(last["size"]))
    with pytest.raises(VerificationError):
        lock(project(here, bases), here.context)
    assert here.cache.blob(Digest(last["digest"])) is None
    assert not here.leftovers()


def test_files_that_would_replace_a_link_of_the_base(here: World, bases: Registry) -> None:
    put(
        bases,
        members=[*files({"srv": "usr/share"}), entry("usr/share/x", b""), entry("data", b"", b"5", mode=0o700, uid=7)],
    )
    here.write("x.txt", "x")
    one = project(here, bases, image='files = [{ source = "x.txt", target = "/srv/x.txt" }]')
    lock(one, here.context)
    with pytest.raises(ProjectError, match="the base both have /srv"):
        plan(one, here.context)
    one = project(here, bases, image='files = [{ source = "x.txt", target = "/data/x.txt" }]')
    code = next(layer for layer in prepare(one, here.context).local.values() if layer.layer.kind == "code")
    assert [(entry.path, entry.mode, entry.uid) for entry in code.entries] == [
        ("data", 0o700, 7),
        ("data/x.txt", 0o644, 0),
    ]


def test_more_layers_than_engines_mount(here: World, bases: Registry) -> None:
    put_base(bases, [layer(files(python())), *([layer([])] * 126)], tag="1")
    one = project(here, bases)
    lock(one, here.context)
    with pytest.raises(ProjectError, match=r"128 layers \(127 of the base\)") as caught:
        plan(one, here.context)
    assert "fewer layers" in (caught.value.hint or "")


def test_byte_code_that_this_machine_can_not_compile(here: World, bases: Registry) -> None:
    put(bases, platform=ARM64)
    here.wheel("alpha")
    run = project(here, bases, "alpha\n", image='platforms = ["linux/arm64"]', python="bytecode = true") and here.run(
        "lock"
    )
    if run.code == 0:
        pytest.skip("this machine is an arm64")
    assert run.code == 3
    assert "doesn't run on this machine" in run.err
    assert "bytecode = false" in run.err


def test_byte_code_that_one_interpreter_can_not_compile_for_all(here: World, bases: Registry) -> None:
    one = put_base(bases, [layer(files(python("3.11.9")))])
    other = put_base(bases, [layer(files(python("3.11.8", architecture="arm64")))], platform=ARM64)
    put_index(bases, one, other, tag="1")
    heard = Heard()
    here.wheel("alpha")
    found = project(here, bases, "alpha\n", image=BOTH, python="bytecode = true")
    lock(found, Context(here.cache, here.environ, heard))
    assert [text for text in heard.warnings if "no byte code" in text and "3.11.8 for linux/arm64" in text]
    assert {locked.bytecode for locked in locked(here).platforms} == {""}


def test_byte_code_by_another_build_than_the_projects(here: World, bases: Registry) -> None:
    host = host_platform()
    other = AMD64 if host == ARM64 else ARM64
    assert host is not None
    one = put_base(bases, [layer(files(python("3.11.8", architecture=host.architecture)))], platform=host)
    two = put_base(bases, [layer(files(python("3.11.9", architecture=other.architecture)))], platform=other)
    put_index(bases, one, two, tag="1")
    here.wheel("alpha")
    found = project(here, bases, "alpha\n", image=f'platforms = ["{other}"]', python="bytecode = true")
    with pytest.raises(LockError, match=f"python is 3.11.8 for {host}, but 3.11.9 for the project's") as caught:
        lock(found, here.context)
    assert caught.value.exit_code == 3
    assert "bytecode = false" in (caught.value.hint or "")


STRANGE: dict[str, tuple[list[Member], dict[str, Any], str]] = {
    "a link in the place of /opt": (
        files({"opt": "srv", "srv/x": b""}),
        {},
        "/opt is not a folder of its own but /srv",
    ),
    "a file in the place of /opt": (files({"opt": b""}), {}, "/opt is not a folder"),
    "its python in our place": (
        files({**python(prefix="opt/venv")}),
        {"Env": ["PATH=/opt/venv/bin"]},
        "in the place of the image's virtual environment",
    ),
    "a user of two lines": ([], {"User": "a\nb"}, "holds what no image should"),
    "a port that is none": ([], {"ExposedPorts": {"http": {}}}, "holds what no image should"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_bases_that_are_too_strange(here: World, bases: Registry, case: str) -> None:
    above, config, message = STRANGE[case]
    put(bases, members=above, config=config)
    with pytest.raises(ProjectError, match=message) as caught:
        lock(project(here, bases), here.context)
    assert caught.value.exit_code == 2
    assert caught.value.hint
    assert caught.value.file


def test_a_plan_names_the_base_and_what_moved(here: World, bases: Registry) -> None:
    put(bases)
    one = project(here, bases)
    lock(one, here.context)
    build(one, here.context)
    put(bases, members=files({"new": b""}))
    lock(one, here.context, upgrade=True)
    fresh = Context(Cache(here.folder / "another"), here.environ)
    ahead = outlook(prepare(one, fresh), fresh)
    new = [use for use in ahead.layers if use.state == "new"]
    assert [(use.layer.kind, use.layer.title, use.reason) for use in new] == [
        ("base", f"{bases.repository}:1", "the base moved")
    ]
    assert ahead.comparison is not None
    (changes,) = ahead.comparison.changes.values()
    assert [change.name for change in changes.base] == ["base digest"]


def test_a_dockerfile_starts_from_the_base(here: World, bases: Registry) -> None:
    base = put(bases, config={"User": "app", "Entrypoint": ["/tini"]})
    one = project(here, bases)
    lock(one, here.context)
    here.cache = Cache(here.folder / "another")
    text = _dockerfile(one, here)
    assert f"FROM {bases.repository}@{base.descriptor.digest} AS base\n" in text
    assert 'RUN ["/usr/local/bin/python3.11", "-m", "venv"' in text
    assert text.endswith('USER app\nENTRYPOINT ["/tini"]\nCMD ["python"]\n')
    assert not any(here.cache.blob(Digest(part["digest"])) for part in json.loads(base.data)["layers"])


def _dockerfile(one: Project, here: World) -> str:
    return (here.docker_context(one) / "Dockerfile").read_text()


@pytest.mark.slow
def test_skopeo_reads_what_was_built(here: World, bases: Registry) -> None:
    put(bases, media=DOCKER)
    one = project(here, bases)
    lock(one, here.context)
    build(one, here.context)
    copied = here.folder / "copied"
    layout = here.root / ".lockship/store"
    subprocess.run(["skopeo", "copy", "-q", "--all", f"oci:{layout}:1.0", f"dir:{copied}"], check=True)
