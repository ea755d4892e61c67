"""Wheels from an index into the cache, with everything that may go wrong on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.content import Digest
from builder.errors import ArtifactError, LockshipError, ResolutionError, StoreError, VerificationError
from builder.lock.fetch import fetch_wheels
from builder.lock.indexes import from_environment
from builder.lock.pins import Artifact, Pin, Resolution
from tests.lock.python_projects import AMD64, ARM64, Remembering, environment, wheels, write_project
from tests.support.index import Index, serve_index
from tests.support.wheels import make_wheel

pytestmark = pytest.mark.slow

BIG = os.urandom(1 << 20)  # does not compress: the wheel is as large


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with serve_index(tmp_path / "index") as running:
        yield running


def pin(path: Path, **more: object) -> Pin:
    name, version = path.name.split("-")[:2]
    return Pin(name.replace("_", "-"), version, (Digest.of(path.read_bytes()),), **more)  # type: ignore[arg-type]


def resolution(*pins: Pin) -> Resolution:
    merged: dict[tuple[str, str], Pin] = {}
    for one in pins:
        known = merged.get((one.name, one.version), one)
        merged[one.name, one.version] = replace(one, hashes=tuple(sorted({*known.hashes, *one.hashes})))
    every = tuple(merged.values())
    return Resolution(every, {AMD64: every, ARM64: every}, {})


def locked(path: Path) -> Artifact:
    name, version = path.name.split("-")[:2]
    return Artifact("wheel", name, version, path.name, Digest.of(path.read_bytes()), path.stat().st_size)


def fetch(index: Index, folder: Path, cache: Cache, *artifacts: Artifact, retries: str = "1") -> None:
    environ = environment(PIP_INDEX_URL=index.simple, PIP_RETRIES=retries)
    project = write_project(folder, "alpha\n")
    fetch_wheels(
        artifacts,
        indexes=from_environment(environ),
        cache=cache,
        progress=Remembering(),
        project=project,
        environ=environ,
    )


def leftovers(cache: Cache) -> list[str]:
    return sorted(path.name for path in cache.root.rglob("*.tmp"))


def test_each_platform_gets_its_own(tmp_path: Path, index: Index, cache: Cache) -> None:
    x86 = make_wheel(index.folder, "native", "1.0", {"a": b"x"}, tag="cp311-cp311-manylinux_2_17_x86_64")
    arm = make_wheel(index.folder, "native", "1.0", {"a": b"a"}, tag="cp311-cp311-manylinux_2_17_aarch64")
    pure = make_wheel(index.folder, "alpha", "1.0", {"b": b""})
    project = write_project(tmp_path / "p", "alpha\nnative\n", platforms=(AMD64, ARM64))
    environ = environment(PIP_INDEX_URL=index.simple)
    found = wheels(project, resolution(pin(x86), pin(arm), pin(pure)), environ, cache)
    assert [one.file for one in found[AMD64]] == [pure.name, x86.name]
    assert [one.file for one in found[ARM64]] == [pure.name, arm.name]
    assert found[AMD64][1] == locked(x86)
    for artifacts in found.values():
        for one in artifacts:
            blob = cache.blob(one.digest)
            assert blob is not None and blob.read_bytes() == (index.folder / one.file).read_bytes()
    # the page of each package is read once, each file once
    assert len(index.requests) == 2 + 3
    index.requests.clear()
    assert wheels(project, resolution(pin(x86), pin(arm), pin(pure)), environ, cache) == found
    assert not index.asked("/files/")


def test_what_is_there_is_not_asked_for(tmp_path: Path, index: Index, cache: Cache) -> None:
    wheel = make_wheel(index.folder, "alpha", "1.0", {"b": b""})
    fetch(index, tmp_path / "p", cache, locked(wheel))
    assert len(index.requests) == 2
    fetch(index, tmp_path / "p", cache, locked(wheel))
    assert len(index.requests) == 2


def test_no_wheel_for_a_platform(tmp_path: Path, index: Index, cache: Cache) -> None:
    x86 = make_wheel(index.folder, "native", "1.0", {}, tag="cp311-cp311-manylinux_2_17_x86_64")
    project = write_project(tmp_path / "p", "native\n", platforms=(AMD64, ARM64))
    with pytest.raises(ResolutionError, match=r"native 1\.0 has no wheel for linux/arm64") as caught:
        wheels(project, resolution(pin(x86)), environment(PIP_INDEX_URL=index.simple), cache)
    assert x86.name in caught.value.message
    assert not index.asked("/files/")


def test_a_broken_connection_is_resumed(tmp_path: Path, index: Index, cache: Cache) -> None:
    wheel = make_wheel(index.folder, "alpha", "1.0", {"big": BIG})
    index.answers[wheel.name] = index.breaks(300_000, 400_000)
    fetch(index, tmp_path / "p", cache, locked(wheel), retries="3")
    asked = index.asked("/files/")
    assert [request.headers.get("range") for request in asked] == [None, "bytes=300000-", "bytes=700000-"]
    assert all(request.headers.get("if-range") for request in asked[1:])
    assert cache.blob(locked(wheel).digest) is not None
    assert leftovers(cache) == []


def test_a_server_without_ranges_begins_again(tmp_path: Path, index: Index, cache: Cache) -> None:
    wheel = make_wheel(index.folder, "alpha", "1.0", {"big": BIG})
    cuts = [300_000]

    def answer(handler: object) -> bool:
        handler.send_file(cut=cuts.pop() if cuts else None, ranges=False)  # type: ignore[attr-defined]
        return True

    index.answers[wheel.name] = answer
    fetch(index, tmp_path / "p", cache, locked(wheel))
    assert cache.blob(locked(wheel).digest) is not None
    assert leftovers(cache) == []


def test_a_file_that_changed_between_two_halves_is_fetched_whole(tmp_path: Path, index: Index, cache: Cache) -> None:
    wheel = make_wheel(index.folder, "alpha", "1.0", {"big": BIG})
    good = wheel.read_bytes()
    expected = locked(wheel)
    wheel.write_bytes(b"\0" * len(good))
    index.lies[wheel.name] = expected.digest.hex

    def answer(handler: object) -> bool:
        request = handler.headers  # type: ignore[attr-defined]
        if not request.get("Range"):
            state.append("whole")
        if len(state) == 1 and not request.get("Range"):
            handler.send_file(cut=300_000)  # type: ignore[attr-defined]
            wheel.write_bytes(good)
            return True
        return False

    state: list[str] = []
    index.answers[wheel.name] = answer
    fetch(index, tmp_path / "p", cache, expected)
    assert state == ["whole", "whole"]
    assert cache.blob(expected.digest) is not None


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_failures_that_pass_are_waited_for(tmp_path: Path, index: Index, cache: Cache, code: int) -> None:
    wheel = make_wheel(index.folder, "alpha", "1.0", {"b": b""})
    index.answers[wheel.name] = index.statuses(code, headers={"Retry-After": "0"})
    fetch(index, tmp_path / "p", cache, locked(wheel))
    assert len(index.asked("/files/")) == 2


def test_an_index_that_stays_down_is_named_and_nothing_is_left(tmp_path: Path, index: Index, cache: Cache) -> None:
    small = make_wheel(index.folder, "alpha", "1.0", {"b": b""})
    wheel = make_wheel(index.folder, "beta", "1.0", {"big": BIG})
    index.answers[wheel.name] = index.breaks(*[100_000] * 9)
    with pytest.raises(StoreError) as caught:
        fetch(index, tmp_path / "p", cache, locked(small), locked(wheel))
    error = caught.value
    assert wheel.name in error.message and index.url.removeprefix("http://") in error.message
    assert "run again" in (error.hint or "")
    assert error.exit_code == 5
    assert leftovers(cache) == []
    assert cache.blob(locked(wheel).digest) is None
    # and the next run finishes what is missing
    index.answers.clear()
    fetch(index, tmp_path / "p", cache, locked(small), locked(wheel))


def test_an_index_with_a_lasting_error(tmp_path: Path, index: Index, cache: Cache) -> None:
    wheel = make_wheel(index.folder, "alpha", "1.0", {"b": b""})
    index.answers[wheel.name] = index.always(503, {"Retry-After": "0"})
    with pytest.raises(StoreError, match="answered 503") as caught:
        fetch(index, tmp_path / "p", cache, locked(wheel))
    assert wheel.name in caught.value.message


def test_a_wrong_hash_is_a_verification_error(tmp_path: Path, index: Index, cache: Cache) -> None:
    wheel = make_wheel(index.folder, "alpha", "1.0", {"b": b""})
    expected = locked(wheel)
    index.lies[wheel.name] = expected.digest.hex
    wheel.write_bytes(wheel.read_bytes() + b"!")
    with pytest.raises(VerificationError) as caught:
        fetch(index, tmp_path / "p", cache, expected)
    assert wheel.name in caught.value.message and expected.digest in caught.value.message
    assert caught.value.exit_code == 6
    assert leftovers(cache) == [] and cache.blob(expected.digest) is None


def test_an_index_without_hashes_is_verified_against_the_pins(tmp_path: Path, index: Index, cache: Cache) -> None:
    index.hashes = False
    wheel = make_wheel(index.folder, "alpha", "1.0", {"b": b""})
    good = pin(wheel)
    project = write_project(tmp_path / "p", "alpha\n")
    environ = environment(PIP_INDEX_URL=index.simple)
    assert wheels(project, resolution(good), environ, cache)[AMD64][0].digest in good.hashes
    bad = replace(good, hashes=(Digest.of(b"other"),))
    other = Cache(tmp_path / "other")
    with pytest.raises(VerificationError, match="not what was locked"):
        wheels(project, resolution(bad), environ, other)
    assert list((other.root / "blobs" / "sha256").iterdir()) == []


def test_a_replaced_and_a_vanished_file(tmp_path: Path, index: Index, cache: Cache) -> None:
    wheel = make_wheel(index.folder, "alpha", "1.0", {"b": b""})
    expected = locked(wheel)
    make_wheel(index.folder, "alpha", "1.0", {"b": b"other"})
    with pytest.raises(ArtifactError, match="has another file of that name"):
        fetch(index, tmp_path / "p", cache, expected)
    wheel.unlink()
    make_wheel(index.folder, "alpha", "1.1", {})
    with pytest.raises(ArtifactError, match=r"not to be had any more.*alpha-1\.1") as caught:
        fetch(index, tmp_path / "p", cache, expected)
    assert index.simple in caught.value.message
    assert caught.value.exit_code == 3


def test_a_file_that_the_index_lists_but_lost(tmp_path: Path, index: Index, cache: Cache) -> None:
    wheel = make_wheel(index.folder, "alpha", "1.0", {"b": b""})
    index.answers[wheel.name] = index.always(404)
    with pytest.raises(ArtifactError, match="doesn't have it any more"):
        fetch(index, tmp_path / "p", cache, locked(wheel))


def test_credentials_go_to_the_index_and_not_along_a_redirect(tmp_path: Path, index: Index, cache: Cache) -> None:
    with serve_index(index.folder) as elsewhere:
        wheel = make_wheel(index.folder, "alpha", "1.0", {"b": b""})
        index.login = "ann:s3cr3t"
        index.answers[wheel.name] = index.always(302, {"Location": f"{elsewhere.url}/files/{wheel.name}?signed=1"})
        project = write_project(tmp_path / "p", "alpha\n")
        environ = environment(PIP_INDEX_URL=index.with_login("ann:s3cr3t"))
        wheels(project, resolution(pin(wheel)), environ, cache)
        assert {request.login for request in index.requests} == {"ann:s3cr3t"}
        assert [request.login for request in elsewhere.requests] == [None]


def test_files_on_another_host_get_no_credentials(tmp_path: Path, index: Index, cache: Cache) -> None:
    with serve_index(index.folder) as elsewhere:
        wheel = make_wheel(index.folder, "alpha", "1.0", {"b": b""})
        index.login = "ann:s3cr3t"
        index.files_url = elsewhere.url
        environ = environment(PIP_INDEX_URL=index.with_login("ann:s3cr3t"))
        wheels(write_project(tmp_path / "p", "alpha\n"), resolution(pin(wheel)), environ, cache)
        assert [request.headers.get("authorization") for request in elsewhere.requests] == [None]


def test_a_redirect_away_from_http_is_refused(tmp_path: Path, index: Index, cache: Cache) -> None:
    wheel = make_wheel(index.folder, "alpha", "1.0", {"b": b""})
    for target, said in (("file:///etc/passwd", "refused"), ("http://mirror.example.com/x", "plain HTTP")):
        index.answers[wheel.name] = index.always(302, {"Location": target})
        with pytest.raises(LockshipError, match=said):
            fetch(index, tmp_path / "p", cache, locked(wheel))
    index.answers[wheel.name] = index.always(302, {"Location": f"/files/{wheel.name}"})
    with pytest.raises(StoreError, match="redirects without end"):
        fetch(index, tmp_path / "p", cache, locked(wheel))


def test_find_links_folders_serve_wheels(tmp_path: Path, cache: Cache) -> None:
    wheel = make_wheel(tmp_path / "p" / "wheels", "alpha", "1.0", {"b": b""})
    project = write_project(tmp_path / "p", "--no-index\n--find-links wheels\nalpha\n")
    found = wheels(project, resolution(pin(wheel)), environment(), cache)
    assert found[AMD64] == (locked(wheel),)


def test_which_index_served_what_is_told(tmp_path: Path, index: Index, cache: Cache) -> None:
    with serve_index(tmp_path / "private") as private:
        public, own = make_wheel(index.folder, "alpha", "1.0", {}), make_wheel(private.folder, "ours", "1.0", {})
        project = write_project(tmp_path / "p", "alpha\n")
        environ = environment(PIP_INDEX_URL=index.simple, PIP_EXTRA_INDEX_URL=private.with_login("ann:s3cr3t"))
        progress = Remembering()
        wheels(project, resolution(pin(public), pin(own)), environ, cache, progress=progress)
    assert sorted(progress.notes) == sorted([f"from {index.simple}: alpha", f"from {private.simple}: ours"])


@pytest.mark.parametrize("sizes", [True, False])
def test_gpu_variants_are_told_before_they_are_downloaded(
    tmp_path: Path, index: Index, cache: Cache, sizes: bool
) -> None:
    index.json = index.sizes = sizes
    big = make_wheel(index.folder, "nvidia_cublas_cu12", "12.1", {"lib": os.urandom(6_000_000)})
    torch = make_wheel(index.folder, "torch", "2.5+cu121", {"lib": b""})
    plain = make_wheel(index.folder, "alpha", "1.0", {})
    project = write_project(tmp_path / "p", "alpha\n")
    progress = Remembering()
    environ = environment(PIP_INDEX_URL=index.simple)
    wheels(project, resolution(pin(big), pin(torch), pin(plain)), environ, cache, progress=progress)
    (warning,) = progress.warnings
    assert "nvidia-cublas-cu12, torch, 0.01 GB in all" in warning and "whl/cpu" in warning
    assert "alpha" not in warning


def test_withdrawn_versions_are_told(tmp_path: Path, index: Index, cache: Cache) -> None:
    wheel = make_wheel(index.folder, "alpha", "1.0", {})
    index.yanked.add(wheel.name)
    progress = Remembering()
    project = write_project(tmp_path / "p", "alpha\n")
    wheels(project, resolution(pin(wheel)), environment(PIP_INDEX_URL=index.simple), cache, progress=progress)
    assert "alpha 1.0 was withdrawn" in progress.warnings[0]


def test_a_full_disk_is_a_store_error_and_nothing_is_left(
    tmp_path: Path, index: Index, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from builder.cache import BlobWriter, storage_error

    def full(self: BlobWriter, data: bytes) -> None:
        raise storage_error(OSError(errno.ENOSPC, "No space left on device"), cache.root, "write")

    wheel = make_wheel(index.folder, "alpha", "1.0", {"big": BIG})
    monkeypatch.setattr(BlobWriter, "write", full)
    with pytest.raises(StoreError, match="No space left") as caught:
        fetch(index, tmp_path / "p", cache, locked(wheel))
    assert "LOCKSHIP_CACHE" in (caught.value.hint or "")
    assert leftovers(cache) == []
    assert len(index.asked("/files/")) == 1


def test_ctrl_c_in_the_middle_leaves_nothing_half_written(tmp_path: Path, index: Index, cache: Cache) -> None:
    wheel = make_wheel(index.folder, "alpha", "1.0", {"big": BIG})
    begun, over = threading.Event(), threading.Event()

    def stall(handler: object) -> bool:
        data = wheel.read_bytes()
        handler.send_response(200)  # type: ignore[attr-defined]
        handler.send_header("Content-Length", str(len(data)))  # type: ignore[attr-defined]
        handler.end_headers()  # type: ignore[attr-defined]
        handler.wfile.write(data[:500_000])  # type: ignore[attr-defined]
        begun.set()
        over.wait(30)
        return True

    index.answers[wheel.name] = stall
    write_project(tmp_path / "p", "alpha\n")
    program = f"""
from pathlib import Path
import os
from builder.cache import Cache
from builder.lock.fetch import fetch_wheels
from builder.lock.indexes import from_environment
from builder.lock.pins import Artifact
from builder.content import Digest
from builder.progress import SILENT
from builder.project import load_project
wheel = {locked(wheel)!r}
wheel = Artifact(wheel.kind, wheel.name, wheel.version, wheel.file, Digest(wheel.digest), wheel.size)
fetch_wheels([wheel], indexes=from_environment(os.environ), cache=Cache(Path({str(cache.root)!r})), progress=SILENT,
             project=load_project(Path({str(tmp_path / "p" / "lockship.toml")!r})), environ=os.environ)
"""
    environ = environment(PIP_INDEX_URL=index.simple, PYTHONPATH=os.pathsep.join(sys.path))
    process = subprocess.Popen([sys.executable, "-c", program], env=environ, stderr=subprocess.PIPE)
    try:
        assert begun.wait(30)
        until = time.monotonic() + 30
        while not leftovers(cache) and time.monotonic() < until:
            time.sleep(0.01)
        assert leftovers(cache)
        process.send_signal(signal.SIGINT)
        # the server still holds the connection: whoever waits for it would wait for long
        _, said = process.communicate(timeout=25)
    finally:
        over.set()
        process.kill()
        process.wait()
    assert b"KeyboardInterrupt" in said
    assert leftovers(cache) == []
    index.answers.clear()
    fetch(index, tmp_path / "p", cache, locked(wheel))
