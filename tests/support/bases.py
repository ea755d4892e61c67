"""Base images for tests, made by `tarfile` and `gzip`: by others than what reads them. Nothing in them runs."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from builder.content import (
    MEDIA_CONFIG,
    MEDIA_INDEX,
    MEDIA_LAYER_GZIP,
    MEDIA_MANIFEST,
    Descriptor,
    Digest,
    Platform,
    canonical_json,
)
from builder.registry.store import Manifest, Store

__all__ = ["AMD64", "ARM64", "DOCKER", "OCI", "elf", "entry", "files", "layer", "put_base", "put_index", "python"]

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
PATH = "PATH=/usr/local/bin:/usr/bin:/bin"

# Media types of manifest, configuration, layer and index
OCI = (MEDIA_MANIFEST, MEDIA_CONFIG, MEDIA_LAYER_GZIP, MEDIA_INDEX)
DOCKER = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)

Member = tuple[tarfile.TarInfo, bytes]

_LOADERS = {"amd64": "/lib64/ld-linux-x86-64.so.2", "arm64": "/lib/ld-linux-aarch64.so.1"}
_MACHINES = {"amd64": 62, "arm64": 183}


def entry(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **more: Any) -> Member:
    """One entry of a layer; `more` are attributes of TarInfo."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def files(content: Mapping[str, bytes | str], *, mode: int = 0o755) -> list[Member]:
    """Files (bytes) and symlinks (strings) by path."""
    return [
        entry(name, linkname=value, kind=tarfile.SYMTYPE) if isinstance(value, str) else entry(name, value, mode=mode)
        for name, value in content.items()
    ]


def layer(members: Iterable[Member]) -> bytes:
    """A plain tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def put_base(
    store: Store,
    tars: Sequence[bytes],
    /,
    *,
    platform: Platform = AMD64,
    media: tuple[str, str, str, str] = OCI,
    tag: str | None = None,
    config: Mapping[str, Any] | None = None,
    **manifest: Any,
) -> Manifest:
    """Store an image of plain tars; `config` are its settings, and `manifest` fields that replace the manifest's."""
    descriptors = []
    for tar in tars:
        data = gzip.compress(tar, mtime=0)
        descriptor = Descriptor(media[2], Digest.of(data), len(data))
        store.write_blob(descriptor, [data])
        descriptors.append(descriptor.to_json())
    document = {
        "os": platform.os,
        "architecture": platform.architecture,
        "config": {"Env": [PATH]} | dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": [Digest.of(tar) for tar in tars]},
        "history": [
            {"created": "2024-01-01T00:00:00Z", "created_by": "ENV X=1", "empty_layer": True},
            *({"created_by": f"RUN  step\t{number}"} for number, _ in enumerate(tars)),
        ],
    }
    raw = canonical_json(document)
    described = Descriptor(media[1], Digest.of(raw), len(raw))
    store.write_blob(described, [raw])
    data = canonical_json(
        {"schemaVersion": 2, "mediaType": media[0], "config": described.to_json(), "layers": descriptors} | manifest
    )
    made = Manifest(Descriptor(media[0], Digest.of(data), len(data), platform=platform), data)
    store.put_manifest(made.descriptor, data, tag=tag, move=True)
    return made


def put_index(
    store: Store, *images: Manifest, tag: str, media: tuple[str, str, str, str] = OCI, more: Sequence[Any] = ()
) -> Manifest:
    """Store an index over `images`."""
    entries = [image.descriptor.to_json() for image in images]
    data = canonical_json({"schemaVersion": 2, "mediaType": media[3], "manifests": [*entries, *more]})
    made = Manifest(Descriptor(media[3], Digest.of(data), len(data)), data)
    store.put_manifest(made.descriptor, data, tag=tag, move=True)
    return made


def elf(
    architecture: str = "amd64",
    loader: str | None = None,
    needed: Sequence[str] = (),
    rpath: str = "",
    text: bytes = b"",
) -> bytes:
    """A 64-bit ELF file that says what it needs and holds `text`; no processor could run it."""
    loader = _LOADERS[architecture] if loader is None else loader
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in (*needed, rpath))
    interpreter = loader.encode() + b"\0"
    count = 3 if loader else 2
    base = 64 + 56 * count
    at = {"interpreter": base, "strings": base + len(interpreter)}
    tags = []
    offset = 1
    for name in needed:
        tags.append((1, offset))
        offset += len(name) + 1
    if rpath:
        tags.append((29, offset))
    tags += [(5, 0x1000 + at["strings"]), (0, 0)]
    dynamic = b"".join(struct.pack("<qQ", *pair) for pair in tags)
    start = at["strings"] + len(strings)
    total = start + len(dynamic) + len(text)
    segments = [(1, 0, 0x1000, total), (2, start, 0x1000 + start, len(dynamic))]
    if loader:
        segments.append((3, base, 0x1000 + base, len(interpreter)))
    table = b"".join(struct.pack("<IIQQQQQQ", kind, 4, at_, to, to, size, size, 1) for kind, at_, to, size in segments)
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, _MACHINES[architecture], 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0
    )
    return head + table + interpreter + strings + dynamic + text


def python(
    version: str = "3.11.9", prefix: str = "usr/local", architecture: str = "amd64", glibc: str = "2.36"
) -> dict[str, bytes | str]:
    """The files of a system with a python that looks like one, by path."""
    minor = ".".join(version.split(".")[:2])
    loader = _LOADERS[architecture][1:]
    program = elf(architecture, needed=[f"libpython{minor}.so.1.0", "libc.so.6"], rpath="$ORIGIN/../lib")
    return {
        f"{prefix}/bin/python{minor}": program,
        f"{prefix}/bin/python3": f"python{minor}",
        f"{prefix}/bin/python": "python3",
        f"{prefix}/lib/libpython{minor}.so.1.0": elf(
            architecture, "", ["libc.so.6"], text=b"\0%s\0\x003.45.1\0" % version.encode()
        ),
        f"{prefix}/lib/python{minor}/os.py": b"",
        f"{prefix}/lib/python{minor}/encodings/__init__.py": b"",
        loader: elf(architecture, ""),
        "lib/libc.so.6": elf(
            architecture,
            "",
            text=b"GNU C Library (Debian GLIBC %s-9) stable release version %s.\n" % ((glibc.encode(),) * 2),
        ),
        "etc/ld.so.conf": b"include /etc/ld.so.conf.d/*.conf\n",
        "etc/ld.so.conf.d/libc.conf": b"# libc default configuration\n/usr/local/lib\n",
    }
