"""What a plan changes against an image that a store has: for people who review it, and for scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from builder.content import Digest, Platform
from builder.image.config import BASE, DIRTY, PYTHON
from builder.image.index import Plan
from builder.image.layer import FileFact, files_of, first_difference
from builder.image.stored import Image, Part, Release, planned_release, read_release
from builder.registry.store import Store

__all__ = ["Change", "Changes", "Comparison", "FileChange", "compare", "compare_releases", "first_difference"]

_OCI: Final = "org.opencontainers.image."
# annotations that say where an image comes from, and the words for them
_ORIGIN: Final = {
    _OCI + "version": "version",
    _OCI + "revision": "revision",
    _OCI + "source": "source",
    DIRTY: "uncommitted changes",
}
_BASE: Final = {BASE: "base", _OCI + "base.digest": "base digest", PYTHON: "python"}


@dataclass(frozen=True, slots=True)
class Change:
    """Something that was `old` and becomes `new`: None is absent. Equal values: the same version with other bytes."""

    name: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that comes, goes (None) or changes; sizes in bytes."""

    path: str
    old_size: int | None
    new_size: int | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What changes in the image for one platform.

    `wheels`, `jars` and `debs` are packages; `files` those of the code; `layers` what has no finer name: the base's
    skeleton, the virtual environment, layers of other tools.
    """

    base: tuple[Change, ...] = ()
    debs: tuple[Change, ...] = ()
    wheels: tuple[Change, ...] = ()
    jars: tuple[Change, ...] = ()
    models: tuple[FileChange, ...] = ()
    files: tuple[FileChange, ...] = ()
    config: tuple[Change, ...] = ()
    layers: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, each.name) for each in fields(self))


@dataclass(frozen=True, slots=True)
class Comparison:
    """A plan (`new`) against what `tag` names (`old`).

    `origin` is said once for all platforms: version, revision. `changes` has an entry for each platform that both
    have; `added` and `removed` are platforms that only one of them has.
    """

    tag: str
    old: Digest
    new: Digest
    origin: tuple[Change, ...]
    changes: Mapping[Platform, Changes]
    added: tuple[Platform, ...]
    removed: tuple[Platform, ...]

    def __bool__(self) -> bool:
        return self.old != self.new

    def to_json(self) -> dict[str, Any]:
        """JSON values: every change with what was and what will be."""
        return {
            "tag": self.tag,
            "old": self.old,
            "new": self.new,
            "origin": [_json(change) for change in self.origin],
            "platforms": {
                str(platform): {
                    each.name: [_json(change) for change in getattr(changes, each.name)] for each in fields(changes)
                }
                for platform, changes in self.changes.items()
            },
            "added_platforms": [str(platform) for platform in self.added],
            "removed_platforms": [str(platform) for platform in self.removed],
        }


NewFiles = Callable[[Digest], Mapping[str, FileFact] | None]


def compare(plan: Plan, store: Store, tag: str, *, new_files: NewFiles | None = None) -> Comparison | None:
    """`plan` against what `tag` names in `store`; None when there is no such tag.

    `new_files` gives the files of a planned layer that the store doesn't hold yet; where it gives None and the store
    has nothing either, the code counts as one layer that changed. Raises StoreError when the old image is incomplete.
    """
    old = read_release(store, tag)
    return None if old is None else compare_releases(old, planned_release(plan), store, tag, new_files=new_files)


def compare_releases(
    old: Release,
    new: Release,
    store: Store,
    tag: str,
    *,
    new_files: NewFiles | None = None,
    look_inside: bool = True,
) -> Comparison:
    """Two releases, of which `store` has at least the `old` one; see `compare`.

    Without `look_inside` no layer is read: code that changed counts as a layer that did.
    """
    listing = _Listing(store if look_inside else None, new_files or (lambda _: None))
    both = sorted(old.images.keys() & new.images.keys())
    changes = {platform: _changes(old.images[platform], new.images[platform], listing) for platform in both}
    return Comparison(
        tag,
        old.digest,
        new.digest,
        _origin([(old.images[platform], new.images[platform]) for platform in both]),
        changes,
        tuple(sorted(new.images.keys() - old.images.keys())),
        tuple(sorted(old.images.keys() - new.images.keys())),
    )


class _Listing:
    """The files of layers, each read once however many platforms share it."""

    def __init__(self, store: Store | None, new_files: NewFiles) -> None:
        self._store = store
        self._new_files = new_files
        self._known: dict[Digest, Mapping[str, FileFact] | None] = {}

    def of(self, parts: Iterable[Part]) -> dict[str, FileFact] | None:
        """All files of `parts`; None when one of them can't be looked into."""
        found: dict[str, FileFact] = {}
        for part in parts:
            if part.digest not in self._known:
                self._known[part.digest] = self._read(part.digest)
            files = self._known[part.digest]
            if files is None:
                return None
            found.update(files)
        return found

    def _read(self, digest: Digest) -> Mapping[str, FileFact] | None:
        if self._store is not None and self._store.has_blob(digest):
            return files_of(self._store.read_blob(digest))
        return self._new_files(digest)


def _changes(old: Image, new: Image, listing: _Listing) -> Changes:
    files, unread = _files(_kind(old, "code"), _kind(new, "code"), listing)
    named = ("wheel", "conda", "jar", "deb", "model", "code")
    others = [tuple(part for part in image.parts if part.kind not in named or not part.holds) for image in (old, new)]
    return Changes(
        base=_facts(old.annotations, new.annotations, _BASE),
        debs=_packages(_kind(old, "deb"), _kind(new, "deb")),
        wheels=_packages(*((*_kind(image, "conda"), *_kind(image, "wheel")) for image in (old, new))),
        jars=_packages(_kind(old, "jar"), _kind(new, "jar")),
        models=_models(_kind(old, "model"), _kind(new, "model")),
        files=files,
        config=_config(old.config.get("config") or {}, new.config.get("config") or {}),
        layers=(*_layers(*others), *unread),
    )


def _kind(image: Image, kind: str) -> tuple[Part, ...]:
    return tuple(part for part in image.parts if part.kind == kind and part.holds)


def _packages(old: tuple[Part, ...], new: tuple[Part, ...]) -> tuple[Change, ...]:
    before, after = ({name: version for part in parts for name, version in part.holds} for parts in (old, new))
    changed = _moved(before, after)
    # a layer of one package tells even when only its bytes are others
    single = {part.holds[0]: part.digest for part in old if len(part.holds) == 1}
    for part in new:
        package = part.holds[0]
        if len(part.holds) == 1 and single.get(package, part.digest) != part.digest:
            changed.append(Change(package[0], package[1], package[1]))
    return tuple(sorted(changed, key=lambda change: change.name))


def _moved(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    names = sorted(before.keys() | after.keys())
    return [Change(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]


def _models(old: tuple[Part, ...], new: tuple[Part, ...]) -> tuple[FileChange, ...]:
    before, after = ({part.holds[0][0]: part for part in parts} for parts in (old, new))
    found = []
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name), after.get(name)
        if (one and one.digest) != (other and other.digest):
            found.append(FileChange(name, one.size if one else None, other.size if other else None))
    return tuple(found)


def _files(
    old: tuple[Part, ...], new: tuple[Part, ...], listing: _Listing
) -> tuple[tuple[FileChange, ...], tuple[Change, ...]]:
    if [part.digest for part in old] == [part.digest for part in new]:
        return (), ()
    before, after = listing.of(old), listing.of(new)
    if before is None or after is None:
        return (), (Change("code", _short(old), _short(new)),)
    found = []
    for path in sorted(before.keys() | after.keys()):
        one, other = before.get(path), after.get(path)
        if one != other:
            found.append(FileChange(path, one.size if one else None, other.size if other else None))
    return tuple(found), ()


def _layers(old: tuple[Part, ...], new: tuple[Part, ...]) -> tuple[Change, ...]:
    before, after = (_by_title(parts) for parts in (old, new))
    return tuple(_moved(before, after))


def _by_title(parts: tuple[Part, ...]) -> dict[str, str]:
    """Layers without a finer name, numbered among those of one title."""
    found: dict[str, str] = {}
    for part in parts:
        title = part.kind or "layer"
        number = 1 + sum(1 for known in found if known == title or known.startswith(f"{title} #"))
        found[title if number == 1 else f"{title} #{number}"] = part.digest.short
    return found


def _short(parts: tuple[Part, ...]) -> str | None:
    return ", ".join(part.digest.short for part in parts) or None


def _facts(old: Mapping[str, str], new: Mapping[str, str], names: Mapping[str, str]) -> tuple[Change, ...]:
    return tuple(
        Change(word, old.get(key), new.get(key)) for key, word in names.items() if old.get(key) != new.get(key)
    )


def _origin(pairs: list[tuple[Image, Image]]) -> tuple[Change, ...]:
    found: dict[Change, None] = {}
    for old, new in pairs:
        found |= dict.fromkeys(_facts(old.annotations, new.annotations, _ORIGIN))
    return tuple(found)


def _config(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Change, ...]:
    before, after = _flat(old), _flat(new)
    return tuple(_moved(before, after))


def _flat(config: Mapping[str, Any]) -> dict[str, str]:
    """A configuration by the words of the project file; labels that only repeat the facts are left out."""
    found = {}
    for key, word in (("Entrypoint", "entrypoint"), ("Cmd", "command")):
        if config.get(key):
            found[word] = " ".join(_quoted(str(item)) for item in config[key])
    for key, word in (("User", "user"), ("WorkingDir", "workdir")):
        if config.get(key):
            found[word] = str(config[key])
    for pair in config.get("Env") or ():
        name, _, value = str(pair).partition("=")
        found[f"env {name}"] = value
    for port in config.get("ExposedPorts") or {}:
        found[f"port {port}"] = "open"
    facts = _ORIGIN.keys() | _BASE.keys() | {_OCI + "created", _OCI + "base.name"}
    for name, value in (config.get("Labels") or {}).items():
        if name not in facts:
            found[f"label {name}"] = str(value)
    return found


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)


def _json(change: Change | FileChange) -> dict[str, Any]:
    return {each.name: getattr(change, each.name) for each in fields(change)}
