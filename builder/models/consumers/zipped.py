"""Zip archives whose bytes depend on their files alone (APPNOTE.TXT 6.3.10): for packages of other ecosystems.

Sorted, without times, owners and extra fields. What shrinks is compressed by libdeflate, pinned, whose output depends
neither on the machine nor on Python's zlib.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from builder.errors import ModelError

__all__ = ["zipped"]

LEVEL: Final = 6
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")
_VERSION: Final = 20  # needed to extract: deflate and folders
_UTF8: Final = 0x800  # names are UTF-8
_TIME, _DATE = 0, 1 << 5 | 1  # 1980-01-01, the first day that zip knows
_STORED, _DEFLATED = 0, 8
_MOST: Final = 0xFFFF
_LARGEST: Final = 0xFFFFFFFF


def zipped(files: Mapping[str, bytes]) -> bytes:
    """The archive of `files`, by their paths with ``/``; raises ModelError for more than an archive holds (4 GiB)."""
    import deflate

    body: list[bytes] = []
    directory: list[bytes] = []
    offset = 0
    if len(files) > _MOST or sum(map(len, files.values())) > _LARGEST - (1 << 24):
        raise ModelError("the package would be larger than a zip archive can be", hint="train a smaller model")
    for path, data in sorted(files.items()):
        name = path.encode()
        small = bytes(deflate.deflate_compress(data, LEVEL)) if data else b""
        method, packed = (_DEFLATED, small) if data and len(small) < len(data) else (_STORED, data)
        common = (_VERSION, _UTF8, method, _TIME, _DATE, deflate.crc32(data), len(packed), len(data), len(name), 0)
        local = _LOCAL.pack(b"PK\3\4", *common) + name
        directory.append(_CENTRAL.pack(b"PK\1\2", _VERSION, *common, 0, 0, 0, 0, offset) + name)
        body += (local, packed)
        offset += len(local) + len(packed)
    size = sum(map(len, directory))
    end = _END.pack(b"PK\5\6", 0, 0, len(directory), len(directory), size, offset, 0)
    return b"".join((*body, *directory, end))
