from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from builder.errors import UsageError
from builder.files import atomic_write, named_output, write_file
from tests.support.folders import full_disk, read_only


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    write_file(path, b"one")
    assert path.read_bytes() == b"one"
    write_file(path, b"two", mode=0o600)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_named_output_is_a_file_that_can_be_replaced(tmp_path: Path) -> None:
    target = tmp_path / "there.txt"
    assert named_output(target, "-o") == target
    (tmp_path / "link").symlink_to(target)
    assert named_output(tmp_path / "link", "-o") == target
    target.write_text("one")
    assert named_output(tmp_path / "link", "-o") == target
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to pipe").symlink_to(tmp_path / "pipe")
    for path, message in (
        (tmp_path, "is a folder"),
        (Path("/dev/null"), "can't be replaced"),
        (tmp_path / "pipe", "can't be replaced"),
        (tmp_path / "to pipe", "can't be replaced"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            named_output(path, "-o")
        assert caught.value.hint == "name a file with -o"


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_file(tmp_path / "x", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o644


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_an_error_in_the_middle_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "x"
    write_file(path, b"old")
    with pytest.raises(error), atomic_write(path) as file:
        file.write(b"new, but not all of it")
        file.flush()
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_nobody_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with atomic_write(path) as file:
        file.write(b"half")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"half"


def test_a_process_that_dies_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_file(path, b"old")
    code = (
        "import os, sys; from pathlib import Path; from builder.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as file:\n"
        "    file.write(b'new'); file.flush(); os._exit(9)"
    )
    root = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, check=False).returncode == 9
    assert path.read_bytes() == b"old"


def test_long_names(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 125)
    write_file(path, b"x")
    assert path.read_bytes() == b"x"


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    with full_disk(folder, 1 << 18):
        path = folder / "x"
        write_file(path, b"old")
        with pytest.raises(OSError) as caught:
            write_file(path, b"n" * (1 << 20))
        assert caught.value.errno == errno.ENOSPC
        assert path.read_bytes() == b"old"
        assert list(folder.iterdir()) == [path]


def test_a_read_only_folder_is_the_operating_systems_error(tmp_path: Path) -> None:
    folder = tmp_path / "ro"
    folder.mkdir()
    with read_only(folder), pytest.raises(OSError) as caught:
        write_file(folder / "x", b"")
    assert caught.value.errno in (errno.EROFS, errno.EACCES)
    assert list(folder.iterdir()) == []
