from __future__ import annotations

import io
import json
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from builder.content import Digest, Platform
from builder.deploy.docker import Engine, Image, _archive, image_in, load
from builder.errors import StoreError, UsageError, VerificationError
from builder.layers import tar
from builder.layers.recipe import Layer
from builder.progress import SILENT, Task
from builder.project import Project
from builder.registry.layout import Layout
from tests.support.images import plan_of, put_image, put_plan
from tests.support.layers import put_layer

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "store")


def layers(store: Layout, *contents: str) -> list[Layer]:
    """Layers that no engine has seen, unless the same word is given again."""
    return [put_layer(store, "wheel", [tar.file(f"opt/{text}", text.encode())], (text, "1")) for text in contents]


def project(**labels: str) -> Project:
    return Project.model_validate({"name": "churn", "version": "1.0", "image": {"labels": labels}})


def test_the_image_for_a_platform(store: Layout) -> None:
    common = layers(store, "a", "b")
    plan = plan_of(project(), {AMD64: common, ARM64: common[:1]})
    put_plan(store, plan, "1.0")
    for planned in plan.images:
        for reference in ("1.0", plan.descriptor.digest, planned.descriptor.digest):
            if reference != planned.descriptor.digest and planned.platform != AMD64:
                continue
            image = image_in(store, reference, AMD64)
            assert image.manifest.data == planned.manifest
            assert image.config == planned.config_descriptor.digest
            assert image.diff_ids == tuple(layer.diff_id for layer in planned.layers)


def test_an_image_for_other_platforms_only(store: Layout) -> None:
    put_plan(store, plan_of(project(), {ARM64: layers(store, "a")}), "1.0")
    with pytest.raises(UsageError, match="the image is for linux/arm64, not for linux/amd64") as caught:
        image_in(store, "1.0", AMD64)
    assert caught.value.hint is not None
    assert "platforms" in caught.value.hint


def test_an_image_that_is_not_there(store: Layout) -> None:
    with pytest.raises(StoreError, match=r"2\.0 is not in the store") as caught:
        image_in(store, "2.0", AMD64)
    assert caught.value.hint is not None
    assert "lockship build" in caught.value.hint


def read_archive(store: Layout, image: Image, known: int) -> dict[str, bytes]:
    with SILENT.task("") as task:
        data = b"".join(_archive(store, image, ["churn:1.0"], known, task))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def test_the_archive_is_a_docker_archive_and_a_layout(store: Layout, tmp_path: Path) -> None:
    two = layers(store, "a", "b")
    put_image(store, project(), [*two, two[0]], "1.0")
    image = image_in(store, "1.0", AMD64)
    files = read_archive(store, image, 0)
    [legacy] = json.loads(files["manifest.json"])
    assert legacy["RepoTags"] == ["churn:1.0"]
    assert [files[path] for path in legacy["Layers"]] == [
        b"".join(store.read_blob(digest)) for digest, _ in image.layers
    ]
    for path, data in files.items():
        if path.startswith("blobs/"):
            assert Digest.of(data).hex == path.rpartition("/")[2]
    for path, data in files.items():
        (tmp_path / "out" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / path).write_bytes(data)
    opened = Layout(tmp_path / "out")
    found = opened.manifest("1.0")
    assert found is not None
    assert found.data == image.manifest.data


def test_layers_that_are_known_are_left_out(store: Layout) -> None:
    put_image(store, project(), layers(store, "a", "b", "c"), "1.0")
    image = image_in(store, "1.0", AMD64)
    files = read_archive(store, image, 2)
    [legacy] = json.loads(files["manifest.json"])
    assert len(legacy["Layers"]) == 3
    assert [path in files for path in legacy["Layers"]] == [False, False, True]
    assert "oci-layout" not in files


def test_a_layer_that_goes_on_reaches_no_engine(store: Layout) -> None:
    """What is behind a layer's bytes would be more files of the archive, such as another ``manifest.json``."""
    put_image(store, project(), layers(store, "a"), "1.0")
    image = image_in(store, "1.0", AMD64)

    class Hostile:
        def read_blob(self, digest: Digest, *, start: int = 0) -> Iterator[bytes]:
            yield from store.read_blob(digest, start=start)
            yield b"manifest.json".ljust(512, b"\0")

    sent = []
    with SILENT.task("") as task, pytest.raises(VerificationError, match="bytes or more, the manifest says"):
        for chunk in _archive(Hostile(), image, ["churn:1.0"], 0, task):
            sent.append(chunk)
    assert b"manifest.json".ljust(512, b"\0") not in sent


class Counting:
    """Progress that counts bytes."""

    def __init__(self) -> None:
        self.total = 0
        self.seen = 0

    def task(self, label: str, total: int | None = None, *, unit: str = "bytes") -> AbstractContextManager[Task]:
        self.total += total or 0
        counting = self

        class _Task(AbstractContextManager[Task]):
            def __enter__(self) -> Task:
                return self  # type: ignore[return-value]

            def __exit__(self, *_: object) -> None:
                pass

            def advance(self, amount: int) -> None:
                counting.seen += amount

            def grow(self, amount: int) -> None:
                raise AssertionError

        return _Task()

    def note(self, message: str) -> None:
        raise AssertionError(message)

    warn = note


@pytest.fixture
def loaded(docker_engine: Engine) -> Iterator[list[str]]:
    """Ids to remove at the end."""
    identities: list[str] = []
    yield identities
    for identity in identities:
        docker_engine.api.remove_image(identity, force=True)


@pytest.mark.engine
def test_load_sends_only_what_the_engine_lacks(docker_engine: Engine, store: Layout, loaded: list[str]) -> None:
    words = [uuid.uuid4().hex for _ in range(4)]
    made = layers(store, *words)
    put_image(store, project(), made[:3], "1.0")
    put_image(store, project(), [*made[:2], made[3]], "2.0")
    platform = docker_engine.platform
    first = Counting()
    loaded.append(load(docker_engine, store, image_in(store, "1.0", platform), ["lockship-test:1.0"], first))
    assert first.seen == first.total == sum(layer.size for layer in made[:3])
    second = Counting()
    loaded.append(load(docker_engine, store, image_in(store, "2.0", platform), ["lockship-test:2.0"], second))
    if not docker_engine.containerd:
        assert loaded[1] == image_in(store, "2.0", platform).config
        assert second.seen == made[3].size
    found = docker_engine.api.inspect_image("lockship-test:2.0")
    assert found["Id"] == loaded[1]
    assert found["RootFS"]["Layers"] == [layer.diff_id for layer in (*made[:2], made[3])]


@pytest.mark.engine
def test_loading_again_sends_nothing_and_adds_tags(docker_engine: Engine, store: Layout, loaded: list[str]) -> None:
    put_image(store, project(), layers(store, uuid.uuid4().hex), "1.0")
    image = image_in(store, "1.0", docker_engine.platform)
    loaded.append(load(docker_engine, store, image, ["lockship-test:1.0"]))
    again = Counting()
    assert load(docker_engine, store, image, ["lockship-test:1.0", "lockship-test:new"], again) == loaded[0]
    assert again.total == 0
    tags = docker_engine.api.inspect_image(loaded[0])["RepoTags"]
    assert sorted(tags) == ["lockship-test:1.0", "lockship-test:new"]


@pytest.mark.engine
def test_an_engine_that_wants_every_layer_gets_them(
    docker_engine: Engine, store: Layout, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when an image is removed between the look and the load."""
    put_image(store, project(), layers(store, uuid.uuid4().hex, "x"), "1.0")
    image = image_in(store, "1.0", docker_engine.platform)
    monkeypatch.setattr("builder.deploy.docker._shared", lambda *_: 1)
    progress = Counting()
    loaded.append(load(docker_engine, store, image, ["lockship-test:1.0"], progress))
    assert progress.seen == sum(size for _, size in image.layers) + image.layers[1][1]


@pytest.mark.engine
def test_a_damaged_store_is_named_as_such(docker_engine: Engine, store: Layout) -> None:
    [layer] = layers(store, uuid.uuid4().hex)
    put_image(store, project(), [layer], "1.0")
    path = store.path(layer.digest)
    assert path is not None
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + b"!")
    image = image_in(store, "1.0", docker_engine.platform)
    with pytest.raises(VerificationError, match="holds sha256"):
        load(docker_engine, store, image, ["lockship-test:damaged"])
    assert docker_engine.api.images("lockship-test:damaged") == []
    path.unlink()
    with pytest.raises(StoreError, match="does not hold"):
        load(docker_engine, store, image, ["lockship-test:damaged"])


@pytest.mark.engine
def test_what_the_engine_refuses_is_said(docker_engine: Engine, store: Layout) -> None:
    layer = put_layer(store, "code", [tar.file("a", b"x")], ("code", ""))
    lying = Layer(layer.kind, layer.digest, layer.size, Digest.of(b"another tar"), layer.holds)
    put_image(store, project(), [lying], "1.0")
    with pytest.raises(StoreError, match=r"invalid diffID|refused") as caught:
        load(docker_engine, store, image_in(store, "1.0", docker_engine.platform), ["lockship-test:lie"])
    assert caught.value.exit_code == 5
