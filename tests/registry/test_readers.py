"""What `lockship push` leaves in a registry, read by tools that others wrote."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.content import Digest
from builder.image.index import Plan
from builder.pipeline import lock, plan
from builder.registry.layout import Layout
from tests.support.apt_repository import Key, folder, hard, regular, soft
from tests.support.reach import reached_from
from tests.support.readers import Tools
from tests.support.registry import RegistryServer, serve_registry
from tests.support.trees import tree_of_layers, tree_on_disk
from tests.support.world import World, world

pytestmark = [pytest.mark.apt, pytest.mark.slow]

# in the image as its packages have them: a program for one group alone, others' folders, all kinds of links
ODD = [
    folder("usr"),
    folder("usr/bin"),
    regular("usr/bin/odd", b"#!/bin/sh\n", mode=0o4755),
    regular("usr/bin/odder", b"#!/bin/sh\n", mode=0o2755, gid=42),
    hard("usr/bin/odd-too", "usr/bin/odd"),
    soft("usr/bin/odd-soft", "odd"),
    soft("usr/bin/dangling", "/nowhere/at all"),
    folder("var"),
    folder("var/odd", mode=0o1777, uid=7, gid=8),
    regular("var/odd/a name with spaces & umlauts \u00e4\u00f6", b"x" * 100_000, mode=0o600, uid=7, gid=8),
    regular("usr/share/" + "deep/" * 40 + "empty"),
]


@dataclass(frozen=True)
class Published:
    """A release in a registry: `reference` is HOST/NAME:1.0, `plan` what it must be."""

    world: World
    server: RegistryServer
    name: str
    plan: Plan

    @property
    def reference(self) -> str:
        return f"{self.server.host}/{self.name}:1.0"


@pytest.fixture(scope="module")
def published(
    tmp_path_factory: pytest.TempPathFactory, archive_key: Key, registry: RegistryServer
) -> Iterator[Published]:
    """Two platforms, debs, wheels, a model and code, pushed by the command line."""
    with world(tmp_path_factory.mktemp("readers"), archive_key) as here:
        here.environ["HOME"] = str(here.folder)  # not yet a shelter: this fixture is older than any test
        here.debs.add("odd", "1.0", ODD, architectures=("amd64", "arm64"))
        here.debs.publish()
        here.wheel("alpha", requires=["beta"], entry_points="[console_scripts]\nalpha = alpha:main\n")
        here.wheel("beta")
        here.write("code/__init__.py", "VERSION = 1\n")
        here.write("code/run.sh", "#!/bin/sh\n").chmod(0o755)
        here.write("model.onnx", "not really a model" * 10_000)
        name = f"readers/{uuid.uuid4().hex}"
        image = (
            'platforms = ["linux/amd64", "linux/arm64"]\nfiles = ["code/"]\npackages = ["odd"]\n'
            'command = ["python", "-m", "code"]\nenv = { COLOUR = "green" }\nlabels = { team = "Ähren" }\nuser = 65532'
        )
        rest = f'[model]\nsource = "model.onnx"\n\n[store]\nrepository = "{registry.host}/{name}"\n'
        lock(here.project("alpha\n", image=image, rest=rest), here.context)
        done = here.run("push")
        assert done.code == 0, done
        yield Published(here, registry, name, plan(here.load(), here.context))


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[Tools]:
    with Tools(tmp_path / "tools") as made:
        yield made


def test_skopeo_sees_the_index_and_the_images(published: Published, tools: Tools) -> None:
    assert tools.raw(published.reference) == published.plan.index
    for image in published.plan.images:
        pinned = f"{published.reference.removesuffix(':1.0')}@{image.descriptor.digest}"
        assert tools.raw(pinned) == image.manifest
        assert tools.skopeo("inspect", "--config", "--raw", f"docker://{pinned}").encode() == image.config
        found = json.loads(tools.skopeo("inspect", f"docker://{pinned}"))
        assert found["Digest"] == image.descriptor.digest
        assert found["Layers"] == [layer.digest for layer in image.layers]
        assert f"{found['Os']}/{found['Architecture']}" == str(image.platform)
        assert found["Labels"]["team"] == "Ähren"
        assert "COLOUR=green" in found["Env"]
        assert found["RepoTags"] == ["1.0"]


def test_skopeo_carries_it_to_another_registry(published: Published, tools: Tools, tmp_path: Path) -> None:
    """Into a layout, and from there into a second registry, where we read it: nothing changes on the way."""
    copied = tmp_path / "copied"
    flags = ("--all", "--preserve-digests")
    tools.skopeo("copy", *flags, f"docker://{published.reference}", f"oci:{copied}:1.0")
    layout = Layout(copied)
    assert layout.tags() == {"1.0": published.plan.descriptor.digest}
    with serve_registry(tmp_path / "second") as second:
        tools.skopeo("copy", *flags, f"oci:{copied}:1.0", f"docker://{second.host}/mirror:1.0")
        assert tools.raw(f"{second.host}/mirror:1.0") == published.plan.index
        done = published.world.run("pull", f"{second.host}/mirror:1.0", "--to", str(tmp_path / "pulled"), "--json")
    assert done.json["digest"] == published.plan.descriptor.digest
    pulled = Layout(tmp_path / "pulled")
    for image in published.plan.images:
        for descriptor in (image.config_descriptor, *(layer.descriptor for layer in image.layers)):
            data = b"".join(pulled.read_blob(descriptor.digest))
            assert data == b"".join(layout.read_blob(descriptor.digest))


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_umoci_unpacks_what_the_layers_say(
    published: Published, tools: Tools, tmp_path: Path, architecture: str
) -> None:
    """Every path with its kind, mode, owner, bytes and links, and none besides. umoci checks the diff ids, too."""
    source, target = f"docker://{published.reference}", f"oci:{tmp_path / 'layout'}:1.0"
    tools.skopeo("--override-arch", architecture, "copy", "--preserve-digests", source, target)
    layout = Layout(tmp_path / "layout")
    (image,) = [one for one in published.plan.images if one.platform.architecture == architecture]
    assert layout.tags() == {"1.0": image.descriptor.digest}
    tools.umoci("unpack", "--image", f"{tmp_path / 'layout'}:1.0", str(tmp_path / "bundle"))
    expected = tree_of_layers([_file(layout, layer.digest) for layer in image.layers])
    root = os.getuid() == 0
    assert {node.owner for node in expected.values()} >= {(0, 0), (0, 42), (7, 8)}
    found = tree_on_disk(tmp_path / "bundle/rootfs")
    assert found == expected if root else found.keys() == expected.keys()
    assert found["usr/bin/odd"].mode == 0o4755
    assert found["opt/venv/bin/alpha"].mode == 0o755
    runtime = json.loads((tmp_path / "bundle/config.json").read_bytes())
    assert runtime["process"]["args"] == ["python", "-m", "code"]
    assert runtime["process"]["user"]["uid"] == 65532
    assert "COLOUR=green" in runtime["process"]["env"]


def _file(layout: Layout, digest: Digest) -> Path:
    path = layout.path(digest)
    assert path is not None
    return path


@pytest.mark.parametrize("program", ["buildah", "podman"])
def test_containers_are_made_from_it(published: Published, tools: Tools, program: str) -> None:
    """Pulled into the storage of buildah and podman, by tag, and read from a container's root file system."""
    pull = getattr(tools, program)
    (image,) = [one for one in published.plan.images if one.platform.architecture == "amd64"]
    identity = pull("pull", "-q", "--arch", "amd64", "--tls-verify=false", published.reference).strip()
    assert identity == image.config_descriptor.digest.hex
    found = json.loads(tools.podman("image", "inspect", identity))[0]
    assert found["RootFS"]["Layers"] == [layer.diff_id for layer in image.layers]
    assert published.plan.descriptor.digest in str(found["RepoDigests"])
    assert found["Config"]["Cmd"] == ["python", "-m", "code"]
    container = tools.buildah("from", "--pull-never", identity).strip()
    try:
        code, _, listed = tools.within(container, "cat app/code/__init__.py; ls -n var").partition("\n")
    finally:
        tools.buildah("rm", container)
    assert code == "VERSION = 1"
    assert "drwxrwxrwt" in listed
    assert " 7 8 " in " ".join(listed.split())


@pytest.mark.engine
@pytest.mark.parametrize("by", ["tag", "digest"])
def test_docker_pulls_it(published: Published, tmp_path: Path, engine: str, by: str) -> None:
    """Every path of a container is what the layers say; the engine knows the image by the digest that we printed."""
    (image,) = [one for one in published.plan.images if one.platform.architecture == "amd64"]
    repository = published.reference.removesuffix(":1.0")
    digest = published.plan.descriptor.digest
    reference = published.reference if by == "tag" else f"{repository}@{digest}"
    expected = tree_of_layers([published.server.blob_file(layer.digest) for layer in image.layers])
    with Tools(tmp_path / "tools", engine) as tools, reached_from(engine, published.server.host):
        assert str(digest) in tools.docker("pull", "--platform", "linux/amd64", reference)
        try:
            found = tools.inspected(reference)
            assert found["Id"] == image.config_descriptor.digest
            assert f"{repository}@{digest}" in found["RepoDigests"]
            assert found["RootFS"]["Layers"] == [layer.diff_id for layer in image.layers]
            assert found["Config"]["User"] == "65532:65532"
            assert found["Config"]["Labels"]["team"] == "Ähren"
            container = tools.docker("create", "--platform", "linux/amd64", reference).strip()
            try:
                tools.docker("export", "-o", str(tmp_path / "exported.tar"), container)
            finally:
                tools.docker("rm", container)
        finally:
            tools.docker("rmi", reference)
    exported = tree_of_layers([tmp_path / "exported.tar"])
    added = {"dev", "etc", "proc", "sys", ".dockerenv"}  # by docker, below what an image has
    mine = {path: node for path, node in exported.items() if path in expected or path.partition("/")[0] not in added}
    assert mine == expected
