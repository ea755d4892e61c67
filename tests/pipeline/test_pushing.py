"""Pushing: only what a registry lacks is sent, or even made; a version never changes; the tag comes last."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.cache import Cache
from builder.content import Digest
from builder.errors import ProjectError, RefusedError, StoreError, VerificationError
from builder.parallel import Stop
from builder.pipeline import Context, build, lock, plan, push
from tests.support.proxy import at, cut, fault_proxy, matching
from tests.support.registry import RegistryServer
from tests.support.require import need
from tests.support.world import Finished, World

pytestmark = pytest.mark.apt

IMAGE = 'platforms = ["linux/amd64", "linux/arm64"]\nfiles = ["code/"]'


def store(registry: RegistryServer, name: str, *shared: str) -> str:
    """The project file's `[store]`."""
    listed = ", ".join(f'"{registry.host}/{one}"' for one in shared)
    return f'[store]\nrepository = "{registry.host}/{name}"\nshared = [{listed}]\n'


@pytest.fixture
def name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A repository of the test's own."""
    return f"pushing/{abs(hash((request.node.nodeid, tmp_path)))}"


@pytest.fixture
def ready(here: World, registry: RegistryServer, name: str) -> World:
    """A locked project with two wheels, code and a model, and an empty repository for it."""
    here.wheel("alpha", requires=["beta"])
    here.wheel("beta")
    here.write("code/__init__.py", "")
    here.write("model.onnx", "not really a model")
    rest = '[model]\nsource = "model.onnx"\n' + store(registry, name)
    lock(here.project("alpha\n", image=IMAGE, rest=rest), here.context)
    return here


def bump(world: World, version: str) -> None:
    """Another version, with other code."""
    file = world.root / "lockship.toml"
    before = next(line for line in file.read_text().splitlines() if line.startswith("version"))
    file.write_text(file.read_text().replace(before, f'version = "{version}"', 1))
    world.write("code/__init__.py", f"version = {version!r}\n")


def cut_off(world: World) -> Context:
    """An empty machine that reaches no index and no archive."""
    dead = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "HOME": str(world.folder)}
    return Context(Cache(world.folder / "empty"), {**world.environ, **dead})


def requests_of(registry: RegistryServer, act: Callable[[], Any]) -> list[str]:
    """The requests, as ``METHOD /path``, that the registry logged during `act`."""
    before = len(registry.said())
    act()
    return [
        f"{line.split('http.request.method=')[1].split()[0]} {line.split('http.request.uri=')[1].split()[0]}"
        for line in registry.said()[before:].splitlines()
        if "http.request.method=" in line and "response completed" in line
    ]


def tag_of(registry: RegistryServer, name: str, version: str) -> Digest | None:
    """What a tag names, read from the registry's own files."""
    link = registry.folder / f"storage/docker/registry/v2/repositories/{name}/_manifests/tags/{version}/current/link"
    return Digest(link.read_text()) if link.exists() else None


def test_the_registry_gets_what_the_plan_announced(ready: World, registry: RegistryServer, name: str) -> None:
    planned = plan(ready.load(), ready.context)
    done = ready.run("push")
    assert done.code == 0, done
    assert done.out == f"{planned.descriptor.digest}\n"
    assert "layers sent" in done.err
    assert tag_of(registry, name, "1.0") == planned.descriptor.digest
    assert not (ready.root / ".lockship").exists()


@pytest.mark.slow
def test_an_independent_reader_finds_it_whole(ready: World, registry: RegistryServer, name: str) -> None:
    need("skopeo", shutil.which("skopeo"), "apt-get install skopeo")
    pushed = push(ready.load(), ready.context)
    copied = ready.folder / "copied"
    source = f"docker://{registry.host}/{name}:1.0"
    subprocess.run(
        ["skopeo", "copy", "--all", "--preserve-digests", "--src-tls-verify=false", source, f"oci:{copied}:1.0"],
        check=True,
        capture_output=True,
    )
    index = json.loads((copied / "index.json").read_bytes())["manifests"][0]
    assert index["digest"] == pushed.digest


def test_pushing_again_does_nothing(ready: World, registry: RegistryServer) -> None:
    first = push(ready.load(), ready.context)
    assert first.bytes_sent > 0
    assert not first.there
    done: list[Any] = []
    requests = requests_of(registry, lambda: done.append(push(ready.load(), cut_off(ready))))
    assert done[0].there
    assert done[0].bytes_sent == 0
    assert {line.split()[0] for line in requests} <= {"GET", "HEAD"}
    assert len(requests) <= 3


def test_children_come_before_parents_and_tags_last(ready: World, registry: RegistryServer, name: str) -> None:
    requests: list[str] = []
    with fault_proxy(registry.host) as proxy:
        push(ready.load(), ready.context, repository=f"{proxy.host}/{name}")
        for one in proxy.asked("PUT"):
            assert one.status == 201
            reference = one.path.split("?")[0].rpartition("/")[2]
            kind = "blob" if "/uploads/" in one.path else "manifest" if reference.startswith("sha256:") else "tag"
            requests.append(kind)
    assert requests == sorted(requests)  # by chance in the order of the alphabet, too
    assert set(requests) == {"blob", "manifest", "tag"}


def test_a_version_never_changes(ready: World, registry: RegistryServer, name: str) -> None:
    first = push(ready.load(), ready.context)
    ready.write("code/__init__.py", "other = True\n")
    done: list[Any] = []
    requests = requests_of(registry, lambda: done.append(ready.run("push", "--json")))
    assert done[0].code == 7
    assert "never changes" in done[0].json["error"]["hint"]
    assert first.digest in done[0].json["error"]["message"]
    assert {line.split()[0] for line in requests} <= {"GET", "HEAD"}, "nothing is sent for nothing"
    assert tag_of(registry, name, "1.0") == first.digest
    with pytest.raises(RefusedError):
        push(ready.load(), ready.context)


def test_a_code_change_from_an_empty_machine_downloads_nothing(
    ready: World, registry: RegistryServer, name: str
) -> None:
    push(ready.load(), ready.context)
    bump(ready, "1.1")
    context = cut_off(ready)
    pushed = push(ready.load(), context)
    assert [layer.kind for layer in pushed.sent] == ["code"]
    assert pushed.bytes_sent < 20_000
    assert tag_of(registry, name, "1.1") == pushed.digest
    assert not list(context.cache.root.rglob("*.whl"))
    assert not (context.cache.root / "blobs").exists(), "no artifact was fetched, no layer made"


def test_only_what_is_missing_is_fetched_and_made(ready: World, registry: RegistryServer, name: str) -> None:
    push(ready.load(), ready.context)
    (beta,) = {
        layer.digest for image in plan(ready.load(), ready.context).images for layer in image.layers
        if layer.title.startswith("beta")
    }  # fmt: skip
    link = registry.folder / f"storage/docker/registry/v2/repositories/{name}/_layers/sha256/{beta.partition(':')[2]}"
    shutil.rmtree(link)
    bump(ready, "1.1")
    context = Context(Cache(ready.folder / "empty"), ready.environ)
    pushed = push(ready.load(), context)
    assert sorted(layer.title for layer in pushed.sent) == ["beta 1.0", "demo"]
    blobs = list((context.cache.root / "blobs/sha256").iterdir())
    assert len(blobs) == 2, "one wheel and its layer"


def test_a_second_project_takes_what_the_first_one_has(here: World, registry: RegistryServer, name: str) -> None:
    here.wheel("alpha")
    here.write("code/__init__.py", "")
    lock(here.project("alpha\n", image=IMAGE, rest=store(registry, name)), here.context)
    push(here.load(), here.context)
    here.write("code/__init__.py", "second = True\n")
    here.project("alpha\n", image=IMAGE, rest=store(registry, f"{name}/second", f"{name}/other", name))
    pushed = push(here.load(), cut_off(here))
    assert [layer.kind for layer in pushed.sent] == ["code"]
    assert pushed.mounted > 3
    assert pushed.bytes_sent < 20_000


def test_without_shared_nothing_is_mounted(here: World, registry: RegistryServer, name: str) -> None:
    here.wheel("alpha")
    here.write("code/__init__.py", "")
    lock(here.project("alpha\n", image=IMAGE, rest=store(registry, name)), here.context)
    push(here.load(), here.context)
    here.project("alpha\n", image=IMAGE, rest=store(registry, f"{name}/second"))
    pushed = push(here.load(), here.context)
    assert pushed.mounted == 0
    assert len(pushed.sent) > 3


def test_a_layer_of_another_size_is_an_error(ready: World, registry: RegistryServer, name: str) -> None:
    push(ready.load(), ready.context)
    layer = next(layer for layer in plan(ready.load(), ready.context).images[0].layers if layer.kind == "wheel")
    file = registry.blob_file(layer.digest)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    bump(ready, "1.1")
    try:
        with pytest.raises(VerificationError, match=layer.digest) as caught:
            push(ready.load(), ready.context)
    finally:
        file.write_bytes(whole)
    assert f"{layer.size:,}" in caught.value.message
    assert tag_of(registry, name, "1.1") is None


def test_layers_that_were_built_before_are_taken_from_the_layout(
    ready: World, registry: RegistryServer, name: str
) -> None:
    built = build(ready.load(), ready.context)
    pushed = push(ready.load(), cut_off(ready))
    assert pushed.digest == built.plan.descriptor.digest
    assert tag_of(registry, name, "1.0") == pushed.digest


def test_a_damaged_layout_is_never_pushed(ready: World, registry: RegistryServer, name: str) -> None:
    built = build(ready.load(), ready.context)
    layer = next(layer for layer in built.plan.images[0].layers if layer.kind == "wheel")
    path = ready.store.path(layer.digest)
    assert path is not None
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(VerificationError) as caught:
        push(ready.load(), ready.context)
    assert "delete that file" in (caught.value.hint or "")
    assert tag_of(registry, name, "1.0") is None


def test_build_push_is_the_same(ready: World, registry: RegistryServer, name: str) -> None:
    done = ready.run("build", "--push", "--json")
    assert done.code == 0, done
    assert tag_of(registry, name, "1.0") == done.json["digest"]
    assert done.json["sent"]


def test_one_platform_alone(ready: World, registry: RegistryServer, name: str) -> None:
    done = ready.run("push", "--platform", "linux/arm64", "--json")
    assert list(done.json["platforms"]) == ["linux/arm64"]
    assert tag_of(registry, name, "1.0") == done.json["digest"]


def test_another_repository_by_name(ready: World, registry: RegistryServer, name: str) -> None:
    done = ready.run("push", "--repository", f"{registry.host}/{name}/elsewhere")
    assert done.code == 0, done
    assert tag_of(registry, f"{name}/elsewhere", "1.0") == done.out.strip()
    assert tag_of(registry, name, "1.0") is None


def test_a_project_without_a_registry(here: World) -> None:
    here.wheel("alpha")
    lock(here.project("alpha\n"), here.context)
    with pytest.raises(ProjectError, match="names no registry") as caught:
        push(here.load(), here.context)
    assert "[store]" in (caught.value.hint or "")


def test_shared_layers_are_on_the_same_registry(here: World) -> None:
    here.wheel("alpha")
    rest = '[store]\nrepository = "one.example.com/a"\nshared = ["two.example.com/b"]\n'
    lock(here.project("alpha\n", rest=rest), here.context)
    with pytest.raises(ProjectError, match=r"two\.example\.com/b is not on one\.example\.com"):
        push(here.load(), here.context)


def test_a_registry_that_is_not_there(here: World) -> None:
    here.wheel("alpha")
    lock(here.project("alpha\n", rest='[store]\nrepository = "127.0.0.1:9/a"\n'), here.context)
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:9"):
        push(here.load(), here.context)


def test_two_pushes_of_one_version_at_once(ready: World, registry: RegistryServer, name: str) -> None:
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(ready.run("push").code)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    assert tag_of(registry, name, "1.0") == plan(ready.load(), ready.context).descriptor.digest


def test_two_contents_of_one_version_at_once(ready: World, registry: RegistryServer, name: str) -> None:
    """At least one of them is there, whole; whoever notices that it isn't theirs is refused."""
    other = ready.folder / "other"
    shutil.copytree(ready.root, other)
    (other / "code/__init__.py").write_text("other = True\n")
    done: list[Finished] = []
    folders = (ready.root, other)
    threads = [
        threading.Thread(target=lambda folder=folder: done.append(ready.run("push", cwd=folder))) for folder in folders
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.code for one in done} in ({0}, {0, 7})
    tag = tag_of(registry, name, "1.0")
    assert tag in {one.out.strip() for one in done if one.code == 0}
    pulled = ready.run("pull", f"{registry.host}/{name}:1.0", "--to", "pulled")
    assert (pulled.code, pulled.out.strip()) == (0, tag)


def test_two_versions_at_once(ready: World, registry: RegistryServer, name: str) -> None:
    other = ready.folder / "other"
    shutil.copytree(ready.root, other)
    text = (other / "lockship.toml").read_text().replace('version = "1.0"', 'version = "2.0"')
    (other / "lockship.toml").write_text(text)
    codes: list[int] = []
    folders = (ready.root, other)
    threads = [
        threading.Thread(target=lambda folder=folder: codes.append(ready.run("push", cwd=folder).code))
        for folder in folders
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    assert {tag_of(registry, name, "1.0"), tag_of(registry, name, "2.0")} & {None} == set()


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.4, 0.6, 0.8, 1.0, 1.3])
def test_a_push_that_is_killed_leaves_no_broken_tag(
    ready: World, registry: RegistryServer, name: str, after: float
) -> None:
    import signal

    killed = ready.interrupt("push", after=after, by=signal.SIGKILL)
    planned = plan(ready.load(), ready.context).descriptor.digest
    assert tag_of(registry, name, "1.0") in ((None, planned) if killed.code else (planned,))
    assert ready.run("push").out.strip() == planned
    assert tag_of(registry, name, "1.0") == planned


def test_the_password_of_the_projects_registry_is_not_for_a_base(here: World) -> None:
    from builder.pipeline.stores import open_base, open_registry
    from builder.registry.reference import parse_repository

    project = here.project("", rest='[store]\nrepository = "one.example.com/a"\n')
    variables = {"LOCKSHIP_REGISTRY_USERNAME": "ada", "LOCKSHIP_REGISTRY_PASSWORD": "secret"}
    context = Context(here.cache, {**here.environ, **variables})

    def found(registry: Any) -> Any:
        with registry:
            return registry._session.authorizer.credential

    assert found(open_base(parse_repository("two.example.com/b"), project, context)) is None
    assert found(open_base(parse_repository("one.example.com/b"), project, context)).username == "ada"
    assert found(open_registry(parse_repository("two.example.com/b"), context)).username == "ada"


@pytest.mark.slow
def test_a_push_that_is_cut_at_any_request(
    here: World, registry: RegistryServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut once, it completes; for good, it fails with exit 5 and the next one completes; the tag is right or none."""
    monkeypatch.setattr(Stop, "wait", lambda self, seconds: self.check())  # nobody needs to wait for a test
    here.write("code/__init__.py", "")
    lock(here.project(image='files = ["code/"]'), here.context)
    digest = plan(here.load(), here.context).descriptor.digest
    with fault_proxy(registry.host) as proxy:
        push(here.load(), here.context, repository=f"{proxy.host}/{name}/all")
        count = len(proxy.log)
        assert count > 20
        for number in range(count):
            proxy.clear()
            proxy.faults = at(number, cut("sent"))
            target = f"{name}/once-{number}"
            assert push(here.load(), here.context, repository=f"{proxy.host}/{target}").digest == digest
            assert tag_of(registry, target, "1.0") == digest
        for number in range(0, count, 7):
            proxy.clear()
            proxy.faults = matching("GET HEAD POST PUT PATCH", "", cut("before"), skip=number)
            target = f"{name}/lasting-{number}"
            with pytest.raises(StoreError) as caught:
                push(here.load(), here.context, repository=f"{proxy.host}/{target}")
            assert caught.value.exit_code == 5
            assert tag_of(registry, target, "1.0") in (None, digest)
            proxy.faults = None
            assert push(here.load(), here.context, repository=f"{proxy.host}/{target}").digest == digest
            assert tag_of(registry, target, "1.0") == digest
