from __future__ import annotations

import json

import pytest

from builder.content import Digest, Platform
from builder.errors import LockshipError
from builder.image.config import Facts
from builder.image.index import plan_index
from builder.image.plan import ImagePlan, plan_image
from builder.project import Project

FACTS = Facts("churn", "1.0")


def image(architecture: str) -> ImagePlan:
    return plan_image(Project(name="churn", version="1.0"), Platform("linux", architecture), [], FACTS, python="3.11.2")


def test_one_entry_per_platform_in_any_order() -> None:
    amd64, arm64 = image("amd64"), image("arm64")
    plan = plan_index([arm64, amd64], FACTS)
    assert plan == plan_index([amd64, arm64], FACTS)
    index = json.loads(plan.index)
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert [entry["platform"] for entry in index["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux"},
    ]
    assert [entry["digest"] for entry in index["manifests"]] == [amd64.descriptor.digest, arm64.descriptor.digest]
    assert index["annotations"]["org.opencontainers.image.version"] == "1.0"
    assert plan.descriptor.digest == Digest.of(plan.index)
    assert plan.image(Platform("linux", "arm64")) == arm64


def test_an_index_for_one_platform_is_an_index_too() -> None:
    plan = plan_index([image("amd64")], FACTS)
    assert len(json.loads(plan.index)["manifests"]) == 1
    assert plan.image(Platform("linux", "arm64")) is None


def test_a_platform_twice() -> None:
    with pytest.raises(LockshipError, match="twice"):
        plan_index([image("amd64"), image("amd64")], FACTS)
