"""The project's own layers on top of each other, and on what is always there: nothing replaces anything unseen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from builder.cache import Cache
from builder.content import Digest
from builder.errors import ProjectError
from builder.files import read_chunks
from builder.layers import tar
from builder.layers.gzip import content_of
from builder.layers.tar import Entry, Kind
from builder.lock.file import LockedPlatform

__all__ = ["JARS", "jar_entries", "stack"]

_Group = tuple[str, Sequence[Entry]]
JARS = "[java] artifacts"
"""What the group of the jars is called."""

_HINT = "give one of them another `target`"


def stack(below: Iterable[_Group], groups: Iterable[_Group]) -> list[tuple[Entry, ...]]:
    """The entries of each of `groups` as they lie upon `below` and upon the groups before, lowest first.

    A group is a name, for messages, and arranged entries. Folders that are there keep their owner and mode; a file
    that is there with the same bytes is left out, and so are folders then empty. Raises ProjectError, naming both
    sides, where a file would replace something else.
    """
    there: dict[str, tuple[str, Entry]] = {}
    for name, entries in below:
        there.update((entry.path, (name, entry)) for entry in entries)
    found = []
    for name, entries in groups:
        kept = [entry for entry in entries if not _is_there(entry, name, there)]
        needed = {part for entry in kept if entry.kind is not Kind.DIRECTORY for part in _upwards(entry.path)}
        folders = [entry for entry in entries if entry.kind is Kind.DIRECTORY and entry.path in needed]
        files = [entry for entry in kept if entry.kind is not Kind.DIRECTORY]
        folders = [there[one.path][1] if one.path in there else one for one in folders]
        found.append(tuple(tar.arrange([*folders, *files])))
        there.update((entry.path, (name, entry)) for entry in found[-1] if entry.path not in there)
    return found


def jar_entries(locked: LockedPlatform, cache: Cache) -> tuple[Entry, ...]:
    """Where the jars go, arranged; one that the cache lacks has no bytes that anything could equal."""
    found = []
    for one in locked.jars:
        path = cache.blob(one.digest)
        content: tar.Content = b"" if path is None else partial(read_chunks, path)
        found.append(Entry(f"{one.folder}/{one.file}".lstrip("/"), Kind.FILE, 0o644, one.size, content=content))
    return tuple(tar.arrange(found))


def _upwards(path: str) -> Iterable[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _is_there(entry: Entry, name: str, there: dict[str, tuple[str, Entry]]) -> bool:
    """Whether the very same is there already; raises ProjectError for anything else in its place."""
    if entry.path not in there:
        return False
    owner, other = there[entry.path]
    if entry.kind is Kind.DIRECTORY and other.kind is Kind.DIRECTORY:
        return True
    if entry.kind is other.kind and entry.link == other.link and _same_bytes(entry, other):
        return True
    hint = _HINT if name != JARS else "give [java] another `destination`"
    raise ProjectError(f"{name} and {owner} both have /{entry.path}, and not the same", hint=hint)


def _same_bytes(one: Entry, other: Entry) -> bool:
    if one.size != other.size:
        return False
    return one.content == other.content or Digest.of_chunks(content_of(one)) == Digest.of_chunks(content_of(other))
