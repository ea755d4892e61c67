"""The stores that keep the contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from builder.registry.layout import Layout
from builder.registry.store import Store


@pytest.fixture(params=["layout"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Opens the same, at first empty, store each time it is called."""
    assert request.param == "layout"
    return lambda: Layout(tmp_path / "store")


@pytest.fixture
def store(new_store: Callable[[], Store]) -> Store:
    """An empty store."""
    return new_store()
