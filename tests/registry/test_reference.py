from __future__ import annotations

import pytest

from builder.registry.reference import full_name


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("churn", "docker.io/library/churn"),
        ("ml/churn", "docker.io/ml/churn"),
        ("example.com/churn", "example.com/churn"),
        ("localhost/churn", "localhost/churn"),
        ("host:5000/a/b", "host:5000/a/b"),
    ],
)
def test_full_name(name: str, full: str) -> None:
    assert full_name(name) == full
    assert full_name(full) == full
