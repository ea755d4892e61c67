from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.content import Digest
from builder.errors import StoreError, VerificationError
from builder.layers import tar
from builder.project import Project
from builder.registry.layout import Layout
from tests.support.images import blob, put_blob, put_image, small_image
from tests.support.layers import put_layer
from tests.support.require import need


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "store", name="churn")


def tagged(store: Layout, text: str, tag: str) -> Digest:
    image = small_image(store, text)
    store.put_manifest(image.descriptor, image.data, tag=tag)
    return image.descriptor.digest


def test_the_folder_is_as_the_specification_has_it(store: Layout) -> None:
    digest = tagged(store, "a", "1.0")
    assert json.loads((store.root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((store.root / "index.json").read_bytes())
    assert index["schemaVersion"] == 2
    [entry] = index["manifests"]
    assert entry["digest"] == digest
    assert entry["annotations"] == {
        "org.opencontainers.image.ref.name": "1.0",
        "io.containerd.image.name": "docker.io/library/churn:1.0",
    }
    assert sorted(path.name for path in store.root.iterdir() if path.name[0] != ".") == [
        "blobs",
        "index.json",
        "oci-layout",
    ]
    for path in (store.root / "blobs" / "sha256").iterdir():
        assert Digest.of(path.read_bytes()).hex == path.name
        assert path.stat().st_mode & 0o777 == 0o444


def test_reading_makes_nothing(tmp_path: Path) -> None:
    store = Layout(tmp_path / "store")
    assert store.tags() == {}
    assert not store.has_blob(Digest.of(b""))
    store.delete(Digest.of(b""))
    assert not store.root.exists()


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("churn", "docker.io/library/churn:1"),
        ("ml/churn", "docker.io/ml/churn:1"),
        ("registry.example.com/ml/churn", "registry.example.com/ml/churn:1"),
        ("localhost:5000/churn", "localhost:5000/churn:1"),
    ],
)
def test_the_name_for_engines(tmp_path: Path, name: str, full: str) -> None:
    store = Layout(tmp_path, name=name)
    tagged(store, "a", "1")
    [entry] = json.loads((tmp_path / "index.json").read_bytes())["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == full


def test_index_json_doesnt_depend_on_the_order_of_writes(tmp_path: Path) -> None:
    first, second = Layout(tmp_path / "1"), Layout(tmp_path / "2")
    for text in "abc":
        tagged(first, text, text)
    for text in "cab":
        tagged(second, text, text)
    assert (tmp_path / "1/index.json").read_bytes() == (tmp_path / "2/index.json").read_bytes()


def test_a_read_only_file_is_linked(store: Layout, tmp_path: Path) -> None:
    file = tmp_path / "blob"
    file.write_bytes(b"data")
    file.chmod(0o444)
    store.add_file(blob(b"data"), file)
    path = store.path(Digest.of(b"data"))
    assert path is not None
    assert path.samefile(file)


def test_a_file_of_another_file_system_is_copied_and_verified(store: Layout) -> None:
    shared = Path("/dev/shm")
    need("a second file system", shared.is_dir() and os.access(shared, os.W_OK), "/dev/shm isn't writable")
    file = shared / f"lockship-test-{os.getpid()}"
    try:
        file.write_bytes(b"data")
        file.chmod(0o444)
        store.add_file(blob(b"data"), file)
        with pytest.raises(VerificationError):
            store.add_file(blob(b"DATA"), file)
    finally:
        file.unlink()
    assert b"".join(store.read_blob(Digest.of(b"data"))) == b"data"
    assert not store.has_blob(Digest.of(b"DATA"))


def test_a_damaged_blob_is_found_when_it_is_read(store: Layout) -> None:
    digest = tagged(store, "a", "1.0")
    for victim in (Digest.of(b"layer a"), digest):
        path = store.path(victim)
        assert path is not None
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data[:-1] + b"!")
    with pytest.raises(VerificationError, match="holds sha256") as caught:
        list(store.read_blob(Digest.of(b"layer a")))
    assert caught.value.hint is not None
    with pytest.raises(VerificationError):
        store.manifest("1.0")


def test_a_tag_whose_manifest_is_gone(store: Layout) -> None:
    path = store.path(tagged(store, "a", "1.0"))
    assert path is not None
    path.unlink()
    with pytest.raises(StoreError, match="which is not there") as caught:
        store.manifest("1.0")
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("readme.txt", "hello", "not an OCI image layout"),
        ("oci-layout", "{", "not JSON"),
        ("oci-layout", '{"imageLayoutVersion": "9"}', "layout version '9' is unknown"),
        ("oci-layout", "[]", "layout version None is unknown"),
    ],
)
def test_a_foreign_folder(tmp_path: Path, file: str, content: str, message: str) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(StoreError, match=message):
        Layout(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    for root in (tmp_path / "store", tmp_path / "store" / "below"):
        with pytest.raises(StoreError, match="not an OCI image layout"):
            Layout(root)


@pytest.mark.parametrize("index", ["{", "[]", '{"manifests": 1}', '{"manifests": [{"digest": "x", "size": 1}]}'])
def test_a_damaged_index(store: Layout, index: str) -> None:
    tagged(store, "a", "1.0")
    (store.root / "index.json").write_text(index)
    with pytest.raises(StoreError, match="is damaged"):
        store.tags()
    image = small_image(store, "b")
    with pytest.raises(StoreError, match="is damaged"):
        store.put_manifest(image.descriptor, image.data, tag="2.0")
    assert (store.root / "index.json").read_text() == index


def test_a_layout_of_another_tool_is_read(store: Layout, tmp_path: Path) -> None:
    """Other media types, no mediaType in the manifest, white space, entries without tags."""
    layer = put_blob(store, b"layer")
    config = put_blob(store, b"{}", "application/vnd.oci.image.config.v1+json")
    data = json.dumps({"schemaVersion": 2, "config": config.to_json(), "layers": [layer.to_json()]}, indent=4).encode()
    store.put_manifest(blob(data), data, tag="1.0")
    found = store.manifest("1.0")
    assert found is not None
    assert found.descriptor.media_type == "application/vnd.oci.image.manifest.v1+json"
    assert found.data == data


def test_what_a_killed_writer_leaves_is_no_blob_and_goes_away(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from builder.registry.layout import Layout
        from tests.support.images import blob
        def chunks():
            yield b"half"
            os.kill(os.getpid(), signal.SIGKILL)
        Layout(Path({str(tmp_path / "store")!r})).write_blob(blob(b"half and half"), chunks())
        """
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script], env=environ, check=False).returncode == -9
    store = Layout(tmp_path / "store")
    assert not store.has_blob(Digest.of(b"half and half"))
    assert list((store.root / "blobs/sha256").iterdir()) == []
    assert len(list((store.root / ".tmp").iterdir())) == 1
    put_blob(store, b"next")
    assert list((store.root / ".tmp").iterdir()) == []


def test_a_living_writer_keeps_its_file(store: Layout) -> None:
    descriptor = blob(b"slow and steady")

    def slow() -> list[bytes]:
        put_blob(Layout(store.root), b"somebody else")
        return [b"slow and steady"]

    store.write_blob(descriptor, (chunk for make in (slow,) for chunk in make()))
    assert store.has_blob(descriptor.digest)


def _tag_many(root: Path, first: int) -> None:
    store = Layout(root)
    for number in range(first, first + 10):
        tagged(store, str(number), f"t{number}")


def test_processes_lose_no_tags(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_tag_many, args=(tmp_path / "store", n * 10)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(Layout(tmp_path / "store").tags()) == 30


def test_threads_lose_no_tags(store: Layout) -> None:
    threads = [threading.Thread(target=_tag_many, args=(store.root, n * 10)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.tags()) == 40


def test_a_folder_that_becomes_a_layout_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer's marker appears between the look at it and the look at its folder."""
    root = tmp_path / "store"
    reading = Path.read_bytes

    def meanwhile(path: Path) -> bytes:
        try:
            return reading(path)
        finally:
            monkeypatch.undo()
            tagged(Layout(root), "a", "first")

    monkeypatch.setattr(Path, "read_bytes", meanwhile)
    assert Layout(root).tag_names() == ["first"]


def test_a_full_disk(store: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    tagged(store, "a", "1.0")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fchmod", full)
        with pytest.raises(StoreError, match="No space left on device") as caught:
            put_blob(store, b"too much")
    assert caught.value.hint is not None
    assert "disk is full" in caught.value.hint
    assert not store.has_blob(Digest.of(b"too much"))
    assert list((store.root / ".tmp").iterdir()) == []


def test_a_really_full_disk(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)]
    mounted = subprocess.run(argv, check=False, capture_output=True).returncode == 0
    need("mount", mounted, "a small file system can't be mounted here")
    try:
        store = Layout(mount / "store")
        kept = tagged(store, "a", "1.0")
        data = os.urandom(1 << 20)
        with pytest.raises(StoreError, match="No space left on device"):
            store.write_blob(blob(data), [data[at : at + 4096] for at in range(0, len(data), 4096)])
        assert store.tags() == {"1.0": kept}
        put_blob(store, b"small ones still fit")
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_read_only_folder(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import os
        from pathlib import Path
        from builder.errors import StoreError
        from builder.registry.layout import Layout
        from tests.support.images import put_blob
        if os.getuid() == 0:
            os.setuid(12345)
        store = Layout(Path({str(tmp_path / "store")!r}))
        assert store.tags().keys() == {{"1.0"}}
        try:
            put_blob(store, b"x")
        except StoreError as error:
            assert "Permission denied" in error.message and "writable" in error.hint, error
        else:
            raise SystemExit("written")
        """
    )
    store = Layout(tmp_path / "store")
    tagged(store, "a", "1.0")
    for folder in (store.root, store.root / "blobs/sha256", store.root / ".tmp"):
        folder.chmod(0o555)
    for parent in [tmp_path, *tmp_path.parents][:4]:
        if parent.stat().st_uid == os.getuid():
            parent.chmod(parent.stat().st_mode | 0o055)
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environ, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run(*argv: str) -> str:
    need(argv[0], shutil.which(argv[0]), "is not installed")
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_other_tools_read_it(store: Layout, tmp_path: Path) -> None:
    layers = [
        put_layer(
            store, "deb", [tar.file("usr/bin/x", b"#!/bin/sh\n", 0o755), tar.symlink("bin", "usr/bin")], ("x", "1")
        ),
        put_layer(store, "model", [tar.file("app/model.bin", bytes(100_000))], ("model", ""), compress=False),
        put_layer(store, "code", [tar.file("app/é.py", b"print(1)\n")], ("code", "")),
    ]
    project = Project(name="churn", version="1.0")
    plan = put_image(store, project, layers, tag="1.0")
    reference = f"oci:{store.root}:1.0"
    inspected = json.loads(run("skopeo", "inspect", reference))
    assert inspected["Layers"] == [layer.digest for layer in layers]
    run("skopeo", "copy", "-q", reference, f"dir:{tmp_path / 'copy'}")
    for layer in layers:
        assert Digest.of((tmp_path / "copy" / layer.digest.hex).read_bytes()) == layer.digest
    assert (tmp_path / "copy/manifest.json").read_bytes() == plan.images[0].manifest
    run("umoci", "unpack", "--rootless", "--image", f"{store.root}:1.0", str(tmp_path / "bundle"))
    assert (tmp_path / "bundle/rootfs/app/é.py").read_bytes() == b"print(1)\n"
    assert (tmp_path / "bundle/rootfs/bin").readlink() == Path("usr/bin")
    assert json.loads((tmp_path / "bundle/config.json").read_bytes())["process"]["user"]["uid"] == 65532
    run("umoci", "gc", "--layout", str(store.root))
    assert all(store.has_blob(layer.digest) for layer in layers)


def test_what_another_tool_writes_is_read(store: Layout, tmp_path: Path) -> None:
    layer = put_layer(store, "code", [tar.file("app/a.py", b"")], ("code", ""))
    put_image(store, Project(name="churn", version="1.0"), [layer], tag="1.0")
    run("skopeo", "copy", "-q", f"oci:{store.root}:1.0", f"oci:{tmp_path / 'other'}:copied")
    other = Layout(tmp_path / "other")
    found = other.manifest("copied")
    assert found is not None
    assert [part["digest"] for part in json.loads(found.data)["layers"]] == [layer.digest]
    assert b"".join(other.read_blob(layer.digest)) == b"".join(store.read_blob(layer.digest))


LARGE = bytes(range(256)) * 1000


def pieces(data: bytes = LARGE, size: int = 1000) -> Callable[[int], Iterator[bytes]]:
    """What `Layout.receive_blob` reads."""
    return lambda start: (data[at : at + size] for at in range(start, len(data), size))


def breaking(after: int, data: bytes = LARGE) -> Callable[[int], Iterator[bytes]]:
    """As `pieces`, with a connection that breaks behind `after` bytes."""

    def read(start: int) -> Iterator[bytes]:
        yield data[start:after]
        raise StoreError("the connection broke")

    return read


def partials(store: Layout) -> list[Path]:
    return sorted((store.root / ".tmp").iterdir())


def test_a_broken_transfer_is_gone_on_with(store: Layout) -> None:
    wanted = blob(LARGE)
    for after in (70_000, 70_000, 200_000):
        with pytest.raises(StoreError, match="broke"):
            store.receive_blob(wanted, breaking(after))
    assert not store.has_blob(wanted.digest)
    put_blob(Layout(store.root), b"another process writes, and clears up")
    starts = []

    def read(start: int) -> Iterator[bytes]:
        starts.append(start)
        return pieces()(start)

    Layout(store.root).receive_blob(wanted, read)
    assert starts == [200_000]
    assert b"".join(store.read_blob(wanted.digest)) == LARGE
    path = store.path(wanted.digest)
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o444
    assert partials(store) == []
    store.receive_blob(wanted, lambda start: pytest.fail("is there"))


def test_a_killed_transfer_is_gone_on_with(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from builder.registry.layout import Layout
        from tests.registry.test_layout import LARGE
        from tests.support.images import blob
        def read(start):
            yield LARGE[:100_000]
            os.kill(os.getpid(), signal.SIGKILL)
        Layout(Path({str(tmp_path / "store")!r})).receive_blob(blob(LARGE), read)
        """
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script], env=environ, check=False).returncode == -9
    store = Layout(tmp_path / "store")
    starts = []

    def read(start: int) -> Iterator[bytes]:
        starts.append(start)
        return pieces()(start)

    store.receive_blob(blob(LARGE), read)
    assert 0 < starts[0] <= 100_000
    assert b"".join(store.read_blob(blob(LARGE).digest)) == LARGE


@pytest.mark.parametrize("left", [b"not the beginning", LARGE + b"and more", bytes(len(LARGE))])
def test_a_spoilt_partial_is_begun_again(store: Layout, left: bytes) -> None:
    wanted = blob(LARGE)
    with pytest.raises(StoreError):
        store.receive_blob(wanted, breaking(70_000))
    [partial] = partials(store)
    partial.write_bytes(left)
    store.receive_blob(wanted, pieces())
    assert b"".join(store.read_blob(wanted.digest)) == LARGE
    assert partials(store) == []


@pytest.mark.parametrize("sent", [LARGE[:-1], LARGE + b"!", bytes(len(LARGE)), b""])
def test_wrong_bytes_are_refused_and_dropped(store: Layout, sent: bytes) -> None:
    with pytest.raises(VerificationError, match="expected sha256"):
        store.receive_blob(blob(LARGE), pieces(sent))
    assert not store.has_blob(blob(LARGE).digest)
    assert partials(store) == []


def test_two_that_receive_one_blob_dont_disturb_each_other(store: Layout) -> None:
    wanted = blob(LARGE)

    def read(start: int) -> Iterator[bytes]:
        yield LARGE[start : start + 1000]
        Layout(store.root).receive_blob(wanted, pieces())
        assert store.has_blob(wanted.digest)
        yield LARGE[start + 1000 :]

    store.receive_blob(wanted, read)
    assert b"".join(store.read_blob(wanted.digest)) == LARGE
    assert partials(store) == []


def test_a_partial_whose_blob_came_otherwise_goes_away(store: Layout) -> None:
    with pytest.raises(StoreError):
        store.receive_blob(blob(LARGE), breaking(70_000))
    put_blob(store, LARGE)
    put_blob(Layout(store.root), b"next")
    assert partials(store) == []


def test_reading_from_the_middle(store: Layout) -> None:
    wanted = put_blob(store, LARGE)
    assert b"".join(store.read_blob(wanted.digest, start=1000)) == LARGE[1000:]
    assert b"".join(store.read_blob(wanted.digest, start=len(LARGE))) == b""


def test_what_is_kept_without_a_tag_is_listed(store: Layout) -> None:
    image = small_image(store)
    store.put_manifest(image.descriptor, image.data)
    for _ in range(2):
        store.keep(image.descriptor)
    index = json.loads((store.root / "index.json").read_bytes())
    assert index["manifests"] == [image.descriptor.to_json()]
    assert store.tags() == {}
