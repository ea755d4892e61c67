from __future__ import annotations

import hashlib
import io
import struct
import zipfile

from hypothesis import given
from hypothesis import strategies as st

from builder.models.consumers.zipped import zipped

FILES = {"b/text.txt": b"again and again " * 40, "a.bin": bytes(range(7)), "Größe": b"", "[x].xml": b"<x/>" * 9}


@given(st.dictionaries(st.text("ab/é.", min_size=1, max_size=8), st.binary(max_size=300), max_size=6))
def test_any_reader_reads_it(files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(io.BytesIO(zipped(files))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == files


def test_nothing_but_the_files_is_in_it() -> None:
    data = zipped(FILES)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
    assert [one.filename for one in entries] == sorted(FILES)
    for one in entries:
        assert one.date_time == (1980, 1, 1, 0, 0, 0)
        assert (one.extra, one.comment, one.create_system, one.external_attr) == (b"", b"", 0, 0)
        # the header before the data says the same as the directory: nobody has to look behind it
        _, _, flags, method, _, _, crc, packed, size, name, extra = struct.unpack_from(
            "<4s5H3I2H", data, one.header_offset
        )
        assert (flags, method, crc, packed, size) == (
            0x800,
            one.compress_type,
            one.CRC,
            one.compress_size,
            one.file_size,
        )
        assert (name, extra) == (len(one.filename.encode()), 0)


def test_what_does_not_shrink_is_stored() -> None:
    with zipfile.ZipFile(io.BytesIO(zipped(FILES))) as archive:
        stored = {one.filename for one in archive.infolist() if one.compress_type == zipfile.ZIP_STORED}
    assert stored == {"a.bin", "Größe"}


def test_the_bytes_are_the_same_everywhere() -> None:
    """A change here is a change of every package: it belongs into the changelog."""
    assert (
        hashlib.sha256(zipped(FILES)).hexdigest() == "c98eafaffd266e9509301b48e5a2dc7e1ef3dc27cff90a29d34dcde27bc57047"
    )
    assert zipped(dict(reversed(FILES.items()))) == zipped(FILES)
