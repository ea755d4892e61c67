"""What tools that others wrote push, read by us: docker's own media types, and what else is found in registries."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.content import MEDIA_CONFIG, MEDIA_INDEX, MEDIA_MANIFEST, Digest, Platform, canonical_json
from builder.image.stored import Release, read_release
from builder.registry.layout import Layout
from builder.registry.manifests import MEDIA_DOCKER_LIST, MEDIA_DOCKER_MANIFEST
from builder.registry.store import Manifest
from tests.registry.conftest import open_registry
from tests.support.apt_repository import regular, tar_of
from tests.support.images import blob, put_blob
from tests.support.layers import host_programs, layer_of
from tests.support.reach import reached_from
from tests.support.readers import Tools
from tests.support.registry import RegistryServer
from tests.support.trees import tree_of_layers

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@pytest.fixture
def name() -> str:
    """A repository of the test's own."""
    return f"writers/{uuid.uuid4().hex}"


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[Tools]:
    with Tools(tmp_path / "tools") as made:
        yield made


class Ours:
    """A repository as our client and our command line see it."""

    def __init__(self, server: RegistryServer, name: str, folder: Path) -> None:
        self.server, self.name, self.folder = server, name, folder
        self.reference = f"{server.host}/{name}"

    def manifest(self, tag: str) -> Manifest:
        with open_registry(self.server, self.name, push=False) as registry:
            found = registry.manifest(tag)
            assert found is not None
            assert registry.resolve(tag) == found.descriptor.digest
        return found

    def release(self, tag: str) -> Release:
        with open_registry(self.server, self.name, push=False) as registry:
            found = read_release(registry, tag)
        assert found is not None
        return found

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """The command line, where there is no project."""
        return subprocess.run(
            [sys.executable, "-m", "builder", *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environ},
            capture_output=True,
            text=True,
            check=False,
        )

    def pull(self, tag: str) -> Layout:
        """All of it, into a layout: the very bytes that were pushed."""
        target = self.folder / f"pulled-{tag}"
        done = self.run("pull", f"{self.reference}:{tag}", "--to", str(target))
        assert done.returncode == 0, done.stderr
        layout = Layout(target)
        found = self.manifest(tag)
        assert done.stdout.strip() == found.descriptor.digest
        assert layout.manifest(tag) == found
        return layout


@pytest.fixture
def ours(registry: RegistryServer, name: str, tmp_path: Path) -> Ours:
    return Ours(registry, name, tmp_path)


def foreign_layout(folder: Path, *architectures: str) -> Layout:
    """A layout with a small image for each architecture, tagged so; tools turn it into what they push."""
    layout = Layout(folder)
    data = tar_of([regular("greeting", b"hello\n")])
    layer = put_blob(layout, gzip.compress(data))
    for architecture in architectures:
        config = put_blob(layout, canonical_json(_config(architecture, data)), MEDIA_CONFIG)
        document = {
            "schemaVersion": 2,
            "mediaType": MEDIA_MANIFEST,
            "config": config.to_json(),
            "layers": [layer.to_json()],
        }
        raw = canonical_json(document)
        layout.put_manifest(blob(raw, MEDIA_MANIFEST), raw, tag=architecture)
    return layout


def _config(architecture: str, *layers: bytes) -> dict[str, Any]:
    return {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/greeting"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in layers]},
        "history": [{"created_by": "a test", "empty_layer": True}, {"created_by": "a test"}],
    }


@pytest.mark.parametrize(("format", "media_type"), [("v2s2", MEDIA_DOCKER_MANIFEST), ("oci", MEDIA_MANIFEST)])
def test_skopeo(ours: Ours, tools: Tools, tmp_path: Path, format: str, media_type: str) -> None:
    foreign_layout(tmp_path / "layout", "arm64")
    source, target = f"oci:{tmp_path / 'layout'}:arm64", f"docker://{ours.reference}:1"
    tools.skopeo("--override-arch", "arm64", "copy", "--format", format, source, target)
    found = ours.manifest("1")
    assert found.descriptor.media_type == media_type
    assert found.data == tools.raw(f"{ours.reference}:1")
    ((platform, image),) = ours.release("1").images.items()
    assert platform == ARM64
    assert len(image.parts) == 1
    assert image.config["config"]["Cmd"] == ["/greeting"]
    layout = ours.pull("1")
    if format == "oci":  # of docker's manifests in a layout skopeo knows nothing
        assert tools.run("skopeo", "inspect", "--raw", f"oci:{layout.root}:1").encode() == found.data
    assert read_release(layout, "1") == ours.release("1")


@pytest.mark.parametrize(("format", "media_type"), [("v2s2", MEDIA_DOCKER_LIST), ("oci", MEDIA_INDEX)])
def test_lists_of_images(ours: Ours, tools: Tools, tmp_path: Path, format: str, media_type: str) -> None:
    """Docker's manifest list, and the index, as `buildah manifest` puts them together."""
    foreign_layout(tmp_path / "layout", "amd64", "arm64")
    tools.buildah("manifest", "create", "list")
    for architecture in ("amd64", "arm64"):
        tools.skopeo(
            *("--override-arch", architecture, "copy", "--format", format),
            *(f"oci:{tmp_path / 'layout'}:{architecture}", f"docker://{ours.reference}:{architecture}"),
        )
        tools.buildah("manifest", "add", "--tls-verify=false", "list", f"docker://{ours.reference}:{architecture}")
    target = f"docker://{ours.reference}:1"
    tools.buildah("manifest", "push", "--all", "--format", format, "--tls-verify=false", "list", target)
    found = ours.manifest("1")
    assert found.descriptor.media_type == media_type
    release = ours.release("1")
    assert set(release.images) == {AMD64, ARM64}
    layout = ours.pull("1")
    assert read_release(layout, "1") == release
    done = ours.run("pull", f"{ours.reference}:1", "--to", "one", "--platform", "linux/arm64", "--json")
    assert json.loads(done.stdout)["digest"] == ours.manifest("arm64").descriptor.digest


def test_an_index_with_attestations(ours: Ours, tools: Tools, tmp_path: Path) -> None:
    """As BuildKit writes it: what is known of an image stands beside it, for a platform called unknown."""
    layout = foreign_layout(tmp_path / "layout", "amd64")
    image = layout.manifest("amd64")
    assert image is not None
    statement = put_blob(layout, b'{"_type":"https://in-toto.io/Statement/v0.1"}', "application/vnd.in-toto+json")
    config = put_blob(
        layout,
        canonical_json(
            {
                "architecture": "unknown",
                "os": "unknown",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [statement.digest]},
            }
        ),
        MEDIA_CONFIG,
    )
    described = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MEDIA_MANIFEST,
            "config": config.to_json(),
            "layers": [
                statement.to_json() | {"annotations": {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}}
            ],
        }
    )
    attestation = blob(described, MEDIA_MANIFEST)
    layout.put_manifest(attestation, described)
    notes = {
        "vnd.docker.reference.digest": image.descriptor.digest,
        "vnd.docker.reference.type": "attestation-manifest",
    }
    index = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MEDIA_INDEX,
            "manifests": [
                image.descriptor.to_json() | {"platform": {"architecture": "amd64", "os": "linux"}},
                attestation.to_json()
                | {"platform": {"architecture": "unknown", "os": "unknown"}, "annotations": notes},
            ],
        }
    )
    layout.put_manifest(blob(index, MEDIA_INDEX), index, tag="both")
    source, target = f"oci:{layout.root}:both", f"docker://{ours.reference}:1"
    tools.skopeo("copy", "--all", "--preserve-digests", source, target)
    assert ours.manifest("1").data == index
    assert set(ours.release("1").images) == {AMD64}
    pulled = ours.pull("1")
    assert pulled.manifest(attestation.digest) is not None, "it belongs to the release"
    assert pulled.has_blob(statement.digest)


@pytest.mark.parametrize(("format", "media_type"), [("docker", MEDIA_DOCKER_MANIFEST), ("oci", MEDIA_MANIFEST)])
def test_buildah(ours: Ours, tools: Tools, tmp_path: Path, format: str, media_type: str) -> None:
    built_by_buildah(tools, tmp_path, format, f"docker://{ours.reference}:1")
    assert ours.manifest("1").descriptor.media_type == media_type
    (image,) = ours.release("1").images.values()
    assert image.config["config"]["Labels"]["made.by"] == "buildah"
    layout = ours.pull("1")
    (part,) = image.parts
    path = layout.path(part.digest)
    assert path is not None
    assert tree_of_layers([path])["greeting"].content == hashlib.sha256(b"hello\n" * 1000).hexdigest()


def built_by_buildah(tools: Tools, folder: Path, format: str, target: str, *flags: str) -> None:
    """An image with one file and a label, pushed."""
    (folder / "greeting").write_text("hello\n" * 1000)
    container = tools.buildah("from", "scratch").strip()
    tools.buildah("copy", container, str(folder / "greeting"), "/greeting")
    tools.buildah("config", "--cmd", "/greeting", "--label", "made.by=buildah", container)
    tools.buildah("commit", "--format", format, container, "image")
    tools.buildah("rm", container)
    tools.buildah("push", "--tls-verify=false", *flags, "image", target)


@pytest.mark.engine
@pytest.mark.parametrize("compression", ["zstd", "zstd:chunked"])
def test_layers_in_another_compression(ours: Ours, tools: Tools, tmp_path: Path, engine: str, compression: str) -> None:
    """A copy of a release stays a copy. As a base it is refused, and an engine that can't read it is told by name."""
    built_by_buildah(tools, tmp_path, "oci", f"docker://{ours.reference}:1", "--compression-format", compression)
    (layer,) = json.loads(ours.manifest("1").data)["layers"]
    assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+zstd"
    (image,) = ours.release("1").images.values()
    assert image.parts[0].digest == layer["digest"]
    assert ours.pull("1").has_blob(Digest(layer["digest"]))

    done = ours.run("load", f"{ours.reference}:1", "--json", DOCKER_HOST=engine)
    if done.returncode:
        assert done.returncode == 5
        assert "zstd" in json.loads(done.stdout)["error"]["hint"]
    else:
        Tools(tmp_path / "tools", engine).docker("rmi", json.loads(done.stdout)["name"])

    (tmp_path / "lockship.toml").write_text(
        f'name = "on-top"\nversion = "1.0"\n\n[python]\nversion = "3.11"\n\n'
        f'[image]\nbase = "{ours.reference}:1"\nplatforms = ["linux/amd64"]\n'
    )
    done = ours.run("lock", "--json")
    assert done.returncode == 2, done
    assert "zstd" in json.loads(done.stdout)["error"]["message"]
    assert not (tmp_path / "lockship.lock").exists()


@pytest.mark.engine
def test_docker(ours: Ours, tmp_path: Path, engine: str) -> None:
    """Imported from a tar, changed in a container, pushed: two layers, docker's media types; back by ours alone."""
    _, system = layer_of("system", host_programs("sh", "cat"))
    reference = f"{ours.reference}:1"
    with Tools(tmp_path / "tools", engine) as tools, reached_from(engine, ours.server.host):
        imported = tools.docker("import", "-c", 'CMD ["sh", "-c", "cat /greeting"]', "-", stdin=system).strip()
        container = tools.docker("create", imported).strip()
        (tmp_path / "greeting").write_text("hello\n")
        tools.docker("cp", str(tmp_path / "greeting"), f"{container}:/greeting")
        identity = tools.docker("commit", container, reference).strip()
        tools.docker("rm", container)
        tools.docker("push", "-q", reference)
        tools.docker("rmi", reference)
        found = ours.manifest("1")
        assert found.descriptor.media_type == MEDIA_DOCKER_MANIFEST
        assert found.data == tools.raw(reference)
        document = json.loads(found.data)
        assert document["config"]["digest"] == identity
        assert {layer["mediaType"] for layer in document["layers"]} == {DOCKER_LAYER}
        (image,) = ours.release("1").images.values()
        assert [part.digest for part in image.parts] == [layer["digest"] for layer in document["layers"]]
        ours.pull("1")
        loaded = ours.run("load", reference, "--json", DOCKER_HOST=engine)
        assert loaded.returncode == 0, loaded.stderr
        try:
            assert json.loads(loaded.stdout)["id"] == identity
            assert tools.docker("run", "--rm", "--network", "none", reference) == "hello\n"
            assert ours.run("run", "--image", reference, DOCKER_HOST=engine).stdout == "hello\n"
        finally:
            tools.docker("rmi", reference)
