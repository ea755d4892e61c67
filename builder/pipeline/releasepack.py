"""A release as one zip for archives and auditors: code, lock, models, the data's manifest, and checksums of all.

The same release gives the same bytes: names are sorted, times are left out, nothing is compressed (what a compressor
writes depends on its version). Any zip tool opens it, and ``sha256sum --check SHA256SUMS`` checks it.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from builder.content import CHUNK, Digest, canonical_json
from builder.errors import RefusedError, UsageError, VerificationError
from builder.files import atomic_write, named_output
from builder.image.layer import layer_files
from builder.image.stored import read_release
from builder.models.artifact import ARTIFACT_TYPE as MODEL
from builder.pipeline.context import Context
from builder.pipeline.copying import missing
from builder.pipeline.evidence import LOCK
from builder.pipeline.targets import Target
from builder.project import Project
from builder.registry.artifact import TITLE
from builder.releases.record import Record, read_record

__all__ = ["Packed", "Verified", "export_package", "verify_package"]

_SUMS: Final = "SHA256SUMS"
_RECORD: Final = "release.json"
_TIME: Final = (1980, 1, 1, 0, 0, 0)  # the first that zip knows
_LINE: Final = re.compile(r"([0-9a-f]{64})  (\S.*)")
_MOST: Final = 64 << 20  # bytes of the checksums' file, or of a record

Source = Iterable[bytes]


@dataclass(frozen=True, slots=True)
class Packed:
    """A package that was written."""

    file: Path
    digest: Digest
    size: int
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """A package that was checked: whose release it is, and its files."""

    name: str
    version: str
    index: str
    files: tuple[str, ...]

    def to_json(self) -> Mapping[str, Any]:
        """JSON values."""
        return {"name": self.name, "version": self.version, "digest": self.index, "files": list(self.files)}


def export_package(
    target: Target,
    version: str,
    file: Path | None,
    context: Context,
    *,
    project: Project | None = None,
    data: bool = False,
) -> Packed:
    """Write the release `version` of `target` into `file`, by default ``NAME-VERSION.zip`` here.

    With `data` the data sets go in as well, read from `project` and from their addresses: each must still be what the
    record says. Without, those that the project file marks with ``ship = true`` do. Raises StoreError when there is no
    such release, VerificationError for what is no longer what it was.
    """
    read = read_record(target.store, version)
    if read is None:
        raise missing(target.store, version, target.name)
    record = read[0]
    path = named_output(file or Path(f"{record.name}-{version}.zip"), "--output")
    contents: dict[str, Source] = {
        _RECORD: [canonical_json(record.to_json())],
        "data.json": [canonical_json(list(record.data))],
        **_evidence(target, record),
        **_code(target, record),
        **_data(record, project, everything=data),
    }
    with atomic_write(path) as opened, context.progress.task(f"packing {version}") as task:
        names = _write(opened, contents, task.advance)
    return Packed(path, Digest.of_chunks(_chunks(path)), path.stat().st_size, names)


def _write(out: BinaryIO, contents: Mapping[str, Source], advance: Callable[[int], None]) -> tuple[str, ...]:
    sums = {}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            state = hashlib.sha256()
            with archive.open(_info(name), "w", force_zip64=True) as entry:
                for chunk in contents[name]:
                    state.update(chunk)
                    entry.write(chunk)
                    advance(len(chunk))
            sums[name] = state.hexdigest()
        text = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
        with archive.open(_info(_SUMS), "w", force_zip64=True) as entry:
            entry.write(text.encode())
    return (*sorted(sums), _SUMS)


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _TIME)
    info.create_system = 3  # Unix, wherever this runs
    info.external_attr = 0o100644 << 16
    return info


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _evidence(target: Target, record: Record) -> dict[str, Source]:
    """The lock and the models, as they are attached to the release."""
    found: dict[str, Source] = {}
    for one in target.store.referrers(record.digest):
        folder = {LOCK: "lock", MODEL: "models"}.get(one.artifact_type or "")
        manifest = target.store.manifest(one.digest) if folder else None
        if manifest is None:
            continue
        for layer in json.loads(manifest.data).get("layers", ()):
            name = str((layer.get("annotations") or {}).get(TITLE, ""))
            if not name or "/" in name or "\\" in name or name.startswith("."):
                raise VerificationError(f"{one.digest} has a file of the name {name!r}", hint="no lockship wrote that")
            found[f"{folder}/{name}"] = target.store.read_blob(Digest(layer["digest"]))
    if "lock/lockship.lock" not in found:
        raise VerificationError(
            f"{record.version} has no lock attached", hint="`lockship release` attaches what is missing"
        )
    return found


def _code(target: Target, record: Record) -> dict[str, Source]:
    """The project's files, out of the layers of its image: the same for every platform."""
    release = read_release(target.store, record.digest)
    if release is None or not release.images:
        raise VerificationError(f"the image of {record.version} is gone")
    image = release.images[min(release.images)]
    found: dict[str, Source] = {}
    for part in image.parts:
        if part.kind == "code":
            for path, data in layer_files(target.store.read_blob(part.digest)):
                found[f"code/{path}"] = [data]
    return found


def _data(record: Record, project: Project | None, *, everything: bool) -> dict[str, Source]:
    wanted = [one for one in record.data if everything or one.get("ship")]
    if not wanted:
        return {}
    if project is None or project.name != record.name:
        raise UsageError("data are read from the project's folder", hint="run this there, or leave out --data")
    found: dict[str, Source] = {}
    for one in wanted:
        for file in one.get("files", ()):
            name = re.sub(r"[^A-Za-z0-9._/-]+", "_", str(file["path"])).lstrip("/")
            if ".." in name.split("/"):
                raise VerificationError(f"a data set has a file of the name {name!r}", hint="no lockship wrote that")
            found[f"data/{one['name']}/{name}"] = _same(
                _read(project, str(file["path"])), str(file["path"]), str(file["sha256"])
            )
    return found


def _read(project: Project, path: str) -> Iterator[bytes]:
    from builder.pipeline.data_files import find_files, reading

    with reading(path):
        found = find_files(glob.escape(path), project.root) if "://" not in path else find_files(path, project.root)
        if not found:
            raise RefusedError(f"{path} is no longer there", hint="bring it back, or leave the data out")
        with found[0].open() as file:
            while chunk := file.read(CHUNK):
                yield chunk


def _same(chunks: Iterable[bytes], path: str, wanted: str) -> Iterator[bytes]:
    state = hashlib.sha256()
    for chunk in chunks:
        state.update(chunk)
        yield chunk
    if state.hexdigest() != wanted.removeprefix("sha256:"):
        raise RefusedError(
            f"{path} is no longer what the release was made from", hint="bring it back, or leave the data out"
        )


def verify_package(file: Path) -> Verified:
    """Check every file of a package by its checksum, and that no other is there; raises VerificationError."""
    try:
        with zipfile.ZipFile(file) as archive:
            return _verified(file, archive)
    except OSError as error:
        raise UsageError(f"cannot read: {error.strerror}", file=file) from error
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise VerificationError(f"is damaged, or no zip at all: {error}", file=file) from error


def _verified(file: Path, archive: zipfile.ZipFile) -> Verified:
    names = archive.namelist()
    if _SUMS not in names or _RECORD not in names or len(set(names)) != len(names):
        raise VerificationError("is not a release's package", file=file, hint="`lockship export package` writes them")
    wanted = {}
    for number, line in enumerate(_small(archive, _SUMS).decode("utf-8", "replace").splitlines(), 1):
        found = _LINE.fullmatch(line)
        if found is None:
            raise VerificationError(f"line {number} of {_SUMS} is no checksum", file=file)
        wanted[found[2]] = found[1]
    for name in sorted(wanted.keys() ^ (set(names) - {_SUMS})):
        raise VerificationError(f"{name} is {'missing' if name in wanted else 'in no checksum'}", file=file)
    for name, digest in wanted.items():
        with archive.open(name) as entry:
            state = hashlib.sha256()
            while chunk := entry.read(CHUNK):
                state.update(chunk)
        if state.hexdigest() != digest:
            raise VerificationError(f"{name} is not what its checksum says", file=file)
    try:
        record = Record.model_validate_json(_small(archive, _RECORD))
    except ValueError as error:
        raise VerificationError(f"{_RECORD} is no record of a release", file=file) from error
    for name, digest in record.lock.items():
        inner = f"lock/{name}"
        if wanted.get(inner) != digest.removeprefix("sha256:"):
            raise VerificationError(f"{inner} is not the lock that the record names", file=file)
    for model in record.models:
        inner = f"models/{Path(model.file).name}"
        if model.onnx and wanted.get(inner) != model.onnx.removeprefix("sha256:"):
            raise VerificationError(f"{inner} is not the model that the record names", file=file)
    return Verified(record.name, record.version, record.index, tuple(sorted(wanted)))


def _small(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > _MOST:
        raise VerificationError(f"{name} has {archive.getinfo(name).file_size:,} bytes")
    return archive.read(name)
