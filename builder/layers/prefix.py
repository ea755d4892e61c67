"""The prefix that a conda package was built for, replaced by the one it is installed at.

Builders write a placeholder of 255 characters; who installs puts the real prefix there. In text it is replaced as it
stands; in a binary file every string that holds it is filled up with NULs, so that nothing behind it moves (conda-build
documentation, "Making packages relocatable"; the bytes are those that conda 24.7 writes, and those of rattler but for a
last string without a NUL).
"""

from __future__ import annotations

import re
from typing import Final

from builder.errors import ArtifactError

__all__ = ["in_binary", "in_text"]

_MAX_SHEBANG: Final = 127  # bytes that Linux before 5.1 reads of a first line
_SHEBANG: Final = re.compile(rb"#![ ]*(/(?:\\ |[^ \n\r\t])*)(.*)", re.DOTALL)


def in_text(data: bytes, old: bytes, new: bytes) -> bytes:
    """`data` with `new` for `old`; a first line that gets too long to start a program goes through ``env``."""
    if not data.startswith(b"#!"):
        return data.replace(old, new)
    line, newline, rest = data.partition(b"\n")
    line = line.replace(old, new)
    if len(line) > _MAX_SHEBANG and (match := _SHEBANG.fullmatch(line)):
        line = b"#!/usr/bin/env " + match[1].rpartition(b"/")[2] + match[2]
    return line + newline + rest.replace(old, new)


def in_binary(data: bytes, old: bytes, new: bytes) -> bytes:
    """`data` with `new` for `old` in every string, which ends where it ended before; the length stays.

    A string ends with a NUL: what the file ends with instead is none, and stays.

    Raises ArtifactError when `new` doesn't fit into the room of `old`.
    """
    if len(new) > len(old):
        raise ArtifactError(f"was built for a prefix of {len(old)} characters, too short for {new.decode()}")
    parts = []
    at = 0
    while (found := data.find(old, at)) >= 0 and (end := data.find(b"\0", found + len(old))) >= 0:
        text = data[found:end].replace(old, new)
        parts += [data[at:found], text, bytes(end - found - len(text))]
        at = end
    return b"".join([*parts, data[at:]])
