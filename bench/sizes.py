"""How large an image in the engine is without its base."""

from __future__ import annotations

import json
import tarfile
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.engine import Engine

__all__ = ["compressed_above", "unpacked_above"]


def unpacked_above(engine: Engine, image: str, base: str) -> int:
    """Bytes of files, as the engine counts them."""
    return int(engine.inspect(image)["Size"]) - int(engine.inspect(base)["Size"])


def compressed_above(engine: Engine, image: str, base: str) -> int:
    """Bytes of the layers after gzip at its default level, which is what engines push."""
    below = len(engine.inspect(base)["RootFS"]["Layers"])
    with tempfile.TemporaryDirectory(prefix="lockship-bench-") as folder:
        path = Path(folder) / "image.tar"
        with path.open("wb") as file:
            for chunk in engine.save(image):
                file.write(chunk)
        with tarfile.open(path) as archive:
            manifest = archive.extractfile("manifest.json")
            assert manifest is not None
            layers = json.load(manifest)[0]["Layers"][below:]
            places = [archive.getmember(name) for name in layers]
        with ThreadPoolExecutor(4) as pool:
            return sum(pool.map(lambda one: _gzipped(path, one.offset_data, one.size), places))


def _gzipped(path: Path, offset: int, size: int) -> int:
    squeeze = zlib.compressobj(6, zlib.DEFLATED, 31)
    total = 0
    with path.open("rb") as file:
        file.seek(offset)
        while size:
            chunk = file.read(min(1 << 20, size))
            size -= len(chunk)
            total += len(squeeze.compress(chunk))
    return total + len(squeeze.flush())
