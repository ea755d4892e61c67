"""Our side: projects with their locks, and the states of store and cache in which a build may find itself."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.measure import Cost, Memory, run, run_watched
from builder.cache import Cache
from builder.lock.file import LOCK_FILE, REQUIREMENTS_FILE, LockedPlatform, read_lock

__all__ = ["ROOT", "Project", "change_code", "write_tree"]

ROOT = Path(__file__).resolve().parent.parent
_INPUTS = ("requirements.in", "constraints.txt")
_VERSIONS = itertools.count(1)
_CHANGES = itertools.count(1)


@dataclass
class Project:
    """A project in `folder` that uses the cache at `cache`. Its locks are kept by name and switched at will."""

    folder: Path
    cache: Path
    environ: Mapping[str, str]
    name: str
    version: str = "1.0.0"
    bytecode: bool = True
    files: tuple[str, ...] = ()
    model: str | None = None
    repository: str | None = None
    shared: tuple[str, ...] = ()
    _kept: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.describe()
        for name in _INPUTS:
            (self.folder / name).touch()
        self.environ = {**self.environ, "LOCKSHIP_CACHE": str(self.cache), "PYTHONPATH": str(ROOT)}

    def describe(self) -> None:
        """Write the project file."""
        lines = [f'name = "{self.name}"', f'version = "{self.version}"']
        sections: dict[str, dict[str, object]] = {
            "python": {
                "requirements": ["requirements.in"],
                "constraints": ["constraints.txt"],
                "bytecode": self.bytecode,
            },
            "image": {
                "platforms": ["linux/amd64"],
                "files": list(self.files),
                "command": ["python", "-m", "score"],
            },
        }
        if self.model:
            sections["model"] = {"source": self.model}
        if self.repository:
            sections["store"] = {"repository": self.repository, "shared": list(self.shared)}
        for title, keys in sections.items():
            lines += ["", f"[{title}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
        (self.folder / "lockship.toml").write_text("\n".join(lines) + "\n")

    def release(self, repository: str | None = None, *, shared: tuple[str, ...] | None = None) -> str:
        """A version that was never there, to be pushed to `repository` from now on; its reference."""
        self.version = f"1.0.{next(_VERSIONS)}"
        self.repository = repository or self.repository
        self.shared = self.shared if shared is None else shared
        self.describe()
        return f"{self.repository}:{self.version}"

    # commands

    def argv(self, *words: str) -> list[str]:
        """A lockship command line for this project."""
        return [sys.executable, "-m", "builder", words[0], "-C", str(self.folder), *words[1:]]

    def call(self, *words: str) -> Cost:
        """Run a lockship command."""
        return run(self.argv(*words), self.environ)

    def watched(self, *words: str) -> tuple[Cost, Memory]:
        """Run a lockship command, watching its memory."""
        return run_watched(self.argv(*words), self.environ)

    # locks

    def write(self, requirements: Iterable[str], constraints: Iterable[str] = ()) -> None:
        """What is to be locked."""
        for name, lines in zip(_INPUTS, (requirements, constraints), strict=True):
            (self.folder / name).write_text("".join(f"{line}\n" for line in lines))

    def keep(self, name: str) -> None:
        """Remember inputs and lock as they are now."""
        paths = [self.folder / one for one in (*_INPUTS, LOCK_FILE, REQUIREMENTS_FILE)]
        self._kept[name] = {path.name: path.read_bytes() for path in paths if path.exists()}

    def switch(self, name: str) -> None:
        """Inputs and lock as they were then, as a checkout of another commit would."""
        for file, data in self._kept[name].items():
            (self.folder / file).write_bytes(data)

    def requirements(self, name: str) -> bytes:
        """The requirements.lock kept under `name`."""
        return self._kept[name][REQUIREMENTS_FILE]

    def locked(self) -> LockedPlatform:
        """What is locked now."""
        lock = read_lock(self.folder / LOCK_FILE)
        assert lock is not None, "lock first"
        return lock.platforms[0]

    def pinned(self, package: str) -> str:
        """The version that `package` is locked at."""
        return next(one.version for one in self.locked().wheels if one.name == package)

    # states

    def elsewhere(self, folder: Path, cache: Path, *, name: str | None = None) -> Project:
        """The same project in another folder, with another cache, as a checkout on another machine would be."""
        found = Project(folder, cache, self.environ, name or self.name, self.version, self.bytecode, self.files)
        found._kept.update(self._kept)
        return found

    def forget_store(self) -> None:
        """As if nothing had ever been built here."""
        shutil.rmtree(self.folder / ".lockship", ignore_errors=True)

    def forget_layers(self, *, but: str | None = None) -> None:
        """No layer of a wheel was ever made: neither blobs nor records. Those of the lock `but` stay."""
        cache = Cache(self.cache)
        spared = self._keys(but) if but else set()
        for layer in self.locked().layers:
            if layer.kind == "wheel" and layer.key not in spared:
                cache.forget(layer.digest)
                (self.cache / "keys" / layer.key).unlink(missing_ok=True)
                if (store := self.folder / ".lockship" / "store").is_dir():
                    (store / "blobs" / "sha256" / layer.digest.hex).unlink(missing_ok=True)

    def _keys(self, name: str) -> set[str]:
        return set(re.findall(r'key = "([0-9a-f]{64})"', self._kept[name][LOCK_FILE].decode()))

    def forget_wheels(self) -> None:
        """No wheel was ever downloaded."""
        cache = Cache(self.cache)
        for wheel in self.locked().wheels:
            cache.forget(wheel.digest)

    # results

    def manifest(self) -> Mapping[str, Any]:
        """The image's manifest in the store."""
        store = self.folder / ".lockship" / "store"
        index = json.loads((store / "index.json").read_bytes())
        document = self._blob(store, index["manifests"][0]["digest"])
        return self._blob(store, document["manifests"][0]["digest"])

    def _blob(self, store: Path, digest: str) -> Mapping[str, Any]:
        document: Mapping[str, Any] = json.loads((store / "blobs" / "sha256" / digest[7:]).read_bytes())
        return document


def change_code(folder: Path) -> None:
    """One line of the example's own code is another."""
    path = folder / "score" / "__init__.py"
    text = path.read_text().split("\n# change ")[0]
    path.write_text(f"{text}\n# change {next(_CHANGES)}\n")


def write_tree(target: Path, source: Path, names: Sequence[str]) -> None:
    """Copy files and folders of an example."""
    for name in names:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
        else:
            shutil.copy2(source / name, target / name)
