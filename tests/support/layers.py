"""Real layers from a handful of entries."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from builder.content import CHUNK, Digest
from builder.layers import tar
from builder.layers.encode import encode
from builder.layers.recipe import Layer
from builder.registry.store import Store


class _Buffer:
    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes, /) -> None:
        self.data += data


def layer_of(
    kind: str, entries: Iterable[tar.Entry], *holds: tuple[str, str], compress: bool = True
) -> tuple[Layer, bytes]:
    """A layer of `entries`, and its blob."""
    sink = _Buffer()
    encoded = encode(tar.arrange(entries), sink, compress=compress)
    data = bytes(sink.data)
    return Layer(kind, Digest.of(data), len(data), encoded.diff_id, holds, encoded.media_type), data


def put_layer(
    store: Store, kind: str, entries: Iterable[tar.Entry], *holds: tuple[str, str], compress: bool = True
) -> Layer:
    """A layer of `entries`, in `store`."""
    layer, data = layer_of(kind, entries, *holds, compress=compress)
    store.write_blob(layer.descriptor, [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)])
    return layer


def executable(path: str, source: Path) -> tar.Entry:
    """The program at `source`, to run in an image."""
    return tar.file(path, source.read_bytes(), 0o755)


def host_programs(*names: str) -> list[tar.Entry]:
    """Programs of this machine with the libraries they need: enough to run something in an engine."""
    entries = {}
    for name in names:
        found = shutil.which(name)
        assert found is not None, name
        program = Path(found).resolve()
        entries[f"bin/{name}"] = executable(f"bin/{name}", program)
        entries |= {entry.path: entry for entry in _libraries(program)}
    return list(entries.values())


def host_python() -> list[tar.Entry]:
    """The Python that runs the tests, with its standard library, as ``/usr/bin/pythonX.Y``: a base without a shell."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    program = Path(sys.executable).resolve()
    entries = {entry.path: entry for entry in _libraries(program)}
    entries[f"usr/bin/{version}"] = executable(f"usr/bin/{version}", program)
    library = Path(sysconfig.get_path("stdlib"))
    unwanted = {"site-packages", "dist-packages", "test", "tests", "idlelib", "__pycache__", "ensurepip", "tkinter"}
    for path in sorted(library.rglob("*")):
        relative = path.relative_to(library)
        if path.is_file() and not unwanted & set(relative.parts) and path.suffix in (".py", ".so"):
            name = f"usr/lib/{version}/{relative}"
            entries[name] = tar.file(name, path.read_bytes())
            if path.suffix == ".so":
                entries |= {entry.path: entry for entry in _libraries(path)}
    return [*entries.values(), tar.directory("tmp", 0o1777)]


def _libraries(program: Path) -> list[tar.Entry]:
    listing = subprocess.run(["ldd", str(program)], check=True, capture_output=True, text=True).stdout
    return [executable(path.lstrip("/"), Path(path)) for path in re.findall(r"(/\S+) \(0x", listing)]
