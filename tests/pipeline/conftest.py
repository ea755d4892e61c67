"""A small world for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.apt_repository import Key
from tests.support.require import need
from tests.support.world import World, world


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
