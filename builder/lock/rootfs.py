"""An image's file system, read out of its layers without unpacking them to where their paths say.

OCI image specification v1.1, "Image Layer Filesystem Changeset": layers are laid over each other, with whiteouts
(``.wh.NAME``) and opaque folders (``.wh..wh..opq``). Nothing is ever written to a path that a layer names; a symlink
is followed inside the image only.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Self, cast

from builder.content import CHUNK, MEDIA_LAYER_TAR
from builder.errors import ArtifactError, StoreError, VerificationError
from builder.lock.images import BaseLayer

__all__ = ["File", "Folder", "Link", "Node", "Other", "Tree", "opened"]

_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_HOPS: Final = 40  # symlinks on one path, as Linux counts
_MOST: Final = 2_000_000  # entries of an image: more than any real one has, less than fills the memory
# A layer that unpacks to this much, and to this many times its own size, is made to hurt.
_BOMB_SIZE: Final = 1 << 30
_BOMB_RATIO: Final = 200
# Headers that describe the next one are read into memory. As much of them as Go's reader takes, which is the engines'.
_META: Final = frozenset(
    (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
)
_LONGEST_META: Final = 1 << 20  # bytes
# What `tarfile` raises of archives that are damaged or made to hurt.
_MALFORMED: Final = (tarfile.TarError, EOFError, ValueError, OSError, LookupError, ArithmeticError, RecursionError)


@dataclass(frozen=True, slots=True)
class File:
    """A regular file: `size` bytes at `offset` of layer number `layer`'s tar (None: in pieces, a sparse file)."""

    layer: int
    offset: int | None
    size: int
    executable: bool


@dataclass(frozen=True, slots=True)
class Link:
    """A symlink."""

    target: str


@dataclass(frozen=True, slots=True)
class Other:
    """A device, a pipe."""


@dataclass(slots=True)
class Folder:
    """A folder and what is in it."""

    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    children: dict[str, Node] = field(default_factory=dict)


Node = File | Link | Other | Folder


class Tree:
    """The file system of an image. Paths are absolute, as in the image."""

    def __init__(self) -> None:
        self.root = Folder()
        self._files: list[BinaryIO] = []
        self._count = 0

    def find(self, path: str) -> tuple[str, Node] | None:
        """What is at `path`, with its real path: symlinks are followed, and never lead out. None: nothing is."""
        pending = path.split("/")[::-1]
        above: list[tuple[str, Folder]] = [("", self.root)]
        hops = 0
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":
                del above[max(1, len(above) - 1) :]
                continue
            node = above[-1][1].children.get(part)
            if node is None:
                return None
            if isinstance(node, Link):
                hops += 1
                if hops > _HOPS:
                    return None
                if node.target.startswith("/"):
                    del above[1:]
                pending.extend(node.target.split("/")[::-1])
            elif isinstance(node, Folder):
                above.append((part, node))
            else:
                rest = any(one not in ("", ".") for one in pending)
                return None if rest else ("/".join([*(name for name, _ in above), part]), node)
        return "/".join(name for name, _ in above) or "/", above[-1][1]

    def file(self, path: str) -> tuple[str, File] | None:
        """The regular file at `path`, with its real path."""
        found = self.find(path)
        return (found[0], found[1]) if found is not None and isinstance(found[1], File) else None

    def folder(self, path: str) -> Folder | None:
        """The folder at `path`."""
        found = self.find(path)
        return found[1] if found is not None and isinstance(found[1], Folder) else None

    def chunks(self, file: File) -> Iterator[bytes]:
        """The bytes of a file; raises ArtifactError when the layer ends before them."""
        if file.offset is None:
            raise ArtifactError("the base keeps a file that is needed as a sparse one", hint="choose another base")
        at, end = file.offset, file.offset + file.size
        while at < end:
            data = os.pread(self._files[file.layer].fileno(), min(CHUNK, end - at), at)
            if not data:
                raise ArtifactError("a layer of the base ends before its files do")
            at += len(data)
            yield data

    def read(self, file: File, limit: int) -> bytes:
        """All bytes of a file; raises ArtifactError when it has more than `limit`."""
        if file.size > limit:
            raise ArtifactError(f"a file of the base has {file.size:,} bytes, at most {limit:,} were expected")
        return b"".join(self.chunks(file))

    # laying layers over each other

    def add(self, tar: BinaryIO, what: str) -> None:
        """Lay the layer whose tar is `tar` over what is there; `what` names it. Raises ArtifactError."""
        self._files.append(tar)
        number = len(self._files) - 1
        found: list[tuple[list[str], Node | str]] = []
        try:
            with tarfile.open(
                fileobj=tar, mode="r:", errorlevel=2, errors="surrogateescape", tarinfo=_Header
            ) as archive:
                while (member := archive.next()) is not None:
                    archive.members.clear()  # type: ignore[attr-defined]  # it keeps all of them otherwise
                    self._count += 1
                    if member.size < 0:  # an extended header may say so
                        raise ValueError("a size below zero")
                    if self._count > _MOST:
                        raise ArtifactError(f"{what}: the image has more than {_MOST:,} files")
                    self._read(member, number, found, what)
        except _MALFORMED as error:
            raise ArtifactError(f"{what}: not a tar that can be read ({error})") from error
        for parts, node in found:
            self._put(parts, node, what)

    def _read(self, member: tarfile.TarInfo, number: int, found: list[tuple[list[str], Node | str]], what: str) -> None:
        """Note down one entry; a whiteout takes effect at once, because it concerns the layers below alone."""
        parts = _parts(member.name, what)
        if not parts:
            self.root.mode = member.mode
            return
        *above, name = parts
        if any(part.startswith(_WHITEOUT) for part in above):
            raise ArtifactError(f"{what}: {member.name!r} lies in a whiteout")
        if name == _OPAQUE:
            if (folder := self._parent(above, make=False)) is not None:
                folder.children.clear()
        elif name.startswith(_WHITEOUT + _WHITEOUT):
            return  # aufs' own bookkeeping
        elif name.startswith(_WHITEOUT):
            gone = name[len(_WHITEOUT) :]
            if gone in ("", ".", ".."):
                raise ArtifactError(f"{what}: {member.name!r} is a whiteout of nothing")
            if (folder := self._parent(above, make=False)) is not None:
                folder.children.pop(gone, None)
        elif member.islnk():
            found.append((parts, member.linkname))
        else:
            found.append((parts, _node(member, number)))

    def _put(self, parts: list[str], node: Node | str, what: str) -> None:
        if isinstance(node, str):
            *above, name = _parts(node, what) or [""]
            folder = self._parent(above, make=False)
            target = folder.children.get(name) if folder is not None else None
            if target is None or isinstance(target, Folder):
                raise ArtifactError(f"{what}: {'/'.join(parts)!r} is a hard link to {node!r}, which is not there")
            node = target
        parent = self._parent(parts[:-1], make=True)
        assert parent is not None
        old = parent.children.get(parts[-1])
        if isinstance(node, Folder) and isinstance(old, Folder):
            old.mode, old.uid, old.gid = node.mode, node.uid, node.gid
        else:
            parent.children[parts[-1]] = node

    def _parent(self, parts: Sequence[str], *, make: bool) -> Folder | None:
        """The folder with this path, through symlinks to folders; made where it is missing, with `make`."""
        here = self.root
        for number, part in enumerate(parts):
            node = here.children.get(part)
            if isinstance(node, Link):
                node = self.folder("/" + "/".join(parts[: number + 1]))
            if not isinstance(node, Folder):
                if not make:
                    return None
                node = here.children[part] = Folder()
            here = node
        return here


class _Header(tarfile.TarInfo):
    """A header that makes sense. `tarfile` takes sizes that lead back, and what is no header for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """See `tarfile.TarInfo.frombuf`; raises ValueError, too."""
        try:
            found = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if not any(buf):
                raise  # the end
            raise ValueError(str(error)) from error
        if found.size < 0 or (found.type in _META and found.size > _LONGEST_META):
            raise ValueError(f"a header with a size of {found.size:,} bytes")
        return found


def _parts(name: str, what: str) -> list[str]:
    """A path of a tar, taken apart; a leading slash means the image's root, as it does to engines."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise ArtifactError(f"{what}: unsafe path {name[:200]!r}", hint="a path may not leave the image")
    return parts


def _node(member: tarfile.TarInfo, number: int) -> Node:
    if member.isdir():
        return Folder(member.mode & 0o7777, member.uid, member.gid)
    if member.issym():
        return Link(member.linkname)
    if not member.isreg():
        return Other()
    offset = None if member.issparse() else member.offset_data
    return File(number, offset, member.size, bool(member.mode & 0o111))


@contextmanager
def opened(layers: Sequence[tuple[BaseLayer, Path]], scratch: Path) -> Iterator[Tree]:
    """The file system that `layers`, lowest first, make; readable until the context ends.

    Each comes with its blob, verified already. Their tars, inflated, lie below `scratch` meanwhile. Raises
    VerificationError when one is not what its diff id says, ArtifactError when one is malformed or hostile, StoreError
    as the disk does.
    """
    tree = Tree()
    with ExitStack() as stack:
        for layer, path in layers:
            what = f"the base's layer {layer.digest.short}"
            tar = stack.enter_context(_inflated(layer, path, scratch, what))
            tree.add(tar, what)
        yield tree


def _inflated(layer: BaseLayer, path: Path, scratch: Path, what: str) -> BinaryIO:
    """The layer's tar, as a file that is the caller's to close."""
    with ExitStack() as stack:
        try:
            blob = stack.enter_context(path.open("rb"))
            tar: BinaryIO = blob
            if layer.media_type == MEDIA_LAYER_TAR:
                if layer.diff_id != layer.digest:
                    raise VerificationError(f"{what}: a plain tar, and its diff id is not its digest")
            else:
                tar = stack.enter_context(cast(BinaryIO, tempfile.TemporaryFile(dir=scratch)))  # noqa: SIM115
                _inflate(layer, blob, tar, what)
                blob.close()
        except OSError as error:
            raise StoreError(
                f"cannot unpack {what}: {error.strerror or error}",
                hint="free some space, or name another folder with LOCKSHIP_CACHE",
            ) from error
        stack.pop_all()
        return tar
    raise AssertionError  # no context here swallows an error


def _inflate(layer: BaseLayer, blob: BinaryIO, tar: BinaryIO, what: str) -> None:
    state = hashlib.sha256()
    size = 0
    try:
        with gzip.GzipFile(fileobj=blob) as inflated:
            while chunk := inflated.read(CHUNK):
                state.update(chunk)
                size += len(chunk)
                if size > _BOMB_SIZE and size > _BOMB_RATIO * layer.size:
                    raise ArtifactError(f"{what}: {layer.size:,} bytes that unpack to more than {size:,}: made to hurt")
                tar.write(chunk)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ArtifactError(f"{what}: not gzip that can be read ({error})") from error
    if state.hexdigest() != layer.diff_id.hex:
        raise VerificationError(f"{what}: unpacks to sha256:{state.hexdigest()}, not to its diff id {layer.diff_id}")
    tar.flush()
    tar.seek(0)
