"""The python of an image: found, identified, and refused when it isn't what the project wants."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.content import Digest, Platform
from builder.errors import ArtifactError, ProjectError
from builder.lock import rootfs
from builder.lock.elf import read_elf
from builder.lock.images import BaseLayer
from builder.lock.interpreter import Python, find_python
from builder.lock.runnable import lay_out
from tests.support.bases import AMD64, ARM64, elf, files, layer, python

ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/bin:/bin"}
DEBIAN = """\
Package: python3.11
Status: install ok installed
Version: 3.11.2-1

Package: python3.11-minimal
Status: install ok installed
Version: 3.11.2-6+deb12u9+b1
"""


def found(
    folder: Path,
    content: Mapping[str, bytes | str],
    env: Mapping[str, str] = ENV,
    minor: str = "3.11",
    platform: Platform = AMD64,
    out: Path | None = None,
) -> Python:
    tar = layer(files(content))
    path = folder / "layer"
    path.write_bytes(gzip.compress(tar, 1))
    one = BaseLayer(Digest.of(path.read_bytes()), path.stat().st_size, Digest.of(tar))
    with rootfs.opened([(one, path)], folder) as tree:
        made = find_python(tree, env, minor, platform, "an image", file=Path("lockship.toml"))
        if out is not None:
            lay_out(tree, made, minor, out)
        return made


def refused(folder: Path, content: Mapping[str, bytes | str], **more: object) -> ProjectError:
    with pytest.raises(ProjectError) as caught:
        found(folder, content, **more)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    assert caught.value.file == "lockship.toml"
    return caught.value


def test_the_python_of_the_path(tmp_path: Path) -> None:
    one = found(tmp_path, python())
    assert one.path == "/usr/local/bin/python3.11"
    assert (one.version, one.build, one.glibc) == ("3.11.9", "3.11.9", "2.36")
    assert (one.prefix, one.library) == ("/usr/local", "/usr/local/lib/python3.11")
    assert one.loader == "/lib64/ld-linux-x86-64.so.2"
    assert sorted(one.libraries) == ["libc.so.6", "libpython3.11.so.1.0"]


def test_debians_python_is_named_by_its_package(tmp_path: Path) -> None:
    content = python("3.11.2", prefix="usr") | {"var/lib/dpkg/status": DEBIAN.encode()}
    one = found(tmp_path, content)
    assert (one.path, one.version, one.build) == ("/usr/bin/python3.11", "3.11.2", "3.11.2-6+deb12u9")
    distroless = python("3.11.2", prefix="usr") | {
        "var/lib/dpkg/status.d/python3.11-minimal": b"Package: python3.11-minimal\nVersion: 3.11.2-7\n"
    }
    assert found(tmp_path, distroless).build == "3.11.2-7"


def test_the_order_of_the_path_decides_among_equals(tmp_path: Path) -> None:
    content = python("3.11.9", "opt/a") | python("3.11.8", "opt/b")
    assert found(tmp_path, content, {"PATH": "/opt/b/bin:/opt/a/bin"}).version == "3.11.8"


def test_another_version_earlier_on_the_path_is_passed_over(tmp_path: Path) -> None:
    content = python("3.12.1", "opt/other") | python("3.11.9")
    assert found(tmp_path, content, {"PATH": "/opt/other/bin:/usr/local/bin"}).version == "3.11.9"


def test_without_a_path_the_usual_places(tmp_path: Path) -> None:
    assert found(tmp_path, python(), {}).path == "/usr/local/bin/python3.11"


def test_a_virtual_environment_leads_to_the_python_behind_it(tmp_path: Path) -> None:
    linked = python() | {
        "venv/pyvenv.cfg": b"home = /usr/local/bin\n",
        "venv/bin/python": "/usr/local/bin/python3.11",
        "venv/bin/python3.11": "python",
    }
    env = {"PATH": "/venv/bin:/usr/bin"}
    assert found(tmp_path, linked, env).path == "/usr/local/bin/python3.11"
    copied = python(prefix="opt/python") | {
        "venv/pyvenv.cfg": b"include-system-site-packages = false\nHome = /opt/python/bin\n",
        "venv/bin/python3.11": elf(),
    }
    assert found(tmp_path, copied, env).path == "/opt/python/bin/python3.11"


def test_scripts_that_choose_among_pythons_are_none(tmp_path: Path) -> None:
    content = python() | {"shims/python3.11": b"#!/bin/sh\n", "shims/python": b"#!/bin/sh\n"}
    assert found(tmp_path, content, {"PATH": "/shims:/usr/local/bin"}).path == "/usr/local/bin/python3.11"


def test_the_version_may_be_in_the_program_itself_or_only_told(tmp_path: Path) -> None:
    static = python() | {"usr/local/bin/python3.11": elf(needed=["libc.so.6"], text=b"\x003.11.4rc1\0")}
    assert found(tmp_path, static).version == "3.11.4rc1"
    silent = python() | {"usr/local/bin/python3.11": elf(needed=["libc.so.6"])}
    assert found(tmp_path, silent, ENV | {"PYTHON_VERSION": "3.11.7"}).version == "3.11.7"
    header = silent | {"usr/local/include/python3.11/patchlevel.h": b'#define PY_VERSION      \t"3.11.5"\n'}
    assert found(tmp_path, header).version == "3.11.5"
    refusal = refused(tmp_path, silent)
    assert "can't be told" in refusal.message


def test_what_is_told_does_not_count_against_the_program(tmp_path: Path) -> None:
    assert found(tmp_path, python(), ENV | {"PYTHON_VERSION": "3.11.1"}).version == "3.11.9"


def test_libraries_where_the_program_and_the_system_say(tmp_path: Path) -> None:
    content = python()
    content["usr/local/bin/python3.11"] = elf(needed=["libpython3.11.so.1.0"], text=b"\x003.11.9\0")
    assert "libpython3.11.so.1.0" in found(tmp_path, content).libraries
    shared = content.pop("usr/local/lib/libpython3.11.so.1.0")
    content |= {
        "usr/local/lib/private/libpython3.11.so.1.0": shared,
        "usr/local/bin/python3.11": elf(needed=["libpython3.11.so.1.0"], rpath="$ORIGIN/../lib/private"),
    }
    assert found(tmp_path, content).version == "3.11.9"
    content["usr/local/bin/python3.11"] = elf(needed=["libpython3.11.so.1.0"], text=b"\x003.11.9\0")
    refusal = refused(tmp_path, content)
    assert "needs libpython3.11.so.1.0, which is not there" in refusal.message
    content["etc/ld.so.conf.d/own.conf"] = b"/usr/local/lib/private # here\n"
    assert "libpython3.11.so.1.0" in found(tmp_path, content).libraries


def test_lib64_may_hold_the_standard_library(tmp_path: Path) -> None:
    content = {path.replace("lib/python3.11", "lib64/python3.11"): data for path, data in python(prefix="usr").items()}
    assert found(tmp_path, content).library == "/usr/lib64/python3.11"


def test_another_processor(tmp_path: Path) -> None:
    assert found(tmp_path, python(architecture="arm64"), platform=ARM64).loader == "/lib/ld-linux-aarch64.so.1"
    refusal = refused(tmp_path, python(architecture="arm64"))
    assert "for another processor (arm64)" in refusal.message


def test_another_version_is_named_with_what_to_write(tmp_path: Path) -> None:
    refusal = refused(tmp_path, python("3.12.4"))
    assert refusal.message == (
        "image.base: an image has Python 3.12.4 (/usr/local/bin/python3.12), the project wants 3.11"
    )
    assert refusal.hint is not None
    assert 'version = "3.12" under [python]' in refusal.hint


def test_no_python(tmp_path: Path) -> None:
    content = {path: data for path, data in python().items() if "python" not in path}
    refusal = refused(tmp_path, content)
    assert "has no Python" in refusal.message
    assert "docker.io/library/python:3.11-slim" in (refusal.hint or "")


def test_musl_with_a_python_and_without(tmp_path: Path) -> None:
    loader = "/lib/ld-musl-x86_64.so.1"
    content = {
        "usr/local/bin/python3.11": elf(loader=loader, text=b"\x003.11.9\0"),
        "usr/local/lib/python3.11/os.py": b"",
        loader[1:]: b"",
    }
    for one in (content, {loader[1:]: b""}):
        refusal = refused(tmp_path, one)
        assert "musl" in refusal.message
        assert "glibc" in (refusal.hint or "")


def test_a_static_program_on_a_system_without_glibc(tmp_path: Path) -> None:
    content = {
        "usr/bin/python3.11": elf(loader="", text=b"\x003.11.9\0"),
        "usr/lib/python3.11/os.py": b"",
    }
    assert "has no glibc" in refused(tmp_path, content).message


def test_a_python_without_its_library_or_its_loader(tmp_path: Path) -> None:
    content = python()
    del content["usr/local/lib/python3.11/os.py"]
    # versions that only look like Python's are told apart by the standard library: none is left
    content["usr/local/lib/libpython3.11.so.1.0"] = elf(loader="", text=b"\x003.11.9\0")
    assert "has no standard library" in refused(tmp_path, content).message
    content = python()
    del content["lib64/ld-linux-x86-64.so.2"]
    assert "needs /lib64/ld-linux-x86-64.so.2, which is not there" in refused(tmp_path, content).message


def test_laid_out_flat(tmp_path: Path) -> None:
    out = tmp_path / "out"
    content = python() | {
        "usr/local/lib/python3.11/test/x.py": b"",
        "usr/local/lib/python3.11/site-packages/y.py": b"",
        "usr/local/lib/python3.11/sitecustomize.py": "/etc/python3.11/sitecustomize.py",
    }
    found(tmp_path, content, out=out)
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [
        "bin/python3.11",
        "home/lib/python3.11/encodings/__init__.py",
        "home/lib/python3.11/os.py",
        "lib/libc.so.6",
        "lib/libpython3.11.so.1.0",
        "loader",
    ]
    assert (out / "loader").stat().st_mode & 0o777 == 0o755
    assert (out / "home/lib/python3.11/lib-dynload").is_dir()


@pytest.mark.parametrize("size", [0, 5, 63, 64, 100, 200])
def test_what_is_cut_off_is_no_elf_file(size: int) -> None:
    assert read_elf(elf(needed=["libc.so.6"])[:size]) is None


def test_a_library_that_is_none(tmp_path: Path) -> None:
    content = python() | {"lib/libc.so.6": b"GNU C Library (x) stable release version 2.36.\n"}
    with pytest.raises(ArtifactError, match=r"libc\.so\.6 is not a library"):
        found(tmp_path, content)


def test_a_real_program() -> None:
    one = read_elf(Path("/bin/ls").read_bytes())
    assert one is not None
    assert "libc.so.6" in one.needed
    assert one.loader.startswith("/lib")
