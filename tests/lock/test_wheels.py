"""Choosing wheels for a target that is not this machine."""

from __future__ import annotations

import pytest
from packaging.tags import Tag

from builder.content import Digest
from builder.errors import ResolutionError
from builder.lock.indexes import IndexFile
from builder.lock.pins import Pin, Target
from builder.lock.wheels import choose, fits, platform_tags, target_tags
from tests.lock.python_projects import AMD64, ARM64, TARGETS

HERE = TARGETS[AMD64]


def offered(name: str, *, index: str = "https://one/simple", **more: object) -> IndexFile:
    fields = {"digest": Digest.of(name.encode()), "size": 1, "yanked": False, "requires_python": "", **more}
    return IndexFile(name, f"https://files/{name}", index=index, **fields)  # type: ignore[arg-type]


def chosen(*names: str, target: Target = HERE, version: str = "1.0") -> str:
    files = [offered(name) for name in names]
    pin = Pin("pkg", version, tuple(file.digest for file in files if file.digest))
    return choose(pin, files, target).file


def test_platform_tags_go_from_the_images_c_library_down() -> None:
    tags = list(platform_tags(HERE))
    assert tags[0] == "manylinux_2_36_x86_64"
    assert tags[-1] == "linux_x86_64"
    assert tags.index("manylinux2014_x86_64") == tags.index("manylinux_2_17_x86_64") + 1
    assert tags.index("manylinux2010_x86_64") == tags.index("manylinux_2_12_x86_64") + 1
    assert tags.index("manylinux1_x86_64") == tags.index("manylinux_2_5_x86_64") + 1
    arm = list(platform_tags(TARGETS[ARM64]))
    assert arm[-3:] == ["manylinux_2_17_aarch64", "manylinux2014_aarch64", "linux_aarch64"]


def test_tags_do_not_depend_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import platform
    import sys
    import sysconfig

    before = list(target_tags(TARGETS[ARM64]))
    target_tags.cache_clear()
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(sysconfig, "get_platform", lambda: "macosx-14-arm64")
    monkeypatch.setattr(sys, "version_info", (3, 14, 0, "final", 0))
    after = list(target_tags(TARGETS[ARM64]))
    target_tags.cache_clear()
    assert before == after
    assert Tag("cp311", "cp311", "manylinux_2_36_aarch64") == before[0]


@pytest.mark.parametrize(
    ("file", "right"),
    [
        ("pkg-1.0-py3-none-any.whl", True),
        ("pkg-1.0-py2.py3-none-any.whl", True),
        ("pkg-1.0-py2-none-any.whl", False),
        ("pkg-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("pkg-1.0-cp311-cp311-manylinux_2_36_x86_64.whl", True),
        ("pkg-1.0-cp311-cp311-manylinux_2_37_x86_64.whl", False),
        ("pkg-1.0-cp311-cp311-manylinux1_x86_64.whl", True),
        ("pkg-1.0-cp311-cp311-linux_x86_64.whl", True),
        ("pkg-1.0-cp311-cp311-manylinux_2_17_aarch64.whl", False),
        ("pkg-1.0-cp310-cp310-manylinux_2_17_x86_64.whl", False),
        ("pkg-1.0-cp312-cp312-manylinux_2_17_x86_64.whl", False),
        ("pkg-1.0-cp38-abi3-manylinux_2_17_x86_64.whl", True),
        ("pkg-1.0-cp312-abi3-manylinux_2_17_x86_64.whl", False),
        ("pkg-1.0-cp311-none-any.whl", True),
        ("pkg-1.0-py3-none-manylinux2014_x86_64.whl", True),
        ("pkg-1.0-cp311-cp311-musllinux_1_2_x86_64.whl", False),
        ("pkg-1.0-cp311-cp311-macosx_11_0_arm64.whl", False),
        ("pkg-1.0-cp311-cp311-win_amd64.whl", False),
        ("pkg-1.0-cp311-cp311t-manylinux_2_17_x86_64.whl", False),
        ("pkg-1.0-pp311-pypy311_pp73-manylinux_2_17_x86_64.whl", False),
        ("not a wheel.whl", False),
    ],
)
def test_what_fits(file: str, right: bool) -> None:
    assert fits(file, HERE) is right


def test_the_most_specific_wheel_wins() -> None:
    names = [
        "pkg-1.0-py3-none-any.whl",
        "pkg-1.0-cp38-abi3-manylinux_2_17_x86_64.whl",
        "pkg-1.0-cp311-cp311-manylinux_2_17_x86_64.whl",
        "pkg-1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "pkg-1.0-cp311-cp311-manylinux_2_17_aarch64.whl",
    ]
    assert chosen(*names) == names[3]
    assert chosen(*names[:3]) == names[2]
    assert chosen(*names[:2]) == names[1]
    assert chosen(*reversed(names)) == names[3]
    assert chosen(*names, target=TARGETS[ARM64]) == names[4]


def test_among_equal_tags_the_higher_build_wins() -> None:
    names = ["pkg-1.0-2-py3-none-any.whl", "pkg-1.0-10-py3-none-any.whl", "pkg-1.0-py3-none-any.whl"]
    assert chosen(*names) == names[1]
    assert chosen(names[2], names[0]) == names[0]


def test_only_pinned_hashes_and_the_pinned_version_count() -> None:
    good, foreign = offered("pkg-1.0-py3-none-any.whl"), offered("pkg-1.0-cp311-cp311-manylinux_2_17_x86_64.whl")
    other = offered("pkg-2.0-py3-none-any.whl")
    assert good.digest is not None and other.digest is not None
    pin = Pin("pkg", "1.0", (good.digest, other.digest))
    assert choose(pin, [other, foreign, good], HERE) == good


def test_versions_are_compared_as_versions() -> None:
    assert chosen("pkg-1.0.0-py3-none-any.whl", version="1.0") == "pkg-1.0.0-py3-none-any.whl"


def test_the_first_index_and_what_was_not_withdrawn_come_first() -> None:
    name = "pkg-1.0-py3-none-any.whl"
    first, second = offered(name, index="https://one/simple"), offered(name, index="https://two/simple")
    assert first.digest is not None
    pin = Pin("pkg", "1.0", (first.digest,))
    assert choose(pin, [first, second], HERE).index == "https://one/simple"
    assert choose(pin, [offered(name, yanked=True), second], HERE) == second


def test_requires_python_is_obeyed() -> None:
    new = offered("pkg-1.0-2-py3-none-any.whl", requires_python=">=3.12")
    old = offered("pkg-1.0-1-py3-none-any.whl", requires_python=">=3.8,<4")
    odd = offered("pkg-1.0-0-py3-none-any.whl", requires_python="nonsense")
    pin = Pin("pkg", "1.0", tuple(file.digest for file in (new, old, odd) if file.digest))
    assert choose(pin, [odd, new, old], HERE) == old


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["pkg-1.0.tar.gz"], "comes as source only, not as a wheel: pkg-1.0.tar.gz"),
        (
            ["pkg-1.0-cp311-cp311-win_amd64.whl", "pkg-1.0.tar.gz"],
            "has no wheel for linux/amd64 (Python 3.11.2, glibc 2.36); there are: "
            "pkg-1.0-cp311-cp311-win_amd64.whl, pkg-1.0.tar.gz",
        ),
        ([], "there are: none"),
    ],
)
def test_without_a_wheel_the_files_there_are_get_named(names: list[str], said: str) -> None:
    with pytest.raises(ResolutionError) as caught:
        chosen(*names)
    assert said in caught.value.message
    assert caught.value.exit_code == 3


def test_replaced_files_are_told_apart_from_missing_ones() -> None:
    pin = Pin("pkg", "1.0", (Digest.of(b"what was locked"),))
    with pytest.raises(ResolutionError, match="other files than those that were locked"):
        choose(pin, [offered("pkg-1.0-py3-none-any.whl")], HERE)
