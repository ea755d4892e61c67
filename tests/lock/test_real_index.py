"""Real requirements from the index that this machine is configured with."""

from __future__ import annotations

import difflib
import platform
import sys
from pathlib import Path

import pytest

from builder.cache import Cache
from builder.errors import ResolutionError
from builder.lock.requirements import render
from tests.lock.python_projects import AMD64, ARM64, environment, lock, wheels, write_project

pytestmark = [pytest.mark.index, pytest.mark.slow]

STACK = "numpy\nscipy\nscikit-learn\npandas\nonnxruntime\nstarlette\nuvicorn\nprometheus-client\n"


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64" or sys.version_info[:2] != (3, 11),
    reason="pip-tools resolves for the machine it runs on",
)
def test_both_resolvers_write_the_same_file(tmp_path: Path, shared_cache: Cache) -> None:
    pytest.importorskip("piptools")
    environ = environment(LOCKSHIP_CACHE=str(shared_cache.root), PIP_RETRIES="5")
    files = {"requirements.in": STACK, "team.txt": "numpy<2.4\n"}
    texts = []
    for resolver in ("uv", "pip-tools"):
        python = f'constraints = ["team.txt"]\nresolver = "{resolver}"'
        resolution = lock(write_project(tmp_path / resolver, files, python=python), environ)
        assert resolver in resolution.tools
        texts.append(render(resolution))
    assert list(difflib.unified_diff(texts[0].splitlines(), texts[1].splitlines(), *("uv", "pip-tools"))) == []
    assert "numpy==2.3" in texts[0] and "    #   -c team.txt" in texts[0]


def test_a_data_science_stack_for_two_platforms(tmp_path: Path, shared_cache: Cache) -> None:
    environ = environment(LOCKSHIP_CACHE=str(shared_cache.root), PIP_RETRIES="5")
    project = write_project(tmp_path / "p", STACK, platforms=(AMD64, ARM64))
    resolution = lock(project, environ)
    assert len(resolution.pins) > 15
    found = wheels(project, resolution, environ, shared_cache)
    x86, arm = ({one.name: one for one in found[name]} for name in (AMD64, ARM64))
    assert set(x86) == set(arm) == {pin.name for pin in resolution.pins}
    assert {name: one.version for name, one in x86.items()} == {name: one.version for name, one in arm.items()}
    assert x86["numpy"].file.endswith("_x86_64.whl") and arm["numpy"].file.endswith("_aarch64.whl")
    assert x86["starlette"] == arm["starlette"]
    # nothing of this machine or of its indexes is in what gets committed
    assert "://" not in render(resolution)


def test_a_package_without_wheels(tmp_path: Path) -> None:
    with pytest.raises(ResolutionError) as caught:
        lock(write_project(tmp_path / "p", "docopt==0.6.2\n"), environment(PIP_RETRIES="5"))
    assert "docopt-0.6.2.tar.gz" in caught.value.message
    assert 'allow-build = ["docopt"]' in (caught.value.hint or "")


def test_a_package_without_wheels_is_built_with_consent(tmp_path: Path, cache: Cache) -> None:
    environ = environment(PIP_RETRIES="5")
    project = write_project(
        tmp_path / "p", "docopt==0.6.2\n", platforms=(AMD64, ARM64), python='allow-build = ["docopt"]'
    )
    found = wheels(project, lock(project, environ), environ, cache)
    assert found[AMD64] == found[ARM64]
    assert found[AMD64][0].built_from == "docopt-0.6.2.tar.gz"


def test_a_name_that_nobody_has_taken(tmp_path: Path) -> None:
    with pytest.raises(ResolutionError, match="which doesn't exist"):
        lock(write_project(tmp_path / "p", "lockship-no-such-package-zzz\n"), environment(PIP_RETRIES="5"))
