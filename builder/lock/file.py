"""`lockship.lock`: read, written, compared.

TOML, sorted, one line per fact, made to be read in a pull request. It binds the standard files (`requirements.lock`,
`conda-lock.yml`) to the inputs they were made from and to the layers they become. It holds no credentials, no times,
and no host names but a base image's own.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from builder.content import MEDIA_LAYER_GZIP, MEDIA_LAYER_TAR, Digest, Platform
from builder.errors import LockError, LockshipError, StaleLockError
from builder.files import write_file
from builder.javakeys import JAR_NAME, JAR_VERSION
from builder.lock import images
from builder.lock.images import BaseImage
from builder.lock.pins import Artifact
from builder.lock.tables import inline, number, string, table, text
from builder.registry.reference import parse_reference

__all__ = [
    "CONDA_FILE",
    "FORMAT",
    "LOCK_FILE",
    "REQUIREMENTS_FILE",
    "Change",
    "Lock",
    "LockedLayer",
    "LockedPlatform",
    "changes",
]

LOCK_FILE: Final = "lockship.lock"
REQUIREMENTS_FILE: Final = "requirements.lock"
CONDA_FILE: Final = "conda-lock.yml"
FORMAT: Final = 1

_HEAD = "# Written by `lockship lock`: change the inputs and run it again, don't edit this file.\n"
_RELOCK = "run `lockship lock` to write it anew"

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9+.-]*")
_CONDA_NAME: Final = re.compile(r"[a-z0-9_][a-z0-9_.-]*")
_FOLDER: Final = re.compile(r"(/(?!\.\.?(/|$))[^/\\\x00-\x1f\x7f]+)+")
_FILE: Final = re.compile(r"[A-Za-z0-9_][^/\\\x00-\x1f\x7f]*")
_SUBDIR: Final = re.compile(r"noarch|linux-64|linux-aarch64")
_CHANNEL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_PYTHON: Final = re.compile(r"3\.\d+(\.\d+)?[a-z0-9.+~-]*")
_KIND: Final = re.compile("deb|wheel|conda|jar")
_KEY: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class LockedLayer:
    """A layer that the locked artifacts become; `key` names what went in, `holds` the packages.

    Its media type follows from its kind: a jar is compressed already, and its layer is a plain tar.
    """

    kind: str
    key: str
    digest: Digest
    size: int
    diff_id: Digest
    holds: tuple[str, ...]

    @property
    def media_type(self) -> str:
        """The blob's media type."""
        return MEDIA_LAYER_TAR if self.kind == "jar" else MEDIA_LAYER_GZIP


@dataclass(frozen=True, slots=True)
class LockedPlatform:
    """All that an image for `platform` is made of, in the order of its layers.

    `python` and `glibc` are the base's versions; `bytecode` names the build of the interpreter that compiles, or is
    empty when there is to be no byte code. `base` is the image that it stands on, when the base is one. With `conda`
    packages, `python` is the one among them, and empty when there is none.
    """

    platform: Platform
    python: str
    glibc: str
    bytecode: str
    debs: tuple[Artifact, ...]
    wheels: tuple[Artifact, ...]
    layers: tuple[LockedLayer, ...]
    base: BaseImage | None = None
    conda: tuple[Artifact, ...] = ()
    jars: tuple[Artifact, ...] = ()

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """All packages, of every kind."""
        return (*self.debs, *self.conda, *self.wheels, *self.jars)


@dataclass(frozen=True, slots=True)
class Lock:
    """The whole lock. `inputs` and `outputs` are digests of files (and of the project file's deciding part).

    `interpreters` are the debs of the base's python for processors that the project doesn't target but that builds
    may run on: byte code doesn't depend on the processor, the program that compiles it does. For a base that is an
    image, `base_digest` is what its reference names (`base`), and `interpreter_images` are the manifests of its other
    platforms.
    """

    base: str
    inputs: Mapping[str, Digest]
    outputs: Mapping[str, Digest]
    tools: Mapping[str, str]
    platforms: tuple[LockedPlatform, ...]
    interpreters: Mapping[Platform, tuple[Artifact, ...]] = field(default_factory=dict)
    base_digest: Digest | None = None
    interpreter_images: Mapping[Platform, Digest] = field(default_factory=dict)

    def platform(self, platform: Platform) -> LockedPlatform:
        """What is locked for `platform`; raises StaleLockError when nothing is."""
        for locked in self.platforms:
            if locked.platform == platform:
                return locked
        raise StaleLockError(f"the lock knows nothing of {platform}", hint="run `lockship lock`", file=LOCK_FILE)

    def render(self) -> bytes:
        """The file's bytes."""
        body = "".join(f"{line}\n" for line in self._lines())
        return f'{_HEAD}format = {FORMAT}\nchecksum = "{Digest.of(body.encode())}"\n{body}'.encode()

    def write(self, path: Path) -> None:
        """Replace the file at `path`, all or nothing."""
        write_file(path, self.render())

    def _lines(self) -> Iterable[str]:
        yield from table("inputs", self.inputs)
        yield from table("outputs", self.outputs)
        yield from table("tools", self.tools)
        yield from ("", "[base]", f"name = {string(self.base)}")
        if self.base_digest is not None:
            yield f"digest = {string(self.base_digest)}"
        for platform in sorted(self.interpreter_images):
            yield from ("", f'[interpreter."{platform}"]', f"image = {string(self.interpreter_images[platform])}")
        for platform in sorted(self.interpreters):
            yield from ("", f'[interpreter."{platform}"]')
            yield from _artifacts("debs", self.interpreters[platform])
        for locked in sorted(self.platforms, key=lambda one: one.platform):
            yield from ("", f'[platform."{locked.platform}"]')
            for name in ("python", "glibc", "bytecode"):
                yield f"{name} = {string(getattr(locked, name))}"
            yield from _artifacts("debs", locked.debs)
            if locked.conda:
                yield from _artifacts("conda", locked.conda)
            yield from _artifacts("wheels", locked.wheels)
            if locked.jars:
                yield from _artifacts("jars", locked.jars)
            yield "layers = ["
            for layer in locked.layers:
                facts = {
                    "kind": layer.kind,
                    "digest": layer.digest,
                    "size": layer.size,
                    "diff_id": layer.diff_id,
                    "key": layer.key,
                    "holds": list(layer.holds),
                }
                yield f"  {inline(facts)},"
            yield "]"
            if locked.base is not None:
                yield from ("", f'[platform."{locked.platform}".base]', *images.lines(locked.base))


def read_lock(path: Path) -> Lock | None:
    """The lock at `path`, or None when there is none.

    Raises StaleLockError for a lock that was edited or damaged, LockError for one that a newer lockship wrote.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StaleLockError(f"cannot be read: {error.strerror}", file=path, hint=_RELOCK) from error
    return parse_lock(raw, path)


def parse_lock(raw: bytes, path: Path | str = LOCK_FILE) -> Lock:
    """The lock whose bytes are `raw`, from `path`; raises as `read_lock` does."""
    try:
        content = raw.decode("utf-8")
        document = tomllib.loads(content)
    except (ValueError, RecursionError) as error:
        raise StaleLockError(f"is damaged: {error}", file=path, hint=_RELOCK) from error
    version = document.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise LockError(f"has format {version}, this lockship reads up to {FORMAT}", file=path, hint="upgrade lockship")
    if version != FORMAT:
        raise StaleLockError("has no format that is known", file=path, hint=_RELOCK)
    marker = f'checksum = "{document.get("checksum")}"\n'
    head, found, body = content.partition(marker)
    if not found or head != f"{_HEAD}format = {FORMAT}\n" or document.get("checksum") != Digest.of(body.encode()):
        raise StaleLockError("was changed by hand (its checksum doesn't match)", file=path, hint=_RELOCK)
    try:
        return _parse(document)
    except (KeyError, TypeError, ValueError, AttributeError, LockshipError) as error:
        raise StaleLockError(f"is damaged: {error}", file=path, hint=_RELOCK) from error


def _parse(document: Mapping[str, Any]) -> Lock:
    found = _lock(document)
    if any((one.base is None) != (found.base_digest is None) for one in found.platforms):
        raise ValueError("its base is an image here and packages there")
    if found.base_digest is not None:
        parse_reference(found.base)
    return found


def _lock(document: Mapping[str, Any]) -> Lock:
    return Lock(
        base=text(document["base"]["name"]),
        inputs={name: Digest(value) for name, value in document["inputs"].items()},
        outputs={name: Digest(value) for name, value in document["outputs"].items()},
        tools={name: text(value) for name, value in document["tools"].items()},
        interpreters={
            Platform.parse(name): tuple(_artifact("deb", one) for one in part["debs"])
            for name, part in document.get("interpreter", {}).items()
            if "image" not in part
        },
        base_digest=Digest(document["base"]["digest"]) if "digest" in document["base"] else None,
        interpreter_images={
            Platform.parse(name): Digest(part["image"])
            for name, part in document.get("interpreter", {}).items()
            if "image" in part
        },
        platforms=tuple(
            LockedPlatform(
                platform=Platform.parse(name),
                python=text(part["python"], _PYTHON) if part["python"] or "conda" not in part else "",
                glibc=text(part["glibc"]),
                bytecode=text(part["bytecode"]),
                debs=tuple(_artifact("deb", one) for one in part["debs"]),
                wheels=tuple(_artifact("wheel", one) for one in part["wheels"]),
                layers=tuple(
                    LockedLayer(
                        kind=text(one["kind"], _KIND),
                        key=text(one["key"], _KEY),
                        digest=Digest(one["digest"]),
                        size=number(one["size"]),
                        diff_id=Digest(one["diff_id"]),
                        holds=tuple(text(name, _name_of(one["kind"])) for name in one["holds"]),
                    )
                    for one in part["layers"]
                ),
                base=images.parse(part["base"]) if "base" in part else None,
                conda=tuple(_artifact("conda", one) for one in part.get("conda", ())),
                jars=tuple(_artifact("jar", one) for one in part.get("jars", ())),
            )
            for name, part in document["platform"].items()
        ),
    )


def _artifact(kind: str, part: Mapping[str, Any]) -> Artifact:
    return Artifact(
        kind=kind,
        name=text(part["name"], _name_of(kind)),
        version=text(part["version"], JAR_VERSION) if kind == "jar" else text(part["version"]),
        file=text(part["file"], _FILE),
        digest=Digest.from_hex(text(part["sha256"])),
        size=number(part["size"]),
        built_from=text(part.get("built_from", "")),
        channel=text(part["channel"], _CHANNEL) if kind == "conda" else "",
        subdir=text(part["subdir"], _SUBDIR) if kind == "conda" else "",
        folder=text(part["folder"], _FOLDER) if kind == "jar" else "",
    )


def _name_of(kind: str) -> re.Pattern[str]:
    return {"conda": _CONDA_NAME, "jar": JAR_NAME}.get(kind, _NAME)


def _artifacts(name: str, artifacts: Iterable[Artifact]) -> Iterable[str]:
    yield f"{name} = ["
    for one in sorted(artifacts, key=lambda artifact: artifact.name):
        facts: dict[str, Any] = {
            "name": one.name,
            "version": one.version,
            "file": one.file,
            "sha256": one.digest.hex,
            "size": one.size,
        }
        for key in ("built_from", "channel", "subdir", "folder"):
            if value := getattr(one, key):
                facts[key] = value
        yield f"  {inline(facts)},"
    yield "]"


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One package that moved: `before` or `after` is empty for one that came or went."""

    kind: str
    name: str
    before: str
    after: str
    platforms: tuple[str, ...] = ()


def changes(old: Lock | None, new: Lock) -> tuple[Change, ...]:
    """What differs between two locks, package by package; the same move on several platforms is said once."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    known = {} if old is None else {locked.platform: locked for locked in old.platforms}
    for locked in new.platforms:
        before = _versions(old, known.get(locked.platform))
        after = _versions(new, locked)
        for kind, name in sorted(before.keys() | after.keys()):
            pair = (before.get((kind, name), ""), after.get((kind, name), ""))
            if pair[0] != pair[1]:
                found.setdefault((kind, name, *pair), []).append(str(locked.platform))
    return tuple(sorted(Change(*move, platforms=tuple(where)) for move, where in found.items()))


def _versions(lock: Lock | None, locked: LockedPlatform | None) -> dict[tuple[str, str], str]:
    if lock is None or locked is None:
        return {}
    base = {} if locked.base is None else {("base", lock.base): str(locked.base.digest)}
    return base | {(one.kind, one.name): one.version for one in locked.artifacts}
