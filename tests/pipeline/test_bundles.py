"""Bundles: the same bytes each time, read by other tools, believed only when every byte is right, enough to build."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import textwrap
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.content import Digest, Platform, canonical_json
from builder.errors import LockshipError, StoreError, UsageError, VerificationError
from builder.layers import tar
from builder.pipeline import build, lock, verify
from builder.pipeline.bundle import ANNOUNCEMENT, Bundle, blob_path
from builder.pipeline.bundling import Bundled, export_bundle
from builder.pipeline.context import Context
from builder.pipeline.copying import copy
from builder.pipeline.members import read_members
from builder.pipeline.stores import open_registry
from builder.pipeline.unbundling import import_bundle
from builder.project import Project
from builder.registry.layout import Layout
from builder.registry.reference import Repository
from tests.pipeline import test_bases
from tests.pipeline.test_copying import whole
from tests.support.apt_repository import Key
from tests.support.images import small_image
from tests.support.progress import Heard
from tests.support.registry import RegistryServer
from tests.support.require import need
from tests.support.world import Finished, World, world
from tests.test_main_job import Example

pytestmark = pytest.mark.apt

IMAGE = 'platforms = ["linux/amd64", "linux/arm64"]\nfiles = ["code/"]'
AMD64 = Platform("linux", "amd64")


@pytest.fixture
def ready(here: World) -> World:
    """A locked project with two wheels, code and a model."""
    here.wheel("alpha", requires=["beta"])
    here.wheel("beta")
    here.write("code/__init__.py", "")
    here.write("model.onnx", "not really a model")
    lock(here.project("alpha\n", image=IMAGE, rest='[model]\nsource = "model.onnx"'), here.context)
    return here


def bundled(world: World, name: str = "demo.tar", *, artifacts: bool = True) -> Bundled:
    return export_bundle(world.load(), world.context, world.folder / name, artifacts=artifacts)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, archive_key: Key) -> Iterator[Bundled]:
    """A bundle for all tests that only read one."""
    with world(tmp_path_factory.mktemp("once"), archive_key) as made:
        made.wheel("alpha")
        made.write("code/__init__.py", "")
        lock(made.project("alpha\n", image=IMAGE), made.context)
        yield bundled(made)


@pytest.fixture
def done(once: Bundled, tmp_path: Path) -> Bundled:
    """That bundle, in a file of the test's own."""
    return replace(once, file=Path(shutil.copy(once.file, tmp_path / "demo.tar")))


def emptied(world: World) -> Context:
    """Another machine: the same checkout, nothing built, nothing cached."""
    shutil.rmtree(world.root / ".lockship", ignore_errors=True)
    world.cache = Cache(world.folder / "another cache")
    world.environ["LOCKSHIP_CACHE"] = str(world.cache.root)
    return world.context


def cut_off(world: World) -> None:
    """No index and no archive any more."""
    shutil.rmtree(world.folder / "archive")
    shutil.rmtree(world.index.folder)
    world.environ["PIP_INDEX_URL"] = "https://nowhere.invalid/simple"


def test_the_same_inputs_give_the_same_file(ready: World) -> None:
    first = bundled(ready)
    emptied(ready)
    second = bundled(ready, "again.tar")
    assert second.digest == first.digest
    assert (ready.folder / "again.tar").read_bytes() == (ready.folder / "demo.tar").read_bytes()
    assert first.digest == Digest.of((ready.folder / "demo.tar").read_bytes())
    assert first.size == (ready.folder / "demo.tar").stat().st_size
    assert bundled(ready).digest == first.digest  # in place of the one that is there


def test_what_is_in_it(ready: World) -> None:
    done = bundled(ready)
    with tarfile.open(done.file) as archive:
        members = {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]
    assert next(iter(members)) == ANNOUNCEMENT
    announced = json.loads(members[ANNOUNCEMENT])
    assert announced["schema"] == "dev.lockship.bundle/v1"
    assert (announced["name"], announced["version"]) == ("demo", "1.0")
    assert announced["index"]["digest"] == build(ready.load(), ready.context).plan.descriptor.digest
    assert announced["lock"] == Digest.of((ready.root / "lockship.lock").read_bytes())
    assert members["lockship/requirements.lock"] == (ready.root / "requirements.lock").read_bytes()
    kinds = {one["kind"] for one in announced["artifacts"]}
    assert kinds == {"wheel", "deb"}
    for name, data in members.items():
        if name.startswith("blobs/"):
            assert Digest.of(data).hex == name.rpartition("/")[2]
    for one in announced["artifacts"]:
        assert len(members[f"blobs/sha256/{one['sha256']}"]) == one["size"]


def test_other_tools_read_it(done: Bundled, tmp_path: Path) -> None:
    need("skopeo", shutil.which("skopeo"), "is not installed")
    argv = ["skopeo", "copy", "-q", "--all", f"oci-archive:{done.file}:1.0", f"dir:{tmp_path / 'copied'}"]
    subprocess.run(argv, check=True)
    assert Digest.of((tmp_path / "copied/manifest.json").read_bytes()) == done.bundle.root.digest
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", done.file, "-C", tmp_path / "unpacked"], check=True)
    whole(Layout(tmp_path / "unpacked"), "1.0")


def test_another_machine_builds_and_verifies_from_it(ready: World) -> None:
    done = bundled(ready)
    context = emptied(ready)
    cut_off(ready)
    imported = import_bundle(done.file, context, ready.load())
    assert imported.same_lock is True
    assert (imported.blobs, imported.artifacts) == (len(done.bundle.release), len(done.bundle.artifacts))
    assert ready.store.tags() == {"1.0": done.bundle.root.digest}
    whole(ready.store, "1.0")
    assert not build(ready.load(), context).written
    assert verify(ready.load(), context, offline=True).plan.descriptor.digest == done.bundle.root.digest
    # from the packages alone
    shutil.rmtree(ready.root / ".lockship")
    assert build(ready.load(), context).plan.descriptor.digest == done.bundle.root.digest
    again = import_bundle(done.file, context, ready.load())
    assert (again.blobs, again.artifacts, again.size) == (0, 0, 0)


def test_without_the_packages_it_deploys_and_code_can_change(ready: World) -> None:
    done = bundled(ready, artifacts=False)
    assert done.bundle.artifacts == ()
    context = emptied(ready)
    cut_off(ready)
    import_bundle(done.file, context, ready.load())
    ready.write("code/new.py", "x = 1\n")
    assert [layer.kind for layer in build(ready.load(), context).written] == ["code"]
    with pytest.raises(StoreError, match="the cache lacks") as caught:
        verify(ready.load(), context, offline=True)
    assert "import bundle" in (caught.value.hint or "")


def test_one_platform(ready: World) -> None:
    done = export_bundle(ready.load(), ready.context, ready.folder / "demo.tar", [AMD64])
    assert done.bundle.platforms == ("linux/amd64",)
    context = emptied(ready)
    cut_off(ready)
    import_bundle(done.file, context, ready.load())
    shutil.rmtree(ready.root / ".lockship")
    assert build(ready.load(), context, [AMD64]).plan.descriptor.digest == done.bundle.root.digest


def test_into_a_folder_without_a_project(done: Bundled, tmp_path: Path) -> None:
    context = Context(Cache(tmp_path / "elsewhere"), {})
    imported = import_bundle(done.file, context, None, tmp_path / "images")
    assert imported.same_lock is None
    assert Layout(tmp_path / "images").tags() == {"1.0": done.bundle.root.digest}
    with pytest.raises(UsageError, match="no project here") as caught:
        import_bundle(done.file, context, None)
    assert "--to" in (caught.value.hint or "")
    other = Project(name="other", version="1.0")
    with pytest.raises(UsageError, match="the bundle is of demo, the project here is other"):
        import_bundle(done.file, context, other)


def test_another_lock_is_said(ready: World) -> None:
    done = bundled(ready)
    ready.wheel("gamma")
    lock(ready.project("alpha\ngamma\n", image=IMAGE), ready.context)
    assert import_bundle(done.file, ready.context, ready.load()).same_lock is False


def test_evidence_comes_along(ready: World, tmp_path: Path) -> None:
    built = build(ready.load(), ready.context)
    store = ready.store
    note = small_image(store, "evidence", subject=built.plan.descriptor)
    store.put_manifest(note.descriptor, note.data)
    done = bundled(ready)
    import_bundle(done.file, Context(Cache(tmp_path / "c"), {}), None, tmp_path / "images")
    [found] = Layout(tmp_path / "images").referrers(built.plan.descriptor.digest)
    assert found.digest == note.descriptor.digest
    copied = Layout(tmp_path / "copied")
    assert copy(Layout(tmp_path / "images"), copied, "1.0", tag="1.0").referrers == 1


def test_progress_adds_up(ready: World, tmp_path: Path) -> None:
    heard = Heard()
    done = export_bundle(ready.load(), replace(ready.context, progress=heard), ready.folder / "demo.tar")
    [step] = [one for one in heard.steps if one.label == "writing the bundle"]
    assert step.done == step.total == sum(done.bundle.sizes.values())
    heard = Heard()
    import_bundle(done.file, Context(Cache(tmp_path / "c"), {}, heard), None, tmp_path / "images")
    [step] = [one for one in heard.steps if one.label == "reading the bundle"]
    assert step.done == step.total


# what is damaged, changed or hostile


class Tampering:
    """A bundle's members, to be changed and written again by our own encoder."""

    def __init__(self, file: Path) -> None:
        self.file = file
        with read_members(file) as members:
            self.members = [(one.path, one.read()) for one in members]
        self.raw: list[bytes] = []

    @property
    def blob(self) -> int:
        """The place of some blob."""
        return next(place for place, (path, _) in enumerate(self.members) if path.startswith("blobs/"))

    def announce(self, change: Callable[[dict[str, object]], None]) -> None:
        document = json.loads(self.members[0][1])
        change(document)
        self.members[0] = (ANNOUNCEMENT, canonical_json(document))

    def write(self) -> None:
        out = io.BytesIO()
        for path, data in self.members:
            out.write(tar.header(tar.file(path, data)) + data + tar.padding(len(data)))
        for block in self.raw:
            out.write(block)
        out.write(tar.END)
        self.file.write_bytes(out.getvalue())


def flip(bundle: Tampering) -> str:
    path, data = bundle.members[bundle.blob]
    bundle.members[bundle.blob] = (path, data[:-1] + bytes([data[-1] ^ 1]))
    return path


def shorten(bundle: Tampering) -> str:
    path, data = bundle.members[bundle.blob]
    bundle.members[bundle.blob] = (path, data[:-1])
    return path


def bomb(bundle: Tampering) -> str:
    path, data = bundle.members[bundle.blob]
    bundle.members[bundle.blob] = (path, data + bytes(1 << 20))
    return path


def leave_out(bundle: Tampering) -> str:
    return bundle.members.pop(bundle.blob)[0]


def twice(bundle: Tampering) -> str:
    bundle.members.append(bundle.members[bundle.blob])
    return bundle.members[-1][0]


def announce_twice(bundle: Tampering) -> str:
    bundle.members.append(bundle.members[0])
    return ANNOUNCEMENT


def add(path: str) -> Callable[[Tampering], str]:
    def change(bundle: Tampering) -> str:
        bundle.members.append((path, b"x"))
        return path

    change.__name__ = f"add {path}"
    return change


def add_entry(entry: tar.Entry) -> Callable[[Tampering], str]:
    def change(bundle: Tampering) -> str:
        bundle.raw.append(tar.header(entry))
        return entry.path

    change.__name__ = f"add {entry.kind.name}"
    return change


def other_index(bundle: Tampering) -> str:
    place = next(place for place, (path, _) in enumerate(bundle.members) if path == "index.json")
    bundle.members[place] = ("index.json", bundle.members[place][1].replace(b'"1.0"', b'"9.9"'))
    return "index.json"


def other_lock(bundle: Tampering) -> str:
    place = next(place for place, (path, _) in enumerate(bundle.members) if path == "lockship/lockship.lock")
    bundle.members[place] = (bundle.members[place][0], bundle.members[place][1].replace(b"3.11", b"3.12"))
    return "lockship/lockship.lock"


def not_json(bundle: Tampering) -> str:
    bundle.members[0] = (ANNOUNCEMENT, b"{")
    return ANNOUNCEMENT


def newer(bundle: Tampering) -> str:
    bundle.announce(lambda document: document.update(schema="dev.lockship.bundle/v9"))
    return "v9"


def negative(bundle: Tampering) -> str:
    bundle.announce(lambda document: document["artifacts"][0].update(size=-1))  # type: ignore[index]
    return ANNOUNCEMENT


def strange_tag(bundle: Tampering) -> str:
    bundle.announce(lambda document: document.update(tag="../../etc"))
    return ANNOUNCEMENT


def strange_file(bundle: Tampering) -> str:
    bundle.announce(lambda document: document["files"].update({"../x": document["index"]}))  # type: ignore[attr-defined]
    return ANNOUNCEMENT


def release_without_a_layer(bundle: Tampering) -> str:
    """The announcement itself leaves one out, and the blob is gone."""
    victim: dict[str, str] = {}

    def change(document: dict[str, object]) -> None:
        blobs = document["blobs"]
        assert isinstance(blobs, list)
        known = {one["sha256"] for one in document["artifacts"]}  # type: ignore[attr-defined]
        layers = [one for one in blobs if one["digest"][7:] not in known and "config" not in one["mediaType"]]
        victim.update(layers[0])
        blobs.remove(layers[0])

    bundle.announce(change)
    path = blob_path(Digest(victim["digest"]))
    bundle.members = [one for one in bundle.members if one[0] != path]
    return path


def another_root(bundle: Tampering) -> str:
    """The release is some blob that is no manifest."""

    def change(document: dict[str, object]) -> None:
        document["index"] = document["blobs"][0]  # type: ignore[index]

    bundle.announce(change)
    return "index.json"


@pytest.mark.parametrize(
    "change",
    [
        flip, shorten, bomb, leave_out, twice, announce_twice, other_index, other_lock, not_json, newer, negative,
        strange_tag, strange_file, release_without_a_layer, another_root,
        add("blobs/sha256/" + "0" * 64), add("../outside"), add("/etc/absolute"), add("blobs/../x"), add("surprise"),
        add_entry(tar.symlink("blobs/sha256/" + "1" * 64, "/etc/passwd")),
        add_entry(tar.Entry("blobs/sha256/" + "1" * 64, tar.Kind.HARDLINK, 0o644, link="index.json")),
        add_entry(tar.directory("blobs")),
        add_entry(tar.Entry("x", tar.Kind.FILE, 0o4755)),
        add_entry(tar.Entry("x", tar.Kind.FILE, 0o644, uid=1)),
        add_entry(tar.Entry("ü", tar.Kind.FILE, 0o644)),
    ],
    ids=lambda change: change.__name__,
)  # fmt: skip
def test_a_changed_bundle_is_refused_and_leaves_no_tag(
    done: Bundled, tmp_path: Path, change: Callable[[Tampering], str]
) -> None:
    tampering = Tampering(done.file)
    named = change(tampering)
    tampering.write()
    target = tmp_path / "images"
    cache = Cache(tmp_path / "fresh")
    with pytest.raises(VerificationError) as caught:
        import_bundle(done.file, Context(cache, {}), None, target)
    assert caught.value.exit_code == 6
    assert str(done.file) in caught.value.message
    assert named.isascii() is False or named in caught.value.message, caught.value.message
    assert caught.value.hint
    assert Layout(target).tags() == {}
    # whatever came before the bad member is right
    for place in (target / "blobs/sha256", cache.root / "blobs/sha256"):
        for path in place.glob("*") if place.exists() else ():
            assert Digest.of(path.read_bytes()).hex == path.name
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("part", [0.0, 0.0001, 0.3, 0.7, 0.9999])
def test_a_bundle_that_is_cut_short(done: Bundled, tmp_path: Path, part: float) -> None:
    data = done.file.read_bytes()
    done.file.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(VerificationError, match=r"ends in the middle of|does not begin as"):
        import_bundle(done.file, Context(Cache(tmp_path / "fresh"), {}), None, tmp_path / "images")
    assert Layout(tmp_path / "images").tags() == {}
    # brought over again, it is gone on with
    done.file.write_bytes(data)
    import_bundle(done.file, Context(Cache(tmp_path / "fresh"), {}), None, tmp_path / "images")
    whole(Layout(tmp_path / "images"), "1.0")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no tar at all" * 50,
        b"\x1f\x8b" + bytes(600),
        bytes(1024),
        bytes(10_000),
        tarfile.TarInfo("blobs").tobuf() + bytes(1024),  # as other tools write them
    ],
)
def test_no_bundle_at_all(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "file.tar"
    file.write_bytes(data)
    with pytest.raises(VerificationError, match=r"file\.tar: does not begin as a bundle does$") as caught:
        import_bundle(file, Context(Cache(tmp_path / "fresh"), {}), None, tmp_path / "images")
    assert caught.value.hint
    with pytest.raises(UsageError):
        import_bundle(tmp_path, Context(Cache(tmp_path / "fresh"), {}), None, tmp_path / "images")


def test_bytes_behind_the_end(done: Bundled, tmp_path: Path) -> None:
    for more in (b"x", bytes(512)):
        data = done.file.read_bytes()
        done.file.write_bytes(data + more)
        with pytest.raises(VerificationError, match="behind its end"):
            import_bundle(done.file, Context(Cache(tmp_path / "fresh"), {}), None, tmp_path / "images")
        done.file.write_bytes(data)


def test_members_of_more_than_ustar_can_say(tmp_path: Path) -> None:
    """Sizes past 8 GiB need an extended header; a sparse file stands in for the bytes."""
    file = tmp_path / "large.tar"
    size = 9 << 30
    with file.open("wb") as out:
        out.write(tar.header(tar.Entry("blobs/x", tar.Kind.FILE, 0o644, size=size)))
        out.seek(size, 1)
        out.truncate()
    with read_members(file) as members:
        first = next(members)
        assert (first.path, first.size) == ("blobs/x", size)
    with file.open("rb") as opened:
        data = bytearray(opened.read(2048))
    at = data.index(b"size=") + 5
    data[at : at + 1] = b"0"
    file.write_bytes(bytes(data))
    with read_members(file) as members, pytest.raises(VerificationError, match="extended header"):
        next(members)


def test_a_damaged_cache_makes_no_bundle(ready: World) -> None:
    done = bundled(ready)
    before = done.file.read_bytes()
    one = next(one for one in done.bundle.artifacts if one.digest not in done.bundle.release)
    path = ready.cache.blob(one.digest)
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(VerificationError, match="the cache was damaged"):
        bundled(ready)
    assert done.file.read_bytes() == before
    assert ready.leftovers() == []
    bundled(ready)  # fetched anew
    assert done.file.read_bytes() == before


def test_a_bundle_reads_its_own_announcement(ready: World) -> None:
    bundle = bundled(ready).bundle
    assert Bundle.parse(bundle.render()) == replace(bundle, artifacts=bundle.artifacts)
    assert Bundle.parse(bundle.render()).render() == bundle.render()


# the commands, and proof that no network is needed

NO_SOCKETS = """
import socket


def refused(*words):
    raise AssertionError(f"a socket was asked for: {words}")


class Refused(socket.socket):
    connect = connect_ex = bind = sendto = refused


socket.socket = Refused
socket.create_connection = socket.getaddrinfo = refused
"""


def offline(world: World, *words: str) -> Finished:
    """The command line without a network."""
    return run_offline(words, world.root, world.environ, world.folder / "no sockets")


def run_offline(words: Sequence[str], root: Path, environ: Mapping[str, str], folder: Path) -> Finished:
    """None in the system's own sense where that can be, none in Python's ever."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(textwrap.dedent(NO_SOCKETS))
    path = f"{folder}{os.pathsep}{environ['PYTHONPATH']}"
    cut = ["unshare", "-n"] if subprocess.run(["unshare", "-n", "true"], check=False).returncode == 0 else []
    return run([*cut, sys.executable, "-m", "builder", *words], root, {**environ, "PYTHONPATH": path})


def run(argv: Sequence[str], root: Path, environ: Mapping[str, str]) -> Finished:
    done = subprocess.run(argv, cwd=root, env=environ, capture_output=True, check=False)
    return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_the_sockets_are_really_forbidden(ready: World) -> None:
    folder = ready.folder / "no sockets"
    offline(ready, "--version")
    code = "import socket; socket.create_connection(('127.0.0.1', 9))"
    done = run([sys.executable, "-c", code], ready.root, {**ready.environ, "PYTHONPATH": str(folder)})
    assert "a socket was asked for" in done.err


def test_the_way_through_an_air_gap(ready: World) -> None:
    exported = ready.run("export", "bundle", "-o", str(ready.folder / "demo.tar"), "--json")
    assert exported.code == 0, exported
    document = exported.json
    assert document["schema"] == "dev.lockship.export-bundle/v1"
    assert document["sha256"] == Digest.of((ready.folder / "demo.tar").read_bytes()).hex
    emptied(ready)
    cut_off(ready)
    imported = offline(ready, "import", "bundle", str(ready.folder / "demo.tar"))
    assert imported.code == 0, imported
    assert imported.out == document["digest"] + "\n"
    for words in (("build",), ("plan", "--json"), ("verify", "--offline", "--json"), ("build",)):
        done = offline(ready, *words)
        assert done.code == 0, done
        assert document["digest"] in done.out
        if words == ("verify", "--offline", "--json"):
            shutil.rmtree(ready.root / ".lockship")  # the next build starts from the packages
    assert offline(ready, "verify").code != 0  # fetches anew, and can't
    assert ready.leftovers() == []


def test_a_base_that_is_an_image(here: World, registry: RegistryServer) -> None:
    """Its layers come in the bundle, and nobody asks its registry."""
    here.wheel("alpha")
    with open_registry(Repository(registry.host, f"bundles/{uuid.uuid4().hex}"), here.context, push=True) as store:
        test_bases.put(store)
        lock(test_bases.project(here, store, "alpha\n"), here.context)
    done = bundled(here)
    assert [one.kind for one in done.bundle.artifacts] == ["base", "base", "wheel"]
    emptied(here)
    for words in (("import", "bundle", str(done.file)), ("build",), ("verify", "--offline", "--json"), ("build",)):
        found = offline(here, *words)
        assert found.code == 0, found
        assert done.bundle.root.digest in found.out
        if words[0] == "verify":
            shutil.rmtree(here.root / ".lockship")  # the next build starts from the packages


@pytest.mark.slow
@pytest.mark.index
def test_the_example_through_an_air_gap(tmp_path: Path, shared_cache: Cache) -> None:
    """Real packages, with byte code: built again from the bundle alone, by the locked interpreter."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("LOCKSHIP_", "UV_"))}
    example = Example(tmp_path, shared_cache, environ)
    example.run("lock")
    exported = json.loads(example.run("export", "bundle", "-o", str(tmp_path / "example.tar"), "--json"))
    shutil.rmtree(example.root / ".lockship")
    there = {**example.environ, "LOCKSHIP_CACHE": str(tmp_path / "fresh")}
    for words in (("import", "bundle", str(tmp_path / "example.tar")), ("build",), ("verify", "--offline", "--json")):
        done = run_offline(words, example.root, there, tmp_path / "no sockets")
        assert done.code == 0, done
        assert exported["digest"] in done.out


FAILURES = {
    ("import", "bundle", "nowhere.tar"): 2,
    ("import", "bundle", "lockship.toml"): 6,
    ("import",): 2,
    ("export", "bundle", "-o", "code"): 2,
    ("export", "bundle", "-o", "-"): 2,
    ("export", "bundle", "-o", "/dev/null"): 2,
    ("export", "bundle", "--platform", "windows/amd64"): 2,
    ("export", "bundle", "-o", "lockship.toml/x.tar"): 5,
}


def test_failures_of_the_commands(ready: World) -> None:
    for words, code in FAILURES.items():
        plain = ready.run(*words)
        assert plain.code == code, plain
        assert "Traceback" not in plain.err
        if words != ("import",):
            error = ready.run(*words, "--json").json["error"]
            assert error["message"]
            assert error["hint"]
    assert ready.leftovers() == []


def test_the_default_name(ready: World) -> None:
    done = ready.run("export", "bundle", "--no-artifacts")
    assert done.out == ".lockship/demo-1.0.tar\n"
    assert (ready.root / ".lockship/demo-1.0.tar").is_file()
    elsewhere = ready.run("export", "bundle", "--no-artifacts", "-C", "project", "--json", cwd=ready.folder)
    assert elsewhere.json["file"] == str(ready.root / ".lockship/demo-1.0.tar")


def test_a_bundle_is_no_change_of_the_project(ready: World) -> None:
    """By default it lies where neither git nor ``files`` looks; where they do, the command says so."""
    lock(ready.project("alpha\n", image='platforms = ["linux/amd64"]\nfiles = ["."]'), ready.context)
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "all of it")):
        subprocess.run(["git", "-C", str(ready.root), *words], check=True)
    first = ready.run("export", "bundle", "--no-artifacts", "--json")
    again = ready.run("export", "bundle", "--no-artifacts", "--json")
    assert again.json["sha256"] == first.json["sha256"]
    assert again.json["warnings"] == first.json["warnings"] == []
    inside = ready.run("export", "bundle", "--no-artifacts", "-o", "carried.tar", "--json")
    assert inside.json["sha256"] == first.json["sha256"]
    (warning,) = inside.json["warnings"]
    assert "carried.tar lies among the project's files" in warning
    assert ready.run("plan", "--json").json["digest"] != first.json["digest"]
    ready.write(".gitignore", "*.tar\n")
    ignored = ready.run("export", "bundle", "--no-artifacts", "-o", "carried.tar", "--json")
    assert ignored.json["warnings"] == []
    assert ready.run("plan", "--json").json["digest"] == ignored.json["digest"]


def test_errors_are_ours(done: Bundled, tmp_path: Path) -> None:
    """Every single byte of the announcement's header changed: always an error of ours, never a crash."""
    data = done.file.read_bytes()
    for at in range(0, 512, 7):
        done.file.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        with pytest.raises(LockshipError):
            import_bundle(done.file, Context(Cache(tmp_path / "fresh"), {}), None, tmp_path / "images")
