"""A wheel as the layer that installing it would make (PEP 427, and PyPA's "Binary distribution format").

What pip does to a wheel is a function of its bytes: files go to site-packages, the folders of ``.data`` spread, console
scripts appear, ``RECORD`` is completed. Here that function gives tar entries that point at the wheel's own
DEFLATE streams; nothing is unpacked to disk, nothing is compressed again.
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path
from typing import Final

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from builder.errors import ArtifactError
from builder.layers import tar
from builder.layers.archive import Member, open_archive, read
from builder.layers.gzip import content_of
from builder.layers.recipe import Part
from builder.layers.tar import Deflated, Entry, Kind

__all__ = ["VENV", "Compile", "entries", "installed_paths"]

VENV: Final = "opt/venv"
PYTHON: Final = f"/{VENV}/bin/python"

# Sources by their absolute path in the image, to byte code by the same path; what doesn't compile is left out.
Compile = Callable[[Sequence[tuple[str, bytes]]], Mapping[str, bytes]]

_SCRIPT: Final = """\
#!{python}
import sys
from {module} import {name}
if __name__ == "__main__":
    sys.argv[0] = sys.argv[0].removesuffix(".exe")
    sys.exit({call}())
"""
_ENTRY_POINT: Final = re.compile(r"(?P<module>[\w.]+)\s*:\s*(?P<call>[\w.]+)\s*(\[.*\])?\s*")
# whatever follows: the specification says "starts with", and so does pip
_SHEBANG: Final = re.compile(rb"#!python[^\n]*")


@dataclass(frozen=True, slots=True)
class _Wheel:
    """A wheel that was opened and found well-formed. `what` is its file name, `info` its ``.dist-info`` folder."""

    what: str
    members: Mapping[str, Member]
    info: str


def entries(path: Path, part: Part, compiled: Compile | None) -> list[Entry]:
    """What installing the wheel at `path` into ``/opt/venv`` gives, not arranged.

    `part.params["python"]` is the interpreter's ``X.Y``. With `compiled`, every module gets its byte code beside it.
    Raises ArtifactError, naming the wheel, for one that pip would not install or that is made to harm.
    """
    wheel = _open(path, part.file)
    site = site_packages(part.params["python"])
    scripts = _console_scripts(wheel)
    installed: dict[str, Entry] = {}
    for member in wheel.members.values():
        for entry in _place(wheel, member, site, part):
            if _wraps(entry, scripts):
                continue
            if entry.path in installed:
                raise ArtifactError(f"{wheel.what}: two of its files go to /{entry.path}")
            _refuse_reserved(wheel, entry, site)
            installed[entry.path] = entry
    installed |= scripts
    for name in ("RECORD", "INSTALLER"):
        installed.pop(f"{site}/{wheel.info}/{name}", None)
    installer = tar.file(f"{site}/{wheel.info}/INSTALLER", b"lockship\n")
    installed[installer.path] = installer
    code = _byte_code(wheel, installed, site, part.params["python"], compiled) if compiled else []
    record = _record(wheel, [*installed.values(), *code], site)
    return [*installed.values(), *code, record]


def installed_paths(path: Path, part: Part) -> dict[str, tuple[int, int]]:
    """Where each file of the wheel goes, with its size and CRC-32.

    For finding two wheels that own one path, without unpacking either.
    """
    found: dict[str, tuple[int, int]] = {}
    for entry in entries(path, part, None):
        if entry.kind is Kind.FILE and not entry.path.endswith((".dist-info/RECORD", ".dist-info/INSTALLER")):
            content = entry.content
            crc: int | None = getattr(content, "crc32", None)  # wrapped streams and stored files carry one
            if crc is None:
                crc = zlib.crc32(b"".join(content_of(entry)))
            found[entry.path] = (entry.size, crc)
    return found


def site_packages(python: str) -> str:
    """The relative path of site-packages for ``X.Y``."""
    return f"{VENV}/lib/python{python}/site-packages"


def _open(path: Path, file: str) -> _Wheel:
    try:
        name, version, _, _ = parse_wheel_filename(file)
    except InvalidWheelFilename as error:
        raise ArtifactError(f"{file}: not a wheel's file name ({error})") from error
    members = {member.path: member for member in open_archive(path, file)}
    infos = {top for top in (member.partition("/")[0] for member in members) if top.endswith(".dist-info")}
    if len(infos) != 1:
        raise ArtifactError(f"{file}: holds {len(infos)} .dist-info folders, a wheel has one")
    info = infos.pop()
    if canonicalize_name(info.partition("-")[0]) != name:
        raise ArtifactError(f"{file}: its .dist-info folder is {info!r}, which is another package's")
    for needed in ("WHEEL", "METADATA", "RECORD"):
        if f"{info}/{needed}" not in members:
            raise ArtifactError(f"{file}: has no {info}/{needed}")
    headers = Parser().parsestr(read(members[f"{info}/WHEEL"]).decode("utf-8", "replace"))
    wheel_version = headers.get("Wheel-Version", "")
    if not re.fullmatch(r"1\.\d+", wheel_version.strip()):
        raise ArtifactError(f"{file}: wheel format {wheel_version or 'unknown'!r}, 1.x is what installers read")
    del version
    return _Wheel(file, members, info)


def _place(wheel: _Wheel, member: Member, site: str, part: Part) -> list[Entry]:
    """The entries that one file of the wheel becomes."""
    if "__pycache__" in member.path.split("/")[:-1]:
        return []  # stale at best: byte code is made for the image's own interpreter, or not at all
    if member.path == f"{wheel.info}/direct_url.json":
        return []  # where somebody's build folder was (PEP 610) is nobody's business
    mode = 0o755 if member.executable else 0o644
    top, scheme, *rest = *member.path.split("/"), ""
    if not top.endswith(".data") or not scheme:  # however the name before it is written, as for pip
        return [Entry(f"{site}/{member.path}", Kind.FILE, mode, member.size, content=member.content)]
    rest = rest[:-1]
    if not rest:
        raise ArtifactError(f"{wheel.what}: {member.path!r} belongs to no part of .data")
    inner = "/".join(rest)
    folders = {
        "purelib": site,
        "platlib": site,
        "data": VENV,
        "headers": f"{VENV}/include/site/python{part.params['python']}/{part.name}",
        "scripts": f"{VENV}/bin",
    }
    if scheme not in folders:
        raise ArtifactError(f"{wheel.what}: {member.path!r}: unknown part of .data {scheme!r}")
    target = _through_links(f"{folders[scheme]}/{inner}")
    if scheme == "scripts":
        return [_script(wheel, member, target)]
    return [Entry(target, Kind.FILE, mode, member.size, content=member.content)]


def _through_links(target: str) -> str:
    """Where `target` is once it is installed: ``lib64`` of the environment is a link to ``lib``."""
    return re.sub(rf"^{VENV}/lib64/", f"{VENV}/lib/", target)


def _refuse_reserved(wheel: _Wheel, entry: Entry, site: str) -> None:
    """Raises ArtifactError for a file that would replace a part of the environment itself."""
    if entry.path.startswith(f"{VENV}/bin/"):
        _check_script_name(wheel, entry.path)
    reserved = {f"{VENV}/{name}" for name in ("pyvenv.cfg", "bin", "include", "lib64")}
    if entry.path in reserved or f"{site}/".startswith(f"{entry.path}/"):
        raise ArtifactError(
            f"{wheel.what}: installs /{entry.path}", hint="it would replace a part of the virtual environment itself"
        )


def _script(wheel: _Wheel, member: Member, target: str) -> Entry:
    """A script of ``.data/scripts``: executable, and its ``#!python`` points at the environment's interpreter."""
    _check_script_name(wheel, target)
    # a compiled program may be large: it is looked at only as far as its first bytes
    if not _starts_with_shebang(member):
        return Entry(target, Kind.FILE, 0o755, member.size, content=member.content)
    data = _SHEBANG.sub(b"#!" + PYTHON.encode(), read(member), count=1)
    return tar.file(target, data, 0o755)


def _starts_with_shebang(member: Member) -> bool:
    chunks = iter(member.content.open() if isinstance(member.content, Deflated) else tar.iterate(member.content))
    first = next(chunks, b"")
    if isinstance(member.content, Deflated):
        try:
            first = zlib.decompressobj(-zlib.MAX_WBITS).decompress(first, 64)
        except zlib.error:
            return False  # the encoder will say so, with the path
    return _SHEBANG.match(first) is not None


def _check_script_name(wheel: _Wheel, target: str) -> None:
    name = target.rpartition("/")[2]
    if re.fullmatch(r"python[\d.]*w?", name):
        raise ArtifactError(
            f"{wheel.what}: installs a script called {name!r}", hint="it would replace the environment's interpreter"
        )


def _wraps(entry: Entry, scripts: Mapping[str, Entry]) -> bool:
    """Whether a file of ``bin`` is a wrapper that old build tools made for an entry point: ours takes its place."""
    stem = re.sub(r"(?i)(\.exe|-script\.pyw?|\.pya)$", "", entry.path)
    return stem in scripts and entry.path.startswith(f"{VENV}/bin/")


def _console_scripts(wheel: _Wheel) -> dict[str, Entry]:
    """Scripts for the entry points ``console_scripts`` and ``gui_scripts`` (PyPA, "Entry points specification")."""
    member = wheel.members.get(f"{wheel.info}/entry_points.txt")
    if member is None:
        return {}
    # no section is special: pip knows no defaults
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False, default_section="\0")
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    try:
        parser.read_string(read(member).decode())
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ArtifactError(f"{wheel.what}: entry_points.txt can't be read ({error})") from error
    scripts = {}
    for group in ("console_scripts", "gui_scripts"):
        for name, value in parser.items(group) if parser.has_section(group) else ():
            found = _ENTRY_POINT.fullmatch(value)
            if found is None or "/" in name:
                raise ArtifactError(f"{wheel.what}: entry point {name!r} = {value!r} is malformed")
            target = f"{VENV}/bin/{tar.safe_path(name, what=wheel.what)}"
            _check_script_name(wheel, target)
            call = found["call"]
            text = _SCRIPT.format(python=PYTHON, module=found["module"], name=call.partition(".")[0], call=call)
            scripts[target] = tar.file(target, text.encode(), 0o755)
    return scripts


def _byte_code(wheel: _Wheel, installed: Mapping[str, Entry], site: str, python: str, compiled: Compile) -> list[Entry]:
    """Byte code for every module below site-packages, where the interpreter looks for it (PEP 3147)."""
    sources = []
    for path in sorted(installed):
        entry = installed[path]
        if path.startswith(site + "/") and path.endswith(".py"):
            sources.append((f"/{path}", _bytes_of(wheel, entry)))
    if not sources:
        return []
    tag = "cpython-" + python.replace(".", "")
    found = []
    for path, code in compiled(sources).items():
        folder, _, name = path[1:].rpartition("/")
        found.append(tar.file(f"{folder}/__pycache__/{name.removesuffix('.py')}.{tag}.pyc", code))
    return found


def _bytes_of(wheel: _Wheel, entry: Entry) -> bytes:
    if isinstance(entry.content, bytes):
        return entry.content
    try:
        return read(Member(entry.path, entry.size, False, entry.content))
    except ArtifactError as error:
        raise ArtifactError(f"{wheel.what}: {error.message}") from error


def _record(wheel: _Wheel, installed: Sequence[Entry], site: str) -> Entry:
    """``RECORD`` of what is installed: every file once, with hash and size, byte code and itself without."""
    known = _known_hashes(wheel, site)
    target = f"{site}/{wheel.info}/RECORD"
    rows: list[tuple[str, str, str]] = []
    for entry in installed:
        if entry.path.endswith(".pyc") and "/__pycache__/" in entry.path:
            rows.append((_relative(entry.path, site), "", ""))
            continue
        digest = known.get(entry.path) if not isinstance(entry.content, bytes) else None
        rows.append((_relative(entry.path, site), digest or _hash(wheel, entry), str(entry.size)))
    rows.append((_relative(target, site), "", ""))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(sorted(rows))
    return tar.file(target, text.getvalue().encode("utf-8", "surrogateescape"))


def _known_hashes(wheel: _Wheel, site: str) -> dict[str, str]:
    """The sha256 that the wheel's own RECORD gives for files that stay below site-packages as they are.

    Believed, as pip believes it: what vouches for the files is the wheel's hash in the lock.
    """
    try:
        text = read(wheel.members[f"{wheel.info}/RECORD"]).decode()
        rows = list(csv.reader(io.StringIO(text)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ArtifactError(f"{wheel.what}: RECORD can't be read ({error})") from error
    return {f"{site}/{row[0]}": row[1] for row in rows if len(row) == 3 and row[1].startswith("sha256=")}


def _hash(wheel: _Wheel, entry: Entry) -> str:
    state = hashlib.sha256()
    try:
        for chunk in content_of(entry):
            state.update(chunk)
    except ArtifactError as error:
        raise ArtifactError(f"{wheel.what}: {entry.path}: {error.message}") from error
    return "sha256=" + base64.urlsafe_b64encode(state.digest()).rstrip(b"=").decode()


def _relative(path: str, site: str) -> str:
    """`path` as RECORD writes it: relative to site-packages."""
    if path.startswith(site + "/"):
        return path[len(site) + 1 :]
    return "../../../" + path.removeprefix(VENV + "/")
