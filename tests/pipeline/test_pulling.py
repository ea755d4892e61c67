"""Pulling from a real registry: all or nothing under a tag, whatever happens on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.content import Digest, Platform
from builder.errors import ProjectError, StoreError, UsageError, VerificationError
from builder.pipeline.context import Context
from builder.pipeline.copying import copy
from builder.pipeline.naming import named
from builder.pipeline.pulling import Pulled, layout_for, pull
from builder.pipeline.stores import open_registry
from builder.project import Project
from builder.registry.layout import Layout
from builder.registry.reference import Reference, parse_reference, parse_repository
from tests.pipeline.test_copying import ARM64, put, release, whole
from tests.support import proxy
from tests.support.images import blob, small_image
from tests.support.progress import Heard
from tests.support.registry import RegistryServer
from tests.support.require import need

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Cache(tmp_path / "cache"), {"HOME": str(tmp_path)}, Heard())


@pytest.fixture
def remote(registry: RegistryServer, context: Context, tmp_path: Path) -> Reference:
    """A release of two platforms with an SBOM, in a repository of the test's own, as 1.0."""
    reference = Reference(parse_repository(f"{registry.host}/pulling/{uuid.uuid4().hex}"), "1.0")
    local = Layout(tmp_path / "pushed")
    index, _, _ = release(local)
    put(local, small_image(local, "sbom", subject=index.descriptor))
    publish(local, reference, context)
    return reference


def publish(local: Layout, reference: Reference, context: Context) -> None:
    with open_registry(reference.repository, context, push=True) as registry:
        copy(local, registry, "1.0", tag=reference.tag)


def through(server: str, reference: Reference) -> Reference:
    """The same repository at another address."""
    return Reference(parse_repository(f"{server}/{reference.repository.name}"), reference.tag, reference.digest)


def pulled(reference: Reference, target: Layout, context: Context, platform: Platform | None = None) -> Pulled:
    return pull(reference, target, context, platform=platform)


def test_a_release_is_pulled_with_what_refers_to_it(remote: Reference, context: Context, tmp_path: Path) -> None:
    target = Layout(tmp_path / "store")
    done = pulled(remote, target, context)
    assert target.tags() == {"1.0": done.copied.digest}
    assert (done.copied.fetched, done.copied.referrers) == (6, 1)
    assert done.copied.platforms == ("linux/amd64", "linux/arm64")
    whole(target, "1.0")
    assert len(target.referrers(done.copied.digest)) == 1
    again = pulled(remote, target, context)
    assert (again.copied.fetched, again.copied.received) == (0, 0)


def test_one_platform(remote: Reference, context: Context, tmp_path: Path) -> None:
    target = Layout(tmp_path / "store")
    done = pulled(remote, target, context, ARM64)
    assert target.tags() == {"1.0": done.copied.digest}
    assert done.copied.platforms == ("linux/arm64",)
    assert not target.has_blob(Digest.of(b"layer amd"))
    whole(target, "1.0")


def test_by_digest(remote: Reference, context: Context, tmp_path: Path) -> None:
    digest = pulled(remote, Layout(tmp_path / "first"), context).copied.digest
    target = Layout(tmp_path / "store")
    pinned = Reference(remote.repository, digest=digest)
    assert pulled(pinned, target, context).copied.digest == digest
    assert target.tags() == {}
    both = Reference(remote.repository, "1.0", digest)
    assert pulled(both, target, context).copied.tag == "1.0"
    with pytest.raises(StoreError, match="has no sha256") as caught:
        pulled(Reference(remote.repository, digest=Digest.of(b"x")), target, context)
    assert caught.value.exit_code == 5


def test_a_tag_that_is_not_there(remote: Reference, context: Context, tmp_path: Path) -> None:
    target = Layout(tmp_path / "store")
    with pytest.raises(StoreError, match=r"has no tag '2\.0'") as caught:
        pulled(Reference(remote.repository, "2.0"), target, context)
    assert caught.value.hint == "there: 1.0"
    assert not target.root.exists()


def test_who_may_not_list_tags_is_not_told_that_there_are_none(
    remote: Reference, context: Context, tmp_path: Path
) -> None:
    forbidden = proxy.matching("GET", "tags/list", proxy.answer(403))
    with proxy.fault_proxy(remote.repository.host, forbidden) as between:
        with pytest.raises(StoreError, match=r"has no tag '2\.0'") as caught:
            pulled(through(between.host, Reference(remote.repository, "2.0")), Layout(tmp_path / "store"), context)
        assert caught.value.hint == "check the tag; it may have been deleted"


def test_what_tags_there_are_is_asked_once(remote: Reference, context: Context, tmp_path: Path) -> None:
    for number in range(12):
        publish(Layout(tmp_path / "pushed"), Reference(remote.repository, f"1.{number}"), context)
    with proxy.fault_proxy(remote.repository.host) as between:
        wanted = through(between.host, Reference(remote.repository, "2.0"))
        with pytest.raises(StoreError, match=r"has no tag '2\.0'") as caught:
            pulled(wanted, Layout(tmp_path / "store"), context)
        assert (caught.value.hint or "").endswith(", 1.9 and 4 more")
        assert len(between.log) <= 4


def test_a_damaged_registry(remote: Reference, context: Context, registry: RegistryServer, tmp_path: Path) -> None:
    """Its copy of a layer is cut short, or has other bytes."""
    digest = Digest.of(b"layer amd")
    file = registry.blob_file(digest)
    before = file.read_bytes()
    target = Layout(tmp_path / "store")
    try:
        for wrong in (before[:-1] + b"!", before[:-1]):
            file.write_bytes(wrong)
            with pytest.raises(VerificationError):
                pulled(remote, target, context)
            assert target.tags() == {}
            assert not target.has_blob(digest)
    finally:
        file.write_bytes(before)
    pulled(remote, target, context)
    whole(target, "1.0")


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "sent", "down"])
def test_wherever_the_connection_breaks_the_pull_completes_or_goes_on(
    remote: Reference, context: Context, tmp_path: Path, when: proxy.Cut
) -> None:
    for k in range(60):
        target = Layout(tmp_path / f"store{k}")
        with proxy.fault_proxy(remote.repository.host, proxy.at(k, proxy.cut(when))) as between:
            try:
                pulled(through(between.host, remote), target, context)
            except StoreError:
                assert target.tags() == {}
                between.faults = None
                pulled(through(between.host, remote), target, context)
            asked = len(between.log)
        whole(target, "1.0")
        if k >= asked:
            return
    pytest.fail("that many requests?")


SCRIPT = """
import sys
from pathlib import Path
from builder.cache import Cache
from builder.pipeline.context import Context
from builder.pipeline.pulling import pull
from builder.registry.layout import Layout
from builder.registry.reference import parse_reference
pull(parse_reference(sys.argv[1]), Layout(Path(sys.argv[2])), Context(Cache(Path(sys.argv[3])), {}))
"""


def test_a_killed_pull_is_gone_on_with(remote: Reference, context: Context, tmp_path: Path) -> None:
    data = os.urandom(4 << 20)
    local = Layout(tmp_path / "large")
    image = small_image(local, "large")
    document = json.loads(image.data)
    local.write_blob(blob(data), [data])
    document["layers"].append(blob(data).to_json())
    raw = json.dumps(document).encode()
    local.put_manifest(blob(raw), raw, tag="1.0")
    publish(local, Reference(remote.repository, "large"), context)
    target = Layout(tmp_path / "store")
    slow = proxy.matching("GET", Digest.of(data).hex, proxy.slow(0.05))  # 16 KiB at a time: 13 seconds
    with proxy.fault_proxy(remote.repository.host, slow) as between:
        reference = through(between.host, Reference(remote.repository, "large"))
        words = [sys.executable, "-c", SCRIPT, str(reference), str(target.root), str(tmp_path / "cache")]
        process = subprocess.Popen(words, env=os.environ | {"PYTHONPATH": str(REPOSITORY)})
        partial = target.root / ".tmp" / f"partial-{Digest.of(data).hex}"
        while process.poll() is None and not (partial.exists() and partial.stat().st_size > 300_000):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.returncode == -signal.SIGKILL
        there = partial.stat().st_size
        assert 300_000 < there < len(data)
        assert target.tags() == {}
        between.faults = None
        between.clear()
        done = pulled(reference, target, context)
        [again] = between.asked("GET", Digest.of(data).hex)
    assert again.headers["range"] == f"bytes={there}-"
    assert again.sent == len(data) - there
    assert done.copied.received <= len(data) - there + 1000
    whole(target, "large")


def test_what_another_tool_pushed_with_dockers_media_types(
    registry: RegistryServer, context: Context, tmp_path: Path
) -> None:
    need("skopeo", _has("skopeo"), "is not installed")
    reference = Reference(parse_repository(f"{registry.host}/pulling/{uuid.uuid4().hex}"), "1.0")
    from builder.layers import tar
    from tests.support.images import put_image
    from tests.support.layers import put_layer

    local = Layout(tmp_path / "local")
    layer = put_layer(local, "code", [tar.file("app/a.py", b"")], ("code", ""))
    put_image(local, Project(name="churn", version="1.0"), [layer], tag="1.0")
    argv = ["skopeo", "copy", "-q", "--format", "v2s2", "--dest-tls-verify=false"]
    subprocess.run([*argv, f"oci:{local.root}:1.0", f"docker://{reference}"], check=True)
    target = Layout(tmp_path / "store")
    pulled(reference, target, context)
    found = target.manifest("1.0")
    assert found is not None
    assert found.descriptor.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    # and back: the bytes that docker's tools wrote are the bytes that they read
    again = Reference(reference.repository, "again")
    with open_registry(again.repository, context, push=True) as opened:
        copy(target, opened, "1.0", tag="again")
    argv = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{again}"]
    assert subprocess.run(argv, check=True, capture_output=True).stdout == found.data


def _has(program: str) -> str | None:
    import shutil

    return shutil.which(program)


# names


def project(**store: object) -> Project:
    return Project.model_validate({"name": "churn", "version": "1.4.0", "store": store})


HERE = "registry.example.com/ml/churn"
SHA = Digest.of(b"x")


@pytest.mark.parametrize(
    ("text", "full"),
    [
        (None, f"{HERE}:1.4.0"),
        ("1.3.0", f"{HERE}:1.3.0"),
        (f"@{SHA}", f"{HERE}@{SHA}"),
        (str(SHA), f"{HERE}@{SHA}"),
        ("registry.example.com/other:2", "registry.example.com/other:2"),
        ("python:3.11", "docker.io/library/python:3.11"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
    ],
)
def test_what_a_name_means_in_a_project(text: str | None, full: str, context: Context) -> None:
    assert str(named(text, project(repository=HERE), context)) == full


@pytest.mark.parametrize("text", [None, "1.3.0", str(SHA)])
def test_short_names_need_a_project_that_names_a_registry(text: str | None, context: Context) -> None:
    with pytest.raises(UsageError) as caught:
        named(text, None, context)
    assert "in full" in (caught.value.hint or "")
    with pytest.raises(ProjectError, match="names no registry") as caught:
        named(text, project(), context)
    assert "repository" in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["sha256:12", "@sha256:zz", "https://x.example.com/y", "a/b:c:d", "user:pw@x/y"])
def test_names_that_are_none(text: str, context: Context) -> None:
    with pytest.raises(UsageError) as caught:
        named(text, project(repository=HERE), context)
    assert caught.value.hint
    assert "pw" not in caught.value.message


def test_where_a_pull_goes(tmp_path: Path) -> None:
    own, other = parse_reference(f"{HERE}:1"), parse_reference("registry.example.com/ml/other:1")
    inside = project(repository=HERE).model_copy(update={"root": tmp_path})
    assert layout_for(own, inside, None).root == tmp_path / ".lockship/store"
    assert layout_for(other, inside, tmp_path / "there").root == tmp_path / "there"
    with pytest.raises(UsageError, match="is not the repository of churn") as caught:
        layout_for(other, inside, None)
    assert "--to" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="no project here") as caught:
        layout_for(own, None, None)
    assert "--to FOLDER" in (caught.value.hint or "")


# the command


def lockship(*words: str, cwd: Path, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "builder", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(environ or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_without_a_project(remote: Reference, tmp_path: Path) -> None:
    done = lockship("pull", str(remote), "--to", "there", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    digest = Layout(tmp_path / "there").tags()["1.0"]
    assert done.stdout == f"{digest}\n"
    assert "6 blobs fetched" in done.stderr
    again = lockship("pull", str(remote), "--to", "there", "--json", cwd=tmp_path)
    document = json.loads(again.stdout)
    assert document["schema"] == "dev.lockship.pull/v1"
    assert (document["digest"], document["tag"], document["previous"]) == (digest, "1.0", None)
    assert document["fetched"] == {"blobs": 0, "bytes": 0}
    assert document["present"]["blobs"] == 6
    assert document["folder"] == str(tmp_path / "there")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("pull",), 2),
        (("pull", "1.0"), 2),
        (("pull", "{}:1.0"), 2),
        (("pull", "{}:2.0", "--to", "there"), 5),
        (("pull", "{}@sha256:1", "--to", "there"), 2),
        (("pull", "{}:1.0", "--to", "there", "--platform", "windows/amd64"), 2),
        (("pull", "{}:1.0", "--to", "file"), 5),
    ],
)
def test_failures_of_the_command(remote: Reference, tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    (tmp_path / "file").write_text("in the way")
    words = tuple(word.format(remote.repository) for word in words)
    done = lockship(*words, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    document = json.loads(lockship(*words, "--json", cwd=tmp_path).stdout)
    assert (document["schema"], document["exit_code"]) == ("dev.lockship.error/v1", code)
    assert document["error"]["hint"]


def test_the_command_in_a_project(remote: Reference, tmp_path: Path) -> None:
    (tmp_path / "lockship.toml").write_text(
        f'name = "churn"\nversion = "1.0"\n\n[store]\nrepository = "{remote.repository}"\n'
    )
    done = lockship("pull", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    store = Layout(tmp_path / ".lockship/store")
    assert store.tags() == {"1.0": done.stdout.strip()}
    alone = lockship("pull", "1.0", "--platform", "linux/arm64", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    assert store.tags() == {"1.0": alone.stdout.strip()}
    assert "1.0 was sha256:" in alone.stderr
