from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace

import pytest

from builder.errors import VerificationError
from builder.image.layer import files_of, first_difference
from builder.layers import tar
from tests.support.layers import layer_of

ENTRIES = (
    tar.file("app/a.py", b"print(1)\n"),
    tar.file("app/b/long-" + "x" * 200 + ".py", b"2" * 3_000_000),
    tar.symlink("app/link", "a.py"),
    tar.file("z/é", b""),
)


def blob(*entries: tar.Entry, compress: bool = True) -> bytes:
    return layer_of("code", entries or ENTRIES, compress=compress)[1]


def chunked(data: bytes, size: int = 10_007) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]
        yield b""


@pytest.mark.parametrize("compress", [True, False])
def test_equal_layers(compress: bool) -> None:
    data = blob(compress=compress)
    assert first_difference(chunked(data), chunked(data, 1_000_003)) is None


def other(index: int, **changes: object) -> bytes:
    entries = list(ENTRIES)
    entries[index] = replace(entries[index], **changes)  # type: ignore[arg-type]
    return blob(*entries)


LONG = ENTRIES[1].path


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (other(0, mode=0o755), "app/a.py: mode 0644 != 0755"),
        (other(0, uid=7), "app/a.py: owner 0:0 != 7:0"),
        (other(0, content=b"print(2)\n"), "app/a.py: content differs from byte 6 on"),
        (other(0, content=b"print(11)\n", size=10), "app/a.py: size 9 != 10"),
        (other(1, content=b"2" * 2_999_999 + b"3"), f"{LONG}: content differs from byte 2,999,999 on"),
        (other(2, link="b.py"), "app/link: link a.py != b.py"),
        (other(2, kind=tar.Kind.FILE, link="", mode=0o777), "app/link: kind symbolic link != file"),
        (other(0, xattrs=(("user.x", b"1"),)), "app/a.py: extended attributes [] != [('SCHILY.xattr.user.x', '1')]"),
        (blob(*ENTRIES[1:]), "app/a.py: only in the old layer, or in another place"),
        (blob(*ENTRIES, tar.file("app/a.pz", b"")), "app/a.pz: only in the new layer, or in another place"),
        (blob(*ENTRIES, tar.file("z/z", b"")), "z/z: only in the new layer, or in another place"),
        (blob(*ENTRIES, tar.file("zz/z", b"")), "zz: only in the new layer"),
        (blob(*ENTRIES[:3]), "z: only in the old layer"),
    ],
)
def test_the_first_difference(new: bytes, expected: str) -> None:
    assert first_difference(chunked(blob()), chunked(new)) == expected
    assert first_difference(chunked(blob()), chunked(new), what="layer code x") == f"layer code x: {expected}"


def test_only_the_compression_differs() -> None:
    plain = blob(compress=False)
    found = first_difference(chunked(blob()), chunked(gzip.compress(plain)))
    assert found == "the same tar, but compressed differently"


def test_only_the_tar_encoding_differs() -> None:
    data = blob(tar.file("a", b"x"), compress=False)
    longer = data + bytes(tarfile.RECORDSIZE)
    found = first_difference([data], [longer])
    assert found == "the same files, but the tar is written differently"


def test_the_time_and_the_owners_name_count() -> None:
    def with_tarfile(**changes: object) -> bytes:
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w") as archive:
            info = tarfile.TarInfo("a")
            for key, value in changes.items():
                setattr(info, key, value)
            archive.addfile(info)
        return sink.getvalue()

    assert first_difference([with_tarfile(mtime=1)], [with_tarfile(mtime=2)]) == "a: time 1 != 2"
    assert first_difference([with_tarfile()], [with_tarfile(uname="u")]) == "a: owner's name : != u:"


@pytest.mark.parametrize("data", [b"nonsense" * 200, blob()[:2000], b"\x1f\x8b" + b"x" * 600, b"x"])
def test_what_is_no_layer(data: bytes) -> None:
    with pytest.raises(VerificationError, match="not a layer that can be read") as caught:
        first_difference([data], [data])
    assert caught.value.exit_code == 6
    with pytest.raises(VerificationError):
        files_of([data])


def test_files_of_a_layer() -> None:
    found = files_of(chunked(blob()))
    assert list(found) == [entry.path for entry in ENTRIES]
    assert found["app/a.py"].size == 9
    again = files_of(chunked(blob(compress=False)))
    assert again == found
    changed = files_of(chunked(other(0, mode=0o755)))
    assert [path for path in found if changed[path] != found[path]] == ["app/a.py"]
