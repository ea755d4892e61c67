"""As much of an ELF file as tells what runs it: its processor, its loader, its libraries (System V ABI, chapter 5)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

__all__ = ["Elf", "read_elf"]

_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_DYNAMIC: Final = struct.Struct("<qQ")
_LOAD, _DYNAMIC_SEGMENT, _INTERPRETER = 1, 2, 3
_NEEDED, _STRINGS, _RPATH, _RUNPATH = 1, 5, 15, 29
_MACHINES: Final = {62: "amd64", 183: "arm64"}


@dataclass(frozen=True, slots=True)
class Elf:
    """A program or library: its processor (empty for others than ours), loader (empty for none), needed libraries
    by name, and the folders that it says they are in, as written.
    """

    architecture: str
    loader: str
    needed: tuple[str, ...]
    folders: tuple[str, ...]


def read_elf(data: bytes) -> Elf | None:
    """What `data` says, or None when it is no 64-bit little-endian ELF file, or a damaged one."""
    if data[:6] != b"\x7fELF\x02\x01":
        return None
    try:
        return _read(data)
    except (struct.error, ValueError):
        return None


def _read(data: bytes) -> Elf:
    _, _, machine, _, _, offset, _, _, _, size, count, *_ = _HEADER.unpack_from(data)
    segments = [_SEGMENT.unpack_from(data, offset + size * number) for number in range(count)]
    loads = [(address, at, length) for kind, _, at, address, _, length, _, _ in segments if kind == _LOAD]
    loader = ""
    entries: list[tuple[int, int]] = []
    for kind, _, at, _, _, length, _, _ in segments:
        if kind == _INTERPRETER:
            loader = data[at : at + length].rstrip(b"\0").decode()
        elif kind == _DYNAMIC_SEGMENT:
            entries = [(tag, value) for tag, value in _DYNAMIC.iter_unpack(data[at : at + length // 16 * 16])]
    strings = next((_offset(value, loads) for tag, value in entries if tag == _STRINGS), 0)
    words = [(tag, _string(data, strings + value)) for tag, value in entries if tag in (_NEEDED, _RPATH, _RUNPATH)]
    return Elf(
        _MACHINES.get(machine, ""),
        loader,
        tuple(word for tag, word in words if tag == _NEEDED),
        tuple(folder for tag, word in words if tag != _NEEDED for folder in word.split(":") if folder),
    )


def _offset(address: int, loads: list[tuple[int, int, int]]) -> int:
    """Where in the file an address of the running program is."""
    for start, at, length in loads:
        if start <= address < start + length:
            return at + address - start
    raise ValueError(f"no segment holds {address:#x}")


def _string(data: bytes, at: int) -> str:
    end = data.index(b"\0", at)
    return data[at:end].decode()
