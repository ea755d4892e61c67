"""A jar to a layer's entries: the file as it is, in the folder that the project has for jars.

The JVM reads classes from the jar itself, so nothing is unpacked. It is a zip file, compressed already: the layer is a
plain tar around it, which needs no second compression and none taken off again when the image is pulled.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from builder.errors import ArtifactError
from builder.files import read_chunks
from builder.layers import tar
from builder.layers.recipe import Part

__all__ = ["entries"]

_ZIP = b"PK\x03\x04"  # APPNOTE.TXT 4.3.7; an empty zip file begins otherwise, and is no jar


def entries(path: Path, part: Part) -> list[tar.Entry]:
    """The entry of the jar at `path`, not arranged: ``FOLDER/FILE``, with the folder that the part's params name.

    Raises ArtifactError for a file that is no jar, or would go where none may.
    """
    with path.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            raise ArtifactError(f"{part.file} is no jar: it doesn't begin as zip files do")
    target = tar.safe_path(f"{part.params['folder']}/{part.file}".lstrip("/"), what=part.file)
    return [tar.Entry(target, tar.Kind.FILE, 0o644, path.stat().st_size, content=partial(read_chunks, path))]
