"""Both kinds of store, and keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.registry.layout import Layout
from builder.registry.store import Store
from builder.releases.keys import PrivateKey, generate
from tests.registry.conftest import new_name, open_registry
from tests.support.registry import RegistryServer


@pytest.fixture(params=["layout", "registry"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    if request.param == "layout":
        yield Layout(tmp_path / "store")
        return
    server: RegistryServer = request.getfixturevalue("registry")
    with open_registry(server, new_name()) as opened:
        yield opened


@pytest.fixture(scope="session")
def key() -> PrivateKey:
    """The key that is trusted."""
    return generate()


@pytest.fixture(scope="session")
def other() -> PrivateKey:
    """Somebody else's."""
    return generate()
