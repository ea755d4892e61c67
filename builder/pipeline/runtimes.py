"""The onnxruntime that a consumer has, as an environment: its version, its wheel, and a Python that takes it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from packaging.version import Version

from builder.content import Digest, canonical_json
from builder.errors import LockshipError, ProjectError, ResolutionError, StoreError
from builder.lock.indexes import Indexes, IndexFile
from builder.lock.pins import Pin
from builder.lock.wheels import choose, version_of
from builder.models import environments
from builder.models.environments import Environment, Package
from builder.models.runtimes import Consumer
from builder.pipeline.context import Context
from builder.pipeline.environments import shipped_pins
from builder.pipeline.interpreters import HostPython

__all__ = ["Runtime", "newest_fitting", "runtime_for"]

_NAME: Final = "onnxruntime"
Others = Callable[[], Iterable[HostPython]]
"""Asks for the other Pythons of this machine, only when they are needed: finding them takes a while."""

_NONE: Final = {"version": None}
_LENIENT: Final = ("java", "dotnet")  # their packages have versions of their own


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where a consumer's scores come from: an environment, or the converter's own when it is None, with the reason."""

    consumer: Consumer
    environment: Environment | None
    python: HostPython | None
    version: str | None
    wheel: str | None
    notice: str | None = None


def runtime_for(consumer: Consumer, python: HostPython, others: Others, context: Context, indexes: Indexes) -> Runtime:
    """The newest onnxruntime of `consumer`'s version that has a wheel for `python`, or else for one of `others`.

    What was found once is remembered, so that it needs no index again. Raises ProjectError for a version that
    nobody has released, StoreError when the index can't be asked.
    """
    key = hashlib.sha256(canonical_json(["onnxruntime", 1, str(consumer), python.identity])).hexdigest()
    known = context.cache.record(key)
    if known is not None and (found := _remembered(known, consumer, python, others)) is not None:
        return found
    try:
        files = indexes.files(_NAME)
    except LockshipError as error:
        if known == _NONE:
            return _without(consumer)
        raise StoreError(f"cannot find onnxruntime {consumer.version}: {error.message}", hint=error.hint) from error
    chosen = newest_fitting(consumer, files, python, others)
    if chosen is None:
        context.cache.put_record(key, _NONE)
        return _without(consumer)
    runtime, wheel, host = chosen
    digest = wheel.digest
    if digest is None:
        raise StoreError(f"{wheel.index} gives no sha256 for {wheel.file}", hint="use an index that does")
    record = {"version": runtime, "file": wheel.file, "sha256": digest.hex, "python": host.identity}
    context.cache.put_record(key, record)
    return _with(consumer, runtime, digest, host)


def newest_fitting(
    consumer: Consumer, files: Sequence[IndexFile], python: HostPython, others: Others
) -> tuple[str, IndexFile, HostPython] | None:
    """``(version, wheel, interpreter)``; None where no Python of this machine takes any of that release.

    Raises ProjectError when there is no such release.
    """
    versions = sorted({str(found) for file in files if (found := version_of(file.file)) is not None}, key=Version)
    there = [one for one in versions if _is_of(Version(one), consumer.version)]
    if not there and consumer.language in _LENIENT:
        there = [one for one in versions if _is_of(Version(one), "{}.{}".format(*consumer.release))]
    elif not there:
        raise ProjectError(
            f"{consumer}: no onnxruntime {consumer.version} was ever released",
            hint=f"the index has: {', '.join(_releases(versions))}",
        )
    for host in (python, *others()) if there else ():
        for version in reversed(there):
            hashes = tuple(file.digest for file in files if file.digest is not None)
            try:
                return version, choose(Pin(_NAME, version, hashes), files, host.target), host
            except ResolutionError:
                continue
    return None


def _is_of(version: Version, release: str) -> bool:
    wanted = Version(release).release
    return version.release[: len(wanted)] == wanted and not version.is_prerelease


def _releases(versions: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(".".join(version.split(".")[:2]) for version in versions))


def _with(consumer: Consumer, version: str, digest: Digest, host: HostPython) -> Runtime:
    numpy = {
        1: shipped_pins(environments.NUMPY_LOCK, host.target)["numpy"],
        2: shipped_pins(environments.CONVERTER_LOCK, host.target)["numpy"],
    }
    wanted = environments.consumer(host.identity, Package(_NAME, version, (digest,)), numpy)
    return Runtime(consumer, wanted, host, version, digest)


def _without(consumer: Consumer) -> Runtime:
    notice = (
        f"{consumer}: no Python of this machine takes onnxruntime {consumer.version}; "
        "scored with the converter's own, which is newer"
    )
    return Runtime(consumer, None, None, None, None, notice)


def _remembered(known: dict[str, object], consumer: Consumer, python: HostPython, others: Others) -> Runtime | None:
    if known == _NONE:  # a Python may have come since, so the index is asked again if it can be
        return None
    if known["python"] == python.identity:
        return _with(consumer, str(known["version"]), Digest.from_hex(str(known["sha256"])), python)
    for host in others():
        if known["python"] == host.identity:
            return _with(consumer, str(known["version"]), Digest.from_hex(str(known["sha256"])), host)
    return None
