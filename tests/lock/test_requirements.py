"""requirements.lock: written one way, read strictly."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.content import Digest
from builder.errors import LockError
from builder.lock.pins import Pin, Resolution, Target
from builder.lock.requirements import marker_environment, parse, pins_for, render
from tests.lock.python_projects import AMD64, ARM64, TARGETS
from tests.support.wheels import make_wheel

ONE, TWO = Digest.of(b"1"), Digest.of(b"2")

names = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,5})?", fullmatch=True)
pins = st.builds(
    Pin,
    name=names,
    version=st.from_regex(r"(0|[1-9][0-9]{0,3})(\.(0|[1-9][0-9]?)){0,3}(rc1|\.post2|\+cu121)?", fullmatch=True),
    hashes=st.sets(st.binary().map(Digest.of), min_size=1, max_size=3).map(lambda found: tuple(sorted(found))),
    extras=st.sets(st.sampled_from(["a", "b-c", "d"])).map(lambda found: tuple(sorted(found))),
    marker=st.sampled_from(["", 'platform_machine == "x86_64"', 'python_version < "3.12" and os_name == "posix"']),
    via=st.sets(st.one_of(names, st.sampled_from(["-r requirements.in", "-c ../a b.txt"]))).map(
        lambda found: tuple(sorted(found))
    ),
)


@given(st.lists(pins, unique_by=lambda pin: pin.name))
def test_what_is_written_reads_back_equal(found: list[Pin]) -> None:
    found.sort(key=lambda pin: pin.name)
    text = render(Resolution(tuple(found), {}, {}))
    assert parse(text, "requirements.lock") == tuple(found)
    assert render(Resolution(tuple(reversed(found)), {}, {})) == text


def test_the_format() -> None:
    one = Pin("alpha", "1.0", (ONE,), ("x", "y"), "", ("-r requirements.in",))
    two = Pin("beta", "2.0", (TWO, ONE), (), 'platform_machine == "x86_64"', ("gamma", "alpha"))
    first, second = sorted((ONE, TWO))
    assert render(Resolution((two, one), {}, {})).splitlines()[2:] == [
        "alpha[x,y]==1.0 \\",
        f"    --hash={ONE}",
        "    # via -r requirements.in",
        'beta==2.0 ; platform_machine == "x86_64" \\',
        f"    --hash={first} \\",
        f"    --hash={second}",
        "    # via",
        "    #   alpha",
        "    #   gamma",
    ]


def test_pip_installs_from_it(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "wheels", "alpha", "1.0", {"alpha.py": b"X = 1\n"})
    pin = Pin("alpha", "1.0", (Digest.of(wheel.read_bytes()),), (), 'platform_system != "Plan9"', ("-r a.in",))
    lock = tmp_path / "requirements.lock"
    lock.write_text(render(Resolution((pin,), {}, {})))
    command = [sys.executable, "-m", "pip", "install", "--require-hashes", "-r", str(lock), "--no-index"]
    command += ["--find-links", str(tmp_path / "wheels"), "--target", str(tmp_path / "out"), "--no-cache-dir"]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "out" / "alpha.py").is_file()


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("alpha==1.0\n", "alpha has no hash", 1),
        (f"\n\nalpha>=1.0 --hash={ONE}\n", "not an exact version", 3),
        (f"alpha==1.* --hash={ONE}\n", "not an exact version", 1),
        (f"alpha @ https://u:p@host/x.whl --hash={ONE}\n", "not an exact version", 1),
        ("alpha==1.0 \\\n    --hash=md5:abc\n", "not a sha256 hash", 1),
        (f"alpha==1.0 --hash={ONE[:-1]}\n", "not a sha256 hash", 1),
        (f"# note\n--index-url https://host/simple\nalpha==1.0 --hash={ONE}\n", "an option", 2),
        (f"alpha beta --hash={ONE}\n", "not a pin", 1),
        ("<<<<<<< HEAD\n", "not a pin", 1),
    ],
)
def test_anything_but_exact_pins_is_refused(text: str, said: str, line: int) -> None:
    with pytest.raises(LockError, match=said) as caught:
        parse(text, "requirements.lock")
    assert (caught.value.file, caught.value.line, caught.value.exit_code) == ("requirements.lock", line, 3)
    assert "lockship lock" in (caught.value.hint or "") or "requirements file" in (caught.value.hint or "")


@given(st.text())
def test_no_text_crashes_the_reader(text: str) -> None:
    with suppress(LockError):
        parse(text, "requirements.lock")


def test_markers_are_those_of_the_image() -> None:
    pin = Pin("alpha", "1.0", (ONE,))
    x86 = Pin("beta", "1.0", (ONE,), (), 'platform_machine == "x86_64"')
    windows = Pin("gamma", "1.0", (ONE,), (), 'sys_platform == "win32"')
    old = Pin("delta", "1.0", (ONE,), (), 'python_full_version < "3.11.1"')
    every = (pin, x86, windows, old)
    assert pins_for(every, TARGETS[AMD64]) == (pin, x86)
    assert pins_for(every, TARGETS[ARM64]) == (pin,)
    assert pins_for(every, Target(ARM64, "3.11.0", "2.36")) == (pin, old)


def test_every_marker_variable_has_a_value() -> None:
    from packaging.markers import default_environment

    assert set(default_environment()) <= set(marker_environment(TARGETS[AMD64]))


def test_two_versions_for_one_platform_are_an_error() -> None:
    with pytest.raises(LockError, match=r"alpha is pinned twice for linux/amd64: 1\.0 and 2\.0"):
        pins_for((Pin("alpha", "1.0", (ONE,)), Pin("alpha", "2.0", (ONE,))), TARGETS[AMD64])
