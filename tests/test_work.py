"""Layers made in worker processes: the same layers, and errors that arrive whole."""

from __future__ import annotations

import io
import os
import signal
import tarfile
import time
from pathlib import Path

import pytest

from builder import work
from builder.cache import Cache
from builder.errors import ArtifactError, LockError, LockshipError, StoreError, VerificationError
from builder.layers.make import entries_of, known, make
from builder.layers.recipe import Part, Recipe
from builder.layers.worker import receive
from builder.progress import SILENT
from tests.support.folders import full_disk
from tests.support.wheels import make_wheel


@pytest.fixture(autouse=True)
def two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """In parallel on any machine."""
    monkeypatch.setattr(work, "workers", lambda: 2)


def recipe(cache: Cache, path: Path, **params: str) -> Recipe:
    name, version, *_ = path.name.split("-")
    return Recipe((Part("wheel", name, version, cache.adopt(path), path.name, params or {"python": "3.11"}),))


def recipes(cache: Cache, folder: Path) -> list[Recipe]:
    names = [f"package{number}" for number in range(5)]
    return [recipe(cache, make_wheel(folder, name, "1.0", {f"{name}.py": os.urandom(5000)})) for name in names]


def leftovers(cache: Cache) -> list[Path]:
    return [path for path in cache.root.rglob("*") if path.name.endswith(".tmp")]


def test_workers_make_what_one_process_makes(cache: Cache, tmp_path: Path) -> None:
    wanted = recipes(cache, tmp_path / "wheels")
    together = work.make_all(wanted, cache, None, SILENT)
    alone = Cache(tmp_path / "alone")
    for one in wanted:
        assert one.parts[0].artifact is not None
        path = cache.blob(one.parts[0].artifact)
        assert path is not None
        alone.adopt(path)
        assert make(one, alone.root, None) == together[one.key] == known(one, cache)
    assert len(together) == len(wanted)


def test_a_layer_that_is_there_is_not_made_again(cache: Cache, tmp_path: Path) -> None:
    wanted = recipes(cache, tmp_path / "wheels")
    work.make_all(wanted, cache, None, SILENT)
    for one in wanted:
        assert one.parts[0].artifact is not None
        cache.forget(one.parts[0].artifact)  # nothing to make it from any more
    assert len(work.make_all(wanted, cache, None, SILENT)) == len(wanted)


def test_a_hostile_package_is_refused_with_its_name_and_advice(cache: Cache, tmp_path: Path) -> None:
    import zipfile

    bad = make_wheel(tmp_path, "bad", "1.0", {"bad.py": b""})
    with zipfile.ZipFile(bad, "a") as archive:
        archive.writestr("../evil.py", b"")
    wanted = [*recipes(cache, tmp_path / "wheels"), recipe(cache, bad)]
    with pytest.raises(ArtifactError, match=r"bad-1\.0.*unsafe path") as caught:
        work.make_all(wanted, cache, None, SILENT)
    assert caught.value.hint == "a path may not leave its package"
    assert leftovers(cache) == []


def test_a_full_disk_is_told_by_the_worker_with_advice(tmp_path: Path) -> None:
    wheels = [make_wheel(tmp_path, name, "1.0", {f"{name}.bin": os.urandom(150_000)}) for name in ("a", "b", "c")]
    small = tmp_path / "small"
    small.mkdir()
    with full_disk(small, 600_000):
        cache = Cache(small)
        wanted = [recipe(cache, path) for path in wheels]
        with pytest.raises(StoreError, match="No space left") as caught:
            work.make_all(wanted, cache, None, SILENT)
        assert "LOCKSHIP_CACHE" in (caught.value.hint or "")
        assert leftovers(cache) == []


def test_what_nobody_foresaw_is_one_line_and_a_log(
    cache: Cache, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    odd = recipe(cache, make_wheel(tmp_path, "odd", "1.0", {"odd.py": b""}), nonsense="1")
    with pytest.raises(LockshipError, match="KeyError while making odd") as caught:
        work.make_all([*recipes(cache, tmp_path / "wheels"), odd], cache, None, SILENT)
    assert caught.value.exit_code == 1
    assert "Traceback" not in capfd.readouterr().err
    (log,) = tmp_path.glob("lockship-*.log")
    assert str(log) in (caught.value.hint or "")
    assert "Traceback" in log.read_text()


def test_a_killed_worker_is_an_error_with_advice(cache: Cache, tmp_path: Path) -> None:
    (one, *_) = recipes(cache, tmp_path / "wheels")
    with work._Worker() as worker:
        assert worker.run((one, cache.root, None)) == known(one, cache)
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(LockError, match=r"died while making package0 1\.0") as caught:
            worker.run((one, cache.root, None))
    assert "again" in (caught.value.hint or "")


def test_a_stopped_worker_leaves_nothing_half_written(cache: Cache, tmp_path: Path) -> None:
    from threading import Thread

    big = recipe(cache, make_wheel(tmp_path, "big", "1.0", {f"big/{n}.bin": bytes(30 << 20) for n in range(10)}))
    with work._Worker() as worker:
        ended: list[BaseException] = []

        def run() -> None:
            try:
                worker.run((big, cache.root, None))
            except LockError as error:
                ended.append(error)

        thread = Thread(target=run)
        thread.start()
        while not leftovers(cache) and thread.is_alive():
            time.sleep(0.005)
        worker.stop()
        thread.join()
    assert ended, "it was stopped in the middle"
    assert leftovers(cache) == []
    assert known(big, cache) is None


def test_a_worker_that_hears_no_signal_ends_with_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work._Worker, "stop", lambda self: None)
    with work._Worker() as worker:
        pass
    assert worker._process.returncode == 0


def test_a_worker_that_hears_nothing_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "_PATIENCE", 0.1)
    monkeypatch.setattr(work._Worker, "stop", lambda self: None)
    with work._Worker() as worker:
        worker._process.send_signal(signal.SIGSTOP)
    assert worker._process.returncode == -signal.SIGKILL


def test_an_answer_that_is_cut_off_is_the_end(cache: Cache) -> None:
    for data in (b"", b"\1\0", b"\5" + bytes(7) + b"abc"):
        with pytest.raises(EOFError):
            receive(io.BytesIO(data))


def test_an_artifact_that_went_bad_in_the_cache_becomes_no_layer(cache: Cache, tmp_path: Path) -> None:
    """The damage is in a name, which no CRC covers."""
    path = make_wheel(tmp_path, "demo", "1.0", {"demo/aaaa.py": b""})
    one = recipe(cache, path)
    artifact = one.parts[0].artifact
    assert artifact is not None
    kept = cache.blob(artifact)
    assert kept is not None
    kept.chmod(0o644)
    kept.write_bytes(path.read_bytes().replace(b"demo/aaaa.py", b"demo/aaab.py"))
    with pytest.raises(VerificationError, match=artifact) as caught:
        entries_of(one.parts[0], cache, None)
    assert caught.value.exit_code == 6
    with pytest.raises(ArtifactError, match="not in the cache"):
        entries_of(one.parts[0], cache, None)


def test_what_one_of_a_bundle_can_run_stays_so(cache: Cache, tmp_path: Path) -> None:
    parts = []
    for name in ("one", "two"):
        runnable = ["shared/run.sh"] if name == "one" else []
        path = make_wheel(tmp_path, name, "1.0", {"shared/run.sh": b"same"}, executable=runnable)
        parts.append(recipe(cache, path).parts[0])
    layer = make(Recipe(tuple(parts)), cache.root, None)
    kept = cache.blob(layer.digest)
    assert kept is not None
    with tarfile.open(kept) as archive:
        (member,) = [one for one in archive if one.name.endswith("run.sh")]
    assert member.mode == 0o755


def test_a_bundle_holds_a_shared_file_once_and_refuses_two_versions(cache: Cache, tmp_path: Path) -> None:
    parts = {}
    for name, shared in (("one", b"same"), ("two", b"same"), ("three", b"different")):
        path = make_wheel(tmp_path, name, "1.0", {"shared/__init__.py": shared})
        parts[name] = recipe(cache, path).parts[0]
    layer = make(Recipe((parts["one"], parts["two"])), cache.root, None)
    assert cache.blob(layer.digest) is not None
    with pytest.raises(ArtifactError, match=r"one-1\.0.*three-1\.0.*shared/__init__\.py is in two"):
        make(Recipe((parts["one"], parts["three"])), cache.root, None)
