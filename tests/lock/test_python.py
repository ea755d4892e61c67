"""Resolving, against a real index on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.errors import LockError, ProjectError, ResolutionError, StoreError, UsageError
from builder.lock.pins import Target
from builder.lock.python import uv_platform
from builder.lock.requirements import parse, render
from tests.lock.python_projects import AMD64, ARM64, TARGETS, Remembering, environment, lock, write_project
from tests.support.index import Index, serve_index
from tests.support.wheels import make_sdist, make_wheel

pytestmark = pytest.mark.slow

CP = "cp311-cp311-manylinux_2_17_{}"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with serve_index(tmp_path / "index") as running:
        for version in ("1.0", "1.1", "2.0"):
            make_wheel(running.folder, "alpha", version, {"alpha.py": b"x"}, requires=["beta>=1"])
            make_wheel(running.folder, "beta", version, {"beta.py": b"x"})
        yield running


def pins(resolution) -> list[str]:
    return [f"{pin.name}=={pin.version}" for pin in resolution.pins]


def test_a_project_gets_the_newest_and_what_it_needs(tmp_path: Path, index: Index) -> None:
    project = write_project(tmp_path / "p", "alpha\n")
    resolution = lock(project, environment(PIP_INDEX_URL=index.simple))
    assert pins(resolution) == ["alpha==2.0", "beta==2.0"]
    assert [pin.via for pin in resolution.pins] == [("-r requirements.in",), ("alpha",)]
    assert resolution.by_platform[AMD64] == resolution.pins
    assert set(resolution.tools) == {"uv"}
    assert parse(render(resolution), "requirements.lock") == resolution.pins


def test_no_requirements_are_no_pins(tmp_path: Path) -> None:
    project = write_project(tmp_path / "p", "# nothing yet\n")
    assert lock(project, environment(PIP_INDEX_URL="http://127.0.0.1:9/simple")).pins == ()


def test_what_is_locked_stays_until_an_upgrade_is_asked_for(tmp_path: Path, index: Index) -> None:
    environ = environment(PIP_INDEX_URL=index.simple)
    old = lock(write_project(tmp_path / "p", "alpha==1.0\nbeta==1.0\n"), environ)
    project = write_project(tmp_path / "p", "alpha\nbeta\n", platforms=(AMD64, ARM64))
    text = render(old)
    assert pins(lock(project, environ, existing=text)) == ["alpha==1.0", "beta==1.0"]
    assert pins(lock(project, environ, existing=text, upgrade_packages=["Beta"])) == ["alpha==1.0", "beta==2.0"]
    assert pins(lock(project, environ, existing=text, upgrade=True)) == ["alpha==2.0", "beta==2.0"]


def test_upgrading_what_is_not_there_is_a_usage_error(tmp_path: Path, index: Index) -> None:
    project = write_project(tmp_path / "p", "alpha\n")
    with pytest.raises(UsageError, match="gamma is not in the lock"):
        lock(project, environment(PIP_INDEX_URL=index.simple), upgrade_packages=["gamma"])


def test_the_later_platform_follows_the_first(tmp_path: Path, index: Index) -> None:
    for machine in ("x86_64", "aarch64"):
        make_wheel(index.folder, "native", "1.0", {"n.py": machine.encode()}, tag=CP.format(machine))
    project = write_project(tmp_path / "p", "native\nalpha\n", platforms=(AMD64, ARM64))
    resolution = lock(project, environment(PIP_INDEX_URL=index.simple))
    native = next(pin for pin in resolution.pins if pin.name == "native")
    assert native.marker == "" and len(native.hashes) == 2
    assert resolution.by_platform[AMD64] == resolution.by_platform[ARM64]


def test_a_package_for_one_platform_carries_a_marker(tmp_path: Path, index: Index) -> None:
    project = write_project(
        tmp_path / "p", 'alpha\nbeta==1.0\ngamma ; platform_machine == "x86_64"\n', platforms=(AMD64, ARM64)
    )
    make_wheel(index.folder, "gamma", "1.0", {"g.py": b""})
    resolution = lock(project, environment(PIP_INDEX_URL=index.simple))
    gamma = next(pin for pin in resolution.pins if pin.name == "gamma")
    assert gamma.marker == 'platform_machine == "x86_64"'
    assert 'gamma==1.0 ; platform_machine == "x86_64"' in render(resolution)
    assert {pin.name for pin in resolution.by_platform[ARM64]} == {"alpha", "beta"}
    # locking again with this lock as the preference changes nothing
    again = lock(project, environment(PIP_INDEX_URL=index.simple), existing=render(resolution))
    assert again.pins == resolution.pins


def test_versions_may_differ_where_the_user_says_so(tmp_path: Path, index: Index) -> None:
    text = 'beta==1.0 ; platform_machine == "x86_64"\nbeta==1.1 ; platform_machine == "aarch64"\n'
    project = write_project(tmp_path / "p", text, platforms=(AMD64, ARM64))
    environ = environment(PIP_INDEX_URL=index.simple)
    resolution = lock(project, environ)
    assert [pin.version for pin in resolution.by_platform[AMD64]] == ["1.0"]
    assert [pin.version for pin in resolution.by_platform[ARM64]] == ["1.1"]
    assert {pin.marker for pin in resolution.pins} == {'platform_machine == "x86_64"', 'platform_machine == "aarch64"'}
    assert lock(project, environ, existing=render(resolution)).pins == resolution.pins


def test_a_version_without_a_wheel_for_one_platform_fails_with_the_files_there_are(
    tmp_path: Path, index: Index
) -> None:
    make_wheel(index.folder, "native", "1.0", {}, tag=CP.format("x86_64"))
    make_wheel(index.folder, "native", "1.0", {}, tag=CP.format("aarch64"))
    make_wheel(index.folder, "native", "2.0", {}, tag=CP.format("x86_64"))
    project = write_project(tmp_path / "p", "native\n", platforms=(AMD64, ARM64))
    with pytest.raises(ResolutionError) as caught:
        lock(project, environment(PIP_INDEX_URL=index.simple))
    message = caught.value.message
    assert "linux/amd64 would get 2.0; linux/arm64 would get 1.0" in message
    assert "native-2.0-cp311-cp311-manylinux_2_17_x86_64.whl" in message
    assert "native==1.0" in (caught.value.hint or "")
    assert caught.value.exit_code == 3


def test_no_wheel_at_all_for_a_platform(tmp_path: Path, index: Index) -> None:
    make_wheel(index.folder, "native", "2.0", {}, tag=CP.format("x86_64"))
    project = write_project(tmp_path / "p", "# first\nnative\n", platforms=(AMD64, ARM64))
    with pytest.raises(ResolutionError) as caught:
        lock(project, environment(PIP_INDEX_URL=index.simple))
    error = caught.value
    assert "no wheel for linux/arm64" in error.message
    assert "native-2.0-cp311-cp311-manylinux_2_17_x86_64.whl" in error.message
    assert (error.file, error.line) == ("requirements.in", 2)


def test_a_requirement_that_does_not_exist_is_named_with_its_place_and_the_indexes(
    tmp_path: Path, index: Index
) -> None:
    project = write_project(tmp_path / "p", "alpha\nnosuchthing>=1\n")
    index.login = "ann:s3cr3t-t0ken"
    with pytest.raises(ResolutionError) as caught:
        lock(project, environment(PIP_INDEX_URL=index.with_login("ann:s3cr3t-t0ken")))
    error = caught.value
    assert "requirements.in:2 asks for nosuchthing>=1, which doesn't exist" in error.message
    assert index.simple in error.message
    assert "s3cr3t" not in str(error) + str(error.hint)
    assert (error.file, error.line, error.exit_code) == ("requirements.in", 2, 3)


def test_a_version_that_does_not_exist(tmp_path: Path, index: Index) -> None:
    project = write_project(tmp_path / "p", "alpha>=9\n")
    with pytest.raises(ResolutionError, match=r"asks for alpha>=9, but there is no such version; the newest is 2\.0"):
        lock(project, environment(PIP_INDEX_URL=index.simple))


def test_conflicting_constraints_name_both_sides(tmp_path: Path, index: Index) -> None:
    files = {"requirements.in": "# team\n\nbeta>=2\n", "../packages.txt": "alpha==1.0\n\nbeta==1.0\n"}
    project = write_project(tmp_path / "p", files, python='constraints = ["../packages.txt"]')
    with pytest.raises(ResolutionError) as caught:
        lock(project, environment(PIP_INDEX_URL=index.simple))
    message = caught.value.message
    assert "requirements.in:3 asks for beta>=2; ../packages.txt:3 allows beta==1.0" in message
    assert "uv says:" in message
    assert (caught.value.file, caught.value.line) == ("requirements.in", 3)


def test_a_conflict_through_a_dependency_names_the_lines_that_take_part(tmp_path: Path, index: Index) -> None:
    make_wheel(index.folder, "gamma", "1.0", {}, requires=["beta<2"])
    files = {"requirements.in": "alpha\ngamma\n", "packages.txt": "beta==2.0\n"}
    project = write_project(tmp_path / "p", files, python='constraints = ["packages.txt"]')
    with pytest.raises(ResolutionError) as caught:
        lock(project, environment(PIP_INDEX_URL=index.simple))
    message = caught.value.message
    assert "requirements.in:2 asks for gamma" in message
    assert "packages.txt:1 allows beta==2.0" in message


def test_source_only_is_refused_by_name(tmp_path: Path, index: Index) -> None:
    make_sdist(index.folder, "source-only", "1.0")
    project = write_project(tmp_path / "p", "source-only\n")
    with pytest.raises(ResolutionError) as caught:
        lock(project, environment(PIP_INDEX_URL=index.simple))
    assert "source_only-1.0.tar.gz" in caught.value.message
    assert 'allow-build = ["source-only"]' in (caught.value.hint or "")


def test_a_source_only_dependency_is_refused_by_name_too(tmp_path: Path, index: Index) -> None:
    make_sdist(index.folder, "source-only", "1.0")
    make_wheel(index.folder, "gamma", "1.0", {}, requires=["source-only"])
    project = write_project(tmp_path / "p", "gamma\n")
    with pytest.raises(ResolutionError) as caught:
        lock(project, environment(PIP_INDEX_URL=index.simple))
    assert 'allow-build = ["source-only"]' in (caught.value.hint or "")


def test_another_python_is_needed(tmp_path: Path, index: Index) -> None:
    wheel = make_wheel(index.folder, "modern", "1.0", {}, requires_python=">=3.13")
    index.requires_python[wheel.name] = ">=3.13"
    project = write_project(tmp_path / "p", "modern\n")
    with pytest.raises(ResolutionError, match=r"modern 1\.0 needs Python >=3\.13, and the image has 3\.11\.2"):
        lock(project, environment(PIP_INDEX_URL=index.simple))


def test_an_index_that_is_down_is_a_store_error(tmp_path: Path) -> None:
    project = write_project(tmp_path / "p", "alpha\n")
    with pytest.raises(StoreError) as caught:
        lock(project, environment(PIP_INDEX_URL="http://ann:s3cr3t-t0ken@127.0.0.1:9/simple", PIP_RETRIES="0"))
    assert "127.0.0.1:9" in caught.value.message
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.exit_code == 5


def test_wrong_credentials_say_where_credentials_belong(tmp_path: Path, index: Index) -> None:
    project = write_project(tmp_path / "p", "alpha\n")
    index.login = "ann:right"
    with pytest.raises(StoreError) as caught:
        lock(project, environment(PIP_INDEX_URL=index.with_login("ann:wrong-s3cr3t")))
    assert "refused the credentials" in caught.value.message
    assert "s3cr3t" not in str(caught.value)
    assert "netrc" in (caught.value.hint or "")


def test_plain_http_to_another_machine_is_refused(tmp_path: Path) -> None:
    project = write_project(tmp_path / "p", "alpha\n")
    with pytest.raises(UsageError, match="plain HTTP") as caught:
        lock(project, environment(PIP_INDEX_URL="http://pypi.example.com/simple"))
    assert "trusted-host" in (caught.value.hint or "")


def test_extras_and_pyproject(tmp_path: Path, index: Index) -> None:
    make_wheel(index.folder, "gamma", "1.0", {}, requires=["beta ; extra == 'more'"])
    pyproject = (
        '[project]\nname = "demo"\nversion = "1"\ndependencies = ["gamma[more]"]\n'
        '[project.optional-dependencies]\nall = ["demo[plot]"]\nplot = [\n  "alpha<2",\n]\n'
    )
    project = write_project(tmp_path / "p", {"pyproject.toml": pyproject}, names=["pyproject.toml[all]"])
    resolution = lock(project, environment(PIP_INDEX_URL=index.simple))
    assert pins(resolution) == ["alpha==1.1", "beta==2.0", "gamma==1.0"]
    assert [pin.via for pin in resolution.pins] == [("pyproject.toml",), ("alpha", "gamma"), ("pyproject.toml",)]
    assert "gamma[more]==1.0" in render(resolution)


def test_a_private_name_is_not_shadowed_by_a_public_one(tmp_path: Path, index: Index) -> None:
    with serve_index(tmp_path / "private") as private:
        make_wheel(private.folder, "beta", "0.9", {"beta.py": b"ours"})
        project = write_project(tmp_path / "p", f"--extra-index-url {private.simple}\nbeta\n")
        resolution = lock(project, environment(PIP_INDEX_URL=index.simple))
    assert pins(resolution) == ["beta==0.9"]


def test_the_users_uv_configuration_changes_nothing(tmp_path: Path, index: Index) -> None:
    project = write_project(tmp_path / "p", "beta\n")
    (tmp_path / "p" / "uv.toml").write_text('[pip]\nresolution = "lowest"\n')
    environ = environment(PIP_INDEX_URL=index.simple, UV_RESOLUTION="lowest", UV_CONSTRAINT="/nonexistent")
    assert pins(lock(project, environ)) == ["beta==2.0"]


def test_prereleases_when_the_file_says_so(tmp_path: Path, index: Index) -> None:
    make_wheel(index.folder, "beta", "3.0rc1", {})
    environ = environment(PIP_INDEX_URL=index.simple)
    assert pins(lock(write_project(tmp_path / "a", "beta\n"), environ)) == ["beta==2.0"]
    assert pins(lock(write_project(tmp_path / "b", "--pre\nbeta\n"), environ)) == ["beta==3.0rc1"]


def test_find_links_and_no_index(tmp_path: Path) -> None:
    make_wheel(tmp_path / "p" / "wheels, mine", "local", "1.0", {"x.py": b""})
    project = write_project(tmp_path / "p", '--no-index\n--find-links "wheels, mine"\nlocal\n')
    assert pins(lock(project, environment())) == ["local==1.0"]


def test_a_missing_find_links_folder_is_a_warning(tmp_path: Path, index: Index) -> None:
    project = write_project(tmp_path / "p", "beta\n")
    progress = Remembering()
    lock(project, environment(PIP_INDEX_URL=index.simple, PIP_FIND_LINKS="/no/such/folder"), progress=progress)
    assert progress.warnings == ["the find-links folder /no/such/folder doesn't exist"]


def test_credentials_from_the_environment_reach_the_index_and_nothing_else(tmp_path: Path, index: Index) -> None:
    index.login = "ann:s3cr3t"
    url = index.with_login("${INDEX_LOGIN}")
    project = write_project(tmp_path / "p", f"--index-url {url}\nbeta\n")
    resolution = lock(project, environment(INDEX_LOGIN="ann:s3cr3t"))
    assert pins(resolution) == ["beta==2.0"]
    assert "127.0.0.1" not in render(resolution)
    with pytest.raises(ProjectError, match=r"INDEX_LOGIN.* is not set") as caught:
        lock(project, environment())
    assert caught.value.line == 1


def test_pip_tools_is_for_this_machine_only(tmp_path: Path) -> None:
    project = write_project(tmp_path / "p", "beta\n", platforms=(AMD64, ARM64), python='resolver = "pip-tools"')
    with pytest.raises(UsageError, match="resolves for the machine it runs on") as caught:
        lock(project, environment())
    assert 'resolver = "uv"' in (caught.value.hint or "")


def test_the_c_library_in_uvs_words() -> None:
    def name(glibc: str) -> str:
        return uv_platform(Target(AMD64, "3.11.2", glibc))

    assert name("2.36") == "x86_64-manylinux_2_36"
    assert name("2.41") == "x86_64-manylinux_2_40"
    assert name("2.27") == "x86_64-manylinux_2_17"
    assert uv_platform(TARGETS[ARM64]) == "aarch64-manylinux_2_36"
    with pytest.raises(ResolutionError, match=r"glibc 2\.12"):
        name("2.12")


def test_a_lock_that_cannot_be_read_is_not_thrown_away(tmp_path: Path, index: Index) -> None:
    project = write_project(tmp_path / "p", "alpha\n")
    with pytest.raises(LockError, match="not a pin") as caught:
        lock(project, environment(PIP_INDEX_URL=index.simple), existing="<<<<<<< HEAD\nalpha==1.0\n")
    assert "delete it" in (caught.value.hint or "")
    assert caught.value.exit_code == 3
