"""A Debian package to a layer's entries, from the .deb's bytes alone.

What comes out is what a distroless base holds: /usr is merged, no maintainer script has run, manuals and message
catalogues are gone, copyrights stay, and ``var/lib/dpkg/status.d`` tells scanners which package this is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from builder.errors import ArtifactError
from builder.layers import debfile, tar, usrmerge
from builder.layers.debtree import order, tree_of, wanted
from builder.layers.recipe import Part
from builder.layers.unpack import unpack

__all__ = ["Compiled", "entries", "unpack"]

# Sources as (absolute path in the image, bytes) to byte code by the same path
Compiled = Callable[[Sequence[tuple[str, bytes]]], Mapping[str, bytes]]

_SOURCE: Final = re.compile(r"usr/lib/python3[^/]*/(?:.+/)?[^/]+\.py")
_CERTIFICATES: Final = re.compile(r"usr/share/ca-certificates/mozilla/[^/]+\.crt")
_BUNDLE: Final = "etc/ssl/certs/ca-certificates.crt"
_OPENSSL: Final = "usr/lib/ssl/cert.pem"  # where Debian's OpenSSL looks without being told


def entries(path: Path, part: Part, compiled: Compiled | None) -> list[tar.Entry]:
    """The entries of the package at `path`, not arranged.

    `part` says which package it must be; its params may hold ``python`` (``3.11``), for modules in directories without
    a version, and ``links``: further links (path to target) that the package's scripts would make, where it has
    nothing there itself. `compiled` makes byte code: it is called once, with every module below ``usr/lib/python3*``
    sorted by path, and may leave some out.

    Raises ArtifactError naming the package when it is malformed, hostile, or another one.
    """
    what = part.file or f"{part.name} {part.version}".strip()
    control = debfile.control(path, what)
    _check_identity(control["control"], part, what)
    found = tree_of(path, what)
    if part.name == "ca-certificates":
        found += _bundle(found)
    found += _links(found, part)
    found += _status(part.name, control)
    if compiled is not None:
        found += _byte_code(found, compiled, part, what)
    return found


def _check_identity(control: bytes, part: Part, what: str) -> None:
    for field, expected in (("Package", part.name), ("Version", part.version)):
        match = re.search(rf"^{field}:[ \t]*(\S*)[ \t]*$", control.decode("utf-8", "replace"), re.MULTILINE)
        found = match[1] if match else ""
        if expected and found != expected:
            raise ArtifactError(f"{what}: its {field.lower()} is {found or 'missing'}, the lock says {expected}")


def _status(name: str, control: Mapping[str, bytes]) -> Iterable[tar.Entry]:
    """The package as scanners look for it: its control stanza, and the sums of the files that are here."""
    folder = "var/lib/dpkg/status.d"
    yield tar.file(f"{folder}/{name}", control["control"].rstrip(b"\n") + b"\n")
    lines = []
    for line in control.get("md5sums", b"").splitlines():
        digest, _, path = line.decode("utf-8", "surrogateescape").partition("  ")
        if path and wanted(here := usrmerge.moved(path)):
            lines.append(f"{digest}  {here}\n".encode("utf-8", "surrogateescape"))
    yield tar.file(f"{folder}/{name}.md5sums", b"".join(lines))


def _links(found: Iterable[tar.Entry], part: Part) -> list[tar.Entry]:
    there = {one.path for one in found}
    return [tar.symlink(path, to) for path, to in sorted(part.params.get("links", {}).items()) if path not in there]


def _bundle(found: Iterable[tar.Entry]) -> Iterable[tar.Entry]:
    """What update-ca-certificates would write, and the name under which OpenSSL finds it by itself."""
    certificates = sorted((one for one in found if _CERTIFICATES.fullmatch(one.path)), key=lambda one: order(one.path))
    if not certificates:
        return
    texts = (_bytes(one).rstrip(b"\n") + b"\n" for one in certificates)
    yield tar.file(_BUNDLE, b"".join(texts))
    yield tar.symlink(_OPENSSL, "/" + _BUNDLE)


def _bytes(entry: tar.Entry) -> bytes:
    assert not isinstance(entry.content, tar.Deflated)
    return b"".join(tar.iterate(entry.content))


def _byte_code(found: Iterable[tar.Entry], compiled: Compiled, part: Part, what: str) -> list[tar.Entry]:
    """``__pycache__/NAME.cpython-XY.pyc`` (PEP 3147) for every module that `compiled` could compile."""
    modules = {
        "/" + one.path: one
        for one in found
        if one.kind is tar.Kind.FILE and _SOURCE.fullmatch(one.path) and "__pycache__" not in one.path.split("/")
    }
    if not modules:
        return []
    made = compiled([(path, _bytes(modules[path])) for path in sorted(modules)])
    return [tar.file(_cached(path, part, what), made[path]) for path in sorted(modules) if path in made]


def _cached(path: str, part: Part, what: str) -> str:
    folder, _, name = path.lstrip("/").rpartition("/")
    match = re.match(r"usr/lib/python(3\.\d+)/", path.lstrip("/"))
    version = match[1] if match else str(part.params.get("python", ""))
    if not re.fullmatch(r"3\.\d+", version):
        raise ArtifactError(f"{what}: nothing says which Python {path} is for")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.cpython-{version.replace('.', '')}.pyc"
