"""Is the project ready: its file, its lock, its own store?"""

from __future__ import annotations

from pathlib import Path

from builder.content import Digest
from builder.errors import LockshipError, StaleLockError, StoreError
from builder.pipeline.checking import load_lock
from builder.pipeline.doctor.checks import Check, of_error, ok, skipped
from builder.pipeline.recipes import is_current
from builder.pipeline.stores import open_store
from builder.project import Project, find_project, load_project
from builder.registry.contents import contents_of
from builder.registry.layout import Layout
from builder.words import listed, plural

__all__ = ["check_lock", "check_store", "find", "layout_blobs"]


def find(start: Path, *, named: bool) -> tuple[Project | None, Check]:
    """The project at or above `start`, and what its file is like.

    Where nobody `named` a folder, none being there is nothing bad.
    """
    try:
        file = find_project(start)
    except LockshipError as error:
        if named:
            return None, of_error("project", "file", error)
        return None, skipped("project", "file", "no project here or above: only this machine is looked at")
    try:
        project = load_project(file)
    except LockshipError as error:
        return None, of_error("project", "file", error)
    version = project.version if isinstance(project.version, str) else "its version from git"
    return project, ok("project", "file", f"{file}: {project.name}, {version}")


def check_lock(project: Project) -> Check:
    """Whether the lock fits its inputs, as `lockship lock --check` does."""
    try:
        found = load_lock(project)
        if not all(is_current(locked) for locked in found.platforms):
            raise StaleLockError(
                "the lock's layers are of another format than this lockship makes",
                hint="run `lockship lock` with this version, or build with the version that wrote the lock",
            )
    except LockshipError as error:
        return of_error("project", "lock", error)
    facts = [f"{one.platform} {plural(len(one.layers), 'layer')}" for one in found.platforms]
    return ok("project", "lock", f"fits its inputs: {', '.join(facts)}")


def check_store(project: Project) -> Check:
    """Whether the project's own layout can be read, and every tag in it leads to something whole."""
    try:
        store = open_store(project)
        tags = store.tags()
        for tag in sorted(tags):
            _require_whole(store, tag)
    except LockshipError as error:
        return of_error("project", "store", error, exit_code=StoreError.exit_code)
    if not tags:
        there = "no tags yet" if store.root.is_dir() else "nothing was built yet"
        return ok("project", "store", f"{store.root}: {there}")
    return ok("project", "store", f"{store.root}: {plural(len(tags), 'tag')} ({listed(sorted(tags))}), all whole")


def _require_whole(store: Layout, tag: str) -> None:
    """Raises StoreError unless everything that `tag` leads to is there; sizes are compared, bytes are not."""
    contents = contents_of(store, tag)
    for descriptor in contents.blobs if contents is not None else ():
        if descriptor.digest not in contents.foreign and not store.adopt(descriptor):  # type: ignore[union-attr]
            raise StoreError(
                f"{store.root}: the tag {tag!r} leads to {descriptor.digest}, which is not there",
                hint="the layout is incomplete: build or pull it again",
            )


def layout_blobs(project: Project) -> tuple[Path, ...]:
    """The blob files of the project's own layout."""
    folder = project.root / ".lockship" / "store" / "blobs" / "sha256"
    return tuple(sorted(path for path in folder.glob("[0-9a-f]*") if _is_hex(path.name)))


def _is_hex(name: str) -> bool:
    try:
        Digest.from_hex(name)
    except LockshipError:
        return False
    return True
