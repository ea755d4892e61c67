"""`lockship.lock`: read, written, compared.

TOML, sorted, one line per fact, made to be read in a pull request. It binds the standard files (`requirements.lock`) to
the inputs they were made from and to the layers they become. It holds no host names, no credentials, no times.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from builder.content import MEDIA_LAYER_GZIP, Digest, Platform
from builder.errors import LockError, LockshipError, StaleLockError
from builder.files import write_file
from builder.lock.pins import Artifact

__all__ = ["FORMAT", "LOCK_FILE", "REQUIREMENTS_FILE", "Change", "Lock", "LockedLayer", "LockedPlatform", "changes"]

LOCK_FILE: Final = "lockship.lock"
REQUIREMENTS_FILE: Final = "requirements.lock"
FORMAT: Final = 1

_HEAD = "# Written by `lockship lock`: change the inputs and run it again, don't edit this file.\n"
_RELOCK = "run `lockship lock` to write it anew"

# A lock comes with a checkout, which may be anybody's: names in it become paths and parts of addresses.
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9+.-]*")
_FILE: Final = re.compile(r"[A-Za-z0-9][^/\\\x00-\x1f\x7f]*")
_PYTHON: Final = re.compile(r"3\.\d+(\.\d+)?[a-z0-9.+~-]*")
_KIND: Final = re.compile("deb|wheel")
_KEY: Final = re.compile("[0-9a-f]{64}")
_ANY: Final = re.compile(r"[^\x00-\x1f\x7f]*")


@dataclass(frozen=True, slots=True)
class LockedLayer:
    """A layer that the locked artifacts become; `key` names what went in, `holds` the packages."""

    kind: str
    key: str
    digest: Digest
    size: int
    diff_id: Digest
    holds: tuple[str, ...]
    media_type: str = MEDIA_LAYER_GZIP


@dataclass(frozen=True, slots=True)
class LockedPlatform:
    """All that an image for `platform` is made of, in the order of its layers.

    `python` and `glibc` are the base's versions; `bytecode` is the Debian version of the interpreter that compiles, or
    empty when there is to be no byte code.
    """

    platform: Platform
    python: str
    glibc: str
    bytecode: str
    debs: tuple[Artifact, ...]
    wheels: tuple[Artifact, ...]
    layers: tuple[LockedLayer, ...]


@dataclass(frozen=True, slots=True)
class Lock:
    """The whole lock. `inputs` and `outputs` are digests of files (and of the project file's deciding part).

    `interpreters` are the debs of the base's python for processors that the project doesn't target but that builds
    may run on: byte code doesn't depend on the processor, the program that compiles it does.
    """

    base: str
    inputs: Mapping[str, Digest]
    outputs: Mapping[str, Digest]
    tools: Mapping[str, str]
    platforms: tuple[LockedPlatform, ...]
    interpreters: Mapping[Platform, tuple[Artifact, ...]] = field(default_factory=dict)

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
        yield from _table("inputs", self.inputs)
        yield from _table("outputs", self.outputs)
        yield from _table("tools", self.tools)
        yield from ("", "[base]", f"name = {_string(self.base)}")
        for platform in sorted(self.interpreters):
            yield from ("", f'[interpreter."{platform}"]')
            yield from _artifacts("debs", self.interpreters[platform])
        for locked in sorted(self.platforms, key=lambda one: one.platform):
            yield from ("", f'[platform."{locked.platform}"]')
            for name in ("python", "glibc", "bytecode"):
                yield f"{name} = {_string(getattr(locked, name))}"
            yield from _artifacts("debs", locked.debs)
            yield from _artifacts("wheels", locked.wheels)
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
                yield f"  {_inline(facts)},"
            yield "]"


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
    try:
        text = raw.decode("utf-8")
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise StaleLockError(f"is damaged: {error}", file=path, hint=_RELOCK) from error
    version = document.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise LockError(f"has format {version}, this lockship reads up to {FORMAT}", file=path, hint="upgrade lockship")
    if version != FORMAT:
        raise StaleLockError("has no format that is known", file=path, hint=_RELOCK)
    marker = f'checksum = "{document.get("checksum")}"\n'
    head, found, body = text.partition(marker)
    if not found or head != f"{_HEAD}format = {FORMAT}\n" or document.get("checksum") != Digest.of(body.encode()):
        raise StaleLockError("was changed by hand (its checksum doesn't match)", file=path, hint=_RELOCK)
    try:
        return _parse(document)
    except (KeyError, TypeError, ValueError, AttributeError, LockshipError) as error:
        raise StaleLockError(f"is damaged: {error}", file=path, hint=_RELOCK) from error


def _parse(document: Mapping[str, Any]) -> Lock:
    return Lock(
        base=_text(document["base"]["name"]),
        inputs={name: Digest(value) for name, value in document["inputs"].items()},
        outputs={name: Digest(value) for name, value in document["outputs"].items()},
        tools={name: _text(value) for name, value in document["tools"].items()},
        interpreters={
            Platform.parse(name): tuple(_artifact("deb", one) for one in table["debs"])
            for name, table in document.get("interpreter", {}).items()
        },
        platforms=tuple(
            LockedPlatform(
                platform=Platform.parse(name),
                python=_text(table["python"], _PYTHON),
                glibc=_text(table["glibc"]),
                bytecode=_text(table["bytecode"]),
                debs=tuple(_artifact("deb", one) for one in table["debs"]),
                wheels=tuple(_artifact("wheel", one) for one in table["wheels"]),
                layers=tuple(
                    LockedLayer(
                        kind=_text(one["kind"], _KIND),
                        key=_text(one["key"], _KEY),
                        digest=Digest(one["digest"]),
                        size=_size(one["size"]),
                        diff_id=Digest(one["diff_id"]),
                        holds=tuple(_text(name, _NAME) for name in one["holds"]),
                    )
                    for one in table["layers"]
                ),
            )
            for name, table in document["platform"].items()
        ),
    )


def _artifact(kind: str, table: Mapping[str, Any]) -> Artifact:
    return Artifact(
        kind=kind,
        name=_text(table["name"], _NAME),
        version=_text(table["version"]),
        file=_text(table["file"], _FILE),
        digest=Digest.from_hex(_text(table["sha256"])),
        size=_size(table["size"]),
        built_from=_text(table.get("built_from", "")),
    )


def _text(value: object, pattern: re.Pattern[str] = _ANY) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{str(value)[:80]!r} is not what stands there")
    return value


def _size(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{str(value)[:80]!r} is not a size")
    return value


def _table(name: str, values: Mapping[str, str]) -> Iterable[str]:
    yield ""
    yield f"[{name}]"
    for key in sorted(values):
        bare = re.fullmatch(r"[A-Za-z0-9_-]+", key)
        yield f"{key if bare else _string(key)} = {_string(values[key])}"


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
        if one.built_from:
            facts["built_from"] = one.built_from
        yield f"  {_inline(facts)},"
    yield "]"


def _inline(facts: Mapping[str, Any]) -> str:
    return "{ " + ", ".join(f"{key} = {_value(value)}" for key, value in facts.items()) + " }"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_string(item) for item in value) + "]"
    return str(value) if isinstance(value, int) else _string(value)


def _string(value: str) -> str:
    """A TOML basic string; JSON's escapes are all valid there (TOML 1.0, "String"), but DEL needs one."""
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


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
        before = _versions(known.get(locked.platform))
        after = _versions(locked)
        for kind, name in sorted(before.keys() | after.keys()):
            pair = (before.get((kind, name), ""), after.get((kind, name), ""))
            if pair[0] != pair[1]:
                found.setdefault((kind, name, *pair), []).append(str(locked.platform))
    return tuple(sorted(Change(*move, platforms=tuple(where)) for move, where in found.items()))


def _versions(locked: LockedPlatform | None) -> dict[tuple[str, str], str]:
    if locked is None:
        return {}
    return {(one.kind, one.name): one.version for one in (*locked.debs, *locked.wheels)}
