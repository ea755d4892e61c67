"""Copying a release: all of it, verified, the tag last, and gone on with when it was interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.content import (
    MEDIA_CONFIG,
    MEDIA_INDEX,
    MEDIA_LAYER_GZIP,
    MEDIA_MANIFEST,
    Descriptor,
    Digest,
    Platform,
    canonical_json,
)
from builder.errors import LockshipError, RefusedError, StoreError, UsageError, VerificationError
from builder.pipeline.copying import copy
from builder.registry.contents import MAX_DEPTH, MAX_MANIFESTS, contents_of
from builder.registry.layout import Layout
from builder.registry.store import Manifest
from tests.support.images import blob, index_of, put_blob, small_image
from tests.support.progress import Heard

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
SCHEMA2 = "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture
def source(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "source")


@pytest.fixture
def target(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "target")


def put(store: Layout, manifest: Manifest, tag: str | None = None) -> Manifest:
    store.put_manifest(manifest.descriptor, manifest.data, tag=tag)
    return manifest


def raw(store: Layout, document: dict[str, Any], tag: str | None = None) -> Manifest:
    """A manifest that is stored as a hostile server would serve it: whatever it names."""
    data = canonical_json({"schemaVersion": 2, **document})
    descriptor = blob(data, str(document.get("mediaType", MEDIA_MANIFEST)))
    store.write_blob(descriptor, [data])
    if tag is not None:
        store._prepare()
        index = json.loads((store.root / "index.json").read_bytes())
        index["manifests"].append(
            descriptor.to_json() | {"annotations": {"org.opencontainers.image.ref.name": tag}},
        )
        (store.root / "index.json").write_bytes(canonical_json(index))
    return Manifest(descriptor, data)


def named(manifest: Manifest, platform: Platform) -> dict[str, Any]:
    descriptor = manifest.descriptor
    return Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, platform=platform).to_json()


def release(store: Layout, tag: str = "1.0", text: str = "") -> tuple[Manifest, Manifest, Manifest]:
    """An index of two images."""
    amd = put(store, small_image(store, f"amd{text}"))
    arm = put(store, small_image(store, f"arm{text}"))
    document = {"mediaType": MEDIA_INDEX, "manifests": [named(amd, AMD64), named(arm, ARM64)]}
    data = canonical_json({"schemaVersion": 2, **document})
    index = put(store, Manifest(blob(data, MEDIA_INDEX), data), tag)
    return index, amd, arm


def whole(store: Layout, reference: Digest | str) -> None:
    """Everything that `reference` leads to is there and is what it should be."""
    found = contents_of(store, reference)
    assert found is not None
    for one in found.blobs:
        assert sum(map(len, store.read_blob(one.digest))) == one.size


def test_a_release_comes_with_all_its_images(source: Layout, target: Layout) -> None:
    index, _, _ = release(source)
    copied = copy(source, target, "1.0", tag="1.0")
    assert target.tags() == {"1.0": index.descriptor.digest}
    assert copied.digest == index.descriptor.digest
    assert copied.platforms == ("linux/amd64", "linux/arm64")
    assert (copied.fetched, copied.present, copied.previous) == (4, 0, None)
    whole(target, "1.0")
    assert target.manifest("1.0") == source.manifest("1.0")


def test_copying_again_transfers_nothing(source: Layout, target: Layout) -> None:
    release(source)
    first = copy(source, target, "1.0", tag="1.0")
    again = copy(source, target, "1.0", tag="1.0")
    assert (again.fetched, again.received, again.present) == (0, 0, 4)
    assert again.present_size == first.received > 0


def test_what_changed_is_all_that_is_transferred(source: Layout, target: Layout) -> None:
    release(source)
    copy(source, target, "1.0", tag="1.0")
    arm = small_image(source, "arm")
    amd = small_image(source, "other")
    put(source, arm), put(source, amd)
    put(source, index_of(amd, arm), "1.1")
    copied = copy(source, target, "1.1", tag="1.1")
    assert (copied.fetched, copied.present) == (2, 2)


def test_what_went_bad_in_a_folder_is_fetched_anew(source: Layout, target: Layout) -> None:
    release(source)
    copy(source, target, "1.0", tag="1.0")
    found = contents_of(source, "1.0")
    assert found is not None
    flipped, shorter = (target.path(one.digest) for one in found.blobs[:2])
    for path, data in ((flipped, b"?"), (shorter, b"")):
        assert path is not None
        whole_file = path.read_bytes()
        path.unlink()
        path.write_bytes(data + whole_file[1:])
    heard = Heard()
    copied = copy(source, target, "1.0", tag="1.0", progress=heard)
    assert (copied.fetched, copied.present) == (2, 2)
    assert sum("it is fetched anew" in warning for warning in heard.warnings) == 2
    whole(target, "1.0")


def test_one_platform_alone(source: Layout, target: Layout) -> None:
    _, _, arm = release(source)
    copied = copy(source, target, "1.0", tag="1.0", platform=ARM64)
    assert target.tags() == {"1.0": arm.descriptor.digest}
    assert copied.platforms == ("linux/arm64",)
    assert not target.has_blob(Digest.of(b"layer amd"))
    whole(target, "1.0")


def test_an_image_of_one_platform_is_that_platform_or_an_error(source: Layout, target: Layout) -> None:
    image = put(source, small_image(source), "1.0")
    assert copy(source, target, "1.0", tag="1.0", platform=AMD64).digest == image.descriptor.digest
    with pytest.raises(UsageError, match="is for linux/amd64, not for linux/arm64"):
        copy(source, target, "1.0", tag="1.0", platform=ARM64)


def test_a_platform_that_is_not_there(source: Layout, target: Layout) -> None:
    put(source, small_image(source, "amd"))
    image = small_image(source, "amd")
    raw(source, {"mediaType": MEDIA_INDEX, "manifests": [named(image, AMD64)]}, "1.0")
    with pytest.raises(UsageError, match="is for linux/amd64, not for linux/arm64") as caught:
        copy(source, target, "1.0", tag="1.0", platform=ARM64)
    assert "--platform" in (caught.value.hint or "")
    assert not target.root.exists()


def test_by_digest_without_a_tag(source: Layout, target: Layout) -> None:
    index, _, _ = release(source)
    copy(source, target, index.descriptor.digest, tag=None)
    assert target.tags() == {}
    whole(target, index.descriptor.digest)
    [entry] = json.loads((target.root / "index.json").read_bytes())["manifests"]
    assert entry["digest"] == index.descriptor.digest


def test_a_tag_moves_and_says_so_unless_it_may_not(source: Layout, target: Layout) -> None:
    before, _, _ = release(source)
    copy(source, target, "1.0", tag="1.0")
    after, _, _ = release(source, "1.1", "new")
    with pytest.raises(RefusedError, match=r"'1\.0' is taken"):
        copy(source, target, "1.1", tag="1.0", move=False)
    copied = copy(source, target, "1.1", tag="1.0")
    assert copied.previous == before.descriptor.digest
    assert target.tags() == {"1.0": after.descriptor.digest}


def test_referrers_come_along_and_theirs_too(source: Layout, target: Layout) -> None:
    index, amd, _ = release(source)
    sbom = put(source, small_image(source, "sbom", subject=index.descriptor))
    signature = put(source, small_image(source, "signature of the sbom", subject=sbom.descriptor))
    evidence = put(source, small_image(source, "evidence", subject=amd.descriptor))
    put(source, small_image(source, "of another", subject=put_blob(source, b"elsewhere")))
    copied = copy(source, target, "1.0", tag="1.0")
    assert copied.referrers == 3
    for subject, referrer in ((index, sbom), (sbom, signature), (amd, evidence)):
        [found] = target.referrers(subject.descriptor.digest)
        assert found.digest == referrer.descriptor.digest
        whole(target, found.digest)
    assert not target.has_blob(Digest.of(b"layer of another"))


def test_bytes_of_docker_stay_as_they_are(source: Layout, target: Layout) -> None:
    layer = put_blob(source, b"layer", "application/vnd.docker.image.rootfs.diff.tar.gzip")
    config = put_blob(source, b"{}", "application/vnd.docker.container.image.v1+json")
    document = {"mediaType": SCHEMA2, "config": config.to_json(), "layers": [layer.to_json()]}
    image = raw(source, document)
    data = json.dumps(
        {"schemaVersion": 2, "mediaType": LIST, "manifests": [named(image, AMD64)]}, indent=3, sort_keys=False
    ).encode()
    index = put(source, Manifest(blob(data, LIST), data), "1.0")
    copied = copy(source, target, "1.0", tag="1.0")
    assert copied.digest == Digest.of(data)
    found = target.manifest("1.0")
    assert found is not None
    assert (found.data, found.descriptor.media_type) == (data, LIST)
    child = target.manifest(image.descriptor.digest)
    assert child is not None
    assert child.descriptor.media_type == SCHEMA2
    assert copy(source, target, "1.0", tag="one", platform=AMD64).digest == image.descriptor.digest
    assert index.descriptor.digest == copied.digest


def test_a_layer_that_is_listed_twice_is_copied_once(source: Layout, target: Layout) -> None:
    layer, config = put_blob(source, b"layer"), put_blob(source, b"{}", MEDIA_CONFIG)
    raw(source, {"config": config.to_json(), "layers": [layer.to_json()] * 3}, "1.0")
    assert copy(source, target, "1.0", tag="1.0").fetched == 2


def test_a_layer_that_lies_elsewhere_stays_there(source: Layout, target: Layout) -> None:
    config = put_blob(source, b"{}", MEDIA_CONFIG)
    away = blob(b"of somebody else").to_json() | {"urls": ["https://example.com/layer"]}
    raw(source, {"config": config.to_json(), "layers": [away]}, "1.0")
    heard = Heard()
    assert copy(source, target, "1.0", tag="1.0", progress=heard).fetched == 1
    assert any("lies outside" in warning for warning in heard.warnings)
    # one that claims to lie elsewhere and doesn't is copied like any other
    here = put_blob(source, b"here after all").to_json() | {"urls": ["https://example.com/layer"]}
    raw(source, {"config": config.to_json(), "layers": [here]}, "1.1")
    copy(source, target, "1.1", tag="1.1")
    assert target.has_blob(Digest.of(b"here after all"))


# what hostile or broken stores serve


def test_a_tag_that_is_not_there_lists_some_that_are(source: Layout, target: Layout) -> None:
    with pytest.raises(StoreError, match=r"no tag '2\.0'") as caught:
        copy(source, target, "2.0", tag="2.0")
    assert caught.value.hint == "no tags are there at all"
    for number in range(10):
        release(source, f"1.{number}")
    with pytest.raises(StoreError, match=r"no tag '2\.0'") as caught:
        copy(source, target, "2.0", tag="2.0")
    assert caught.value.hint is not None
    assert "1.9 and 2 more" in caught.value.hint
    with pytest.raises(StoreError, match="has no sha256:"):
        copy(source, target, Digest.of(b"absent"), tag=None)


def spoil_layer(store: Layout, tag: str) -> None:
    release(store, tag)
    path = store.path(Digest.of(b"layer amd"))
    assert path is not None
    path.unlink()
    path.write_bytes(b"layer AMD")


def lose_layer(store: Layout, tag: str) -> None:
    release(store, tag)
    path = store.path(Digest.of(b"layer amd"))
    assert path is not None
    path.unlink()


def lose_child(store: Layout, tag: str) -> None:
    _, _, arm = release(store, tag)
    path = store.path(arm.descriptor.digest)
    assert path is not None
    path.unlink()


def lie_about_a_size(store: Layout, tag: str) -> None:
    image = put(store, small_image(store))
    entry = named(image, AMD64) | {"size": image.descriptor.size + 1}
    raw(store, {"mediaType": MEDIA_INDEX, "manifests": [entry]}, tag)


def two_sizes(store: Layout, tag: str) -> None:
    layer, config = put_blob(store, b"layer"), put_blob(store, b"{}", MEDIA_CONFIG)
    larger = layer.to_json() | {"size": 1 << 60}
    raw(store, {"config": config.to_json(), "layers": [layer.to_json(), larger]}, tag)


def a_huge_size(store: Layout, tag: str) -> None:
    layer, config = put_blob(store, b"layer"), put_blob(store, b"{}", MEDIA_CONFIG)
    raw(store, {"config": config.to_json(), "layers": [layer.to_json() | {"size": 1 << 60}]}, tag)


def a_negative_size(store: Layout, tag: str) -> None:
    layer, config = put_blob(store, b"layer"), put_blob(store, b"{}", MEDIA_CONFIG)
    image = raw(store, {"config": config.to_json(), "layers": [layer.to_json() | {"size": -1}]})
    raw(store, {"mediaType": MEDIA_INDEX, "manifests": [named(image, AMD64)]}, tag)


def many_children(store: Layout, tag: str) -> None:
    entries = [blob(str(number).encode(), MEDIA_MANIFEST).to_json() for number in range(10_000)]
    raw(store, {"mediaType": MEDIA_INDEX, "manifests": entries}, tag)


def many_layers(store: Layout, tag: str) -> None:
    config = put_blob(store, b"{}", MEDIA_CONFIG)
    layers = [blob(str(number).encode()).to_json() for number in range(20_000)]
    raw(store, {"config": config.to_json(), "layers": layers}, tag)


def deep(store: Layout, tag: str) -> None:
    inner = put(store, small_image(store))
    for _ in range(MAX_DEPTH):
        inner = raw(store, {"mediaType": MEDIA_INDEX, "manifests": [inner.descriptor.to_json()]})
    raw(store, {"mediaType": MEDIA_INDEX, "manifests": [inner.descriptor.to_json()]}, tag)


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (spoil_layer, VerificationError, "holds sha256"),
        (lose_layer, StoreError, "does not hold"),
        (lose_child, StoreError, "for linux/arm64, which is not there"),
        (lie_about_a_size, VerificationError, "says that sha256"),
        (two_sizes, VerificationError, "says that sha256"),
        (a_huge_size, VerificationError, r"1,152,921,504,606,846,976 bytes\), got sha256"),
        (a_negative_size, StoreError, "which is not there"),
        (many_children, RefusedError, f"more than {MAX_MANIFESTS:,} manifests"),
        (many_layers, RefusedError, "more than 10,000 blobs"),
        (deep, RefusedError, "indexes within indexes"),
    ],
)
def test_what_is_broken_gets_no_tag(
    source: Layout,
    target: Layout,
    spoil: Callable[[Layout, str], None],
    kind: type[LockshipError],
    message: str,
) -> None:
    spoil(source, "1.0")
    with pytest.raises(kind, match=message):
        copy(source, target, "1.0", tag="1.0")
    assert target.tags() == {}
    assert not [path for path in target.root.glob("blobs/sha256/*") if Digest.of(path.read_bytes()).hex != path.name]


class Lying(Layout):
    """Lists a referrer that is none."""

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        other = small_image(self, "not a referrer")
        self.put_manifest(other.descriptor, other.data)
        return (other.descriptor,)


def test_a_referrer_that_is_none(target: Layout, tmp_path: Path) -> None:
    source = Lying(tmp_path / "source")
    release(source)
    with pytest.raises(VerificationError, match="and is none"):
        copy(source, target, "1.0", tag="1.0")


class Breaking(Layout):
    """Gives up at the k-th thing that it is asked, and in the middle of it where that can be."""

    left = 0

    def _count(self) -> bool:
        self.left -= 1
        return self.left < 0

    def manifest(self, reference: Digest | str) -> Manifest | None:
        if self._count():
            raise StoreError("the connection broke")
        return super().manifest(reference)

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        if self._count():
            raise StoreError("the connection broke")
        return super().referrers(subject)

    def read_blob(self, digest: Digest, *, start: int = 0) -> Iterator[bytes]:
        data = b"".join(super().read_blob(digest, start=start))
        if self._count():
            yield data[: len(data) // 2]
            raise StoreError("the connection broke")
        yield data


def test_wherever_it_breaks_no_tag_is_left_and_the_next_copy_completes(tmp_path: Path) -> None:
    source = Breaking(tmp_path / "source")
    source.left = 1_000_000
    index, _, _ = release(source)
    put(source, small_image(source, "sbom", subject=index.descriptor))
    broken = 0
    for k in range(100):
        target = Layout(tmp_path / f"target{k}")
        source.left = k
        try:
            copy(source, target, "1.0", tag="1.0")
        except StoreError:
            broken += 1
            assert target.tags() == {}
        else:
            break
        source.left = 1_000_000
        copy(source, target, "1.0", tag="1.0")
        whole(target, "1.0")
    assert broken > 10
    assert target.tags() == {"1.0": index.descriptor.digest}


def test_a_killed_copy_is_gone_on_with(source: Layout, target: Layout) -> None:
    data = os.urandom(5 << 20)
    layer, config = put_blob(source, data), put_blob(source, b"{}", MEDIA_CONFIG)
    raw(source, {"config": config.to_json(), "layers": [layer.to_json()]}, "1.0")
    script = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from builder.pipeline.copying import copy
        from builder.registry.layout import Layout

        class Deadly(Layout):
            def read_blob(self, digest, *, start=0):
                for number, chunk in enumerate(super().read_blob(digest, start=start)):
                    if number == 3:
                        os.kill(os.getpid(), signal.SIGKILL)
                    yield chunk

        copy(Deadly(Path({str(source.root)!r})), Layout(Path({str(target.root)!r})), "1.0", tag="1.0")
        """
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script], env=environ, check=False).returncode == -signal.SIGKILL
    assert target.tags() == {}
    copied = copy(source, target, "1.0", tag="1.0")
    assert copied.received <= (2 << 20) + config.size  # of five
    whole(target, "1.0")


def test_progress_adds_up(source: Layout, target: Layout) -> None:
    layer, config = put_blob(source, bytes(3 << 20), MEDIA_LAYER_GZIP), put_blob(source, b"{}", MEDIA_CONFIG)
    raw(source, {"config": config.to_json(), "layers": [layer.to_json()]}, "1.0")
    heard = Heard()
    copied = copy(source, target, "1.0", tag="1.0", progress=heard)
    assert copied.received == (3 << 20) + 2
    assert [(step.total, step.done) for step in heard.steps] == [(copied.received, copied.received)]
