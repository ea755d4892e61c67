"""Models beside a release: in a layout and in a registry, and back out of them as files."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest

from builder.content import Descriptor, Digest
from builder.errors import ModelError, StoreError, VerificationError
from builder.models.artifact import ARTIFACT_TYPE, EMPTY, MEDIA_MODEL
from builder.pipeline import build, lock
from builder.pipeline.models import fetch_models
from builder.registry.layout import Layout
from tests.models.test_contract import document
from tests.support.registry import RegistryServer
from tests.support.world import World

pytestmark = pytest.mark.apt

MODEL = b"these bytes stand for a converted model"


def converted(here: World, name: str = "demo", model: bytes = MODEL) -> None:
    """What `lockship convert` would have left of the model `name`."""
    source = here.write(f"{name}.skops", f"the original of {name}")
    (here.root / f"{name}.onnx").write_bytes(model)
    contract = document(
        name=name, digest=str(Digest.of(model)), size=len(model), sources={"model": str(Digest.of(source.read_bytes()))}
    )
    here.write(f"{name}.contract.json", json.dumps(contract))
    here.write(f"{name}.parity.json", "{}")


@pytest.fixture
def ready(here: World) -> World:
    """A locked project with a converted model."""
    here.wheel("alpha")
    converted(here)
    lock(here.project("alpha\n", rest='[model]\nsource = "demo.skops"\n'), here.context)
    return here


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def original(here: World) -> dict[str, bytes]:
    return {name: (here.root / name).read_bytes() for name in ("demo.onnx", "demo.contract.json", "demo.parity.json")}


def test_a_build_puts_the_model_beside_the_image(ready: World, tmp_path: Path) -> None:
    built = build(ready.load(), ready.context)
    assert ready.store.tags().keys() == {"1.0", "1.0.demo.onnx"}
    (referrer,) = ready.store.referrers(built.plan.descriptor.digest)
    assert referrer.artifact_type == ARTIFACT_TYPE
    assert ready.store.tags()["1.0.demo.onnx"] == referrer.digest
    done = ready.run("export", "onnx", "--output", str(tmp_path / "out"))
    assert done.code == 0, done
    assert done.out.startswith(referrer.digest)
    assert files(tmp_path / "out") == original(ready)
    # a build that changes nothing leaves everything as it is
    build(ready.load(), ready.context)
    assert ready.store.referrers(built.plan.descriptor.digest) == (referrer,)


def test_a_registry_gives_it_to_anybody(ready: World, registry: RegistryServer, tmp_path: Path) -> None:
    repository = f"{registry.host}/models/{tmp_path.name.lower()}"
    pushed = ready.run("push", "--repository", repository)
    assert pushed.code == 0, pushed

    # a plain HTTP client, with nothing but the tag
    address = f"http://{registry.host}/v2/{repository.partition('/')[2]}"
    request = urllib.request.Request(
        f"{address}/manifests/1.0.demo.onnx", headers={"Accept": "application/vnd.oci.image.manifest.v1+json"}
    )
    with urllib.request.urlopen(request) as answer:
        manifest = json.load(answer)
    model = next(layer for layer in manifest["layers"] if layer["mediaType"] == MEDIA_MODEL)
    with urllib.request.urlopen(f"{address}/blobs/{model['digest']}") as answer:
        assert answer.read() == MODEL

    # oras, where there is one
    if (oras := shutil.which("oras")) is not None:
        command = [oras, "pull", "--plain-http", "-o", str(tmp_path / "oras"), f"{repository}:1.0.demo.onnx"]
        subprocess.run(command, check=True, capture_output=True)
        assert files(tmp_path / "oras") == original(ready)

    # lockship, anywhere: by the release, by its digest, by the model's own tag
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for number, reference in enumerate((":1.0", f"@{pushed.out.strip()}", ":1.0.demo.onnx")):
        done = ready.run("export", "onnx", repository + reference, "-o", str(tmp_path / str(number)), cwd=elsewhere)
        assert done.code == 0, done
        assert files(tmp_path / str(number)) == original(ready)

    # and with a pull it comes along
    assert ready.run("pull", f"{repository}:1.0", "--to", str(tmp_path / "layout"), cwd=elsewhere).code == 0
    fetch_models(Layout(tmp_path / "layout"), "1.0", tmp_path / "pulled")
    assert files(tmp_path / "pulled") == original(ready)


def test_a_push_that_was_cut_off_before_the_models_tag_is_gone_on_with(
    ready: World, registry: RegistryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from builder.pipeline import open_registry, push, sealing
    from builder.registry.reference import parse_repository

    repository = f"{registry.host}/models/{tmp_path.name.lower()}"
    with monkeypatch.context() as patch:
        patch.setattr(sealing, "tag_models", lambda models, store: None)
        push(ready.load(), ready.context, repository=repository)
    with open_registry(parse_repository(repository), ready.context) as store:
        assert store.tags().keys() == {"1.0"}
        assert push(ready.load(), ready.context, repository=repository).there
        assert store.tags().keys() == {"1.0", "1.0.demo.onnx"}


def test_a_version_that_was_given_up_before_it_was_pushed_takes_no_name(
    ready: World, registry: RegistryServer, tmp_path: Path
) -> None:
    """Only the release's own tag is for good: a model's moves until then."""
    repository = f"{registry.host}/models/{tmp_path.name.lower()}"
    assert ready.run("push", "--repository", repository).code == 0
    converted(ready, model=b"another model")
    refused = ready.run("push", "--repository", repository)
    assert refused.code == 7, refused
    done = ready.run("export", "onnx", f"{repository}:1.0", "-o", str(tmp_path / "out"))
    assert done.code == 0, done
    assert files(tmp_path / "out")["demo.onnx"] == MODEL


def test_one_of_several_models(ready: World, tmp_path: Path) -> None:
    converted(ready, "small", b"a small one")
    rest = '[models.demo]\nsource = "demo.skops"\n[models.small]\nsource = "small.skops"\n'
    build(ready.project("alpha\n", rest=rest), ready.context)
    assert ready.run("export", "onnx", "1.0", "-m", "small", "-o", str(tmp_path / "one")).code == 0
    assert (tmp_path / "one/small.onnx").read_bytes() == b"a small one"
    assert not (tmp_path / "one/demo.onnx").exists()
    assert (
        ready.run("export", "onnx", "1.0", "-o", str(tmp_path / "both"), "--json").json["models"][1]["name"] == "small"
    )
    unknown = ready.run("export", "onnx", "1.0", "-m", "large", "-o", str(tmp_path / "none"))
    assert unknown.code == 2
    assert "demo, small" in unknown.err
    assert not (tmp_path / "none").exists()


def test_a_release_without_models_and_one_that_is_not_there(here: World, tmp_path: Path) -> None:
    here.wheel("alpha")
    lock(here.project("alpha\n"), here.context)
    build(here.load(), here.context)
    for version, words in (("1.0", "no models"), ("2.0", "no 2.0")):
        done = here.run("export", "onnx", version, "-o", str(tmp_path / "out"))
        assert done.code == 5, done
        assert words in done.err


def test_a_model_that_changed_after_it_was_converted_is_not_built(ready: World) -> None:
    ready.write("demo.skops", "trained again")
    with pytest.raises(ModelError, match="changed since it was converted"):
        build(ready.load(), ready.context)


@pytest.mark.parametrize("title", ["../evil.onnx", "/etc/evil.onnx", "a/b.onnx", ".onnx", "authorized_keys", ""])
def test_a_hostile_file_name_writes_nothing(tmp_path: Path, title: str) -> None:
    store = Layout(tmp_path / "store")
    store.write_blob(EMPTY, [b"{}"])
    layer = Descriptor(MEDIA_MODEL, Digest.of(MODEL), len(MODEL), annotations={"org.opencontainers.image.title": title})
    store.write_blob(layer, [MODEL])
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": ARTIFACT_TYPE,
            "config": EMPTY.to_json(),
            "layers": [layer.to_json()],
            "annotations": {"org.opencontainers.image.title": "evil"},
        }
    ).encode()
    descriptor = Descriptor("application/vnd.oci.image.manifest.v1+json", Digest.of(manifest), len(manifest))
    store.put_manifest(descriptor, manifest, tag="evil")
    with pytest.raises(VerificationError, match="a file of the name"):
        fetch_models(store, "evil", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bytes_that_were_changed_are_not_handed_on(ready: World, tmp_path: Path) -> None:
    build(ready.load(), ready.context)
    blob = ready.root / ".lockship/store/blobs/sha256" / Digest.of(MODEL).hex
    blob.chmod(0o644)
    blob.write_bytes(MODEL[:-1] + b"!")
    with pytest.raises(VerificationError):
        fetch_models(ready.store, "1.0", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))
    blob.unlink()
    with pytest.raises(StoreError):
        fetch_models(ready.store, "1.0", tmp_path / "out")
