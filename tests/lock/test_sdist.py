"""Building from source, with consent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.content import Digest
from builder.errors import ArtifactError, VerificationError
from builder.lock.fetch import fetch_wheels
from builder.lock.indexes import from_environment
from builder.lock.pins import Artifact
from builder.lock.requirements import render
from builder.lock.sdist import build_wheel, check_fits
from tests.lock.python_projects import AMD64, ARM64, TARGETS, Remembering, environment, lock, wheels, write_project
from tests.support.index import Index, serve_index
from tests.support.wheels import make_sdist, make_wheel

pytestmark = pytest.mark.slow

ALLOWED = 'allow-build = ["Source.Only"]'


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with serve_index(tmp_path / "index") as running:
        make_wheel(running.folder, "alpha", "1.0", {"alpha.py": b""})
        yield running


def build(folder: Path, index: Index, cache: Cache, **more: object) -> Artifact:
    """Build the one sdist in `folder`."""
    (sdist,) = folder.glob("*.tar.gz")
    environ = environment(PIP_INDEX_URL=index.simple)
    return build_wheel(
        "source-only",
        "1.0",
        sdist.name,
        cache.adopt(sdist),
        minor="3.11",
        indexes=from_environment(environ),
        cache=cache,
        environ=environ,
        progress=Remembering(),
        **more,  # type: ignore[arg-type]
    )


def test_one_build_serves_every_platform_and_can_be_repeated(tmp_path: Path, index: Index, cache: Cache) -> None:
    sdist = make_sdist(index.folder, "source-only", "1.0", requires=["alpha"])
    project = write_project(tmp_path / "p", "source-only\n", platforms=(AMD64, ARM64), python=ALLOWED)
    environ = environment(PIP_INDEX_URL=index.simple)
    resolution = lock(project, environ)
    assert [pin.name for pin in resolution.pins] == ["alpha", "source-only"]
    assert resolution.pins[1].hashes == (Digest.of(sdist.read_bytes()),)
    progress = Remembering()
    found = wheels(project, resolution, environ, cache, progress=progress)
    assert found[AMD64] == found[ARM64]
    built = found[AMD64][1]
    assert (built.file, built.built_from) == ("source_only-1.0-py3-none-any.whl", "source_only-1.0.tar.gz")
    assert cache.blob(built.digest) is not None
    assert progress.notes == ["building source-only 1.0 from source_only-1.0.tar.gz: its own code runs now"]

    # on another machine: built again, and the same
    (tmp_path / "p" / "requirements.lock").write_text(render(resolution))
    other = Cache(tmp_path / "other")

    def fetch(*artifacts: Artifact) -> None:
        fetch_wheels(
            artifacts,
            indexes=from_environment(environ),
            cache=other,
            progress=progress,
            project=project,
            environ=environ,
        )

    with pytest.raises(ArtifactError, match="came out differently") as caught:
        fetch(replace(built, digest=Digest.of(b"another compiler")))
    assert "allow-build" in (caught.value.hint or "")
    fetch(*found[AMD64])
    assert other.blob(built.digest) is not None


def test_a_tampered_sdist_is_not_built(tmp_path: Path, index: Index, cache: Cache) -> None:
    sdist = make_sdist(index.folder, "source-only", "1.0")
    project = write_project(tmp_path / "p", "source-only\n", python=ALLOWED)
    environ = environment(PIP_INDEX_URL=index.simple)
    resolution = lock(project, environ)
    index.lies[sdist.name] = Digest.of(sdist.read_bytes()).hex
    sdist.write_bytes(sdist.read_bytes() + b"\0")
    progress = Remembering()
    with pytest.raises(VerificationError, match=r"source_only-1\.0\.tar\.gz"):
        wheels(project, resolution, environ, cache, progress=progress)
    assert progress.notes == []


def test_a_build_that_fails_shows_its_last_lines(tmp_path: Path, index: Index, cache: Cache) -> None:
    backend = 'def build_wheel(*args):\n    raise SystemExit("no compiler here")\n'
    make_sdist(tmp_path / "src", "source-only", "1.0", backend=backend)
    with pytest.raises(ArtifactError, match="could not be built from source_only-1") as caught:
        build(tmp_path / "src", index, cache)
    assert "no compiler here" in caught.value.message
    assert caught.value.exit_code == 3
    assert "wheels" in (caught.value.hint or "")


def test_a_build_is_bounded(tmp_path: Path, index: Index, cache: Cache) -> None:
    backend = "import time\ndef build_wheel(*args):\n    time.sleep(600)\n"
    make_sdist(tmp_path / "src", "source-only", "1.0", backend=backend)
    with pytest.raises(ArtifactError, match="took longer than 3 s"):
        build(tmp_path / "src", index, cache, timeout=3)


def test_a_build_of_something_else_is_refused(tmp_path: Path, index: Index, cache: Cache) -> None:
    backend = (
        "from pathlib import Path\nfrom support_wheels import make_wheel\n"
        "def build_wheel(folder, *args):\n    return make_wheel(Path(folder), 'other', '1.0', {}).name\n"
    )
    make_sdist(tmp_path / "src", "source-only", "1.0", backend=backend)
    with pytest.raises(ArtifactError, match="declares name other"):
        build(tmp_path / "src", index, cache)


def test_a_build_sees_a_fixed_environment(tmp_path: Path, index: Index, cache: Cache) -> None:
    backend = (
        "import os\nfrom pathlib import Path\nfrom support_wheels import make_wheel\n"
        "def build_wheel(folder, *args):\n"
        "    mask = os.umask(0)\n"
        "    names = ('SOURCE_DATE_EPOCH', 'TZ', 'PYTHONHASHSEED', 'AWS_SECRET_ACCESS_KEY')\n"
        "    seen = repr([os.environ.get(name) for name in names] + [mask])\n"
        "    return make_wheel(Path(folder), 'source-only', '1.0', {'seen': seen.encode()}).name\n"
    )
    make_sdist(tmp_path / "src", "source-only", "1.0", backend=backend)
    environ = environment(PIP_INDEX_URL=index.simple, AWS_SECRET_ACCESS_KEY="x", TZ="Asia/Tokyo")
    (sdist,) = (tmp_path / "src").glob("*.tar.gz")
    built = build_wheel(
        "source-only",
        "1.0",
        sdist.name,
        cache.adopt(sdist),
        minor="3.11",
        indexes=from_environment(environ),
        cache=cache,
        environ=environ,
        progress=Remembering(),
    )
    import zipfile

    blob = cache.blob(built.digest)
    assert blob is not None
    with zipfile.ZipFile(blob) as archive:
        assert archive.read("seen") == repr(["315532800", "UTC", "0", None, 0o022]).encode()


def test_a_wheel_for_this_machine_does_not_serve_another() -> None:
    native = Artifact(
        "wheel", "native", "1.0", "native-1.0-cp311-cp311-linux_x86_64.whl", Digest.of(b""), 0, "n.tar.gz"
    )
    with pytest.raises(ArtifactError, match="doesn't fit linux/arm64") as caught:
        check_fits(native, TARGETS[ARM64])
    assert "cibuildwheel" in (caught.value.hint or "")


def test_a_newer_c_library_here_than_in_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    import platform

    native = Artifact(
        "wheel", "native", "1.0", "native-1.0-cp311-cp311-linux_x86_64.whl", Digest.of(b""), 0, "n.tar.gz"
    )
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.99"))
    with pytest.raises(ArtifactError, match=r"was built against glibc 2\.99; the image has 2\.36"):
        check_fits(native, TARGETS[AMD64])
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    check_fits(native, TARGETS[AMD64])
