"""What a package installs, normalised: merged /usr, no manuals, each path once, nothing that could do harm."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from builder.errors import ArtifactError
from builder.layers import debfile, tar, usrmerge
from builder.layers.spool import Spool

__all__ = ["order", "tree_of", "wanted"]

_DROPPED: Final = ("man", "info", "lintian", "locale", "bug", "doc-base", "gtk-doc")
_CAPABILITY: Final = "security.capability"


def tree_of(path: Path, what: str) -> list[tar.Entry]:
    """What the package at `path` installs, normalised: each path once, hard links to the first of their names."""
    tree: dict[str, tar.Entry] = {}
    links: dict[str, str] = {}
    dropped: dict[str, None] = {}
    spool = Spool()
    for member in debfile.members(path, what):
        if member.path in (".", "./"):
            continue
        original = _clean(member.path, what)
        here = _place(original, member.kind)
        if not wanted(here, member.kind):
            dropped[here] = None
        elif member.kind == tarfile.LNKTYPE:
            links[here] = usrmerge.moved(_clean(member.link, what))
        else:
            _add(tree, _entry(member, original, here, spool, what), what)
    tree |= _rescued(path, what, set(links.values()) & dropped.keys(), spool, tree)
    _link(tree, links, what)
    return [entry for entry in tree.values() if not _loops(entry)]


def _clean(path: str, what: str) -> str:
    # unlike zip archives, packages may have backslashes in names: systemd's units do
    tar.safe_path(path.replace("\\", "_"), what=what)
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def _place(path: str, kind: bytes) -> str:
    """Where it goes; the symlinks of the merge itself (``bin -> usr/bin``) stay where they are."""
    return path if kind == tarfile.SYMTYPE and path in usrmerge.MERGED else usrmerge.moved(path)


def wanted(path: str, kind: bytes = tarfile.REGTYPE) -> bool:
    """Whether `path` goes into the image: all but manuals, message catalogues and the like. Copyrights do."""
    parts = path.split("/")
    if parts[:2] != ["usr", "share"] or len(parts) < 3:
        return True
    if parts[2] == "doc":
        # a package's folder may be a link to the one that has its copyright; folders come back with what they hold
        return (len(parts) == 5 and parts[4] == "copyright") or (len(parts) == 4 and kind == tarfile.SYMTYPE)
    return parts[2] not in _DROPPED


def _entry(member: debfile.Member, original: str, here: str, spool: Spool, what: str) -> tar.Entry:
    uid, gid = member.uid, member.gid
    if not (0 <= uid < 2**32 and 0 <= gid < 2**32):
        raise ArtifactError(f"{what}: {original!r} belongs to nobody possible ({uid}:{gid})")
    xattrs = tuple(pair for pair in member.xattrs if pair[0] == _CAPABILITY)
    if member.kind == tarfile.DIRTYPE:
        return tar.Entry(here, tar.Kind.DIRECTORY, member.mode, uid=uid, gid=gid)
    if member.kind == tarfile.SYMTYPE:
        if not member.link or "\0" in member.link:
            raise ArtifactError(f"{what}: {original!r} is a link to nothing")
        target = usrmerge.relinked(original, member.link) if here != original else member.link
        return tar.Entry(here, tar.Kind.SYMLINK, 0o777, link=target, uid=uid, gid=gid)
    if member.kind not in tarfile.REGULAR_TYPES or member.read is None:
        raise ArtifactError(
            f"{what}: {original!r} is a device node or something like it",
            hint="an image layer can't hold it, and no base needs it",
        )
    try:
        content = spool.keep(member.read, member.size)
    except ArtifactError as error:
        raise ArtifactError(f"{what}: {original!r} {error.message}") from error
    return tar.Entry(
        here, tar.Kind.FILE, member.mode, size=member.size, content=content, xattrs=xattrs, uid=uid, gid=gid
    )


def _add(tree: dict[str, tar.Entry], entry: tar.Entry, what: str) -> None:
    known = tree.get(entry.path)
    if known is None:
        tree[entry.path] = entry
        return
    # the same path from both sides of the merge: a link between the two is no link any more
    if _loops(known):
        tree[entry.path] = entry
    elif not _loops(entry) and not (known == entry and entry.kind is tar.Kind.DIRECTORY):
        raise ArtifactError(f"{what}: {entry.path!r} is there twice")


def _loops(entry: tar.Entry) -> bool:
    """A symlink that the merge has turned into a link to itself."""
    return entry.kind is tar.Kind.SYMLINK and usrmerge.moved(usrmerge.resolved(entry.path, entry.link)) == entry.path


def _rescued(
    path: Path, what: str, targets: set[str], spool: Spool, tree: Mapping[str, tar.Entry]
) -> dict[str, tar.Entry]:
    """Files that were dropped, but that something kept is a hard link to."""
    if not targets:
        return {}
    found: dict[str, tar.Entry] = {}
    for member in debfile.members(path, what):
        if member.kind not in tarfile.REGULAR_TYPES:
            continue
        original = _clean(member.path, what)
        here = _place(original, member.kind)
        if here in targets and here not in tree:
            found[here] = _entry(member, original, here, spool, what)
    return found


def _link(tree: dict[str, tar.Entry], links: Mapping[str, str], what: str) -> None:
    """Hard links to the bytewise first name of each file: extraction order is sorted order."""
    groups: dict[str, list[str]] = {}
    for name, target in links.items():
        seen = {name}
        while target in links and target not in seen:
            seen.add(target)
            target = links[target]
        if name in tree:
            raise ArtifactError(f"{what}: {name!r} is there twice")
        groups.setdefault(target, []).append(name)
    for target, names in groups.items():
        entry = tree.get(target)
        if entry is None or entry.kind is not tar.Kind.FILE:
            raise ArtifactError(f"{what}: {names[0]!r} is a hard link to {target!r}, which is no file of the package")
        if not wanted(target):
            del tree[target]
        else:
            names = [target, *names]
        first, *others = sorted(set(names), key=order)
        tree[first] = replace(entry, path=first)
        for name in others:
            tree[name] = replace(entry, path=name, kind=tar.Kind.HARDLINK, size=0, content=b"", link=first, xattrs=())


def order(path: str) -> bytes:
    """A key that sorts paths bytewise, as layers are."""
    return path.encode("utf-8", "surrogateescape").replace(b"/", b"\0")
