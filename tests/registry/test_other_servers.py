"""The contract on registries that are not Distribution 2.8, where they are installed: each has habits of its own.

`crane` brings a registry with the referrers API, Distribution 3 is the successor of what Debian has, and `oras` keeps
lists of referrers as we do. Nothing here depends on them, and ``go install`` gets them:
github.com/google/go-containerregistry/cmd/crane, github.com/distribution/distribution/v3/cmd/registry,
oras.land/oras/cmd/oras.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from builder.pipeline.copying import copy
from builder.registry.layout import Layout
from builder.registry.reference import parse_repository
from builder.registry.store import Manifest, Store
from tests.registry.conftest import new_name, open_registry
from tests.registry.test_store import *  # noqa: F403
from tests.support.images import blob, index_of, small_image
from tests.support.registry import RegistryServer, serve_registry

if not any(map(shutil.which, ("crane", "registry", "oras"))):
    pytest.skip("neither crane nor Distribution 3 nor oras is installed", allow_module_level=True)

KINDS = ("crane", "distribution3")

# what crane's registry, made for tests, does not do
BEYOND_CRANE = {
    "test_a_manifest_with_a_hole_is_refused": "it takes manifests with holes",
    "test_deleting_a_blob": "it answers 500 where nothing is to be deleted",
    "test_deleting_a_manifest_drops_all_its_tags": "it answers 500 where nothing is to be deleted",
}


@contextmanager
def serve(kind: str, folder: Path) -> Iterator[RegistryServer]:
    """An empty registry; the test is skipped where the program isn't there."""
    folder.mkdir()
    log = folder / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(_command(kind, folder), stdout=output, stderr=output, env={}) as process,
    ):
        try:
            yield RegistryServer(f"127.0.0.1:{_port(log)}", folder, log)
        finally:
            process.terminate()


def _command(kind: str, folder: Path) -> list[str]:
    if kind == "crane":
        return [_installed("crane"), "registry", "serve", "--address", "127.0.0.1:0"]
    program = _installed("registry")
    if "/v3 " not in subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout:
        pytest.skip("the registry that is installed isn't Distribution 3")
    config = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}, "delete": {"enabled": True}},
        "http": {"addr": "127.0.0.1:0", "secret": "of the tests"},
    }
    (folder / "config.yml").write_text(json.dumps(config))
    return [program, "serve", str(folder / "config.yml")]


def _installed(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def _port(log: Path) -> str:
    for _ in range(1000):
        if found := re.search(r"(?:serving on port |listening on 127\.0\.0\.1:)(\d+)", log.read_text()):
            return found[1]
        time.sleep(0.02)
    raise RuntimeError(log.read_text())


@pytest.fixture(scope="module")
def distribution3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with serve("distribution3", tmp_path_factory.mktemp("servers") / "distribution3") as server:
        yield server


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RegistryServer]:
    """A new one of crane's for each test, because its blobs belong to no repository."""
    if request.param != "crane":
        yield request.getfixturevalue(request.param)
        return
    if reason := BEYOND_CRANE.get(request.node.originalname):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    with serve("crane", tmp_path / "crane") as started:
        yield started


@pytest.fixture
def new_store(server: RegistryServer) -> Iterator[Callable[[], Store]]:
    name = new_name()
    with ExitStack() as stack:
        yield lambda: stack.enter_context(open_registry(server, name))


def released(folder: Path) -> tuple[Layout, Manifest]:
    """A layout with a release of two images, to which a note refers, as 1.0."""
    layout = Layout(folder)
    images = [small_image(layout, text) for text in ("amd", "arm")]
    for image in images:
        layout.put_manifest(image.descriptor, image.data)
    index = index_of(*images)
    layout.put_manifest(index.descriptor, index.data, tag="1.0")
    note = small_image(layout, "note", subject=index.descriptor)
    layout.put_manifest(note.descriptor, note.data)
    return layout, index


def test_a_release_goes_there_and_back(server: RegistryServer, tmp_path: Path) -> None:
    layout, index = released(tmp_path / "layout")
    name = new_name()
    with open_registry(server, name) as registry:
        assert copy(layout, registry, "1.0", tag="1.0").fetched == 6
    with open_registry(server, f"{name}/second") as second:
        assert second.adopt(blob(b"layer amd"), [parse_repository(f"{server.host}/{name}")])
        assert second.has_blob(blob(b"layer amd").digest)
    with open_registry(server, name, push=False) as registry:
        back = Layout(tmp_path / "back")
        done = copy(registry, back, "1.0", tag="1.0")
        assert (done.digest, done.fetched, done.referrers) == (index.descriptor.digest, 6, 1)
    assert back.referrers(index.descriptor.digest) == layout.referrers(index.descriptor.digest)


@pytest.mark.parametrize("kind", ["distribution2", *KINDS])
def test_lists_of_referrers_are_kept_together_with_oras(kind: str, tmp_path: Path) -> None:
    """With the referrers API, and with the tag in its place: what oras attaches we list, and what we attach it does."""
    oras = _installed("oras")
    with ExitStack() as stack:
        folder = tmp_path / "server"
        started = stack.enter_context(serve_registry(folder) if kind == "distribution2" else serve(kind, folder))
        name = new_name()
        registry = stack.enter_context(open_registry(started, name))
        layout, index = released(tmp_path / "layout")
        copy(layout, registry, "1.0", tag="1.0")
        (tmp_path / "report.txt").write_text("all is well\n")
        reference = f"{started.host}/{name}:1.0"
        words = ["--plain-http", "--artifact-type", "application/vnd.example.report", reference, "report.txt"]
        environ = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        subprocess.run([oras, "attach", *words], env=environ, cwd=tmp_path, check=True, capture_output=True)
        kinds = {"application/vnd.example.note", "application/vnd.example.report"}
        assert {one.artifact_type for one in registry.referrers(index.descriptor.digest)} == kinds
        another = small_image(registry, "another", subject=index.descriptor)
        registry.put_manifest(another.descriptor, another.data)
        listed = subprocess.run(
            [oras, "discover", "--plain-http", "--format", "json", reference],
            env=environ, cwd=tmp_path, check=True, capture_output=True,
        )  # fmt: skip
        found = [one["digest"] for one in json.loads(listed.stdout)["referrers"]]
        assert len(found) == 3
        assert another.descriptor.digest in found
        assert sorted(found) == [one.digest for one in registry.referrers(index.descriptor.digest)]
