"""Building one wheel from source, with the project's consent: in isolation, bounded, from a verified sdist.

The code of the package runs then, as it does under pip. The wheel that comes out is what gets locked.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from builder.cache import Cache, cache_root
from builder.content import Digest
from builder.errors import ArtifactError
from builder.files import temporary_folder
from builder.lock.indexes import Indexes
from builder.lock.pins import Artifact, Target
from builder.lock.tools import run_tool, uv_binary, uv_environment, uv_version
from builder.lock.wheels import fits
from builder.progress import Progress

__all__ = ["build_wheel", "check_fits"]

TIMEOUT: Final = 1800.0  # seconds
_TAIL: Final = 15  # lines of the build's output in an error
EPOCH: Final = "315532800"  # 1980-01-01, the first day a zip file can name


def build_wheel(
    name: str,
    version: str,
    sdist: str,
    digest: Digest,
    *,
    minor: str,
    indexes: Indexes,
    cache: Cache,
    environ: Mapping[str, str],
    progress: Progress,
    timeout: float = TIMEOUT,
) -> Artifact:
    """The wheel of `name` built from the file `sdist`, which the cache holds as `digest`.

    `minor` is the Python to build with. A wheel this machine has built before is taken from the cache.
    Raises ArtifactError with the last lines of a build that fails or takes longer than `timeout` seconds.
    """
    key = hashlib.sha256(f"built wheel 1|{digest}|{minor}|{platform.machine()}|{uv_version()}".encode()).hexdigest()
    if (known := _recorded(cache, key)) is not None:
        file, built = known
    else:
        progress.note(f"building {name} {version} from {sdist}: its own code runs now")
        with temporary_folder("lockship-build-") as folder:
            wheel = _build(name, sdist, cache.blob(digest), folder, minor, indexes, environ, timeout)
            _check_name(wheel.name, name, version, sdist)
            file, built = wheel.name, cache.adopt(wheel)
        cache.put_record(key, {"file": file, "digest": built})
    blob = cache.blob(built)
    assert blob is not None
    return Artifact("wheel", name, version, file, built, blob.stat().st_size, built_from=sdist)


def check_fits(artifact: Artifact, target: Target) -> None:
    """Raise ArtifactError when a wheel that was built here can't run in the image."""
    hint = f"build the wheel for {target.platform} elsewhere (cibuildwheel), and put it on an index or into find-links"
    if not fits(artifact.file, target):
        raise ArtifactError(
            f"{artifact.name} {artifact.version}: {artifact.file}, built here, doesn't fit {target.platform} "
            f"(Python {target.python})",
            hint=hint,
        )
    library, here = platform.libc_ver()
    if "-linux_" in artifact.file and library == "glibc" and Version(here) > Version(target.glibc):
        raise ArtifactError(
            f"{artifact.name} {artifact.version} was built against glibc {here}; the image has {target.glibc}",
            hint=hint,
        )


def _recorded(cache: Cache, key: str) -> tuple[str, Digest] | None:
    record = cache.record(key) or {}
    file, digest = record.get("file"), record.get("digest")
    if not isinstance(file, str) or not isinstance(digest, str) or cache.blob(Digest(digest)) is None:
        return None
    return file, Digest(digest)


def _build(
    name: str,
    sdist: str,
    blob: Path | None,
    folder: Path,
    minor: str,
    indexes: Indexes,
    environ: Mapping[str, str],
    timeout: float,
) -> Path:
    assert blob is not None
    source = folder / sdist
    shutil.copyfile(blob, source)
    out = folder / "wheel"
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    command = [uv_binary(), "build", "--wheel", "--no-config", "--no-python-downloads", "--no-create-gitignore"]
    command += ["--python", sys.executable if minor == here else minor, "--out-dir", str(out), str(source)]
    try:
        outcome = run_tool(command, environ=_environment(indexes, environ, folder), folder=folder, timeout=timeout)
    except TimeoutError as error:
        raise ArtifactError(
            f"building {name} from {sdist} took longer than {timeout:.0f} s", hint=_hint(name)
        ) from error
    wheels = sorted(out.glob("*.whl")) if out.is_dir() else []
    if outcome.code != 0 or len(wheels) != 1:
        raise ArtifactError(
            f"{name} could not be built from {sdist}; the build's last lines:\n{_tail(outcome.text, indexes, folder)}",
            hint=_hint(name),
        )
    return wheels[0]


def _environment(indexes: Indexes, environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """What a build sees: compilers and proxies, but not this user's settings, place and time."""
    kept = ("PATH", "CC", "CXX", "CFLAGS", "CXXFLAGS", "LDFLAGS", "HOME", "NETRC", "SSL_CERT_DIR")
    found = uv_environment(indexes, {key: environ[key] for key in kept if key in environ}, cache_root(environ) / "uv")
    fixed = {"SOURCE_DATE_EPOCH": EPOCH, "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    return {**found, **fixed, "TMPDIR": str(folder)}


def _hint(name: str) -> str:
    return f"it may need a compiler or libraries of the system; a version of {name} with wheels needs none"


def _tail(text: str, indexes: Indexes, folder: Path) -> str:
    lines = [
        line.rstrip() for line in indexes.network.redact(text).replace(str(folder), "").splitlines() if line.strip()
    ]
    return "\n".join(f"  {line[:200]}" for line in lines[-_TAIL:])


def _check_name(file: str, name: str, version: str, sdist: str) -> None:
    try:
        built, built_version, _, _ = parse_wheel_filename(file)
    except InvalidWheelFilename as error:
        raise ArtifactError(f"{sdist} built {file[:100]!r}, which is not the name of a wheel") from error
    if built != canonicalize_name(name) or built_version != Version(version):
        raise ArtifactError(f"{sdist} built {file}, not {name} {version}", hint=f"tell the authors of {name}")
