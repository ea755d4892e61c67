"""Fixtures for all tests: a sheltered environment, caches, an engine."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from builder.cache import Cache
from tests.support.apt_repository import Key
from tests.support.registry import RegistryServer, serve_registry
from tests.support.repositories import Yard
from tests.support.require import need
from tests.support.world import World, world

# How the developer's machine looked before any test changed it.
DEVELOPER = dict(os.environ)

# A shell starts background jobs with Ctrl-C ignored, and programs hand that on: tests send it, and it must arrive.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_GIT_CONFIG = """\
[user]
    name = Ada Example
    email = ada@example.com
[init]
    defaultBranch = main
[commit]
    gpgSign = false
"""

# Where packages come from on the developer's machine: nothing a test should depend on unless it says so.
_INDEX_VARIABLES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CONFIG_FILE")

# What else says who the developer is, and what is being worked on.
_PRIVATE_VARIABLES = (
    "DOCKER_AUTH_CONFIG",
    "DOCKER_CONFIG",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_WORK_TREE",
    "CHANGE_TARGET",
    "CI_MERGE_REQUEST_DIFF_BASE_SHA",
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME",
    "GITHUB_BASE_REF",
    "SYSTEM_PULLREQUEST_TARGETBRANCH",
    "LOCKSHIP_PLAIN_HTTP",
    "REGISTRY_AUTH_FILE",
)

# A deadline would assert a time, and test machines are shared; so would the check for slow examples.
settings.register_profile("lockship", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lockship")


@pytest.fixture(autouse=True)
def sheltered(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The developer's own files stay out of sight, and out of reach: a home of its own for each test.

    Time zone, locale and umask are left alone. Tests marked `index` keep the machine's package index.
    """
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("CACHE", "CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / f".{name.lower()}"))
    monkeypatch.setenv("LOCKSHIP_CACHE", str(home / "lockship"))
    git_config = home / ".gitconfig"
    git_config.write_text(_GIT_CONFIG)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(git_config))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in list(os.environ):
        # pytest may itself run inside git (a hook), which names its repository to whoever it starts
        if name.startswith(("UV_", "SOURCE_DATE_EPOCH", "LOCKSHIP_REGISTRY")) or name in _PRIVATE_VARIABLES:
            monkeypatch.delenv(name)
    # podman's logins; without the variable it would look below /run
    (home / ".runtime").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / ".runtime"))
    if request.node.get_closest_marker("index") is None:
        for name in _INDEX_VARIABLES:
            monkeypatch.delenv(name, raising=False)
        # pip's word for "no configuration file at all"
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    elif "PIP_CONFIG_FILE" not in DEVELOPER and (own := _pip_configuration()) is not None:
        monkeypatch.setenv("PIP_CONFIG_FILE", str(own))
    return home


def _pip_configuration() -> Path | None:
    """The developer's own pip.conf, which a new HOME would hide."""
    home = Path(DEVELOPER.get("HOME", "/"))
    config = Path(DEVELOPER.get("XDG_CONFIG_HOME") or home / ".config")
    return next((path for path in (config / "pip/pip.conf", home / ".pip/pip.conf") if path.is_file()), None)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache."""
    return Cache(tmp_path / "cache")


@pytest.fixture(scope="session")
def shared_cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A cache that outlives the session, for big downloads: ``LOCKSHIP_TEST_CACHE``, or pytest's own cache folder.

    For artifacts only; a test that is about caching uses `cache`.
    """
    if chosen := DEVELOPER.get("LOCKSHIP_TEST_CACHE"):
        return Cache(Path(chosen).absolute())
    kept: pytest.Cache | None = getattr(request.config, "cache", None)  # none with -p no:cacheprovider
    return Cache(kept.mkdir("lockship") if kept else tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="session")
def engine() -> Iterator[str]:
    """The address of a Docker engine, for DOCKER_HOST. Where there is none and root may start one, a private one."""
    from tests.support import engine as engines

    found = engines.find(DEVELOPER)
    if found is not None:
        yield found
        return
    obstacle = engines.can_start(DEVELOPER)
    with ExitStack() as stack:
        host = ""
        if obstacle is None:
            try:
                host = stack.enter_context(engines.temporary_engine(DEVELOPER))
            except RuntimeError as error:
                obstacle = str(error)
        need("a Docker engine", host, f"none answers, and {obstacle}")
        yield host


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """A registry for anybody, over plain HTTP. Tests share it: each uses repository names of its own."""
    with serve_registry(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(scope="session")
def archive_key() -> Iterator[Key]:
    """The key that signs apt repositories."""
    need("apt and gpg", shutil.which("apt-get") and shutil.which("gpg"), "this machine lacks them")
    with Key() as made:
        yield made


@pytest.fixture
def here(tmp_path: Path, archive_key: Key) -> Iterator[World]:
    """A small world of the test's own."""
    with world(tmp_path, archive_key) as made:
        yield made


@pytest.fixture(scope="session")
def locked_yard(tmp_path_factory: pytest.TempPathFactory, archive_key: Key) -> Iterator[Yard]:
    """A repository of several locked projects; tests copy it."""
    folder = tmp_path_factory.mktemp("yard")
    with world(folder, archive_key) as made, pytest.MonkeyPatch.context() as patch:
        (folder / "gitconfig").write_text(_GIT_CONFIG)
        patch.setenv("GIT_CONFIG_GLOBAL", str(folder / "gitconfig"))
        found = Yard(folder / "repo", made, made.cache.root)
        found.fill()
        yield found


@pytest.fixture
def yard(tmp_path: Path, locked_yard: Yard) -> Yard:
    """A repository of several locked projects, of the test's own."""
    return locked_yard.copy(tmp_path)
